//! Blobs and uploads.

use easel_domain::limits::{MAX_BLOB_BYTES, MAX_CHUNK_BYTES};
use easel_domain::{BlobHash, Error};
use easel_proto::v1;
use easel_runtime::BlobInfo;

use super::{Check, time};

/// Converts a `BeginUploadRequest`: hash and size in bytes.
pub(crate) fn begin(wire: &v1::BeginUploadRequest) -> Result<(BlobHash, u64), Error> {
    let mut check = Check::default();
    let hash = check.hash("sha256", &wire.sha256);
    let size = check.range("size_bytes", wire.size_bytes, 1, MAX_BLOB_BYTES);
    check.finish((hash.unwrap_or(BlobHash([0; 32])), size))
}

/// Converts an `AppendUploadRequest` but for its data and offset, which need no conversion.
pub(crate) fn append(wire: &v1::AppendUploadRequest) -> Result<BlobHash, Error> {
    let mut check = Check::default();
    let hash = check.hash("sha256", &wire.sha256);
    let size = wire.data.len();
    if size == 0 || size > MAX_CHUNK_BYTES {
        check.wrong("data", format!("has {size} bytes: send 1 to {MAX_CHUNK_BYTES} at a time"));
    }
    check.finish(hash.unwrap_or(BlobHash([0; 32])))
}

/// Converts the hash of a blob.
pub(crate) fn hash(text: &str) -> Result<BlobHash, Error> {
    let mut check = Check::default();
    let hash = check.hash("sha256", text);
    check.finish(hash.unwrap_or(BlobHash([0; 32])))
}

/// The part of a blob of `size` bytes that a `ReadBlobRequest` asks for, from where to where.
pub(crate) fn part(wire: &v1::ReadBlobRequest, size: usize) -> Result<(usize, usize), Error> {
    let mut check = Check::default();
    let begin = usize::try_from(wire.offset).ok().filter(|begin| *begin <= size);
    if begin.is_none() {
        check.wrong("offset", format!("{} is beyond the {size} bytes of the blob", wire.offset));
    }
    let begin = begin.unwrap_or(size);
    let length = match wire.length {
        0 => usize::MAX,
        length => usize::try_from(length).unwrap_or(usize::MAX),
    };
    check.finish((begin, begin.saturating_add(length).min(size)))
}

/// What is known about a blob.
pub(crate) fn wire_blob(info: &BlobInfo) -> v1::Blob {
    v1::Blob {
        sha256: info.hash.to_string(),
        size_bytes: info.size_bytes,
        create_time: Some(time::timestamp(info.create_time)),
    }
}
