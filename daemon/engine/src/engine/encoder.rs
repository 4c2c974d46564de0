//! The encoder stage: prompt and source picture to prompt embeddings.

use candle_core::Device;
use easel_domain::Pipeline;
use easel_domain::engine::{self, EncodeSpec, StageControl, StageError};

use super::Settings;
use super::residency::Resident;
use crate::checkpoint::Checkpoint;
use crate::conditioning::{Conditioner, EncodeRequest};
use crate::error::{LoadError, Result};
use crate::pass::Pass;
use crate::values::PromptEmbeds;

/// The Qwen3-VL encoder of a checkpoint.
pub struct Encoder {
    conditioner: Conditioner,
    pipeline: Pipeline,
    _resident: Resident,
}

impl Encoder {
    pub(super) fn load(
        checkpoint: &Checkpoint,
        pipeline: Pipeline,
        settings: &Settings,
        resident: Resident,
    ) -> std::result::Result<Self, LoadError> {
        let conditioner = Conditioner::load(checkpoint, &settings.conditioning, &settings.devices.encoder)?;
        resident.set_parameters(conditioner.parameters());
        Ok(Self { conditioner, pipeline, _resident: resident })
    }

    /// Checks a checkpoint's encoder: that it loads from `headers` and makes what a denoiser of this width reads.
    pub(super) fn inspect(
        headers: &Checkpoint,
        settings: &Settings,
        prompt_embed_dim: usize,
    ) -> std::result::Result<(), LoadError> {
        Conditioner::load(headers, &settings.conditioning, &Device::Cpu)?;
        let hidden = crate::conditioning::config::EncoderConfig::load(headers)?.text.hidden_size;
        if hidden == prompt_embed_dim {
            return Ok(());
        }
        let what = format!(
            "it reads prompts of width {prompt_embed_dim}, and text_encoder/config.json makes {hidden}; they do not belong together"
        );
        Err(LoadError::config("unet/config.json", what))
    }

    fn encode_spec(&self, spec: &EncodeSpec, control: &StageControl) -> Result<PromptEmbeds> {
        let request = EncodeRequest {
            mode: spec.mode,
            pipeline: self.pipeline,
            prompt: &spec.prompt,
            negative_prompt: &spec.negative_prompt,
            image: spec.image.as_ref(),
        };
        let encoded = self.conditioner.encode(&request, &mut Pass::new(control))?;
        let mask: Vec<Vec<u8>> = encoded.mask.to_vec2()?;
        let lengths: Vec<usize> = mask.iter().map(|row| row.iter().filter(|kept| **kept != 0).count()).collect();
        PromptEmbeds::from_padded(&encoded.embeds, &lengths)
    }
}

impl engine::Encoder for Encoder {
    type PromptEmbeds = PromptEmbeds;

    fn encode(&mut self, spec: &EncodeSpec, control: &StageControl) -> std::result::Result<PromptEmbeds, StageError> {
        Ok(self.encode_spec(spec, control)?)
    }
}
