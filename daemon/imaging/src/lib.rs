//! Pixels: reading, resizing and writing pictures exactly as the reference (diffusers with Pillow) does it.
//! Entry points: [`load`], [`probe`], [`resize`], [`encode`], [`encode_with_texts`], [`fit`]. This crate must never know candle or tokio; it
//! computes, and never opens a file by itself.

mod decode;
mod encode;
mod resample;

pub use decode::{Probe, load, probe};
pub use encode::{encode, encode_with_texts};
pub use resample::{Filter, fit, resize};
