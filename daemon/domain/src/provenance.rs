//! What the file of a picture says of its making: enough to make it again. It names no batch and no date, so that a picture has the
//! same file alone, in a batch and on every day.

use serde::{Deserialize, Serialize};

use crate::limits::MAX_PARAMETERS_LICENSE_CHARS;
use crate::{Area, BlobHash, ColorMatch, Mode, ModelInfo, Plan, Rect, Selection, SelectionResult};

/// The parameters of a picture, as they stand in its file: a JSON object with these names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameters {
    /// [`Parameters::FORMAT`]; a reader refuses what is newer.
    pub easel_parameters: u32,
    /// Version of the daemon.
    pub easel_version: String,
    /// Generate or edit.
    pub mode: ModeName,
    /// The prompt, or the instruction.
    pub prompt: String,
    /// The negative prompt.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub negative_prompt: String,
    /// Seed of this picture; a text, since many readers of JSON keep 53 bits of a number.
    #[serde(with = "text")]
    pub seed: u64,
    /// Width of the result in pixels.
    pub width: u32,
    /// Height of the result in pixels.
    pub height: u32,
    /// Width at which the model worked.
    pub working_width: u32,
    /// Height at which the model worked.
    pub working_height: u32,
    /// Denoising steps.
    pub num_inference_steps: u32,
    /// Noise levels that were asked for; empty: the scheduler's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sigmas: Vec<f32>,
    /// Strength of the prompt; absent for models without guidance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guidance_scale: Option<f32>,
    /// Strength of the source; absent for models without guidance and outside of edits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_guidance_scale: Option<f32>,
    /// The checkpoint.
    pub model: ModelMark,
    /// LoRAs in the order of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loras: Vec<LoraMark>,
    /// SHA-256 of the file that was edited; absent for what is made from a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_sha256: Option<BlobHash>,
    /// What of it was edited; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<SelectionMark>,
}

/// A selection in [`Parameters`]; it has a rectangle or a mask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelectionMark {
    /// A rectangle of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rectangle: Option<Rect>,
    /// SHA-256 of the mask's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_sha256: Option<BlobHash>,
    /// Where the mask's upper left corner lies on the source; absent: it has the source's size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_offset: Option<(i32, i32)>,
    /// [`crate::Edges::grow_px`].
    pub grow_px: i32,
    /// [`crate::Edges::feather_px`].
    pub feather_px: u32,
    /// [`crate::Edges::blend_px`].
    pub blend_px: u32,
    /// Context that was asked for on each side; absent: the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_px: Option<u32>,
    /// How colours were fitted.
    pub color_match: ColorMatchName,
    /// Whether the denoiser was held to the source outside.
    pub denoise_mask: bool,
    /// Whether the file is a layer of what was drawn, and not the whole canvas.
    pub layer: bool,
}

/// A way to fit colours as the contract writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColorMatchName {
    /// Not at all.
    None,
    /// In linear light.
    Linear,
    /// In OKLab.
    Perceptual,
}

impl From<&Selection> for SelectionMark {
    fn from(selection: &Selection) -> Self {
        let (rectangle, mask_sha256, mask_offset) = match selection.area {
            Area::Rectangle(rect) => (Some(rect), None, None),
            Area::Mask { image, offset } => (None, Some(image), offset),
        };
        Self {
            rectangle,
            mask_sha256,
            mask_offset,
            grow_px: selection.edges.grow_px,
            feather_px: selection.edges.feather_px,
            blend_px: selection.edges.blend_px,
            context_px: selection.context_px,
            color_match: match selection.color_match {
                ColorMatch::None => ColorMatchName::None,
                ColorMatch::Linear => ColorMatchName::Linear,
                ColorMatch::Perceptual => ColorMatchName::Perceptual,
            },
            denoise_mask: selection.denoise_mask,
            layer: selection.result == SelectionResult::Layer,
        }
    }
}

/// A mode as the contract writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModeName {
    /// Text to image.
    Generate,
    /// An instruction applied to a picture.
    Edit,
}

/// The checkpoint in [`Parameters`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelMark {
    /// Its name, which is the choice of whoever added it.
    pub name: String,
    /// [`ModelInfo::weights_sha256`]; absent when the weights have no digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<BlobHash>,
    /// Licence of the weights; empty when it is unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub license: String,
    /// Precision of the encoder.
    pub text_encoder: String,
    /// Precision of the denoiser.
    pub unet: String,
    /// Precision of the VAE.
    pub vae: String,
}

/// A LoRA in [`Parameters`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoraMark {
    /// Its name in the daemon's folder; absent for one that was uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// SHA-256 of its file.
    pub sha256: BlobHash,
    /// What its effect was multiplied with.
    pub weight: f32,
}

impl Parameters {
    /// Version of what is written.
    pub const FORMAT: u32 = 1;

    /// Those of picture `index` of a plan, made by this model and version of the daemon.
    pub fn of(plan: &Plan, index: u32, model: &ModelInfo, version: &str) -> Self {
        let edit = plan.mode == Mode::Edit;
        let precision = |network| model.precisions.of(network).name().to_owned();
        Self {
            easel_parameters: Self::FORMAT,
            easel_version: version.to_owned(),
            mode: if edit { ModeName::Edit } else { ModeName::Generate },
            prompt: plan.prompt.clone(),
            negative_prompt: plan.negative_prompt.clone(),
            seed: plan.seed_of(index),
            width: plan.output.width,
            height: plan.output.height,
            working_width: plan.working.width,
            working_height: plan.working.height,
            num_inference_steps: plan.steps,
            sigmas: plan.sigmas.clone(),
            guidance_scale: plan.guidance.map(|guidance| guidance.guidance_scale),
            image_guidance_scale: plan.guidance.filter(|_| edit).map(|guidance| guidance.image_guidance_scale),
            model: ModelMark {
                name: plan.model.clone(),
                sha256: model.weights_sha256,
                // It comes from the card of a checkpoint, which may say anything.
                license: model.license.chars().take(MAX_PARAMETERS_LICENSE_CHARS).collect(),
                text_encoder: precision(crate::Network::Encoder),
                unet: precision(crate::Network::Unet),
                vae: precision(crate::Network::Vae),
            },
            loras: plan
                .loras
                .iter()
                .map(|lora| LoraMark { name: lora.name.clone(), sha256: lora.sha256, weight: lora.weight })
                .collect(),
            source_sha256: plan.source.filter(|_| edit),
            selection: plan.selection.as_ref().map(SelectionMark::from),
        }
    }
}

mod text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
