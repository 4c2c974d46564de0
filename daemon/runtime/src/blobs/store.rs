//! The store itself, without clock or channel: what is kept, what is dropped, what an upload may do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use easel_domain::{BlobHash, Error, Reason, limits};
use sha2::{Digest, Sha256};

use super::{Blob, BlobInfo, UploadState};
use crate::BlobStatus;

/// Blobs and uploads within a bound of bytes. A blob that somebody holds (a running generation its source, a kept one
/// its result, a client what it reads) is never dropped: that would free nothing.
#[derive(Debug)]
pub(super) struct BlobStore {
    max_bytes: u64,
    blobs: HashMap<BlobHash, Entry>,
    uploads: HashMap<BlobHash, Upload>,
    /// Bytes of all blobs, and what all uploads have announced.
    bytes: u64,
    reserved: u64,
    next_use: u64,
}

#[derive(Debug)]
struct Entry {
    bytes: Arc<[u8]>,
    create_time: SystemTime,
    /// Grows with each use: the smallest is the least recently used.
    used: u64,
}

#[derive(Debug)]
struct Upload {
    size: u64,
    bytes: Vec<u8>,
    hasher: Sha256,
    touched: Instant,
}

impl BlobStore {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { max_bytes, blobs: HashMap::new(), uploads: HashMap::new(), bytes: 0, reserved: 0, next_use: 0 }
    }

    /// Begins an upload or tells how far it is.
    pub(super) fn begin(&mut self, hash: BlobHash, size: u64, now: Instant) -> Result<UploadState, Error> {
        if let Some(entry) = self.touch(hash) {
            return Ok(UploadState { exists: true, offset: entry.bytes.len() as u64 });
        }
        check_size(size)?;
        self.sweep(now);
        if let Some(upload) = self.uploads.get_mut(&hash) {
            if upload.size != size {
                let description = format!("the upload was begun with {} bytes", upload.size);
                return Err(Error::field(Reason::InvalidRequest, "size_bytes", description));
            }
            upload.touched = now;
            return Ok(UploadState { exists: false, offset: upload.bytes.len() as u64 });
        }
        if self.uploads.len() >= limits::MAX_UPLOADS {
            let message = format!("{} uploads are under way, more are not taken", self.uploads.len());
            return Err(Error::new(Reason::StoreFull, message).retry_after(Duration::from_secs(5)));
        }
        self.make_room(size)?;
        self.reserved += size;
        self.uploads.insert(hash, Upload { size, bytes: Vec::new(), hasher: Sha256::new(), touched: now });
        Ok(UploadState { exists: false, offset: 0 })
    }

    /// Takes the next chunk and returns where the one after it begins.
    pub(super) fn append(&mut self, hash: BlobHash, offset: u64, chunk: &[u8], now: Instant) -> Result<u64, Error> {
        if chunk.len() > limits::MAX_CHUNK_BYTES {
            let description = format!("has {} bytes, {} are allowed", chunk.len(), limits::MAX_CHUNK_BYTES);
            return Err(Error::field(Reason::InvalidRequest, "data", description));
        }
        if let Some(entry) = self.touch(hash) {
            return Ok(entry.bytes.len() as u64);
        }
        let upload = self.uploads.get_mut(&hash).ok_or_else(|| no_upload(hash))?;
        let there = upload.bytes.len() as u64;
        if offset != there {
            let message = format!("the upload has {there} bytes, the chunk begins at {offset}: go on at {there}");
            let error = Error::new(Reason::UploadOffsetMismatch, message).about("blob", hash.to_string());
            return Err(error.with("expected_offset", there));
        }
        if there + chunk.len() as u64 > upload.size {
            let description = format!("goes beyond the {} bytes that were announced", upload.size);
            return Err(Error::field(Reason::InvalidRequest, "data", description));
        }
        upload.bytes.extend_from_slice(chunk);
        upload.hasher.update(chunk);
        upload.touched = now;
        Ok(there + chunk.len() as u64)
    }

    /// Ends an upload: its bytes become a blob.
    pub(super) fn finish(&mut self, hash: BlobHash, now: (Instant, SystemTime)) -> Result<BlobInfo, Error> {
        if self.touch(hash).is_some() {
            return self.get(hash).map(|blob| blob.info);
        }
        let upload = self.uploads.get_mut(&hash).ok_or_else(|| no_upload(hash))?;
        let there = upload.bytes.len() as u64;
        if there < upload.size {
            upload.touched = now.0;
            let message = format!("the upload has {there} of {} bytes: go on at {there}", upload.size);
            let error = Error::new(Reason::UploadOffsetMismatch, message).about("blob", hash.to_string());
            return Err(error.with("expected_offset", there));
        }
        let Some(upload) = self.uploads.remove(&hash) else { return Err(no_upload(hash)) };
        self.reserved -= upload.size;
        let found = BlobHash(upload.hasher.finalize().into());
        if found != hash {
            let message = format!("the bytes have the hash {found}; the upload is dropped: begin it again");
            return Err(Error::new(Reason::BlobHashMismatch, message).about("blob", hash.to_string()));
        }
        self.insert(hash, upload.bytes.into(), now.1);
        self.get(hash).map(|blob| blob.info)
    }

    /// Stores bytes whose hash was computed from them; returns them as stored.
    pub(super) fn put(
        &mut self,
        hash: BlobHash,
        bytes: Arc<[u8]>,
        now: (Instant, SystemTime),
    ) -> Result<Arc<[u8]>, Error> {
        if let Some(entry) = self.touch(hash) {
            return Ok(Arc::clone(&entry.bytes));
        }
        check_size(bytes.len() as u64)?;
        self.sweep(now.0);
        self.make_room(bytes.len() as u64)?;
        self.insert(hash, Arc::clone(&bytes), now.1);
        Ok(bytes)
    }

    pub(super) fn get(&mut self, hash: BlobHash) -> Result<Blob, Error> {
        let Some(entry) = self.touch(hash) else {
            let message = "there is no such blob, or it was dropped to make room: upload it again";
            return Err(Error::new(Reason::BlobNotFound, message).about("blob", hash.to_string()));
        };
        let info = BlobInfo { hash, size_bytes: entry.bytes.len() as u64, create_time: entry.create_time };
        Ok(Blob { info, bytes: Arc::clone(&entry.bytes) })
    }

    /// Drops a blob, whoever holds it: those keep the bytes, and nobody else finds them.
    pub(super) fn forget(&mut self, hash: BlobHash) {
        if let Some(entry) = self.blobs.remove(&hash) {
            self.bytes -= entry.bytes.len() as u64;
        }
    }

    /// Drops uploads that nobody goes on with.
    pub(super) fn sweep(&mut self, now: Instant) {
        let reserved = &mut self.reserved;
        self.uploads.retain(|_, upload| {
            let keep = now.saturating_duration_since(upload.touched) < limits::UPLOAD_IDLE;
            *reserved -= if keep { 0 } else { upload.size };
            keep
        });
    }

    pub(super) fn status(&self) -> BlobStatus {
        BlobStatus { count: self.blobs.len() as u64, bytes: self.bytes, uploads: self.uploads.len() as u32 }
    }

    fn touch(&mut self, hash: BlobHash) -> Option<&Entry> {
        self.next_use += 1;
        let entry = self.blobs.get_mut(&hash)?;
        entry.used = self.next_use;
        Some(entry)
    }

    fn insert(&mut self, hash: BlobHash, bytes: Arc<[u8]>, create_time: SystemTime) {
        self.next_use += 1;
        self.bytes += bytes.len() as u64;
        self.blobs.insert(hash, Entry { bytes, create_time, used: self.next_use });
    }

    /// Drops the least recently used blobs that nobody holds until `size` more bytes fit.
    fn make_room(&mut self, size: u64) -> Result<(), Error> {
        let fits = |bytes: u64, reserved: u64| bytes + reserved + size <= self.max_bytes;
        let free: u64 = self.unheld().map(|(_, entry)| entry.bytes.len() as u64).sum();
        if !fits(self.bytes - free, self.reserved) {
            let message = format!("the blob store has no room for {size} bytes: what it holds is in use");
            return Err(Error::new(Reason::StoreFull, message).retry_after(Duration::from_secs(5)));
        }
        while self.bytes + self.reserved + size > self.max_bytes {
            let Some(oldest) = self.unheld().min_by_key(|(_, entry)| entry.used).map(|(hash, _)| *hash) else { break };
            if let Some(entry) = self.blobs.remove(&oldest) {
                self.bytes -= entry.bytes.len() as u64;
            }
        }
        Ok(())
    }

    fn unheld(&self) -> impl Iterator<Item = (&BlobHash, &Entry)> {
        self.blobs.iter().filter(|(_, entry)| Arc::strong_count(&entry.bytes) == 1)
    }
}

fn check_size(size: u64) -> Result<(), Error> {
    if size == 0 || size > limits::MAX_BLOB_BYTES {
        let description = format!("{size} is outside of 1 to {} bytes", limits::MAX_BLOB_BYTES);
        return Err(Error::field(Reason::InvalidRequest, "size_bytes", description));
    }
    Ok(())
}

fn no_upload(hash: BlobHash) -> Error {
    Error::new(Reason::UploadNotFound, "there is no such upload, or it was idle for too long: begin it again")
        .about("blob", hash.to_string())
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
