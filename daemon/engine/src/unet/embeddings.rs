//! Sinusoidal embeddings of numbers and the small networks that read them.

use candle_core::{Device, Result, Tensor};

use crate::error::LoadError;
use crate::ops::{self, Linear};
use crate::weights::Weights;

/// Longest period of the sinusoids.
const MAX_PERIOD: f32 = 10_000.0;

/// Sinusoids of numbers. Source: diffusers `get_timestep_embedding`; frequencies and products are f32 as there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sinusoids {
    pub(super) dim: usize,
    pub(super) cos_first: bool,
    pub(super) freq_shift: f64,
}

impl Sinusoids {
    /// `(n) -> (n, dim)`; an odd width ends with a zero.
    pub(super) fn embed(&self, values: &[f32], device: &Device) -> Result<Tensor> {
        let half = self.dim / 2;
        let divisor = (half as f64 - self.freq_shift) as f32;
        let scale = -f64::from(MAX_PERIOD).ln() as f32;
        let frequencies: Vec<f32> = (0..half).map(|i| f64::from(scale * i as f32 / divisor).exp() as f32).collect();
        let mut out = Vec::with_capacity(values.len() * self.dim);
        for value in values {
            let angle = |frequency: &f32| f64::from(value * frequency);
            let cos = frequencies.iter().map(|f| angle(f).cos() as f32);
            let sin = frequencies.iter().map(|f| angle(f).sin() as f32);
            if self.cos_first {
                out.extend(cos);
                out.extend(sin);
            } else {
                out.extend(sin);
                out.extend(cos);
            }
            out.resize(out.len() + self.dim % 2, 0.0);
        }
        Tensor::from_vec(out, (values.len(), self.dim), device)
    }
}

/// Linear, SiLU, linear.
pub(super) struct TimestepEmbedding {
    linear_1: Linear,
    linear_2: Linear,
}

impl TimestepEmbedding {
    pub(super) fn load(weights: &Weights, input: usize, dim: usize) -> std::result::Result<Self, LoadError> {
        let linear_1 = Linear::load(&weights.pp("linear_1"), [dim, input], true)?;
        let linear_2 = Linear::load(&weights.pp("linear_2"), [dim, dim], true)?;
        Ok(Self { linear_1, linear_2 })
    }

    /// `(b, input) -> (b, dim)`
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.linear_2.forward(&ops::silu(&self.linear_1.forward(x)?)?)
    }
}
