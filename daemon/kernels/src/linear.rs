//! Fully connected layers: one matrix product for all rows, with bias and residual in place before it.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::gemm::{Matrix, Target, all_threads, multiply_into};
use crate::op::{Operand, apply, ensure};

/// Elements that one task prepares.
const TASK: usize = 64 * 1024;

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
    prepare(bias, residual, output, out);
    let add = bias.is_some() || residual.is_some();
    let (a, b, rows) = (Matrix::rows(x, input), Matrix::transposed(weight, input), out.len() / output);
    // SAFETY: `out` is borrowed mutably for the whole call.
    unsafe { multiply_into(Target::new(out, output), add, a, b, [rows, output, input], all_threads()) }
}

/// Writes what the product is added to, if there is anything.
fn prepare(bias: Option<&[f32]>, residual: Option<&[f32]>, output: usize, out: &mut [f32]) {
    let chunk = (TASK / output).max(1) * output;
    let chunks = out.par_chunks_mut(chunk);
    match (bias, residual) {
        (None, None) => {}
        (None, Some(residual)) => chunks.zip(residual.par_chunks(chunk)).for_each(|(out, r)| out.copy_from_slice(r)),
        (Some(bias), None) => {
            chunks.for_each(|out| out.chunks_exact_mut(output).for_each(|row| row.copy_from_slice(bias)));
        }
        (Some(bias), Some(residual)) => chunks.zip(residual.par_chunks(chunk)).for_each(|(out, residual)| {
            for (row, residual) in out.chunks_exact_mut(output).zip(residual.chunks_exact(output)) {
                row.iter_mut().zip(residual.iter().zip(bias)).for_each(|(out, (r, b))| *out = r + b);
            }
        }),
    }
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
    let residual = residual.map(|residual| {
        ensure(residual.dims() == shape, NAME, &format!("a residual {shape:?}"), residual.shape())?;
        Operand::new(NAME, residual)
    });
    let residual = residual.transpose()?;
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
