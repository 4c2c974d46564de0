//! Matrix products over the last dimension, and the gated feed-forward activation.

use candle_core::{D, Result, Tensor};

use super::path::fused;
use crate::error::LoadError;
use crate::weights::Weights;

/// `y = x W^T + b` over the last dimension.
pub struct Linear {
    /// `(out, in)`
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Reads `weight (out, in)` and, when `bias` is true, `bias (out)`.
    pub fn load(weights: &Weights, [out, input]: [usize; 2], bias: bool) -> std::result::Result<Self, LoadError> {
        let weight = weights.get([out, input], "weight")?;
        let bias = bias.then(|| weights.get([out], "bias")).transpose()?;
        Ok(Self { weight, bias })
    }

    /// Reads a 1x1 convolution `weight (out, in, 1, 1)` with `bias (out)` as the same product over channels-last tokens.
    pub fn load_conv1x1(weights: &Weights, [out, input]: [usize; 2]) -> std::result::Result<Self, LoadError> {
        let weight = weights.get([out, input, 1, 1], "weight")?;
        let weight = weight.reshape((out, input)).map_err(|source| LoadError::Device {
            file: "weights".into(),
            tensor: weights.path().into(),
            source: Box::new(source),
        })?;
        Ok(Self { weight, bias: Some(weights.get([out], "bias")?) })
    }

    /// `(..., in) -> (..., out)`
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if fused(x) {
            return easel_kernels::linear(x, &self.weight, self.bias.as_ref(), None);
        }
        let (out, input) = self.weight.dims2()?;
        let mut shape = x.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = out;
        }
        let x = x.contiguous()?.reshape(((), input))?.matmul(&self.weight.t()?)?;
        let x = match &self.bias {
            Some(bias) => x.broadcast_add(bias)?,
            None => x,
        };
        x.reshape(shape)
    }

    /// The same, with `residual (..., out)` added.
    pub fn forward_onto(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        if fused(x) {
            return easel_kernels::linear(x, &self.weight, self.bias.as_ref(), Some(residual));
        }
        self.forward(x)? + residual
    }
}

/// The gated activation of a feed-forward layer: `x (..., 2n)` split in the middle, `first * gelu(second)` with the exact
/// (erf) GELU. Source: Shazeer, "GLU Variants Improve Transformer" (2020), and diffusers' `GEGLU`.
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    if fused(x) {
        return easel_kernels::geglu(x);
    }
    let half = x.dim(D::Minus1)? / 2;
    let gate = x.narrow(D::Minus1, half, half)?.contiguous()?.gelu_erf()?;
    x.narrow(D::Minus1, 0, half)? * gate
}
