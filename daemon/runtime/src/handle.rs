//! The handle of the runtime: what the server calls.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use easel_domain::engine::{Engine, Interrupt};
use easel_domain::event::{CancelOutcome, Snapshot, State};
use easel_domain::{BlobHash, Error, GenerationId, GenerationRequest, Reason, RunPolicy};
use tokio::sync::watch;

use crate::{Blob, BlobInfo, ModelStatus, Polled, RuntimeConfig, RuntimeStatus, UploadState, Watch};

/// Answer to [`Runtime::create`].
#[derive(Clone, Debug, PartialEq)]
pub struct Created {
    /// The generation as accepted, or as it stands when it existed.
    pub snapshot: Snapshot,
    /// True when the request id was known with the same content.
    pub existed: bool,
}

/// The running actors. Cheap to clone; all clones are the same runtime. When the last clone goes, the actors end.
#[derive(Clone)]
pub struct Runtime {
    ready: watch::Receiver<bool>,
}

/// Follows the loading of a model.
#[derive(Debug)]
pub struct LoadWatch {}

impl LoadWatch {
    /// Waits for news: the model and the share that is read, 0 to 1. `None` after the model is loaded or has failed.
    pub async fn next(&mut self) -> Option<Result<(ModelStatus, f32), Error>> {
        None
    }
}

fn not_built() -> Error {
    Error::new(Reason::Internal, "not built yet")
}

#[allow(unused_variables)]
impl Runtime {
    /// Starts the actors. To be called within a tokio runtime with its timer enabled. Fails when a thread cannot be
    /// started or the engine does not know the default model.
    pub fn start<E: Engine>(engine: Arc<E>, config: RuntimeConfig) -> Result<Self, Error> {
        Err(not_built())
    }

    /// Resolves and admits a generation; its first event is there when this returns. Errors of the request name every
    /// wrong field; `QueueFull`, `MemoryExhausted` and `Draining` say when to try again.
    pub async fn create(&self, request: GenerationRequest, policy: RunPolicy) -> Result<Created, Error> {
        Err(not_built())
    }

    /// As [`create`](Self::create), and watches from the first event. Dropping the future or the watch is a disconnect.
    pub async fn run(&self, request: GenerationRequest, policy: RunPolicy) -> Result<Watch, Error> {
        Err(not_built())
    }

    /// Watches a generation from the event after `after_sequence` (0: all). Fails with `GenerationNotFound`, or
    /// `InvalidRequest` when `after_sequence` is beyond the newest event.
    pub async fn watch(&self, id: &GenerationId, after_sequence: u64) -> Result<Watch, Error> {
        Err(not_built())
    }

    /// Events after `after_sequence` and the preview after number `after_preview`, waiting up to `wait` (at most
    /// [`easel_domain::limits::MAX_POLL_WAIT`]) for the first of them. Not a watcher in the sense of the disconnect policy.
    pub async fn poll(
        &self,
        id: &GenerationId,
        after_sequence: u64,
        after_preview: u64,
        wait: Duration,
    ) -> Result<Polled, Error> {
        Err(not_built())
    }

    /// A generation as it stands. Fails with `GenerationNotFound`.
    pub async fn get(&self, id: &GenerationId) -> Result<Snapshot, Error> {
        Err(not_built())
    }

    /// At most `page_size` generations in one of `states` (none: all), newest first, older than `before`; with the id
    /// to pass as `before` for the next page, when there is one.
    pub async fn list(
        &self,
        page_size: usize,
        before: Option<GenerationId>,
        states: &[State],
    ) -> Result<(Vec<Snapshot>, Option<GenerationId>), Error> {
        Err(not_built())
    }

    /// Stops a generation and says what that found. After `WasQueued` or `WasRunning` it ends as cancelled, never with a
    /// result; after `WasFinished` nothing has changed.
    pub async fn cancel(&self, id: &GenerationId, interrupt: Interrupt) -> Result<CancelOutcome, Error> {
        Err(not_built())
    }

    /// Begins or resumes an upload of `size_bytes` bytes. Fails with `InvalidRequest` or `StoreFull`.
    pub async fn begin_upload(&self, hash: BlobHash, size_bytes: u64) -> Result<UploadState, Error> {
        Err(not_built())
    }

    /// Appends a chunk of at most [`easel_domain::limits::MAX_CHUNK_BYTES`] and returns where the next one begins. Fails with
    /// `UploadNotFound`, `UploadOffsetMismatch` or `InvalidRequest`.
    pub async fn append_upload(
        &self,
        hash: BlobHash,
        offset: u64,
        data: impl AsRef<[u8]> + Send + 'static,
    ) -> Result<u64, Error> {
        Err(not_built())
    }

    /// Ends an upload. Fails with `BlobHashMismatch` (the upload is dropped then), `UploadNotFound` or `UploadOffsetMismatch` when
    /// bytes are missing. Succeeds as well when the blob is there already.
    pub async fn finish_upload(&self, hash: BlobHash) -> Result<BlobInfo, Error> {
        Err(not_built())
    }

    /// Stores bytes, for pictures that stand in a request. Fails with `InvalidRequest` or `StoreFull`.
    pub async fn put_blob(&self, bytes: Arc<[u8]>) -> Result<BlobHash, Error> {
        Err(not_built())
    }

    /// A blob with its content. Fails with `BlobNotFound`.
    pub async fn blob(&self, hash: BlobHash) -> Result<Blob, Error> {
        Err(not_built())
    }

    /// The models, the default first.
    pub async fn models(&self) -> Vec<ModelStatus> {
        Vec::new()
    }

    /// One model. Fails with `ModelNotFound`.
    pub async fn model(&self, name: &str) -> Result<ModelStatus, Error> {
        Err(not_built())
    }

    /// Adds a checkpoint folder; without a name it gets the folder's. Fails with `ModelInvalid`, `InvalidRequest` or
    /// `NameTaken`.
    pub async fn add_model(&self, folder: PathBuf, name: Option<String>) -> Result<ModelStatus, Error> {
        Err(not_built())
    }

    /// Reads a model into memory. The watch tells the progress; the loading goes on when it is dropped.
    pub async fn load_model(&self, name: &str) -> Result<LoadWatch, Error> {
        Err(not_built())
    }

    /// Drops a model's networks when the generations that run with it have ended; those that wait load it again.
    pub async fn unload_model(&self, name: &str) -> Result<ModelStatus, Error> {
        Err(not_built())
    }

    /// How the runtime is doing.
    pub async fn status(&self) -> RuntimeStatus {
        std::future::pending().await
    }

    /// False while draining, when an actor has used up its restarts and when one is frozen: never for a client's mistake.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.clone()
    }

    /// Takes no new generations, cancels those that wait, gives running ones the drain timeout, cancels the rest, ends the
    /// actors and returns. What has ended can still be asked for.
    pub async fn drain(&self) {}

    /// Waits until an actor does not answer within the stall limit and returns its name. It cannot be ended then: the
    /// process has to. Waits for ever otherwise.
    pub async fn wait_stalled(&self) -> String {
        std::future::pending().await
    }
}
