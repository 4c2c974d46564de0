//! DreamLite in candle: the Qwen3-VL encoder, the U-Net denoiser and the tiny VAE, read from a diffusers checkpoint
//! folder, with the numbers of the reference. This crate must never know tokio or tonic, sockets or sessions.

pub mod checkpoint;
pub mod conditioning;
mod digests;
pub mod embedded;
pub mod engine;
pub mod error;
mod kept;
pub mod lora;
pub mod noise;
pub mod ops;
pub mod pass;
pub mod prepared;
pub mod quality;
pub mod scheduler;
pub mod unet;
pub mod vae;
pub mod values;
pub mod weights;

pub use checkpoint::Checkpoint;
pub use easel_kernels::{keep_freed_memory, limit_instructions};
pub use engine::DreamLiteEngine;
pub use error::{EngineError, LoadError};
pub use weights::Weights;
