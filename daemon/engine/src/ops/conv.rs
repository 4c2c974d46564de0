//! Convolutions. Candle's grouped convolution is one convolution for each channel, on every device, so it is never called;
//! a 1x1 convolution is a matrix product.

use std::sync::OnceLock;

use candle_core::{Result, Tensor};
use easel_kernels::UpsampleConv3x3;

use super::path::fused;
use crate::error::LoadError;
use crate::weights::Weights;

/// A full convolution with a square kernel.
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    padding: usize,
    stride: usize,
    /// What [`upsample_conv3x3`] makes of the weights when it first runs fused.
    doubling: OnceLock<UpsampleConv3x3>,
}

impl Conv2d {
    /// Reads `weight (out, in, kernel, kernel)` and, when `bias` is true, `bias (out)`. Stride 1, padding that keeps the size.
    pub fn load(
        weights: &Weights,
        [out, input, kernel]: [usize; 3],
        bias: bool,
    ) -> std::result::Result<Self, LoadError> {
        let weight = weights.get([out, input, kernel, kernel], "weight")?;
        let bias = bias.then(|| weights.get([out], "bias")).transpose()?;
        Ok(Self { weight, bias, padding: (kernel - 1) / 2, stride: 1, doubling: OnceLock::new() })
    }

    /// The same with another stride and padding.
    #[must_use]
    pub fn with_stride(self, stride: usize, padding: usize) -> Self {
        Self { stride, padding, ..self }
    }

    /// `(b, in, h, w) -> (b, out, h', w')`
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if fused(x) {
            return easel_kernels::conv2d(x, &self.weight, self.bias.as_ref(), self.padding, self.stride);
        }
        let x = x.conv2d(&self.weight, self.padding, self.stride, 1, 1)?;
        match &self.bias {
            Some(bias) => x.broadcast_add(&bias.reshape((1, bias.elem_count(), 1, 1))?),
            None => Ok(x),
        }
    }

    fn doubling(&self) -> Result<&UpsampleConv3x3> {
        match self.doubling.get() {
            Some(doubling) => Ok(doubling),
            None => {
                let made = UpsampleConv3x3::new(&self.weight, self.bias.as_ref())?;
                Ok(self.doubling.get_or_init(|| made))
            }
        }
    }
}

/// 3x3 convolution of every channel with a kernel of its own, padding 1: `x (b, c, h, w)`, `weight (c, 1, 3, 3)`.
/// Nine shifted products, which every device knows.
pub fn depthwise_conv3x3(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    if fused(x) {
        return easel_kernels::depthwise_conv3x3(x, weight);
    }
    let (_, channels, height, width) = x.dims4()?;
    let padded = x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
    let taps = weight.reshape((1, channels, 9, 1))?;
    let mut sum: Option<Tensor> = None;
    for tap in 0..9 {
        let shifted = padded.narrow(2, tap / 3, height)?.narrow(3, tap % 3, width)?;
        let product = shifted.broadcast_mul(&taps.narrow(2, tap, 1)?)?;
        sum = Some(match sum {
            Some(sum) => (sum + product)?,
            None => product,
        });
    }
    sum.ok_or_else(|| candle_core::Error::Msg("a kernel without taps".into()))
}

/// 1x1 convolution: `x (b, in, h, w)`, `weight (out, in)`, `bias (out)`.
pub fn pointwise_conv(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if fused(x) {
        return easel_kernels::pointwise_conv(x, weight, bias);
    }
    let (batch, channels, height, width) = x.dims4()?;
    let out = weight.dim(0)?;
    let pixels = x.contiguous()?.reshape((batch, channels, height * width))?;
    let weight = weight.unsqueeze(0)?.broadcast_as((batch, out, channels))?;
    let x = weight.matmul(&pixels)?;
    let x = match bias {
        Some(bias) => x.broadcast_add(&bias.reshape((1, out, 1))?)?,
        None => x,
    };
    x.reshape((batch, out, height, width))
}

/// Nearest-neighbour resize, as `F.interpolate(mode="nearest")`: `(b, c, h, w) -> (b, c, height, width)`.
pub fn resize_nearest(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    x.contiguous()?.upsample_nearest2d(height, width)
}

/// Nearest-neighbour resize followed by a 3x3 convolution. Twice the size is four 2x2 convolutions of `x` with summed weights,
/// which is 4/9 of the products.
pub fn upsample_conv3x3(x: &Tensor, height: usize, width: usize, conv: &Conv2d) -> Result<Tensor> {
    let (_, _, rows, columns) = x.dims4()?;
    if fused(x) && (height, width) == (2 * rows, 2 * columns) {
        return conv.doubling()?.forward(x);
    }
    conv.forward(&resize_nearest(x, height, width)?)
}
