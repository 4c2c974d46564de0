//! Writes a file of packed weights: the network is laid out once over headers to learn which layers there are, then read
//! layer by layer, packed and written. The file appears complete or not at all.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Device;
use easel_domain::{Network, Precision};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{About, FORMAT, Source, hex, key};
use crate::checkpoint::Checkpoint;
use crate::conditioning::{self, Conditioner};
use crate::error::LoadError;
use crate::unet::UNet;
use crate::vae::TinyVae;
use crate::weights::packing::{Form, Packing};

/// Takes packed layers in the order of the header, while a network is loaded.
#[derive(Clone)]
pub(crate) struct Sink(Arc<Mutex<State>>);

struct State {
    out: BufWriter<File>,
    digests: BTreeMap<String, String>,
    /// The first thing that went wrong; nothing is written after it.
    failed: Option<io::Error>,
}

impl Sink {
    /// Writes one layer behind those before it.
    pub(crate) fn put(&self, tensor: &str, form: Form, bytes: &[u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failed.is_some() {
            return;
        }
        state.digests.insert(key(tensor, form), hex(&Sha256::digest(bytes)));
        state.failed = state.out.write_all(bytes).err();
    }
}

/// Packs a network of a checkpoint into the file `path`; returns its size in bytes. Fails when the checkpoint cannot be used or
/// the file cannot be written.
pub fn write(
    path: &Path,
    checkpoint: &Checkpoint,
    (network, precision): (Network, Precision),
    settings: &conditioning::Settings,
) -> Result<u64, LoadError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let failed = |source: io::Error| LoadError::Unwritable { file: name.clone(), source };
    let outline = Packing::new(precision);
    load(&checkpoint.headers_only().with_packing(outline.clone()), network, settings)?;
    let layers: Vec<(String, usize)> =
        outline.tally().layers.iter().map(|layer| (key(&layer.tensor, layer.form), layer.bytes)).collect();
    let digests = layers.iter().map(|(layer, _)| (layer.clone(), "0".repeat(64))).collect();
    let mut about = About {
        format: FORMAT.to_owned(),
        network: network.name().to_owned(),
        precision: precision.name().to_owned(),
        sources: sources(checkpoint, network)?,
        digests,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let unfinished = path.with_extension(format!("{}.part", std::process::id()));
    let file = File::create(&unfinished).map_err(failed)?;
    let done = (|| {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        out.write_all(&header(&about, &layers)?).map_err(failed)?;
        let sink = Sink(Arc::new(Mutex::new(State { out, digests: BTreeMap::new(), failed: None })));
        let packing = Packing::new(precision).with_sink(sink.clone());
        load(&checkpoint.with_packing(packing), network, settings)?;
        finish(&sink, &mut about, &layers).map_err(failed)
    })();
    match done.and_then(|bytes| std::fs::rename(&unfinished, path).map(|()| bytes).map_err(failed)) {
        Ok(bytes) => Ok(bytes),
        Err(error) => {
            let _ = std::fs::remove_file(&unfinished);
            Err(error)
        }
    }
}

/// Puts the digests into the header, which keeps its length.
fn finish(sink: &Sink, about: &mut About, layers: &[(String, usize)]) -> io::Result<u64> {
    let mut state = sink.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = state.failed.take() {
        return Err(error);
    }
    if about.digests.keys().ne(state.digests.keys()) {
        return Err(io::Error::other("the network was read with other layers than its headers have"));
    }
    about.digests = std::mem::take(&mut state.digests);
    let bytes = state.out.stream_position()?;
    state.out.seek(SeekFrom::Start(0))?;
    let header = header(about, layers).map_err(io::Error::other)?;
    state.out.write_all(&header)?;
    state.out.flush()?;
    state.out.get_ref().sync_all()?;
    Ok(bytes)
}

fn load(checkpoint: &Checkpoint, network: Network, settings: &conditioning::Settings) -> Result<(), LoadError> {
    match network {
        Network::Encoder => Conditioner::load(checkpoint, settings, &Device::Cpu).map(drop),
        Network::Unet => UNet::load(checkpoint, &Device::Cpu).map(drop),
        Network::Vae => TinyVae::load(checkpoint, &Device::Cpu).map(drop),
    }
}

fn sources(checkpoint: &Checkpoint, network: Network) -> Result<Vec<Source>, LoadError> {
    let source = |file: String| {
        let (bytes, modified_ns) = checkpoint.stamp(&file)?;
        let sha256 = hex(&checkpoint.digest(&file)?);
        Ok(Source { file, bytes, modified_ns, sha256 })
    };
    checkpoint.weight_files(network.name())?.into_iter().map(source).collect()
}

/// Length, JSON, and blanks so that the layers begin at a multiple of 64 bytes.
fn header(about: &About, layers: &[(String, usize)]) -> Result<Vec<u8>, LoadError> {
    let text = serde_json::to_string(about).map_err(|error| LoadError::config("metadata", error.to_string()))?;
    let mut tensors = Map::new();
    tensors.insert("__metadata__".into(), json!({ "easel": text }));
    let mut start = 0;
    for (name, bytes) in layers {
        let entry = json!({"dtype": "U8", "shape": [bytes], "data_offsets": [start, start + bytes]});
        tensors.insert(name.clone(), entry);
        start += bytes;
    }
    let mut json = Value::Object(tensors).to_string().into_bytes();
    let padded = (8 + json.len()).next_multiple_of(64) - 8;
    json.resize(padded, b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend(json);
    Ok(header)
}
