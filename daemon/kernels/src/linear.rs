//! Fully connected layers: one matrix product for all rows, with bias and residual added in the same pass.

use candle_core::{Result, Tensor};

use crate::gemm::{Matrix, Target, all_threads, multiply_into};
use crate::onto::Onto;
use crate::op::{Operand, apply, ensure};

/// `out = x * weight^T + bias + residual`: `x (rows, input)`, `weight (output, input)`, `bias (output)`, `residual` and
/// `out (rows, output)`; `size` is `[input, output]`.
pub fn linear_slice(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    residual: Option<&[f32]>,
    [input, output]: [usize; 2],
    out: &mut [f32],
) {
    assert!(weight.len() == input * output && bias.is_none_or(|bias| bias.len() == output));
    assert!(residual.is_none_or(|residual| residual.len() == out.len()));
    if out.is_empty() {
        return;
    }
    assert!(out.len().is_multiple_of(output) && x.len() == out.len() / output * input);
    let onto = Onto { per_column: bias, residual, ..Onto::NOTHING };
    let (a, b, rows) = (Matrix::rows(x, input), Matrix::transposed(weight, input), out.len() / output);
    // SAFETY: `out` is borrowed mutably for the whole call.
    unsafe { multiply_into(Target::new(out, output), onto, a, b, [rows, output, input], all_threads()) }
}

/// `x W^T + b + residual` over the last dimension: `x (..., in)`, `weight (out, in)`, `bias (out)`, `residual` and the result
/// `(..., out)`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, residual: Option<&Tensor>) -> Result<Tensor> {
    const NAME: &str = "linear";
    let (output, input) = weight.dims2()?;
    let mut shape = x.dims().to_vec();
    ensure(shape.last() == Some(&input), NAME, &format!("an input (..., {input})"), x.shape())?;
    if let Some(last) = shape.last_mut() {
        *last = output;
    }
    let weight = Operand::new(NAME, weight)?;
    let bias = Operand::bias(NAME, bias, output)?;
    let residual = Operand::optional(NAME, "a residual", residual, &shape)?;
    apply(NAME, x, shape, |x, out| {
        weight.read(|weight| {
            Operand::read_optional(bias.as_ref(), |bias| {
                Operand::read_optional(residual.as_ref(), |residual| {
                    linear_slice(x, weight, bias, residual, [input, output], out);
                    Ok(())
                })
            })
        })
    })
}
