//! LoRA for the U-Net: files in the formats of diffusers, PEFT and kohya, checked against the layers of a checkpoint, and added
//! to what those layers compute. No weight of the checkpoint is touched: a layer without an adapter computes what it always did,
//! to the bit, and layers in a low precision need no packing anew. The addition itself is in f32.

mod cache;
mod file;
mod folder;
mod keys;
mod metadata;

pub(crate) use cache::{Cache, Key};
pub use file::LoraFile;
pub(crate) use folder::{find, list};

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use easel_domain::limits::{MAX_LORA_RANK, MAX_NAMED_KEYS};
use easel_domain::{Error, LoraInfo, Reason};

use crate::error::Result as Computed;
use crate::ops::{LayerKind, LowRank, Slot, Target};
use crate::unet::UNet;
use file::Opened;
use keys::{Part, Place};

/// The layers of a U-Net that can be adapted, by their dotted names.
pub type Targets = BTreeMap<String, Target>;

/// The factors of a file, checked and scaled by their alpha; on the processor.
#[derive(Debug)]
pub(crate) struct Lora {
    layers: BTreeMap<String, Factors>,
    pub(crate) bytes: u64,
}

/// `down (rank, in)` or `(rank, in, kernel, kernel)`; `up (out, rank)` with `alpha / rank` in it.
#[derive(Debug)]
struct Factors {
    down: Tensor,
    up: Tensor,
}

/// What several files add together to the layers of a U-Net, with their weights, on its device.
#[derive(Clone, Debug, Default)]
pub struct Adapters(Arc<HashMap<String, Arc<LowRank>>>);

/// The slots of a U-Net while they are filled; emptied when it is dropped.
pub struct Filled<'a>(&'a [(String, Slot)]);

/// The layers of a file, in the order of their names: where the tensors lie and how they are scaled.
struct Layout {
    layers: BTreeMap<String, Laid>,
}

struct Laid {
    target: Target,
    down: file::Piece,
    up: file::Piece,
    rank: usize,
    scale: f64,
}

/// Reads what a file is without its tensors: rank, layers, size. Fails with [`Reason::LoraInvalid`].
pub(crate) fn inspect(file: &LoraFile) -> Result<LoraInfo, Error> {
    let opened = Opened::open(file)?;
    let (mut ranks, mut layers) = (Vec::new(), 0);
    for (name, piece) in opened.pieces() {
        if let Some((_, Part::Down)) = keys::read(name) {
            layers += 1;
            ranks.extend(piece.shape.first().map(|rank| *rank as u32));
        }
    }
    if layers == 0 {
        return Err(invalid(file, "it holds no pair of factors (lora_A and lora_B, or lora_down and lora_up)"));
    }
    let (least, most) = (ranks.iter().min().copied(), ranks.iter().max().copied());
    Ok(LoraInfo {
        name: file.name().to_owned(),
        min_rank: least.unwrap_or(0),
        max_rank: most.unwrap_or(0),
        layers,
        file_bytes: opened.len(),
        models: Vec::new(),
        problem: None,
    })
}

/// Checks every name, rank and shape of a file against a U-Net. Fails with [`Reason::LoraInvalid`] or [`Reason::LoraMismatch`], naming
/// the first few that do not fit.
pub(crate) fn check(file: &LoraFile, targets: &Targets) -> Result<(), Error> {
    layout(&Opened::open(file)?, file, targets).map(|_| ())
}

/// Names the layers of a U-Net: equal when names, sorts and sizes are.
pub(crate) fn name_of(targets: &Targets) -> u64 {
    let mut hash = std::hash::DefaultHasher::new();
    targets.hash(&mut hash);
    hash.finish()
}

/// Reads a file for a U-Net.
pub(crate) fn read(file: &LoraFile, targets: &Targets) -> Result<Lora, Error> {
    let opened = Opened::open(file)?;
    let layout = layout(&opened, file, targets)?;
    let broken = |error: candle_core::Error| Error::new(Reason::Internal, format!("a LoRA cannot be read: {error}"));
    let mut layers = BTreeMap::new();
    let mut bytes = 0;
    for (path, laid) in layout.layers {
        let down = laid.down_tensor(&opened).map_err(broken)?;
        let up = laid.up_tensor(&opened).map_err(broken)?;
        bytes += 4 * (down.elem_count() + up.elem_count()) as u64;
        layers.insert(path, Factors { down, up });
    }
    Ok(Lora { layers, bytes })
}

impl Laid {
    fn down_tensor(&self, opened: &Opened) -> candle_core::Result<Tensor> {
        let values = opened.values(&self.down);
        let Target { kind, input, .. } = self.target;
        match kind {
            LayerKind::Conv { kernel } | LayerKind::Depthwise { kernel } if kernel > 1 => {
                Tensor::from_vec(values, (self.rank, input, kernel, kernel), &Device::Cpu)
            }
            _ => Tensor::from_vec(values, (self.rank, input), &Device::Cpu),
        }
    }

    /// `(out, rank)`; in groups, as PEFT makes it for a depthwise layer, each output reads its own share of the rank.
    fn up_tensor(&self, opened: &Opened) -> candle_core::Result<Tensor> {
        let values = opened.values(&self.up);
        let (out, rank) = (self.target.output, self.rank);
        let scaled = |value: &f32| (f64::from(*value) * self.scale) as f32;
        let columns = self.up.shape.get(1).copied().unwrap_or(rank).max(1);
        if columns == rank {
            return Tensor::from_vec(values.iter().map(scaled).collect::<Vec<_>>(), (out, rank), &Device::Cpu);
        }
        let mut full = vec![0f32; out * rank];
        for (row, share) in values.chunks_exact(columns).enumerate() {
            for (column, value) in share.iter().enumerate() {
                full[row * rank + row * columns + column] = scaled(value);
            }
        }
        Tensor::from_vec(full, (out, rank), &Device::Cpu)
    }
}

/// Finds the layer of every tensor and checks that all fit.
fn layout(opened: &Opened, file: &LoraFile, targets: &Targets) -> Result<Layout, Error> {
    let places = keys::Places::of(targets.keys());
    let (mut downs, mut ups, mut alphas) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut wrong = Vec::new();
    for (name, piece) in opened.pieces() {
        let found = keys::read(name).and_then(|(place, part)| Some((places.find(&place)?, part, place)));
        match found {
            Some((path, Part::Down, _)) => drop(downs.insert(path, (name, piece))),
            Some((path, Part::Up, _)) => drop(ups.insert(path, (name, piece))),
            Some((path, Part::Alpha, _)) => drop(alphas.insert(path, (name, piece))),
            Some((_, Part::Dora, _)) => {
                return Err(invalid(
                    file,
                    &format!(
                        "{name} belongs to DoRA, which is not supported: train it as a plain LoRA, or merge it into the checkpoint"
                    ),
                ));
            }
            None => wrong.push(match keys::read(name) {
                Some((Place::TextEncoder, _)) => format!("{name} adapts the text encoder, which is not supported"),
                Some((_, Part::Dora)) => format!("{name} belongs to DoRA, which is not supported"),
                _ => format!("{name} is no layer of this U-Net"),
            }),
        }
    }
    let metadata = metadata::Metadata::read(opened.metadata(), file)?;
    let mut layers = BTreeMap::new();
    for (path, (name, down)) in &downs {
        let Some((_, up)) = ups.remove(path) else {
            wrong.push(format!("{name} has no second factor beside it"));
            continue;
        };
        let alpha = alphas.remove(path).map(|(_, piece)| opened.values(piece).first().copied().unwrap_or(0.0));
        match lay(&targets[*path], (down, up), alpha, |rank| metadata.scale(path, rank)) {
            Ok(laid) => drop(layers.insert((*path).to_owned(), laid)),
            Err(what) => wrong.push(format!("{name} {what}")),
        }
    }
    wrong.extend(ups.values().map(|(name, _)| format!("{name} has no first factor beside it")));
    wrong.extend(alphas.values().map(|(name, _)| format!("{name} has no factors beside it")));
    if wrong.is_empty() && layers.is_empty() {
        return Err(invalid(file, "it holds no pair of factors (lora_A and lora_B, or lora_down and lora_up)"));
    }
    if wrong.is_empty() { Ok(Layout { layers }) } else { Err(mismatch(file, wrong)) }
}

/// Checks the two factors of a layer.
fn lay(
    target: &Target,
    (down, up): (&file::Piece, &file::Piece),
    alpha: Option<f32>,
    scale: impl FnOnce(usize) -> Option<f64>,
) -> Result<Laid, String> {
    let Target { kind, input, output } = *target;
    let rank = *down.shape.first().ok_or("has no shape")?;
    if rank == 0 || rank > MAX_LORA_RANK {
        return Err(format!("has rank {rank}, expected 1 to {MAX_LORA_RANK}"));
    }
    let kernel = match kind {
        LayerKind::Linear => 1,
        LayerKind::Conv { kernel } | LayerKind::Depthwise { kernel } => kernel,
    };
    let flat =
        |shape: &[usize], rows: usize, columns: usize| shape == [rows, columns] || shape == [rows, columns, 1, 1];
    let fits_down =
        if kernel == 1 { flat(&down.shape, rank, input) } else { down.shape == [rank, input, kernel, kernel] };
    if !fits_down {
        let expected = if kernel == 1 { vec![rank, input] } else { vec![rank, input, kernel, kernel] };
        return Err(format!("has shape {:?}, expected {expected:?}", down.shape));
    }
    let in_groups = matches!(kind, LayerKind::Depthwise { .. })
        && rank.is_multiple_of(output)
        && flat(&up.shape, output, rank / output);
    if !flat(&up.shape, output, rank) && !in_groups {
        return Err(format!("is beside a second factor of shape {:?}, expected [{output}, {rank}]", up.shape));
    }
    let scale = match alpha {
        Some(alpha) if alpha.is_finite() => f64::from(alpha) / rank as f64,
        Some(_) => return Err("has an alpha that is not finite".into()),
        None => scale(rank).unwrap_or(1.0),
    };
    Ok(Laid { target: *target, down: down.clone(), up: up.clone(), rank, scale })
}

/// Joins files with their weights for a U-Net on a device: the factors of one layer stand behind each other along the rank.
pub(crate) fn join(loras: &[(Arc<Lora>, f32)], device: &Device) -> Computed<Adapters> {
    let mut parts: BTreeMap<&str, (Vec<Tensor>, Vec<Tensor>)> = BTreeMap::new();
    for (lora, weight) in loras.iter().filter(|(_, weight)| *weight != 0.0) {
        for (path, factors) in &lora.layers {
            let (downs, ups) = parts.entry(path).or_default();
            downs.push(factors.down.to_device(device)?);
            let up = factors.up.to_device(device)?;
            ups.push(if *weight == 1.0 { up } else { up.affine(f64::from(*weight), 0.0)? });
        }
    }
    let joined = |mut tensors: Vec<Tensor>, dim: usize| match tensors.len() {
        1 => Ok(tensors.remove(0)),
        _ => Tensor::cat(&tensors, dim),
    };
    let mut layers = HashMap::with_capacity(parts.len());
    for (path, (downs, ups)) in parts {
        layers.insert(path.to_owned(), Arc::new(LowRank::new(joined(downs, 0)?, joined(ups, 1)?)));
    }
    Ok(Adapters(Arc::new(layers)))
}

/// Reads files for a U-Net and joins them with their weights. Fails with [`Reason::LoraInvalid`] or [`Reason::LoraMismatch`].
pub fn load(files: &[(LoraFile, f32)], unet: &UNet) -> Computed<Adapters> {
    let mut loras = Vec::with_capacity(files.len());
    for (file, weight) in files {
        loras.push((Arc::new(read(file, unet.targets())?), *weight));
    }
    join(&loras, unet.device())
}

impl Adapters {
    /// The layers with their two factors: `(rank, in)` or `(rank, in, kernel, kernel)`, and `(out, rank)`.
    pub fn factors(&self) -> impl Iterator<Item = (&str, &Tensor, &Tensor)> {
        self.0.iter().map(|(path, layer)| (path.as_str(), layer.down(), layer.up()))
    }

    /// Memory that they hold, in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.0.values().map(|layer| layer.size_bytes()).sum()
    }

    /// Number of layers that they adapt.
    pub fn layers(&self) -> usize {
        self.0.len()
    }

    /// Puts them into the slots of a U-Net, for as long as the result lives.
    pub(crate) fn fill<'a>(&self, slots: &'a [(String, Slot)]) -> Filled<'a> {
        for (path, slot) in slots {
            slot.set(self.0.get(path).cloned());
        }
        Filled(slots)
    }
}

impl Drop for Filled<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|(_, slot)| slot.set(None));
    }
}

fn invalid(file: &LoraFile, what: &str) -> Error {
    Error::new(Reason::LoraInvalid, format!("{} cannot be used as a LoRA: {what}", file.name()))
        .about("lora", file.name())
}

fn mismatch(file: &LoraFile, mut wrong: Vec<String>) -> Error {
    let count = wrong.len();
    wrong.truncate(MAX_NAMED_KEYS);
    let more = if count > wrong.len() { format!("; and {} more", count - wrong.len()) } else { String::new() };
    let what =
        format!("{} does not fit the model: {}{more}; use one that was trained for it", file.name(), wrong.join("; "));
    Error::new(Reason::LoraMismatch, what).about("lora", file.name()).with("wrong_tensors", count)
}
