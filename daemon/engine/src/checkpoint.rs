//! Where the files of a checkpoint come from: a diffusers folder on disk, or bytes that are compiled into the program.
//! Everything above this file sees names relative to the checkpoint (`unet/config.json`) and nothing else.

mod header;
mod mapped;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use candle_core::Device;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::LoadError;
use crate::weights::Weights;
use crate::weights::packing::Packing;

pub(crate) use header::{Entry, Format, read_header, read_metadata};

/// A file that is compiled in: its name relative to the checkpoint, with `/`, and its bytes.
pub type EmbeddedFile = (&'static str, &'static [u8]);

/// A checkpoint in the layout of diffusers. Cheap to clone; holds no weights.
#[derive(Clone)]
pub struct Checkpoint {
    source: Arc<Source>,
    headers_only: bool,
    packing: Packing,
}

#[derive(Debug)]
enum Source {
    Folder(PathBuf),
    Embedded(&'static [EmbeddedFile]),
}

/// The bytes of a file, mapped from disk or compiled in; shared, so that a table may stay where it is.
#[derive(Clone)]
pub(crate) enum FileBytes {
    Mapped(Arc<memmap2::Mmap>),
    Embedded(&'static [u8]),
}

/// What a file system says of a file: two files with equal stamps are taken to have the same content.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct FileStamp {
    /// As it was opened.
    pub(crate) path: PathBuf,
    bytes: u64,
    /// Time of its last change, in nanoseconds since 1970.
    modified_ns: u64,
    /// Number of the file in its file system; 0 where there is none.
    inode: u64,
}

impl FileStamp {
    /// That of a file on disk.
    pub(crate) fn of(path: &Path) -> std::io::Result<Self> {
        let metadata = path.metadata()?;
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified_ns = modified.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Ok(Self { path: path.to_owned(), bytes: metadata.len(), modified_ns, inode })
    }

    /// Whether the file is still what it was.
    pub(crate) fn is_current(&self) -> bool {
        Self::of(&self.path).is_ok_and(|now| now == *self)
    }
}

impl FileBytes {
    /// Maps a regular file.
    pub(crate) fn map(path: &Path) -> std::io::Result<Self> {
        mapped::map(path).map(|map| Self::Mapped(Arc::new(map)))
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Embedded(bytes) => bytes,
        }
    }

    /// Lets go of pages that have been read; they are read again from the file when somebody asks for them.
    pub(crate) fn release(&self, bytes: std::ops::Range<usize>) {
        if let Self::Mapped(map) = self {
            mapped::release(map, bytes);
        }
    }
}

impl AsRef<[u8]> for FileBytes {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Checkpoint {
    /// A checkpoint on disk. Nothing is read yet.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self { source: Arc::new(Source::Folder(path.into())), headers_only: false, packing: Packing::default() }
    }

    /// A checkpoint that is compiled in.
    pub fn embedded(files: &'static [EmbeddedFile]) -> Self {
        Self { source: Arc::new(Source::Embedded(files)), headers_only: false, packing: Packing::default() }
    }

    /// The same checkpoint, whose tensors have the right shapes and are all zeros without taking memory: a network that is
    /// loaded from it proves that configuration and weight files belong together, and is good for nothing else.
    #[must_use]
    pub fn headers_only(&self) -> Self {
        Self { headers_only: true, ..self.clone() }
    }

    /// The same checkpoint, the layers of which are packed as `packing` says when a network is loaded from it.
    #[must_use]
    pub fn with_packing(&self, packing: Packing) -> Self {
        Self { packing, ..self.clone() }
    }

    pub(crate) fn packing(&self) -> &Packing {
        &self.packing
    }

    pub(crate) fn reads_tensors(&self) -> bool {
        !self.headers_only
    }

    /// True when there is such a file. `file` is relative to the checkpoint.
    pub fn contains(&self, file: &str) -> bool {
        match &*self.source {
            Source::Folder(root) => root.join(file).is_file(),
            Source::Embedded(files) => files.iter().any(|(name, _)| *name == file),
        }
    }

    /// The names of the files of a component, without the component's name, sorted.
    pub fn files_in(&self, component: &str) -> Vec<String> {
        let mut names: Vec<String> = match &*self.source {
            Source::Folder(root) => std::fs::read_dir(root.join(component))
                .map(|entries| {
                    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
                })
                .unwrap_or_default(),
            Source::Embedded(files) => files
                .iter()
                .filter_map(|(name, _)| name.strip_prefix(component)?.strip_prefix('/'))
                .map(str::to_owned)
                .collect(),
        };
        names.sort();
        names
    }

    /// Reads a small file (configuration, tokenizer) whole. Fails when it is missing or unreadable.
    pub fn read(&self, file: &str) -> Result<Cow<'static, [u8]>, LoadError> {
        match &*self.source {
            Source::Folder(root) => std::fs::read(root.join(file)).map(Cow::Owned).map_err(|e| io_error(file, e)),
            Source::Embedded(_) => self.embedded_bytes(file).map(Cow::Borrowed),
        }
    }

    /// Reads and parses a JSON file. Fails when it is missing, unreadable or not what `T` expects.
    pub fn json<T: DeserializeOwned>(&self, file: &str) -> Result<T, LoadError> {
        let bytes = self.read(file)?;
        serde_json::from_slice(&bytes)
            .map_err(|e| LoadError::config(file, format!("{e}; compare it with the published file")))
    }

    /// Opens the weights of a component (`unet`, `vae`, `text_encoder`): reads the headers, not the tensors, which come
    /// one by one to `device` as f32.
    pub fn weights(&self, component: &str, device: &Device) -> Result<Weights, LoadError> {
        Weights::open(self, component, device)
    }

    /// The folder on disk; `None` when the checkpoint is compiled in.
    pub fn path(&self) -> Option<&Path> {
        match &*self.source {
            Source::Folder(root) => Some(root),
            Source::Embedded(_) => None,
        }
    }

    /// The weight files of a component, relative to the checkpoint.
    pub(crate) fn weight_files(&self, component: &str) -> Result<Vec<String>, LoadError> {
        Ok(self.headers_only().weights(component, &Device::Cpu)?.files())
    }

    /// Size of a file in bytes and the time of its last change in nanoseconds since 1970; 0 for one that is compiled in.
    pub(crate) fn stamp(&self, file: &str) -> Result<(u64, u64), LoadError> {
        match self.file_stamp(file)? {
            Some(stamp) => Ok((stamp.bytes, stamp.modified_ns)),
            None => Ok((self.embedded_bytes(file)?.len() as u64, 0)),
        }
    }

    /// What names the content of a file without reading it; `None` for one that is compiled in, which no file system knows.
    pub(crate) fn file_stamp(&self, file: &str) -> Result<Option<FileStamp>, LoadError> {
        match &*self.source {
            Source::Folder(root) => FileStamp::of(&root.join(file)).map(Some).map_err(|e| io_error(file, e)),
            Source::Embedded(_) => Ok(None),
        }
    }

    /// SHA-256 of a file's content.
    pub(crate) fn digest(&self, file: &str) -> Result<[u8; 32], LoadError> {
        let mut hash = Sha256::new();
        match &*self.source {
            Source::Folder(root) => {
                let mut file_ = std::fs::File::open(root.join(file)).map_err(|e| io_error(file, e))?;
                std::io::copy(&mut file_, &mut hash).map_err(|e| io_error(file, e))?;
            }
            Source::Embedded(_) => hash.update(self.embedded_bytes(file)?),
        }
        Ok(hash.finalize().into())
    }

    pub(crate) fn map(&self, file: &str) -> Result<FileBytes, LoadError> {
        match &*self.source {
            Source::Folder(root) => FileBytes::map(&root.join(file)).map_err(|e| io_error(file, e)),
            Source::Embedded(_) => self.embedded_bytes(file).map(FileBytes::Embedded),
        }
    }

    fn embedded_bytes(&self, file: &str) -> Result<&'static [u8], LoadError> {
        let Source::Embedded(files) = &*self.source else { return Err(LoadError::MissingFile { file: file.into() }) };
        let found = files.iter().find(|(name, _)| *name == file);
        found.map(|(_, bytes)| *bytes).ok_or_else(|| LoadError::MissingFile { file: file.into() })
    }
}

fn io_error(file: &str, source: std::io::Error) -> LoadError {
    match source.kind() {
        std::io::ErrorKind::NotFound => LoadError::MissingFile { file: file.into() },
        _ => LoadError::Unreadable { file: file.into(), source },
    }
}
