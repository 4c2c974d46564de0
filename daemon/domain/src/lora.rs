//! LoRAs: small sets of factors that change how a model's denoiser draws, named in a request and never a part of the model.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::BlobHash;
use crate::limits::MAX_LORA_NAME_BYTES;

/// How a request names a LoRA.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LoraId {
    /// A file of the configured folder, without its ending.
    Name(String),
    /// A file that was uploaded.
    Sha256(BlobHash),
}

/// A LoRA in a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoraUse {
    /// Which one.
    pub id: LoraId,
    /// What its effect is multiplied with.
    pub weight: f32,
}

/// A LoRA in a plan: its content is settled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedLora {
    /// Its name in the configured folder; `None` for one that was uploaded.
    pub name: Option<String>,
    /// SHA-256 of its file.
    pub sha256: BlobHash,
    /// What its effect is multiplied with.
    pub weight: f32,
}

/// Where the bytes of a LoRA are.
#[derive(Clone, PartialEq)]
pub enum LoraBytes {
    /// In a file of this machine, chosen by the operator.
    File(PathBuf),
    /// In memory.
    Memory(Arc<[u8]>),
}

impl fmt::Debug for LoraBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(_) => f.write_str("File"),
            Self::Memory(bytes) => write!(f, "Memory({} bytes)", bytes.len()),
        }
    }
}

/// A LoRA as a denoiser is given it.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraSource {
    /// What it is.
    pub lora: PlannedLora,
    /// Its file.
    pub bytes: LoraBytes,
}

impl LoraSource {
    /// What messages call it: its name, else the beginning of its hash.
    pub fn label(&self) -> String {
        self.lora.label()
    }
}

impl PlannedLora {
    /// See [`LoraSource::label`].
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.sha256.to_string().chars().take(12).collect())
    }
}

/// A LoRA of the configured folder, as its header tells.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraInfo {
    /// Name for requests.
    pub name: String,
    /// Smallest rank of its layers; 0 when the file cannot be used.
    pub min_rank: u32,
    /// Largest rank of its layers.
    pub max_rank: u32,
    /// Layers that it adapts.
    pub layers: u32,
    /// Size of the file in bytes.
    pub file_bytes: u64,
    /// Names of the models that it fits.
    pub models: Vec<String>,
    /// Why it cannot be used, when it cannot.
    pub problem: Option<String>,
}

/// Whether a text can name a file of the configured folder: 1 to [`MAX_LORA_NAME_BYTES`] of `A-Z a-z 0-9 . _ -`, not beginning
/// with a dot. Never a path.
pub fn is_lora_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && text.len() <= MAX_LORA_NAME_BYTES && text.bytes().all(plain) && !text.starts_with('.')
}
