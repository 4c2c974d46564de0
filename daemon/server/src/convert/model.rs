//! Models, both ways.

use std::path::PathBuf;

use easel_domain::limits::MAX_MODEL_NAME_BYTES;
use easel_domain::{Error, LoraInfo};
use easel_proto::v1;
use easel_runtime::{ModelState, ModelStatus};

use super::{Check, names};

/// Converts an `AddModelRequest`: the folder and the name, when one is given.
pub(crate) fn add(wire: v1::AddModelRequest) -> Result<(PathBuf, Option<String>), Error> {
    let mut check = Check::default();
    let folder = PathBuf::from(wire.folder);
    if !folder.is_absolute() {
        check.wrong("folder", "is not an absolute path: the daemon does not know the caller's folder");
    }
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(&c);
    if wire.name.len() > MAX_MODEL_NAME_BYTES || !wire.name.bytes().all(allowed) {
        check.wrong("name", format!("must have 1 to {MAX_MODEL_NAME_BYTES} characters out of a-z 0-9 . _ -"));
    }
    check.finish((folder, Some(wire.name).filter(|name| !name.is_empty())))
}

/// Converts the name of a model; any text but the empty one, since it is only looked up.
pub(crate) fn name(text: String) -> Result<String, Error> {
    let mut check = Check::default();
    check.filled("name", &text);
    check.finish(text)
}

/// A LoRA of the folder.
pub(crate) fn wire_lora(lora: &LoraInfo) -> v1::LoraInfo {
    v1::LoraInfo {
        name: lora.name.clone(),
        min_rank: lora.min_rank,
        max_rank: lora.max_rank,
        layers: lora.layers,
        file_bytes: lora.file_bytes,
        models: lora.models.clone(),
        problem: lora.problem.clone().unwrap_or_default(),
    }
}

/// A model as it stands.
pub(crate) fn wire_model(model: &ModelStatus) -> v1::Model {
    let info = &model.info;
    let state = match model.state {
        ModelState::Unloaded => v1::ModelState::Unloaded,
        ModelState::Loading => v1::ModelState::Loading,
        ModelState::Loaded => v1::ModelState::Loaded,
        ModelState::Failed => v1::ModelState::Failed,
    };
    v1::Model {
        name: info.name.clone(),
        state: state.into(),
        description: info.description.clone(),
        demonstration: info.demonstration,
        default: model.default,
        license: info.license.clone(),
        pipeline: names::wire_pipeline(info.pipeline).into(),
        modes: info.modes().map(|mode| names::wire_mode(mode).into()).to_vec(),
        native_width: info.native.width,
        native_height: info.native.height,
        min_edge_px: info.min_edge_px,
        max_edge_px: info.max_edge_px,
        default_num_inference_steps: info.default_steps,
        default_guidance_scale: info.guidance.map(|guidance| guidance.guidance_scale),
        default_image_guidance_scale: info.guidance.map(|guidance| guidance.image_guidance_scale),
        parameters: info.parameters,
        file_bytes: info.file_bytes,
        resident_bytes: model.resident_bytes,
        problem: model.problem.clone().unwrap_or_default(),
        text_encoder_precision: info.precisions.encoder.name().to_owned(),
        unet_precision: info.precisions.unet.name().to_owned(),
        vae_precision: info.precisions.vae.name().to_owned(),
        weights_sha256: info.weights_sha256.map(|hash| hash.to_string()).unwrap_or_default(),
        fallback_layers: info.fallback_layers.clone(),
    }
}
