//! Normalisations. Means and variances are taken in two passes, which keeps f32 close to exact arithmetic.

use candle_core::{D, Result, Tensor};

use super::path::fused;
use crate::error::LoadError;
use crate::weights::Weights;

/// Parameters of a group normalisation.
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// Reads `weight (channels)` and `bias (channels)`. `channels` must be a multiple of `groups`; the caller has checked.
    pub fn load(weights: &Weights, channels: usize, groups: usize, eps: f64) -> std::result::Result<Self, LoadError> {
        let (weight, bias) = (weights.get([channels], "weight")?, weights.get([channels], "bias")?);
        Ok(Self { weight, bias, groups, eps })
    }
}

/// Group normalisation of `(b, c, h, w)`.
pub fn group_norm(x: &Tensor, norm: &GroupNorm) -> Result<Tensor> {
    if fused(x) {
        return easel_kernels::group_norm(x, &norm.weight, &norm.bias, norm.groups, norm.eps);
    }
    let (batch, channels, height, width) = x.dims4()?;
    let grouped = x.contiguous()?.reshape((batch, norm.groups, channels / norm.groups * height * width))?;
    let centred = grouped.broadcast_sub(&grouped.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let scaled = centred.broadcast_div(&(variance + norm.eps)?.sqrt()?)?;
    let per_channel = |values: &Tensor| values.reshape((1, channels, 1, 1));
    let scaled = scaled.reshape((batch, channels, height, width))?.broadcast_mul(&per_channel(&norm.weight)?)?;
    scaled.broadcast_add(&per_channel(&norm.bias)?)
}

/// Group normalisation followed by SiLU.
pub fn group_norm_silu(x: &Tensor, norm: &GroupNorm) -> Result<Tensor> {
    if fused(x) {
        return easel_kernels::group_norm_silu(x, &norm.weight, &norm.bias, norm.groups, norm.eps);
    }
    super::silu(&group_norm(x, norm)?)
}

/// Group normalisation, SiLU and a 3x3 convolution of every channel with a kernel of its own: `weight (c, 1, 3, 3)`.
pub fn group_norm_silu_depthwise_conv3x3(x: &Tensor, norm: &GroupNorm, weight: &Tensor) -> Result<Tensor> {
    if fused(x) {
        let parameters = [&norm.weight, &norm.bias];
        return easel_kernels::group_norm_silu_depthwise_conv3x3(x, parameters, norm.groups, norm.eps, weight);
    }
    super::depthwise_conv3x3(&group_norm_silu(x, norm)?, weight)
}

/// Layer normalisation over the last dimension.
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// Reads `weight (channels)` and `bias (channels)`.
    pub fn load(weights: &Weights, channels: usize, eps: f64) -> std::result::Result<Self, LoadError> {
        let (weight, bias) = (weights.get([channels], "weight")?, weights.get([channels], "bias")?);
        Ok(Self { weight, bias, eps })
    }

    /// `(..., c) -> (..., c)`
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if fused(x) {
            return easel_kernels::layer_norm(x, &self.weight, &self.bias, self.eps as f32);
        }
        candle_nn::ops::layer_norm(&x.contiguous()?, &self.weight, &self.bias, self.eps as f32)
    }
}

/// Root-mean-square normalisation over the last dimension. Source: Zhang and Sennrich (2019).
pub struct RmsNorm {
    weight: Tensor,
    eps: f64,
}

impl RmsNorm {
    /// Reads `weight (channels)`.
    pub fn load(weights: &Weights, channels: usize, eps: f64) -> std::result::Result<Self, LoadError> {
        Ok(Self { weight: weights.get([channels], "weight")?, eps })
    }

    /// `(..., c) -> (..., c)`
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if fused(x) {
            return easel_kernels::rms_norm(x, &self.weight, self.eps as f32);
        }
        candle_nn::ops::rms_norm(&x.contiguous()?, &self.weight, self.eps as f32)
    }
}
