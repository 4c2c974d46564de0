//! CPU kernels for the layers of DreamLite, as functions on slices and as candle operations.
//!
//! Every operation takes the place of several plain candle operations and computes the same. Before a call, ask
//! [`supports`] about the input: f32 in the memory of the processor. Inputs that are not contiguous are copied first.
//! Functions ending in `_slice` are the kernels themselves; they take the [`Level`] to run at and panic when lengths do not
//! fit each other, which the tensor functions check and report as errors.
//!
//! | entry point | takes the place of |
//! |---|---|
//! | [`silu`], [`silu_times`], [`gelu`], [`geglu`] | the activations |
//! | [`group_norm`], [`group_norm_silu`] | group normalisation, alone and with SiLU |
//! | [`group_norm_silu_depthwise_conv3x3`] | the first half of a separable convolution |
//! | [`depthwise_conv3x3`] | the convolution of every channel by itself |
//! | [`linear`] | fully connected layers, with bias and residual |
//! | [`pointwise_conv`], [`pointwise_conv_onto`] | 1x1 convolution, with bias, shift of each channel and residual |
//! | [`conv2d`], [`conv2d_then`] | full convolution, any square kernel, stride and padding; with residual and ReLU |
//! | [`UpsampleConv3x3`] | nearest-neighbour doubling and 3x3 convolution; made once from the weights |
//! | [`layer_norm`], [`rms_norm`] | normalisation over the last dimension |
//! | [`to_tokens`], [`to_channels`] | channels-first to tokens and back |
//! | [`attention`], [`causal_attention`] | scaled dot-product attention with shared key/value heads |
//!
//! [`Int8Linear`] is a linear layer in 8-bit integers, an approximation and not a replacement; made once from the weights.
//!
//! Work is shared out over rayon's pool in tasks that depend on the shapes alone: results never depend on the number of
//! threads, and a sample in a batch comes out as it would alone, to the bit. Different levels round differently,
//! except in integers.
#![allow(
    unsafe_code,
    reason = "calls to code compiled for other instruction sets, and tiles of one output written by several threads"
)]

mod activation;
mod attention;
mod blocks;
mod columns;
mod conv;
mod depthwise;
mod dispatch;
mod gemm;
mod group_norm;
mod int8;
mod layout;
mod linear;
mod math;
mod memory;
mod onto;
mod op;
#[cfg(target_arch = "x86_64")]
mod panel;
mod pointwise;
mod share;
mod token_norm;
mod upsample;

pub use activation::{geglu, geglu_slice, gelu, gelu_slice, silu, silu_slice, silu_times, silu_times_slice};
pub use attention::{Extents, Sight, attention, attention_slice, causal_attention};
pub use blocks::{BlockFormat, BlockLinear, BlockTokens};
pub use conv::{After, Convolution, Then, conv2d, conv2d_slice, conv2d_then, conv2d_then_slice};
pub use depthwise::{
    depthwise_conv3x3, depthwise_conv3x3_slice, group_norm_silu_depthwise_conv3x3,
    group_norm_silu_depthwise_conv3x3_slice,
};
pub use dispatch::{Level, limit_instructions};
pub use group_norm::{Affine, Norm, group_norm, group_norm_silu, group_norm_slice};
pub use int8::{Bytes, Int8Chain, Int8Conv3x3, Int8FeedForward, Int8Linear, Int8Pointwise, Int8Tokens};
pub use layout::{to_channels, to_tokens, transpose_slice};
pub use linear::{linear, linear_slice};
pub use memory::keep_freed_memory;
pub use op::supports;
pub use pointwise::{Added, pointwise_conv, pointwise_conv_onto, pointwise_conv_onto_slice, pointwise_conv_slice};
pub use token_norm::{layer_norm, layer_norm_slice, rms_norm, rms_norm_slice};
pub use upsample::UpsampleConv3x3;
