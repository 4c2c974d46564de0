//! 1x1 convolution: one matrix product for each sample, straight from and into channels-first memory.

use candle_core::{Result, Tensor};

use crate::gemm::{Matrix, Target, all_threads, multiply_into};
use crate::op::{Operand, apply, ensure};

/// `x (batch, input, pixels)`, `weight (output, input)`, `bias (output)`, `out (batch, output, pixels)`; `size` is
/// `[input, output, pixels]`.
pub fn pointwise_conv_slice(x: &[f32], weight: &[f32], bias: Option<&[f32]>, size: [usize; 3], out: &mut [f32]) {
    let [input, output, pixels] = size;
    assert!(weight.len() == input * output && bias.is_none_or(|bias| bias.len() == output));
    let (read, written) = (input * pixels, output * pixels);
    if written == 0 {
        assert!(out.is_empty());
        return;
    }
    assert!(out.len().is_multiple_of(written) && x.len() == out.len() / written * read);
    for (at, out) in out.chunks_exact_mut(written).enumerate() {
        if let Some(bias) = bias {
            out.chunks_exact_mut(pixels).zip(bias).for_each(|(out, bias)| out.fill(*bias));
        }
        let x = &x[at * read..][..read];
        let (a, b) = (Matrix::rows(weight, input), Matrix::rows(x, pixels));
        // SAFETY: `out` is borrowed mutably for the whole call.
        unsafe {
            multiply_into(Target::new(out, pixels), bias.is_some(), a, b, [output, pixels, input], all_threads());
        }
    }
}

/// 1x1 convolution: `x (b, in, h, w)`, `weight (out, in)`, `bias (out)` -> `(b, out, h, w)`.
pub fn pointwise_conv(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    const NAME: &str = "pointwise_conv";
    let (batch, input, height, width) = x.dims4()?;
    let (output, _) = weight.dims2()?;
    ensure(weight.dims()[1] == input, NAME, &format!("a weight (out, {input})"), weight.shape())?;
    let weight = Operand::new(NAME, weight)?;
    let bias = Operand::bias(NAME, bias, output)?;
    apply(NAME, x, (batch, output, height, width), |x, out| {
        weight.read(|weight| {
            Operand::read_optional(bias.as_ref(), |bias| {
                pointwise_conv_slice(x, weight, bias, [input, output, height * width], out);
                Ok(())
            })
        })
    })
}
