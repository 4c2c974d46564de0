//! Blobs in memory, by the hash of their content, and uploads under way.

use std::sync::Arc;
use std::time::SystemTime;

use easel_domain::BlobHash;

/// What is known about a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobInfo {
    /// SHA-256 of its content.
    pub hash: BlobHash,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// When it was stored.
    pub create_time: SystemTime,
}

/// A blob and its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// What is known about it.
    pub info: BlobInfo,
    /// The content.
    pub bytes: Arc<[u8]>,
}

/// Where an upload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadState {
    /// True when the blob is there already and nothing needs to be sent.
    pub exists: bool,
    /// Bytes that are there: the next chunk begins here.
    pub offset: u64,
}
