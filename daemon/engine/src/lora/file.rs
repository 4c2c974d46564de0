//! A LoRA file, on disk or in memory: its header is read and checked within bounds before anything else of it.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use easel_domain::limits::{MAX_LORA_BYTES, MAX_LORA_TENSORS, MAX_SAFETENSORS_HEADER_BYTES};
use easel_domain::{Error, LoraBytes, LoraSource, Reason};

use super::invalid;
use crate::checkpoint::{Entry, FileBytes, Format, read_header, read_metadata};
use crate::error::LoadError;

/// Where a LoRA lies, and how messages call it.
#[derive(Clone, Debug)]
pub struct LoraFile {
    name: String,
    bytes: LoraBytes,
}

/// A tensor of a file.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) shape: Vec<usize>,
    format: Format,
    bytes: std::ops::Range<usize>,
}

/// A file with its header read.
pub(super) struct Opened {
    bytes: Content,
    pieces: BTreeMap<String, Piece>,
    metadata: Option<HashMap<String, String>>,
}

enum Content {
    Mapped(FileBytes),
    Memory(Arc<[u8]>),
}

impl LoraFile {
    /// A file on disk.
    pub fn on_disk(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), bytes: LoraBytes::File(path.into()) }
    }

    /// One that a request names.
    pub(crate) fn of(source: &LoraSource) -> Self {
        Self { name: source.label(), bytes: source.bytes.clone() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Opened {
    /// Reads and checks the header. Fails with [`Reason::LoraInvalid`], or [`Reason::LoraNotFound`] when the file is gone.
    pub(super) fn open(file: &LoraFile) -> Result<Self, Error> {
        let bytes = match &file.bytes {
            LoraBytes::Memory(bytes) => Content::Memory(Arc::clone(bytes)),
            LoraBytes::File(path) => {
                check_length(path).map_err(|error| unreadable(file, &error))?;
                Content::Mapped(FileBytes::map(path).map_err(|error| unreadable(file, &error))?)
            }
        };
        let data = bytes.as_slice();
        if data.len() as u64 > MAX_LORA_BYTES {
            return Err(invalid(file, &format!("it has more than {MAX_LORA_BYTES} bytes")));
        }
        let header = read_header(&file.name, data).map_err(|error| refused(file, error))?;
        if header.len() > MAX_LORA_TENSORS {
            return Err(invalid(file, &format!("it has more than {MAX_LORA_TENSORS} tensors")));
        }
        let mut pieces = BTreeMap::new();
        for (name, Entry { shape, format, bytes }) in header {
            let format = format.map_err(|found| {
                invalid(file, &format!("{name} is stored as {found}; only F32, F16 and BF16 are read"))
            })?;
            pieces.insert(name, Piece { shape, format, bytes });
        }
        let metadata = read_metadata(data);
        Ok(Self { bytes, pieces, metadata })
    }

    /// Size of the file in bytes.
    pub(super) fn len(&self) -> u64 {
        self.bytes.as_slice().len() as u64
    }

    /// The tensors, by their names.
    pub(super) fn pieces(&self) -> &BTreeMap<String, Piece> {
        &self.pieces
    }

    pub(super) fn metadata(&self) -> Option<&HashMap<String, String>> {
        self.metadata.as_ref()
    }

    /// The numbers of a tensor as f32.
    pub(super) fn values(&self, piece: &Piece) -> Vec<f32> {
        let mut values = Vec::new();
        crate::weights::widen(&self.bytes.as_slice()[piece.bytes.clone()], piece.format, &mut values);
        values
    }
}

impl Content {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(file) => file.as_slice(),
            Self::Memory(bytes) => bytes,
        }
    }
}

/// Looks at the eight bytes that tell the length of the header, and at the length of the file, before it is mapped.
fn check_length(path: &std::path::Path) -> std::io::Result<()> {
    let bad = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    let mut file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(bad("it is not a regular file"));
    }
    if metadata.len() > MAX_LORA_BYTES {
        return Err(bad("it is larger than a LoRA may be"));
    }
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|_| bad("it is shorter than a safetensors file can be"))?;
    let length = u64::from_le_bytes(length);
    if length > MAX_SAFETENSORS_HEADER_BYTES || length.saturating_add(8) > metadata.len() {
        return Err(bad("its first bytes are not those of a safetensors file"));
    }
    Ok(())
}

fn unreadable(file: &LoraFile, error: &std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::NotFound {
        let what = format!("{} is not there any more: list the LoRAs to see which there are", file.name);
        return Error::new(Reason::LoraNotFound, what).about("lora", file.name.as_str());
    }
    invalid(file, &error.to_string())
}

fn refused(file: &LoraFile, error: LoadError) -> Error {
    Error::new(Reason::LoraInvalid, error.to_string()).about("lora", file.name.as_str())
}
