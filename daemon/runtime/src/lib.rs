//! Actors, scheduling, generations, sessions and their store: everything between a request and its picture except the mathematics.
//! Entry point: [`Runtime::start`]. This crate must never know candle or tonic; it sees an engine through the traits of
//! `easel-domain` only, and never looks inside of what passes from stage to stage.
//!
//! Who waits for whom (an arrow means "may wait for an answer or for room"); there is no way back to where one came from:
//!
//! ```text
//! handle (server's tasks) ──> dispatcher
//!        │                        ▲  reports (bounded)
//!        ├──> blob actor <────────┼── pixel pool <── handle
//!        ├──> pixel pool          ├── encoder, denoiser, VAE threads ──> compute slots
//!        └──> store's thread ─────┘
//! ```
//!
//! - The dispatcher waits for nobody. It hands an actor work only when that actor is idle, so that the mailbox has room; what
//!   has to wait, waits in the dispatcher's core. Decoded pictures go to tasks of their own.
//! - Actors wait for the dispatcher (room for a report) and for their turn on the CPU, which the holder of a slot gives back without
//!   waiting for anybody.
//! - The blob actor waits for nobody. The store's thread waits for the disk, and for room for a report when an acceptance
//!   could not be written; what the dispatcher tells it waits in a queue of the dispatcher's own.
//! - Watchers read a hub, a small locked record; the dispatcher writes there without waiting for readers. The loss of the
//!   last watcher is written on a board that the dispatcher reads.

mod actor;
mod blobs;
mod clock;
mod config;
mod dispatch;
pub mod drill;
mod handle;
mod hub;
mod pace;
mod pixels;
mod proc;
mod provenance;
mod random;
mod scheduler;
mod slots;
mod status;
mod stop;
mod store;
mod watch;

pub use blobs::{Blob, BlobInfo, UploadState};
pub use config::RuntimeConfig;
pub use handle::{Created, LoadWatch, Move, Prepared, Runtime, SessionNews, SessionUpdate, SessionWatch};
pub use pace::Pace;
pub use proc::proc_bytes;
pub use random::Random;
pub use status::{
    BlobStatus, EndCounts, MemoryStatus, ModelState, ModelStatus, RuntimeStatus, StageHealth, StageStatus,
};
pub use store::{Cleaned, Keep, StoreStatus};
pub use watch::{Polled, Watch};
