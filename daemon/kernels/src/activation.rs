//! SiLU and the gated activation of the feed-forward layers.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use crate::dispatch::{Level, multiversion};
use crate::math;
use crate::op::{Operand, apply, ensure};

/// Elements of one task.
const TASK: usize = 16 * 1024;

#[inline(always)]
fn silu_body<const FMA: bool>(x: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = math::silu::<FMA>(*x);
    }
}
multiversion!(fn silu_task(x: &[f32], out: &mut [f32]) = silu_body);

#[inline(always)]
fn silu_times_body<const FMA: bool>(gate: &[f32], x: &[f32], out: &mut [f32]) {
    for ((out, gate), x) in out.iter_mut().zip(gate).zip(x) {
        *out = math::silu::<FMA>(*gate) * x;
    }
}
multiversion!(fn silu_times_task(gate: &[f32], x: &[f32], out: &mut [f32]) = silu_times_body);

#[inline(always)]
fn gelu_body<const FMA: bool>(x: &[f32], tanh: bool, out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = if tanh { math::gelu_tanh::<FMA>(*x) } else { math::gelu_erf::<FMA>(*x) };
    }
}
multiversion!(fn gelu_task(x: &[f32], tanh: bool, out: &mut [f32]) = gelu_body);

#[inline(always)]
fn geglu_body<const FMA: bool>(x: &[f32], inner: usize, out: &mut [f32]) {
    for (out, x) in out.chunks_exact_mut(inner).zip(x.chunks_exact(2 * inner)) {
        let (value, gate) = x.split_at(inner);
        for ((out, value), gate) in out.iter_mut().zip(value).zip(gate) {
            *out = value * math::gelu_erf::<FMA>(*gate);
        }
    }
}
multiversion!(fn geglu_task(x: &[f32], inner: usize, out: &mut [f32]) = geglu_body);

/// `out[i] = x[i] * sigmoid(x[i])`; both of one length.
pub fn silu_slice(level: Level, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    out.par_chunks_mut(TASK).zip(x.par_chunks(TASK)).for_each(|(out, x)| silu_task(level, x, out));
}

/// `out[i] = silu(gate[i]) * x[i]`; all of one length.
pub fn silu_times_slice(level: Level, gate: &[f32], x: &[f32], out: &mut [f32]) {
    assert!(gate.len() == out.len() && x.len() == out.len());
    let tasks = out.par_chunks_mut(TASK).zip(gate.par_chunks(TASK)).zip(x.par_chunks(TASK));
    tasks.for_each(|((out, gate), x)| silu_times_task(level, gate, x, out));
}

/// GELU, exact (erf) or in the approximation with tanh; both of one length.
pub fn gelu_slice(level: Level, x: &[f32], tanh: bool, out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    out.par_chunks_mut(TASK).zip(x.par_chunks(TASK)).for_each(|(out, x)| gelu_task(level, x, tanh, out));
}

/// Rows of `2 * inner` in `x` become rows of `inner` in `out`: first half times `gelu(second half)`, with the exact (erf)
/// GELU. Source: Shazeer, "GLU Variants Improve Transformer" (2020).
pub fn geglu_slice(level: Level, x: &[f32], inner: usize, out: &mut [f32]) {
    assert_eq!(x.len(), 2 * out.len());
    if inner == 0 {
        return;
    }
    let rows = (TASK / inner).max(1);
    let tasks = out.par_chunks_mut(rows * inner).zip(x.par_chunks(rows * 2 * inner));
    tasks.for_each(|(out, x)| geglu_task(level, x, inner, out));
}

/// SiLU of a tensor of any shape.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    apply("silu", x, x.shape(), |x, out| {
        silu_slice(Level::best(), x, out);
        Ok(())
    })
}

/// `silu(gate) * x` of two tensors of one shape.
pub fn silu_times(gate: &Tensor, x: &Tensor) -> Result<Tensor> {
    const NAME: &str = "silu_times";
    ensure(gate.dims() == x.dims(), NAME, &format!("a tensor {:?}", gate.dims()), x.shape())?;
    let x = Operand::new(NAME, x)?;
    apply(NAME, gate, gate.shape(), |gate, out| {
        x.read(|x| {
            silu_times_slice(Level::best(), gate, x, out);
            Ok(())
        })
    })
}

/// GELU of a tensor of any shape, exact (erf) or in the approximation with tanh.
pub fn gelu(x: &Tensor, tanh: bool) -> Result<Tensor> {
    apply("gelu", x, x.shape(), |x, out| {
        gelu_slice(Level::best(), x, tanh, out);
        Ok(())
    })
}

/// GEGLU over the last dimension: `(..., 2n) -> (..., n)`. The last dimension must be even.
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    ensure(width.is_multiple_of(2), "geglu", "(..., 2n)", x.shape())?;
    let mut shape = x.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = width / 2;
    }
    apply("geglu", x, shape, |x, out| {
        geglu_slice(Level::best(), x, width / 2, out);
        Ok(())
    })
}
