//! DreamLite in candle: the Qwen3-VL encoder, the U-Net denoiser and the tiny VAE, read from a diffusers checkpoint
//! folder, with the numbers of the reference. This crate must never know tokio or tonic, sockets or sessions.

pub mod checkpoint;
pub mod error;
pub mod weights;

pub use checkpoint::Checkpoint;
pub use error::{EngineError, LoadError};
pub use weights::Weights;
