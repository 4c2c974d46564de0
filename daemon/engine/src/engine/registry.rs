//! The checkpoints that there are: what is known about each without its weights.

use std::path::Path;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use candle_core::Device;
use easel_domain::limits::{
    DIGESTED_AT_ONCE_BYTES, LARGE_ENCODER_PARAMETERS, MAX_EDGE_PX, MAX_MODEL_NAME_BYTES, SIZE_MULTIPLE_PX,
};
use easel_domain::{Error, Guidance, ModelInfo, Network, Pipeline, Precision, Precisions, Reason, Size};
use serde::Deserialize;

use super::Settings;
use super::encoder::Encoder;
use super::residency::Residency;
use crate::checkpoint::Checkpoint;
use crate::digests::{Digests, ModelDigests};
use crate::error::LoadError;
use crate::kept::KeptList;
use crate::lora::Targets;
use crate::scheduler::FlowMatchEuler;
use crate::unet::UNet;
use crate::vae::TinyVae;
use crate::weights::packing::Packing;

/// What diffusers' `DreamLitePipeline.__call__` has as defaults.
pub(super) const DEFAULT_GUIDANCE: Guidance = Guidance { guidance_scale: 3.5, image_guidance_scale: 1.5 };
const MOBILE_STEPS: u32 = 4;
const BASE_STEPS: u32 = 30;
/// `default_sample_size` of the pipelines, for a U-Net that names none.
const DEFAULT_SAMPLE_SIZE: u32 = 128;
/// The smallest edge that is offered: 4 x 4 positions at the coarsest stage of a U-Net that halves twice would be 128
/// pixels; half of it still shows something.
const LEAST_EDGE_PX: u32 = 64;

/// A checkpoint and what is known of it.
#[derive(Clone)]
pub(super) struct Model {
    pub(super) info: ModelInfo,
    pub(super) checkpoint: Checkpoint,
    pub(super) residency: Residency,
    /// The digests of its weight files, once they are known; `None` in it when a file could not be read.
    digests: Arc<OnceLock<Option<ModelDigests>>>,
    /// Layers of its U-Net that can be adapted.
    pub(super) targets: Arc<Targets>,
    /// What its loaded networks keep between generations.
    pub(super) kept: KeptList,
}

/// What the maker of a model says about it.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// One sentence for a person; empty: made from the configuration.
    pub description: String,
    /// Licence of the weights; empty: read from the folder's README.md, if it says.
    pub license: String,
    /// True for the embedded demonstration model.
    pub demonstration: bool,
}

/// All models, in the order in which they were added.
#[derive(Default)]
pub(super) struct Registry {
    models: RwLock<Vec<Model>>,
}

#[derive(Deserialize)]
struct ModelIndex {
    #[serde(rename = "_class_name")]
    class_name: String,
}

impl Model {
    /// What is known of it now.
    fn current_info(&self) -> ModelInfo {
        let digests = self.digests.get().copied().flatten();
        ModelInfo { weights_sha256: digests.map(|digests| digests.weights), ..self.info.clone() }
    }

    /// The digests of its weights; waits until the files have been read. `None` when they cannot be.
    pub(super) fn digests(&self, known: &Digests) -> Option<ModelDigests> {
        *self.digests.get_or_init(|| {
            let computed = known.compute(&self.checkpoint);
            let warn =
                |error: &LoadError| tracing::warn!(model = %self.info.name, %error, "the weights have no digest");
            computed.inspect_err(warn).ok()
        })
    }

    /// Takes the digests from what is known, or reads the files: large ones beside whatever comes next.
    fn learn_digests(&self, known: &Digests) {
        if let Some(digests) = known.known(&self.checkpoint) {
            self.digests.get_or_init(|| Some(digests));
            return;
        }
        let (model, known) = (self.clone(), known.clone());
        let read = move || {
            model.digests(&known);
        };
        if self.info.file_bytes <= DIGESTED_AT_ONCE_BYTES {
            return read();
        }
        // Without a thread whoever needs them first reads them.
        if let Err(error) = std::thread::Builder::new().name("easel-digests".into()).spawn(read) {
            tracing::warn!(%error, "the digests of a model are computed later");
        }
    }
}

impl Registry {
    pub(super) fn all(&self) -> Vec<Model> {
        self.models.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn infos(&self) -> Vec<ModelInfo> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        models.iter().map(Model::current_info).collect()
    }

    /// The models' names with the layers of their U-Nets.
    pub(super) fn targets(&self) -> Vec<(String, Arc<Targets>)> {
        self.all().into_iter().map(|model| (model.info.name, model.targets)).collect()
    }

    pub(super) fn get(&self, name: &str) -> Result<Model, Error> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        models.iter().find(|model| model.info.name == name).cloned().ok_or_else(|| {
            let what = format!("there is no model named {name:?}; list the models to see which there are");
            Error::new(Reason::ModelNotFound, what).about("model", name)
        })
    }

    /// Checks a checkpoint down to the shape of every tensor and adds it.
    pub(super) fn add(
        &self,
        checkpoint: Checkpoint,
        name: &str,
        about: About,
        settings: &Settings,
        digests: &Digests,
    ) -> Result<ModelInfo, Error> {
        check_name(name)?;
        if self.get(name).is_ok() {
            return Err(taken(name));
        }
        let (info, targets) =
            inspect(&checkpoint, name, about, settings).map_err(|error| Error::from(error).about("model", name))?;
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        if models.iter().any(|model| model.info.name == name) {
            return Err(taken(name));
        }
        let model = Model {
            info,
            checkpoint,
            residency: Residency::default(),
            kept: KeptList::default(),
            digests: Arc::default(),
            targets: Arc::new(targets),
        };
        models.push(model.clone());
        drop(models);
        model.learn_digests(digests);
        Ok(model.current_info())
    }
}

/// Opens a folder as a checkpoint. Fails when it is not a folder with a model_index.json.
pub(super) fn open_folder(folder: &Path) -> Result<Checkpoint, Error> {
    let checkpoint = Checkpoint::folder(folder);
    if !folder.is_dir() {
        return Err(Error::field(Reason::InvalidRequest, "folder", "is not a folder on this machine"));
    }
    if !checkpoint.contains("model_index.json") {
        let what =
            "model_index.json is missing; name the folder of a diffusers checkpoint, the one that holds unet/ and vae/";
        return Err(Error::new(Reason::ModelInvalid, what));
    }
    Ok(checkpoint)
}

/// Reads all configurations and headers, and lays every network out over tensors without values.
fn inspect(
    checkpoint: &Checkpoint,
    name: &str,
    about: About,
    settings: &Settings,
) -> Result<(ModelInfo, Targets), LoadError> {
    let index: ModelIndex = checkpoint.json("model_index.json")?;
    let pipeline = match index.class_name.as_str() {
        "DreamLiteMobilePipeline" => Pipeline::Mobile,
        "DreamLitePipeline" => Pipeline::Base,
        other => {
            let what = format!(
                "_class_name {other:?} is not a DreamLite pipeline; DreamLiteMobilePipeline and DreamLitePipeline are"
            );
            return Err(LoadError::config("model_index.json", what));
        }
    };
    let headers = checkpoint.headers_only();
    let precisions = precisions(&headers, settings)?;
    let packings = [Network::Encoder, Network::Unet, Network::Vae].map(|network| Packing::new(precisions.of(network)));
    let [text_encoder, unet, vae] = &packings;
    let unet = UNet::load(&headers.with_packing(unet.clone()), &Device::Cpu)?;
    let vae = TinyVae::load(&headers.with_packing(vae.clone()), &Device::Cpu)?;
    Encoder::inspect(&headers.with_packing(text_encoder.clone()), settings, unet.config().prompt_embed_dim)?;
    FlowMatchEuler::load(checkpoint)?;
    let (mut parameters, mut file_bytes, mut loaded_bytes) = (0, 0, 0);
    for (component, network) in [("text_encoder", Network::Encoder), ("unet", Network::Unet), ("vae", Network::Vae)] {
        let weights = headers.weights(component, &Device::Cpu)?;
        parameters += weights.parameters();
        file_bytes += weights.file_bytes();
        loaded_bytes += (weights.parameters() as f64 * precisions.of(network).bytes_per_weight()) as u64;
    }
    let scale = vae.config().scale_factor();
    let (rows, columns) = unet.config().sample_size.unwrap_or((DEFAULT_SAMPLE_SIZE, DEFAULT_SAMPLE_SIZE));
    let edge = |positions: u32| floor_edge(positions.saturating_mul(scale)).clamp(SIZE_MULTIPLE_PX, MAX_EDGE_PX);
    let native = Size { width: edge(columns), height: edge(rows) };
    let shortest = native.width.min(native.height);
    let info = ModelInfo {
        name: name.to_owned(),
        description: if about.description.is_empty() { describe(pipeline, native) } else { about.description },
        demonstration: about.demonstration,
        license: if about.license.is_empty() { license(checkpoint) } else { about.license },
        pipeline,
        native,
        min_edge_px: floor_edge((shortest / 4).max(LEAST_EDGE_PX)).min(shortest),
        max_edge_px: floor_edge(native.width.max(native.height).saturating_mul(4)).min(MAX_EDGE_PX),
        default_steps: if pipeline == Pipeline::Mobile { MOBILE_STEPS } else { BASE_STEPS },
        guidance: (pipeline == Pipeline::Base).then_some(DEFAULT_GUIDANCE),
        parameters,
        file_bytes,
        loaded_bytes,
        precisions,
        weights_sha256: None,
        fallback_layers: packings.iter().flat_map(|packing| packing.tally().fallbacks).collect(),
    };
    Ok((info, unet.targets().clone()))
}

/// What the settings ask for, for this checkpoint.
fn precisions(headers: &Checkpoint, settings: &Settings) -> Result<Precisions, LoadError> {
    let mut precisions = settings.precisions;
    if settings.packs_large_encoders && precisions.encoder == Precision::F32 {
        let parameters = headers.weights("text_encoder", &Device::Cpu)?.parameters();
        if parameters >= LARGE_ENCODER_PARAMETERS {
            precisions.encoder = Precision::Q8_0;
        }
    }
    Ok(precisions)
}

fn floor_edge(length: u32) -> u32 {
    length / SIZE_MULTIPLE_PX * SIZE_MULTIPLE_PX
}

fn describe(pipeline: Pipeline, native: Size) -> String {
    match pipeline {
        Pipeline::Mobile => {
            format!("DreamLite mobile: pictures and edits around {native} in {MOBILE_STEPS} steps, without guidance")
        }
        Pipeline::Base => format!(
            "DreamLite base: pictures and edits around {native} in {BASE_STEPS} steps, with guidance and negative prompts"
        ),
    }
}

/// The licence that the front matter of a model card names; empty when there is none.
fn license(checkpoint: &Checkpoint) -> String {
    let Ok(card) = checkpoint.read("README.md") else { return String::new() };
    let card = String::from_utf8_lossy(&card);
    let Some(front) = card.strip_prefix("---").and_then(|rest| rest.split_once("\n---")).map(|(front, _)| front) else {
        return String::new();
    };
    let line = front.lines().find_map(|line| line.strip_prefix("license:"));
    line.map(|value| value.trim().trim_matches(['"', '\'']).to_owned()).unwrap_or_default()
}

fn check_name(name: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_empty() && name.len() <= MAX_MODEL_NAME_BYTES && name.chars().all(plain) && !name.starts_with('.') {
        return Ok(());
    }
    let what =
        format!("must have 1 to {MAX_MODEL_NAME_BYTES} letters, digits, '-', '_' or '.', and not begin with '.'");
    Err(Error::field(Reason::InvalidRequest, "name", what))
}

fn taken(name: &str) -> Error {
    Error::new(Reason::NameTaken, format!("a model named {name:?} is there already; choose another name"))
        .about("model", name)
}
