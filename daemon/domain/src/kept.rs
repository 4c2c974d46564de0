//! What an engine keeps between generations, so that a second instruction on the same canvas does not compute again what
//! the first one did; and how much of a stage was spared by it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Size;

/// How much of what a stage makes was known from before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reused {
    /// Everything was computed.
    #[default]
    Nothing,
    /// What the prompts of a canvas begin with was known, the rest was computed.
    Part,
    /// Nothing was computed.
    All,
}

/// What sort of thing is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeptKind {
    /// Keys and values of what all prompts of a mode and canvas begin with: the template's head and the picture.
    Prefix,
    /// Whole prompt embeddings.
    PromptEmbeds,
    /// Latents of source pictures.
    ImageLatents,
}

/// One thing that is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptEntry {
    /// Memory that it holds, in bytes.
    pub bytes: u64,
    /// How often it has spared a computation.
    pub uses: u64,
    /// Time since it was made or last used.
    pub idle: Duration,
    /// The source picture that it belongs to: SHA-256 over width and height (u32, little endian) and RGB pixels. `None` for
    /// text alone.
    pub picture: Option<[u8; 32]>,
    /// Working size of image latents.
    pub size: Option<Size>,
}

/// All things of one sort that a loaded network keeps; the least recently used goes first when there is no room.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptCache {
    /// Name of the model.
    pub model: String,
    /// Sort of thing.
    pub kind: KeptKind,
    /// Most bytes that are kept.
    pub limit_bytes: u64,
    /// How often something was looked for and found, since the network was loaded.
    pub hits: u64,
    /// How often something was looked for in vain.
    pub misses: u64,
    /// What is there, the least recently used first.
    pub entries: Vec<KeptEntry>,
}

impl KeptCache {
    /// Bytes of all entries.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.bytes).sum()
    }
}
