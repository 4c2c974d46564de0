//! 1x1 convolution: one matrix product for each sample, straight from and into channels-first memory.

use candle_core::{Result, Tensor};

use crate::gemm::{Matrix, Target, all_threads, multiply_into};
use crate::onto::Onto;
use crate::op::{Operand, apply, ensure};

/// What is added to a 1x1 convolution.
#[derive(Clone, Copy, Debug, Default)]
pub struct Added<'a> {
    /// For each channel: `(output)`.
    pub bias: Option<&'a [f32]>,
    /// For each channel of each sample: `(batch, output)`.
    pub shift: Option<&'a [f32]>,
    /// For each element: of the shape of the result.
    pub residual: Option<&'a [f32]>,
}

/// `x (batch, input, pixels)`, `weight (output, input)`, `bias (output)`, `out (batch, output, pixels)`; `size` is
/// `[input, output, pixels]`.
pub fn pointwise_conv_slice(x: &[f32], weight: &[f32], bias: Option<&[f32]>, size: [usize; 3], out: &mut [f32]) {
    pointwise_conv_onto_slice(x, weight, Added { bias, ..Added::default() }, size, out);
}

/// The same with more to be added.
pub fn pointwise_conv_onto_slice(x: &[f32], weight: &[f32], added: Added<'_>, size: [usize; 3], out: &mut [f32]) {
    let [input, output, pixels] = size;
    let Added { bias, shift, residual } = added;
    assert!(weight.len() == input * output && bias.is_none_or(|bias| bias.len() == output));
    assert!(residual.is_none_or(|residual| residual.len() == out.len()));
    let (read, written) = (input * pixels, output * pixels);
    if written == 0 {
        assert!(out.is_empty());
        return;
    }
    assert!(out.len().is_multiple_of(written) && x.len() == out.len() / written * read);
    assert!(shift.is_none_or(|shift| shift.len() == out.len() / pixels));
    for (at, out) in out.chunks_exact_mut(written).enumerate() {
        let shift = shift.map(|shift| &shift[at * output..][..output]);
        let both: Option<Vec<f32>> = match (bias, shift) {
            (Some(bias), Some(shift)) => Some(bias.iter().zip(shift).map(|(bias, shift)| bias + shift).collect()),
            _ => None,
        };
        let per_row = both.as_deref().or(bias).or(shift);
        let residual = residual.map(|residual| &residual[at * written..][..written]);
        let onto = Onto { per_row, residual, ..Onto::NOTHING };
        let x = &x[at * read..][..read];
        let (a, b) = (Matrix::rows(weight, input), Matrix::rows(x, pixels));
        // SAFETY: `out` is borrowed mutably for the whole call.
        unsafe { multiply_into(Target::new(out, pixels), onto, a, b, [output, pixels, input], all_threads()) }
    }
}

/// 1x1 convolution: `x (b, in, h, w)`, `weight (out, in)`, `bias (out)` -> `(b, out, h, w)`.
pub fn pointwise_conv(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    pointwise_conv_onto(x, weight, bias, None, None)
}

/// The same with `shift (b, out)` added to each channel and `residual (b, out, h, w)` to each value.
pub fn pointwise_conv_onto(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    shift: Option<&Tensor>,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    const NAME: &str = "pointwise_conv";
    let (batch, input, height, width) = x.dims4()?;
    let (output, _) = weight.dims2()?;
    ensure(weight.dims()[1] == input, NAME, &format!("a weight (out, {input})"), weight.shape())?;
    let weight = Operand::new(NAME, weight)?;
    let bias = Operand::bias(NAME, bias, output)?;
    let shift = Operand::optional(NAME, "a shift", shift, &[batch, output])?;
    let shape = [batch, output, height, width];
    let residual = Operand::optional(NAME, "a residual", residual, &shape)?;
    apply(NAME, x, &shape[..], |x, out| {
        weight.read(|weight| {
            Operand::read_optional(bias.as_ref(), |bias| {
                Operand::read_optional(shift.as_ref(), |shift| {
                    Operand::read_optional(residual.as_ref(), |residual| {
                        let added = Added { bias, shift, residual };
                        pointwise_conv_onto_slice(x, weight, added, [input, output, height * width], out);
                        Ok(())
                    })
                })
            })
        })
    })
}
