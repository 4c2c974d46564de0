//! Actors, scheduling, generations and blobs: everything between a request and its picture except the mathematics.
//! Entry point: [`Runtime::start`]. This crate must never know candle or tonic; it sees an engine through the traits of
//! `easel-domain` only, and never looks inside of what passes from stage to stage.

mod blobs;
mod config;
pub mod drill;
mod handle;
mod status;
mod watch;

pub use blobs::{Blob, BlobInfo, UploadState};
pub use config::RuntimeConfig;
pub use handle::{Created, LoadWatch, Runtime};
pub use status::{
    BlobStatus, EndCounts, MemoryStatus, ModelState, ModelStatus, RuntimeStatus, StageHealth, StageStatus,
};
pub use watch::{Polled, Watch};
