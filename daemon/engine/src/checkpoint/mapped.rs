//! Memory maps of weight files: the only unsafe code of this crate.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// Maps a regular file for reading.
pub(super) fn map(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    // SAFETY: the map is read-only and private to this process. What remains is another process that cuts or rewrites the
    // file while it is mapped; a checkpoint is published once and replaced as a whole, and the documentation of
    // `Checkpoint::folder` users (the model registry) says that a folder in use must not be edited in place.
    unsafe { Mmap::map(&file) }
}

/// Takes pages of a map out of this process's memory, as far as the system does so; their content stays what it was.
#[cfg(unix)]
pub(super) fn release(map: &Mmap, bytes: std::ops::Range<usize>) {
    // SAFETY: the map is private and nobody has written to it, so that pages which are dropped come back from the file with
    // the same content.
    let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, bytes.start, bytes.len()) };
}

/// There is no such advice on this system.
#[cfg(not(unix))]
pub(super) fn release(_map: &Mmap, _bytes: std::ops::Range<usize>) {}
