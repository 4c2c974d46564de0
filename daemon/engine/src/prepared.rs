//! Files of packed weights, so that the next start rounds nothing: one for each network and precision of a model, a
//! safetensors file whose tensors are the packed layers, byte for byte as the kernels read them where they are mapped. Its
//! metadata names the format, the weight files that it was made from and the digest of each layer.
//!
//! A file is looked at before it is used: that it is whole, that every layer has its digest, and that the weight files are
//! still the ones that it was made from (by size and time, or, when a time differs, by their content).

mod write;

pub(crate) use write::Sink;
pub use write::write;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use easel_domain::{Network, Precision};
use easel_kernels::Bytes;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::checkpoint::{Checkpoint, FileBytes, read_header, read_metadata};
use crate::error::LoadError;
use crate::weights::packing::Form;

/// What the metadata says first; another number for every change of how a layer is packed.
const FORMAT: &str = "easel packed weights 1";

/// What a file says about itself.
#[derive(Serialize, Deserialize)]
struct About {
    format: String,
    network: String,
    precision: String,
    sources: Vec<Source>,
    /// SHA-256 of each layer, in hexadecimal.
    digests: BTreeMap<String, String>,
}

/// A weight file of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Source {
    file: String,
    bytes: u64,
    /// Time of its last change, in nanoseconds since 1970; 0 for a file that is compiled in.
    modified_ns: u64,
    sha256: String,
}

/// A file of packed weights that was looked at.
#[derive(Clone)]
pub struct Prepared {
    file: Arc<FileBytes>,
    layers: Arc<HashMap<String, Range<usize>>>,
}

/// Where the packed weights of a network lie.
pub fn path_of(folder: &Path, model: &str, network: Network, precision: Precision) -> PathBuf {
    folder.join(format!("{model}-{}-{}.safetensors", network.name(), precision.name()))
}

/// The name of a packed layer.
fn key(tensor: &str, form: Form) -> String {
    format!("{tensor}|{}", form.name())
}

impl Prepared {
    /// Opens the file of a network; `None` when there is none. Fails with [`LoadError::Damaged`] or [`LoadError::Stale`].
    pub fn open(
        path: &Path,
        checkpoint: &Checkpoint,
        network: Network,
        precision: Precision,
    ) -> Result<Option<Self>, LoadError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let damaged = |what: String| LoadError::Damaged { file: name.clone(), what };
        let file = match FileBytes::map(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(damaged(error.to_string())),
        };
        let entries = read_header(&name, file.as_slice()).map_err(|error| damaged(error.to_string()))?;
        let about = read_metadata(file.as_slice()).and_then(|metadata| metadata.get("easel").cloned());
        let about: About = about
            .and_then(|about| serde_json::from_str(&about).ok())
            .ok_or_else(|| damaged("it does not say what it is".into()))?;
        if about.format != FORMAT || about.network != network.name() || about.precision != precision.name() {
            let what = format!("it holds {} as {} in the format {:?}", about.network, about.precision, about.format);
            return Err(damaged(what));
        }
        check_sources(&name, &about.sources, checkpoint, network)?;
        if entries.len() != about.digests.len() {
            return Err(damaged(format!("{} layers instead of {}", entries.len(), about.digests.len())));
        }
        let layers: HashMap<String, Range<usize>> =
            entries.into_iter().map(|(name, entry)| (name, entry.bytes)).collect();
        let wrong = about.digests.par_iter().find_any(|(layer, digest)| {
            let bytes = layers.get(*layer).and_then(|range| file.as_slice().get(range.clone()));
            bytes.is_none_or(|bytes| hex(&Sha256::digest(bytes)) != **digest)
        });
        if let Some((layer, _)) = wrong {
            return Err(damaged(format!("{layer} is not what was written")));
        }
        Ok(Some(Self { file: Arc::new(file), layers: Arc::new(layers) }))
    }

    /// A packed layer, if it is there in this form and length.
    pub(crate) fn layer(&self, tensor: &str, form: Form, len: usize) -> Option<Bytes> {
        let range = self.layers.get(&key(tensor, form)).filter(|range| range.len() == len)?;
        Bytes::part(self.file.clone(), range.clone())
    }
}

/// That the weight files are the ones that were packed.
fn check_sources(name: &str, sources: &[Source], checkpoint: &Checkpoint, network: Network) -> Result<(), LoadError> {
    let stale = || LoadError::Stale { file: name.to_owned() };
    let files = checkpoint.weight_files(network.name())?;
    if files.len() != sources.len() {
        return Err(stale());
    }
    for (file, source) in files.iter().zip(sources) {
        let (bytes, modified_ns) = checkpoint.stamp(file)?;
        if *file != source.file || bytes != source.bytes {
            return Err(stale());
        }
        // A file that was copied has another time and may have the same content.
        if modified_ns != source.modified_ns && hex(&checkpoint.digest(file)?) != source.sha256 {
            return Err(stale());
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
