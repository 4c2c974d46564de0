//! The encoder stage: prompt and source picture to prompt embeddings. Keeps what it has read of canvases, so that another
//! instruction on the same canvas costs its own words alone, and whole embeddings.

use candle_core::Device;
use easel_domain::engine::{self, EncodeSpec, StageControl, StageError, StageValue};
use easel_domain::{KeptKind, Mode, Pipeline, Reused, RgbImage};

use super::Settings;
use super::residency::Resident;
use crate::checkpoint::Checkpoint;
use crate::conditioning::{Conditioner, EncodeRequest, Prefix};
use crate::error::{LoadError, Result};
use crate::kept::{Kept, KeptList, Key, PictureKey};
use crate::pass::Pass;
use crate::values::PromptEmbeds;

/// The Qwen3-VL encoder of a checkpoint.
pub struct Encoder {
    conditioner: Conditioner,
    pipeline: Pipeline,
    prefixes: Kept<Canvas, Prefix>,
    prompts: Kept<Prompt, PromptEmbeds>,
    _resident: Resident,
}

/// What a prefix depends on: the mode's template, and the picture of an edit.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Canvas {
    mode: Mode,
    picture: Option<PictureKey>,
}

/// What whole embeddings depend on.
#[derive(Debug, PartialEq)]
struct Prompt {
    canvas: Canvas,
    prompt: String,
    negative_prompt: String,
}

impl Key for Canvas {
    const KIND: KeptKind = KeptKind::Prefix;

    fn picture(&self) -> Option<PictureKey> {
        self.picture
    }
}

impl Key for Prompt {
    const KIND: KeptKind = KeptKind::PromptEmbeds;

    fn picture(&self) -> Option<PictureKey> {
        self.canvas.picture
    }
}

impl Encoder {
    pub(super) fn load(
        checkpoint: &Checkpoint,
        pipeline: Pipeline,
        settings: &Settings,
        kept: &KeptList,
        resident: Resident,
    ) -> std::result::Result<Self, LoadError> {
        let conditioner = Conditioner::load(checkpoint, &settings.conditioning, &settings.devices.encoder)?;
        resident.set_bytes(conditioner.resident_bytes());
        let prefixes = Kept::new(settings.keep.prefix_bytes, kept);
        let prompts = Kept::new(settings.keep.prompt_bytes, kept);
        Ok(Self { conditioner, pipeline, prefixes, prompts, _resident: resident })
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

    fn encode_spec(&mut self, spec: &EncodeSpec, control: &StageControl) -> Result<(PromptEmbeds, Reused)> {
        let (image, canvas) = canvas_of(spec);
        let key = Prompt { canvas, prompt: spec.prompt.clone(), negative_prompt: spec.negative_prompt.clone() };
        if let Some(embeds) = self.prompts.get(&key) {
            return Ok((embeds, Reused::All));
        }
        let request = EncodeRequest {
            mode: spec.mode,
            pipeline: self.pipeline,
            prompt: &spec.prompt,
            negative_prompt: &spec.negative_prompt,
            image,
        };
        let kept = self.prefixes.get(&canvas);
        let reused = if kept.is_some() { Reused::Part } else { Reused::Nothing };
        let (encoded, prefix) = self.conditioner.encode_keeping(&request, kept, &mut Pass::new(control))?;
        let bytes = prefix.size_bytes();
        self.prefixes.put(canvas, prefix, bytes);
        let mask: Vec<Vec<u8>> = encoded.mask.to_vec2()?;
        let lengths: Vec<usize> = mask.iter().map(|row| row.iter().filter(|kept| **kept != 0).count()).collect();
        let embeds = PromptEmbeds::from_padded(&encoded.embeds, &lengths)?;
        self.prompts.put(key, embeds.clone(), embeds.size_bytes());
        Ok((embeds, reused))
    }

    fn prepare_spec(&mut self, spec: &EncodeSpec, control: &StageControl) -> Result<Reused> {
        if !spec.prompt.trim().is_empty() {
            return Ok(self.encode_spec(spec, control)?.1);
        }
        let (image, canvas) = canvas_of(spec);
        if self.prefixes.get(&canvas).is_some() {
            return Ok(Reused::All);
        }
        let prefix = self.conditioner.prefix(spec.mode, image, &mut Pass::new(control))?;
        let bytes = prefix.size_bytes();
        self.prefixes.put(canvas, prefix, bytes);
        Ok(Reused::Nothing)
    }
}

/// The source picture as far as the mode reads it, and what stands for it.
fn canvas_of(spec: &EncodeSpec) -> (Option<&RgbImage>, Canvas) {
    let image = spec.image.as_ref().filter(|_| spec.mode == Mode::Edit);
    (image, Canvas { mode: spec.mode, picture: image.map(PictureKey::of) })
}

impl engine::Encoder for Encoder {
    type PromptEmbeds = PromptEmbeds;

    fn encode(
        &mut self,
        spec: &EncodeSpec,
        control: &StageControl,
    ) -> std::result::Result<(PromptEmbeds, Reused), StageError> {
        Ok(self.encode_spec(spec, control)?)
    }

    fn prepare(&mut self, spec: &EncodeSpec, control: &StageControl) -> std::result::Result<Reused, StageError> {
        Ok(self.prepare_spec(spec, control)?)
    }
}
