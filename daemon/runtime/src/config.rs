//! What the binary decides about the runtime.

use std::path::PathBuf;
use std::time::Duration;

use easel_domain::limits;

use crate::Keep;

/// Settings of a [`Runtime`](crate::Runtime); the binary fills them from its configuration.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Generations that may wait or run at one time, 1 to [`limits::MAX_QUEUED_GENERATIONS`].
    pub max_queued_generations: usize,
    /// Bytes of all blobs in memory, begun uploads included.
    pub max_blob_store_bytes: u64,
    /// Model of requests that name none; `None`: the first that the engine lists.
    pub default_model: Option<String>,
    /// Stages on the CPU that may compute at one time, at least 1; 1 on small machines, where one stage uses every core.
    pub cpu_slots: usize,
    /// An actor that is busy and passes no checkpoint for this long is taken for frozen.
    pub stall_limit: Duration,
    /// How long running generations may go on when the runtime drains.
    pub drain_timeout: Duration,
    /// How long a generation that ends with its last watcher waits for one after a restart.
    pub recovery_grace: Duration,
    /// Folder of sessions, generations and pictures; `None`: they end with the process. One runtime at a time: the binary
    /// holds a lock.
    pub state_dir: Option<PathBuf>,
    /// How long ended generations and sessions are kept.
    pub keep: Keep,
    /// Bytes of pictures in the state folder.
    pub store_quota_bytes: u64,
    /// Bytes of memory that loaded models and running generations may take together, as far as it can be predicted; `None`: as
    /// much as there is.
    pub max_memory_bytes: Option<u64>,
    /// Generations of one client that may wait or run at one time.
    pub max_client_generations: usize,
    /// Whether the files of results say how they were made when a request does not say.
    pub provenance: bool,
    /// Version of the daemon, for what revisions and replays say of their making.
    pub version: String,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            max_queued_generations: limits::MAX_QUEUED_GENERATIONS,
            max_blob_store_bytes: limits::MAX_BLOB_STORE_BYTES,
            default_model: None,
            cpu_slots: 1,
            stall_limit: limits::STALL_LIMIT,
            drain_timeout: limits::DRAIN_TIMEOUT,
            recovery_grace: limits::RECOVERY_GRACE,
            state_dir: None,
            keep: Keep::Days(limits::DEFAULT_KEEP_DAYS),
            store_quota_bytes: limits::DEFAULT_STORE_QUOTA_BYTES,
            max_memory_bytes: None,
            max_client_generations: limits::MAX_CLIENT_GENERATIONS,
            provenance: true,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}
