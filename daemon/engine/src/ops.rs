//! The operations that all layers call. This is the one seam where a fused kernel for one device takes the place of several
//! plain candle operations, which run on every device; what a function computes does not change with it.

mod attention;
mod causal;
mod conv;
mod linear;
mod low_rank;
mod norm;
mod path;

pub use attention::attention;
pub use causal::causal_attention;
pub use conv::{
    Conv2d, Pointwise, Use, depthwise_conv3x3, pointwise_conv, residual_convs, resize_nearest, upsample_conv3x3,
};
pub use linear::{Linear, Shared, gated_feed_forward, geglu};
pub use low_rank::{LayerKind, LowRank, Slot, Target};
pub use norm::{GroupNorm, LayerNorm, RmsNorm, group_norm, group_norm_silu, group_norm_silu_depthwise_conv3x3};
pub use path::plainly;

use candle_core::{Result, Tensor};

use path::fused;

/// `x * sigmoid(x)`.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    if fused(x) { easel_kernels::silu(x) } else { candle_nn::ops::silu(x) }
}

/// `silu(gate) * x`.
pub fn silu_times(gate: &Tensor, x: &Tensor) -> Result<Tensor> {
    if fused(gate) { easel_kernels::silu_times(gate, x) } else { silu(gate)? * x }
}

/// GELU, exact (erf) or in the approximation with tanh.
pub fn gelu(x: &Tensor, tanh: bool) -> Result<Tensor> {
    match (fused(x), tanh) {
        (true, _) => easel_kernels::gelu(x, tanh),
        (false, true) => x.gelu(),
        (false, false) => x.gelu_erf(),
    }
}

/// Channels-first to tokens: `(b, c, h, w) -> (b, h*w, c)`, contiguous.
pub fn to_tokens(x: &Tensor) -> Result<Tensor> {
    if fused(x) {
        return easel_kernels::to_tokens(x);
    }
    x.flatten_from(2)?.transpose(1, 2)?.contiguous()
}

/// Tokens to channels-first: `(b, h*w, c) -> (b, c, h, w)`, contiguous.
pub fn to_channels(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    if fused(x) {
        return easel_kernels::to_channels(x, height, width);
    }
    let (batch, _, channels) = x.dims3()?;
    x.transpose(1, 2)?.contiguous()?.reshape((batch, channels, height, width))
}
