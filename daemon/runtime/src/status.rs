//! What the runtime tells about itself and its models.

use std::time::SystemTime;

use easel_domain::engine::DeviceKind;
use easel_domain::{GenerationId, ModelInfo};

use crate::StoreStatus;

/// Whether a model is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelState {
    /// Known, not in memory; the first generation loads it.
    Unloaded,
    /// Being read.
    Loading,
    /// All three networks are ready.
    Loaded,
    /// Reading it failed; the next request tries again.
    Failed,
}

/// A model as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelStatus {
    /// What it is.
    pub info: ModelInfo,
    /// Whether it is in memory.
    pub state: ModelState,
    /// Bytes of its networks that are in memory.
    pub resident_bytes: u64,
    /// Why it could not be read, when it is [`ModelState::Failed`].
    pub problem: Option<String>,
    /// True for the model of requests that name none.
    pub default: bool,
}

/// How an actor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageHealth {
    /// It answers.
    Ready,
    /// Its network is being built again after a fault.
    Restarting,
    /// Its restart budget is used up, or it does not answer.
    Failed,
}

/// An actor as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct StageStatus {
    /// `encoder`, `denoiser` or `vae`.
    pub name: &'static str,
    /// How it is doing.
    pub health: StageHealth,
    /// The generation that it works on.
    pub generation: Option<GenerationId>,
    /// Pieces of work that wait for it.
    pub waiting: u32,
    /// Share of the time since start in which it computed, 0 to 1.
    pub occupancy: f32,
    /// Times that it was rebuilt.
    pub restarts: u32,
    /// Where it computes.
    pub device: DeviceKind,
}

/// Memory of the daemon in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStatus {
    /// Resident bytes of the process; 0 where the system does not tell.
    pub resident_bytes: u64,
    /// Loaded weights.
    pub model_bytes: u64,
    /// Intermediate results and decoded sources that generations hold.
    pub stage_value_bytes: u64,
}

/// Blobs and uploads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlobStatus {
    /// Number of blobs.
    pub count: u64,
    /// Bytes of all blobs.
    pub bytes: u64,
    /// Uploads under way.
    pub uploads: u32,
}

/// Generations since start by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndCounts {
    /// With a result.
    pub succeeded: u64,
    /// With an error.
    pub failed: u64,
    /// By a cancellation, a lost connection, a deadline or the end of the daemon.
    pub cancelled: u64,
}

/// The runtime as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeStatus {
    /// When it started.
    pub start_time: SystemTime,
    /// True while it finishes its work and takes no more.
    pub draining: bool,
    /// Generations that wait.
    pub queued: u32,
    /// Generations that run.
    pub running: u32,
    /// The actors: encoder, denoiser, VAE.
    pub stages: Vec<StageStatus>,
    /// Memory.
    pub memory: MemoryStatus,
    /// Watches that are open.
    pub watchers: u32,
    /// Blobs and uploads.
    pub blobs: BlobStatus,
    /// Sessions, generations and pictures that are kept.
    pub store: StoreStatus,
    /// Previews that were replaced before anybody read them, since start.
    pub previews_dropped: u64,
    /// Generations since start by how they ended.
    pub ended: EndCounts,
}
