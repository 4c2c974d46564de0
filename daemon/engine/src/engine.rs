//! DreamLite behind the traits of the domain: the models that there are, and the three stages of each.

mod denoiser;
mod encoder;
mod registry;
mod residency;
mod vae;

pub use denoiser::{Denoiser, Denoising};
pub use encoder::Encoder;
pub use registry::About;
pub use vae::Vae;

use std::path::{Path, PathBuf};

use candle_core::Device;
use easel_domain::engine::{DeviceKind, Engine, StageControl, StageError};
use easel_domain::limits::LORA_CACHE_BYTES;
use easel_domain::{
    BlobHash, Error, KeptCache, LoraBytes, LoraInfo, LoraSource, ModelInfo, Network, Precision, Precisions, Reason,
};

use crate::checkpoint::Checkpoint;
use crate::conditioning;
use crate::digests::Digests;
use crate::embedded;
use crate::error::EngineError;
use crate::lora::{self, LoraFile};
use crate::prepared::{self, Prepared};
use crate::values::{Latents, PromptEmbeds, device_kind};
use crate::weights::packing::Packing;
use registry::Registry;

/// Where the stages compute.
#[derive(Clone)]
pub struct Devices {
    /// Device of the encoder.
    pub encoder: Device,
    /// Device of the denoiser.
    pub denoiser: Device,
    /// Device of the VAE.
    pub vae: Device,
}

impl Default for Devices {
    fn default() -> Self {
        Self { encoder: Device::Cpu, denoiser: Device::Cpu, vae: Device::Cpu }
    }
}

/// How an engine is set up.
#[derive(Clone, Default)]
pub struct Settings {
    /// Where the stages compute.
    pub devices: Devices,
    /// What the operator chooses about the encoder.
    pub conditioning: conditioning::Settings,
    /// In which precision the networks compute.
    pub precisions: Precisions,
    /// True: an encoder of many parameters is kept in `q8_0` where [`precisions`](Self::precisions) says f32.
    pub packs_large_encoders: bool,
    /// What is kept between generations.
    pub keep: Keep,
    /// Folder of packed weights; `None`: they are rounded at every load.
    pub prepared_dir: Option<PathBuf>,
    /// File in which the digests of weight files are remembered; `None`: they are computed at every start.
    pub digests_file: Option<PathBuf>,
    /// Folder of LoRAs that requests can name; `None`: there is none.
    pub lora_folder: Option<PathBuf>,
}

/// How much is kept of canvases and prompts for the next generation, for each loaded network; 0: nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// What the encoder has read of canvases and templates, in bytes: 75 MB for a canvas seen at 512 pixels by the published
    /// model.
    pub prefix_bytes: u64,
    /// Prompt embeddings, in bytes.
    pub prompt_bytes: u64,
    /// Latents of source pictures, in bytes: 256 KiB for a picture of 1024x1024.
    pub latents_bytes: u64,
    /// LoRAs, in bytes, for all models together.
    pub lora_bytes: u64,
}

impl Default for Keep {
    fn default() -> Self {
        Self { prefix_bytes: 256 << 20, prompt_bytes: 64 << 20, latents_bytes: 32 << 20, lora_bytes: LORA_CACHE_BYTES }
    }
}

/// The engine. Holds no network itself: each load makes one, which belongs to the caller.
pub struct DreamLiteEngine {
    registry: Registry,
    /// What is known of weight files.
    digests: Digests,
    /// LoRAs that were read last.
    loras: lora::Cache,
    settings: Settings,
    /// Takes the place of how the settings pack.
    audited: Option<Packing>,
}

impl DreamLiteEngine {
    /// An engine with the embedded model as its default. Fails only when that model was broken before it was compiled in.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let engine = Self::empty(settings);
        engine.add_checkpoint(embedded::checkpoint(), embedded::NAME, embedded::about())?;
        Ok(engine)
    }

    /// An engine without models, for tests of single checkpoints; [`models`](Engine::models) is empty until one is added.
    pub fn empty(settings: Settings) -> Self {
        let digests = Digests::open(settings.digests_file.clone());
        let loras = lora::Cache::new(settings.keep.lora_bytes);
        Self { registry: Registry::default(), digests, loras, settings, audited: None }
    }

    /// The same engine, whose networks are loaded in f32 with a packed twin beside each layer.
    pub(crate) fn audited(self, packing: Packing) -> Self {
        Self { audited: Some(packing), ..self }
    }

    /// A model's checkpoint, packed as the settings say for a network: from the file of its packed weights when there is a good
    /// one, else by rounding.
    fn packed(&self, model: &registry::Model, network: Network) -> Checkpoint {
        if let Some(packing) = &self.audited {
            return model.checkpoint.with_packing(packing.clone());
        }
        let precision = model.info.precisions.of(network);
        let folder = self.settings.prepared_dir.as_ref().filter(|_| precision != Precision::F32);
        let open = |folder: &PathBuf| {
            let path = prepared::path_of(folder, &model.info.name, network, precision);
            Prepared::open(&path, &model.checkpoint, network, precision)
        };
        let packing = match folder.map(open) {
            Some(Ok(Some(prepared))) => Packing::prepared(precision, prepared),
            Some(Err(error)) => {
                tracing::warn!(model = %model.info.name, %error, "the weights are packed anew");
                Packing::new(precision)
            }
            Some(Ok(None)) | None => Packing::new(precision),
        };
        model.checkpoint.with_packing(packing)
    }

    /// Writes the packed weights of a model's networks that are not kept in f32, in place of files that are there. Returns each
    /// file with its size in bytes. Fails with `ModelNotFound`, or `InvalidRequest` when all networks are kept in f32 or no
    /// folder is set.
    pub fn quantise(&self, model: &str) -> Result<Vec<(PathBuf, u64)>, Error> {
        let model = self.registry.get(model)?;
        let networks = [Network::Encoder, Network::Unet, Network::Vae];
        let packed: Vec<Network> =
            networks.into_iter().filter(|network| model.info.precisions.of(*network) != Precision::F32).collect();
        let folder = self.settings.prepared_dir.as_ref().filter(|_| !packed.is_empty()).ok_or_else(|| {
            let what = "all networks are kept in f32: choose another precision for one of them";
            Error::new(Reason::InvalidRequest, what)
        })?;
        let write = |network: Network| {
            let precision = model.info.precisions.of(network);
            let path = prepared::path_of(folder, &model.info.name, network, precision);
            let bytes = prepared::write(&path, &model.checkpoint, (network, precision), &self.settings.conditioning)?;
            Ok((path, bytes))
        };
        packed.into_iter().map(write).collect()
    }

    /// Adds any checkpoint under a name, with what is known about it. Fails like [`add_model`](Engine::add_model).
    pub fn add_checkpoint(&self, checkpoint: Checkpoint, name: &str, about: About) -> Result<ModelInfo, Error> {
        self.registry.add(checkpoint, name, about, &self.settings, &self.digests)
    }
}

impl Engine for DreamLiteEngine {
    type PromptEmbeds = PromptEmbeds;
    type Latents = Latents;
    type Encoder = Encoder;
    type Denoiser = Denoiser;
    type Vae = Vae;

    fn models(&self) -> Vec<ModelInfo> {
        self.registry.infos()
    }

    fn add_model(&self, folder: &Path, name: &str) -> Result<ModelInfo, Error> {
        self.add_checkpoint(registry::open_folder(folder)?, name, About::default())
    }

    fn load_encoder(&self, model: &str, control: &StageControl) -> Result<Encoder, StageError> {
        control.checkpoint()?;
        let model = self.registry.get(model)?;
        let pipeline = model.info.pipeline;
        let checkpoint = self.packed(&model, Network::Encoder);
        let loaded = Encoder::load(&checkpoint, pipeline, &self.settings, &model.kept, model.residency.enter());
        Ok(loaded.map_err(EngineError::from)?)
    }

    fn load_denoiser(&self, model: &str, control: &StageControl) -> Result<Denoiser, StageError> {
        control.checkpoint()?;
        let model = self.registry.get(model)?;
        let pipeline = model.info.pipeline;
        let checkpoint = self.packed(&model, Network::Unet);
        let device = &self.settings.devices.denoiser;
        let loaded = Denoiser::load(&checkpoint, pipeline, device, &self.loras, model.residency.enter());
        Ok(loaded.map_err(EngineError::from)?)
    }

    fn load_vae(&self, model: &str, control: &StageControl) -> Result<Vae, StageError> {
        control.checkpoint()?;
        let model = self.registry.get(model)?;
        let checkpoint = self.packed(&model, Network::Vae);
        Ok(Vae::load(&checkpoint, &self.settings, &model.kept, model.residency.enter(), control)?)
    }

    fn resident_bytes(&self, model: &str) -> u64 {
        self.registry.get(model).map_or(0, |model| model.residency.bytes())
    }

    fn kept(&self) -> Vec<KeptCache> {
        self.registry.all().iter().flat_map(|model| model.kept.report(&model.info.name)).collect()
    }

    fn clear_kept(&self, model: Option<&str>) -> u64 {
        let models = self.registry.all();
        let loras = if model.is_none() { self.loras.clear() } else { 0 };
        let named = models.iter().filter(|known| model.is_none_or(|name| known.info.name == name));
        loras + named.map(|model| model.kept.clear()).sum::<u64>()
    }

    fn loras(&self) -> Result<Vec<LoraInfo>, Error> {
        match &self.settings.lora_folder {
            Some(folder) => lora::list(folder, &self.registry.targets()),
            None => Ok(Vec::new()),
        }
    }

    fn find_lora(&self, name: &str) -> Result<(BlobHash, LoraBytes), Error> {
        lora::find(self.settings.lora_folder.as_deref(), name, &self.digests)
    }

    fn check_lora(&self, model: &str, source: &LoraSource) -> Result<(), Error> {
        lora::check(&LoraFile::of(source), &self.registry.get(model)?.targets)
            .map_err(|error| error.with("model", model))
    }

    fn weights_sha256(&self, model: &str) -> Option<BlobHash> {
        self.registry.get(model).ok()?.digests(&self.digests).map(|digests| digests.weights)
    }

    fn devices(&self) -> [DeviceKind; 3] {
        let devices = &self.settings.devices;
        [&devices.encoder, &devices.denoiser, &devices.vae].map(device_kind)
    }
}
