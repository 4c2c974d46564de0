//! The weights of one network, walked along the dotted names of its file: `weights.pp("down_blocks").pp(0)`. Tensors are
//! read one at a time, checked against the shape that the configuration asks for, and converted to f32.

pub mod audit;
pub mod packing;

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;

use crate::checkpoint::{Checkpoint, Entry, FileBytes, Format, read_header};
use crate::error::LoadError;
use crate::ops::{Slot, Target};
use packing::Packing;

/// File names without their endings, in the order in which they are looked for: diffusers, then transformers.
const STEMS: [&str; 2] = ["diffusion_pytorch_model", "model"];
/// Endings of the precisions that publishers put beside each other; the most precise first.
const VARIANTS: [&str; 3] = ["", ".bf16", ".fp16"];
const PICKLES: [&str; 5] = [".bin", ".ckpt", ".pt", ".pth", ".pkl"];

/// The weights of one network from a dotted name on downwards. Cheap to clone; the files stay mapped as long as a clone lives.
#[derive(Clone)]
pub struct Weights {
    store: Arc<Store>,
    prefix: String,
    device: Device,
    packing: Packing,
    /// The layers that were read and can be adapted, and their places.
    slots: Arc<Mutex<Vec<(String, Target, Slot)>>>,
}

struct Store {
    /// False: tensors are zeros of the right shape, see [`Checkpoint::headers_only`].
    reads_tensors: bool,
    /// What stands in messages when a tensor is in none of the files.
    name: String,
    files: Vec<(String, FileBytes)>,
    tensors: HashMap<String, (usize, Entry)>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

impl Weights {
    /// Opens the weights of a component folder: one safetensors file, or several with an index. Reads the headers only.
    pub fn open(checkpoint: &Checkpoint, component: &str, device: &Device) -> Result<Self, LoadError> {
        for stem in STEMS {
            for variant in VARIANTS {
                let single = format!("{component}/{stem}{variant}.safetensors");
                if checkpoint.contains(&single) {
                    return Self::from_files(checkpoint, single.clone(), vec![single], device);
                }
                let index = format!("{component}/{stem}.safetensors.index{variant}.json");
                if checkpoint.contains(&index) {
                    return Self::from_index(checkpoint, component, index, device);
                }
            }
        }
        let files = checkpoint.files_in(component);
        match files.iter().find(|name| PICKLES.iter().any(|ending| name.ends_with(ending))) {
            Some(pickle) => Err(LoadError::Pickle { file: format!("{component}/{pickle}") }),
            None => Err(LoadError::NoWeights { component: component.into() }),
        }
    }

    /// The weights below `part`, a name or a number.
    #[must_use]
    pub fn pp(&self, part: impl Display) -> Self {
        let prefix = if self.prefix.is_empty() { part.to_string() } else { format!("{}.{part}", self.prefix) };
        Self { prefix, ..self.clone() }
    }

    /// The dotted name from which this walks on; empty at the root.
    pub fn path(&self) -> &str {
        &self.prefix
    }

    /// The place for what is added to the layer at this path.
    pub(crate) fn slot(&self, target: Target) -> Slot {
        let slot = Slot::default();
        self.locked_slots().push((self.prefix.clone(), target, slot.clone()));
        slot
    }

    /// The layers that were read so far and can be adapted, by their dotted names, and their places.
    pub(crate) fn slots(&self) -> Vec<(String, Target, Slot)> {
        self.locked_slots().clone()
    }

    fn locked_slots(&self) -> MutexGuard<'_, Vec<(String, Target, Slot)>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the tensors go.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// True when the file has `name` below this path.
    pub fn contains(&self, name: &str) -> bool {
        self.store.tensors.contains_key(&self.full_name(name))
    }

    /// The shape of `name` in the file, if it is there.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.store.tensors.get(&self.full_name(name)).map(|(_, entry)| entry.shape.as_slice())
    }

    /// The dotted names of all tensors, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.store.tensors.keys().map(String::as_str)
    }

    /// Number of parameters in all files.
    pub fn parameters(&self) -> u64 {
        self.store.tensors.values().map(|(_, entry)| entry.shape.iter().product::<usize>() as u64).sum()
    }

    /// The names of the files, relative to the checkpoint.
    pub(crate) fn files(&self) -> Vec<String> {
        self.store.files.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Size of all files in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.store.files.iter().map(|(_, bytes)| bytes.as_slice().len() as u64).sum()
    }

    /// Reads a tensor of exactly this shape, as contiguous f32 on the device.
    pub fn get<const N: usize>(&self, shape: [usize; N], name: &str) -> Result<Tensor, LoadError> {
        self.get_as(shape, shape, name)
    }

    /// Reads a tensor of exactly this shape as one of another shape with as many elements.
    pub(crate) fn get_as<const N: usize, const M: usize>(
        &self,
        shape: [usize; N],
        as_shape: [usize; M],
        name: &str,
    ) -> Result<Tensor, LoadError> {
        let found = self.find(&shape, name)?;
        if !self.store.reads_tensors {
            let zero = Tensor::zeros((), DType::F32, &self.device);
            return zero.and_then(|zero| zero.broadcast_as(&as_shape)).map_err(|source| found.refused(source));
        }
        let values = found.values(found.bytes.clone());
        Tensor::from_vec(values, &as_shape, &self.device).map_err(|source| found.refused(source))
    }

    /// A table of rows that stays in its file and its format; for embeddings, of which a few rows are read at a time.
    pub fn table(&self, shape: [usize; 2], name: &str) -> Result<Table, LoadError> {
        let found = self.find(&shape, name)?;
        let (bytes, format) = (found.bytes.clone(), found.format);
        let file = self.store.files[found.file].1.clone();
        Ok(Table { file, bytes, format, rows: shape[0], columns: shape[1], device: self.device.clone() })
    }

    /// The error of a tensor below this path that candle refused.
    pub(crate) fn refused(&self, name: &str, source: candle_core::Error) -> LoadError {
        LoadError::Device { file: self.store.name.clone(), tensor: self.full_name(name), source: Box::new(source) }
    }

    fn full_name(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }

    fn find(&self, shape: &[usize], name: &str) -> Result<Found<'_>, LoadError> {
        let tensor = self.full_name(name);
        let Some((file, entry)) = self.store.tensors.get(&tensor) else {
            return Err(LoadError::MissingTensor { file: self.store.name.clone(), tensor, expected: shape.to_vec() });
        };
        let (file_name, data) = &self.store.files[*file];
        if entry.shape != shape {
            let (expected, found) = (shape.to_vec(), entry.shape.clone());
            return Err(LoadError::WrongShape { file: file_name.clone(), tensor, expected, found });
        }
        match &entry.format {
            Ok(format) => {
                Ok(Found { file: *file, file_name, tensor, data, bytes: entry.bytes.clone(), format: *format })
            }
            Err(found) => Err(LoadError::WrongDtype { file: file_name.clone(), tensor, found: found.clone() }),
        }
    }

    fn from_index(checkpoint: &Checkpoint, component: &str, index: String, device: &Device) -> Result<Self, LoadError> {
        let map: Index = checkpoint.json(&index)?;
        let names: BTreeSet<&String> = map.weight_map.values().collect();
        let mut files = Vec::with_capacity(names.len());
        for name in names {
            if name.contains(['/', '\\']) || name == ".." {
                return Err(LoadError::config(&index, format!("{name:?} is not the name of a file beside it")));
            }
            if PICKLES.iter().any(|ending| name.ends_with(ending)) {
                return Err(LoadError::Pickle { file: format!("{component}/{name}") });
            }
            files.push(format!("{component}/{name}"));
        }
        Self::from_files(checkpoint, index, files, device)
    }

    fn from_files(
        checkpoint: &Checkpoint,
        name: String,
        files: Vec<String>,
        device: &Device,
    ) -> Result<Self, LoadError> {
        let reads_tensors = checkpoint.reads_tensors();
        let mut store = Store { reads_tensors, name, files: Vec::with_capacity(files.len()), tensors: HashMap::new() };
        for file in files {
            let bytes = checkpoint.map(&file)?;
            let number = store.files.len();
            let header = read_header(&file, bytes.as_slice())?;
            store.tensors.extend(header.into_iter().map(|(name, entry)| (name, (number, entry))));
            store.files.push((file, bytes));
        }
        let packing = checkpoint.packing().clone();
        let slots = Arc::default();
        Ok(Self { store: Arc::new(store), prefix: String::new(), device: device.clone(), packing, slots })
    }
}

/// A tensor that was found and is what it should be.
struct Found<'a> {
    file: usize,
    file_name: &'a str,
    tensor: String,
    data: &'a FileBytes,
    bytes: Range<usize>,
    format: Format,
}

impl Found<'_> {
    /// The numbers as f32. The pages of the file do not stay in memory beside them.
    fn values(&self, bytes: Range<usize>) -> Vec<f32> {
        let mut values = Vec::with_capacity(bytes.len() / self.format.bytes());
        widen(&self.data.as_slice()[bytes.clone()], self.format, &mut values);
        self.data.release(bytes);
        values
    }

    fn refused(&self, source: candle_core::Error) -> LoadError {
        LoadError::Device { file: self.file_name.to_owned(), tensor: self.tensor.clone(), source: Box::new(source) }
    }
}

/// Rows of numbers in a mapped file.
pub struct Table {
    file: FileBytes,
    bytes: Range<usize>,
    format: Format,
    rows: usize,
    columns: usize,
    device: Device,
}

impl Table {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Picks rows: `(ids.len(), columns)` in f32 on the device. Fails when an id is not below [`rows`](Self::rows).
    pub fn gather(&self, ids: &[u32]) -> candle_core::Result<Tensor> {
        let row_bytes = self.columns * self.format.bytes();
        let data = &self.file.as_slice()[self.bytes.clone()];
        let mut values = Vec::with_capacity(ids.len() * self.columns);
        for id in ids {
            let row = *id as usize;
            if row >= self.rows {
                candle_core::bail!("row {row} of a table of {} rows", self.rows);
            }
            widen(&data[row * row_bytes..(row + 1) * row_bytes], self.format, &mut values);
        }
        Tensor::from_vec(values, (ids.len(), self.columns), &self.device)
    }
}

/// Appends little-endian numbers as f32; exact for all three formats.
pub(crate) fn widen(bytes: &[u8], format: Format, values: &mut Vec<f32>) {
    let pair = |b: &[u8]| u16::from_le_bytes([b[0], b[1]]);
    match format {
        Format::F32 => values.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        Format::F16 => values.extend(bytes.chunks_exact(2).map(|b| half::f16::from_bits(pair(b)).to_f32())),
        Format::Bf16 => values.extend(bytes.chunks_exact(2).map(|b| half::bf16::from_bits(pair(b)).to_f32())),
    }
}
