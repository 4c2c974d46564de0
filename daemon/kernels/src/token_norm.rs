//! Layer and root-mean-square normalisation over the last dimension.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use crate::dispatch::{Level, multiversion};
use crate::math::{self, fma};
use crate::op::{Operand, apply, ensure};

/// Elements of one task.
const TASK: usize = 16 * 1024;

#[inline(always)]
fn layer_body<const FMA: bool>(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    let bias = &bias[..width];
    for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
        let mean = math::sum(x) / width as f32;
        let scale = 1.0 / (math::sum_of_squares::<FMA>(x, mean) / width as f32 + eps).sqrt();
        for i in 0..width {
            out[i] = fma::<FMA>((x[i] - mean) * scale, weight[i], bias[i]);
        }
    }
}
multiversion!(fn layer(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) = layer_body);

#[inline(always)]
fn rms_body<const FMA: bool>(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
        let scale = 1.0 / (math::sum_of_squares::<FMA>(x, 0.0) / width as f32 + eps).sqrt();
        for i in 0..width {
            out[i] = x[i] * scale * weight[i];
        }
    }
}
multiversion!(fn rms(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) = rms_body);

/// Some whole rows for each task.
fn rows<'a>(
    x: &'a [f32],
    width: usize,
    out: &'a mut [f32],
) -> impl IndexedParallelIterator<Item = (&'a mut [f32], &'a [f32])> {
    assert!(x.len() == out.len() && width > 0 && x.len().is_multiple_of(width));
    let chunk = (TASK / width).max(1) * width;
    out.par_chunks_mut(chunk).zip(x.par_chunks(chunk))
}

/// Each row of `x`, as long as `weight` and `bias`: less its mean, over its spread, times `weight`, plus `bias`.
pub fn layer_norm_slice(level: Level, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    assert_eq!(weight.len(), bias.len());
    rows(x, weight.len(), out).for_each(|(out, x)| layer(level, x, weight, bias, eps, out));
}

/// Each row of `x`, as long as `weight`: over its root mean square, times `weight`. Source: Zhang and Sennrich (2019).
pub fn rms_norm_slice(level: Level, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    rows(x, weight.len(), out).for_each(|(out, x)| rms(level, x, weight, eps, out));
}

/// Layer normalisation over the last dimension: `x (..., c)`, `weight (c)`, `bias (c)`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    let (weight, bias) = (parameter("layer_norm", x, weight)?, parameter("layer_norm", x, bias)?);
    apply("layer_norm", x, x.shape(), |x, out| {
        weight.read(|weight| {
            bias.read(|bias| {
                layer_norm_slice(Level::best(), x, weight, bias, eps, out);
                Ok(())
            })
        })
    })
}

/// Root-mean-square normalisation over the last dimension: `x (..., c)`, `weight (c)`.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let weight = parameter("rms_norm", x, weight)?;
    apply("rms_norm", x, x.shape(), |x, out| {
        weight.read(|weight| {
            rms_norm_slice(Level::best(), x, weight, eps, out);
            Ok(())
        })
    })
}

fn parameter(name: &'static str, x: &Tensor, parameter: &Tensor) -> Result<Operand> {
    let width = x.dim(D::Minus1)?;
    let wanted = format!("a parameter ({width}) with at least one number");
    ensure(width > 0 && parameter.dims() == [width], name, &wanted, parameter.shape())?;
    Operand::new(name, parameter)
}
