//! Layers in 8-bit integers: weights with one scale for each output channel, activations with one for each token or pixel,
//! sums in 32-bit integers. The sums are exact, and what comes before and after them is written so that it rounds alike:
//! results are equal to the bit at every level.
//!
//! One factor of every product is signed bytes in rows, the other unsigned bytes (the integers plus 128) in panels of 32
//! columns, as the instructions want it. Where activations are tokens, they are the rows and panels hold weights; where they
//! lie channels first, weights are the rows and panels hold pixels, so that neither input nor output is turned around.

mod bytes;
mod conv;
mod feed_forward;
mod finish;
mod linear;
mod pointwise;
mod quantise;
mod sums;

pub use bytes::Bytes;
pub use conv::{Int8Chain, Int8Conv3x3};
pub use feed_forward::Int8FeedForward;
pub use linear::Int8Linear;
pub use pointwise::Int8Pointwise;
pub use quantise::Int8Tokens;

/// The longest sum that surely fits 32 bits: 255 * 127 * 65536 < 2^31.
const LONGEST: usize = 65536;

/// What one of 127 steps up to the largest of these weights is worth, and its inverse.
fn step_of(weights: &[f32]) -> (f32, f32) {
    let step = weights.iter().fold(0f32, |largest, weight| largest.max(weight.abs())) / 127.0;
    (step, if step > 0.0 { 1.0 / step } else { 0.0 })
}
