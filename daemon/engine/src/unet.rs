//! The U-Net denoiser: predicts the velocity of the latents from the latents, the time and the prompt.
//! Source: diffusers `unet_dreamlite.py`; the module tree follows the dotted names of the checkpoint.

mod blocks;
mod config;
mod embeddings;
mod resnet;
mod transformer;

pub use config::UNetConfig;

use candle_core::{Device, Tensor};

use crate::checkpoint::Checkpoint;
use crate::error::{LoadError, Result};
use crate::lora::{Adapters, Filled, Targets};
use crate::ops::{self, Conv2d, GroupNorm, Linear, RmsNorm, Slot};
use crate::pass::Pass;
use crate::weights::Weights;
use blocks::{DownBlock, MidBlock, Surroundings, UpBlock};
use embeddings::{Sinusoids, TimestepEmbedding};
use transformer::{KeysValues, Prompt};

const TEXT_NORM_EPS: f64 = 1e-5;
/// What the reference adds to the scores of positions that are masked out. Not minus infinity: a prompt that is masked
/// out as a whole stays finite.
const MASKED: f64 = -10_000.0;

/// The U-Net of a checkpoint.
pub struct UNet {
    config: UNetConfig,
    conv_in: Conv2d,
    time_proj: Sinusoids,
    time_embedding: TimestepEmbedding,
    add_embedding: Option<(Sinusoids, TimestepEmbedding)>,
    encoder_hid_proj: Option<TextProjection>,
    down_blocks: Vec<DownBlock>,
    mid_block: Option<MidBlock>,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    parameters: u64,
    resident_bytes: u64,
    device: Device,
    /// The places of all layers for what LoRAs add.
    slots: Vec<(String, Slot)>,
    targets: Targets,
}

struct TextProjection {
    linear: Linear,
    norm: Option<RmsNorm>,
}

/// Everything that a picture's prompt and size contribute, the same at every step.
pub struct Conditioning {
    prompt: Prompt,
    /// `(b, time_embed_dim)`, to be added to the embedding of the time.
    size: Option<Tensor>,
}

impl Conditioning {
    /// Memory that it holds, in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.prompt.layers.iter().map(KeysValues::size_bytes).sum()
    }
}

impl UNet {
    /// Reads `unet/` of a checkpoint onto a device.
    pub fn load(checkpoint: &Checkpoint, device: &Device) -> std::result::Result<Self, LoadError> {
        let config = UNetConfig::load(checkpoint)?;
        let weights = checkpoint.weights("unet", device)?;
        Self::from_weights(config, &weights)
    }

    fn from_weights(config: UNetConfig, weights: &Weights) -> std::result::Result<Self, LoadError> {
        let common = &config.common;
        let first = config.first_channels;
        let sinusoids = |dim| Sinusoids { dim, cos_first: config.flip_sin_to_cos, freq_shift: config.freq_shift };
        let add_embedding = match config.size_embedding {
            None => None,
            Some(size) => {
                let mlp = TimestepEmbedding::load(&weights.pp("add_embedding"), size.input_dim, common.time_embed_dim)?;
                Some((sinusoids(size.dim), mlp))
            }
        };
        let mut slots = 0;
        let (down, up) = (weights.pp("down_blocks"), weights.pp("up_blocks"));
        let mut down_blocks = Vec::with_capacity(config.down.len());
        for (i, plan) in config.down.iter().enumerate() {
            down_blocks.push(DownBlock::load(&down.pp(i), plan, common, &mut slots)?);
        }
        let mid_block = match &config.mid {
            Some(plan) => Some(MidBlock::load(&weights.pp("mid_block"), plan, common, &mut slots)?),
            None => None,
        };
        let mut up_blocks = Vec::with_capacity(config.up.len());
        for (i, plan) in config.up.iter().enumerate() {
            up_blocks.push(UpBlock::load(&up.pp(i), plan, common, &mut slots)?);
        }
        let mut unet = Self {
            conv_in: Conv2d::load(&weights.pp("conv_in"), [first, config.in_channels, config.conv_in_kernel], true)?,
            time_proj: sinusoids(first),
            time_embedding: TimestepEmbedding::load(&weights.pp("time_embedding"), first, common.time_embed_dim)?,
            add_embedding,
            encoder_hid_proj: TextProjection::load(&config, weights)?,
            down_blocks,
            mid_block,
            up_blocks,
            conv_norm_out: GroupNorm::load(&weights.pp("conv_norm_out"), first, common.norm_groups, common.norm_eps)?,
            conv_out: Conv2d::load(
                &weights.pp("conv_out"),
                [config.out_channels, first, config.conv_out_kernel],
                true,
            )?,
            parameters: weights.parameters(),
            resident_bytes: weights.resident_bytes(),
            device: weights.device().clone(),
            slots: Vec::new(),
            targets: Targets::new(),
            config,
        };
        for (path, target, slot) in weights.slots() {
            unet.targets.insert(path.clone(), target);
            unet.slots.push((path, slot));
        }
        Ok(unet)
    }

    /// The layers that can be adapted.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// Computes with `adapters` as long as the result lives. One at a time: the newest wins.
    pub fn adapt(&self, adapters: &Adapters) -> Filled<'_> {
        adapters.fill(&self.slots)
    }

    /// Its configuration.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Number of parameters.
    pub fn parameters(&self) -> u64 {
        self.parameters
    }

    /// Memory of its weights in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.resident_bytes
    }

    /// Computes what depends on prompt and size alone. `prompt_embeds (b, m, prompt_embed_dim)`; `mask (b, m)` is 1 where a
    /// position counts, `None` when all do; `time_ids` holds `(width, height)` for each of the batch.
    pub fn condition(
        &self,
        prompt_embeds: &Tensor,
        mask: Option<&Tensor>,
        time_ids: &[(f32, f32)],
        pass: &mut Pass<'_>,
    ) -> Result<Conditioning> {
        let prompt = match &self.encoder_hid_proj {
            Some(projection) => projection.forward(prompt_embeds)?,
            None => prompt_embeds.clone(),
        };
        pass.record("encoder_hid_proj", &prompt);
        let mut layers = Vec::new();
        for block in &self.down_blocks {
            block.project(&prompt, &mut layers)?;
        }
        if let Some(block) = &self.mid_block {
            block.project(&prompt, &mut layers)?;
        }
        for block in &self.up_blocks {
            block.project(&prompt, &mut layers)?;
        }
        // (1 - mask) * -10000
        let bias = mask.map(|mask| mask.to_dtype(prompt_embeds.dtype())?.affine(-MASKED, MASKED)).transpose()?;
        Ok(Conditioning { prompt: Prompt { layers, bias }, size: self.embed_size(time_ids, pass)? })
    }

    /// Predicts the velocity: `sample (b, in_channels, h, w)`, a time in 0..=1000 for each of the batch.
    pub fn forward(
        &self,
        sample: &Tensor,
        timesteps: &[f32],
        conditioning: &Conditioning,
        pass: &mut Pass<'_>,
    ) -> Result<Tensor> {
        let parts = self.down_blocks.len() + self.up_blocks.len() + 1;
        let temb = self.embed_time(timesteps, conditioning, pass)?;
        let around = Surroundings { temb: &temb, prompt: &conditioning.prompt };
        let centred = if self.config.center_input_sample { sample.affine(2.0, -1.0)? } else { sample.clone() };
        let mut x = self.conv_in.forward(&centred)?;
        pass.record("conv_in", &x);
        let mut skips = vec![x.clone()];
        for (i, block) in self.down_blocks.iter().enumerate() {
            x = block.forward(x, &around, &mut skips, pass)?;
            pass.progress(i + 1, parts);
        }
        if let Some(block) = &self.mid_block {
            x = block.forward(x, &around, pass)?;
        }
        pass.progress(self.down_blocks.len() + 1, parts);
        for (i, block) in self.up_blocks.iter().enumerate() {
            x = block.forward(x, &around, &mut skips, pass)?;
            pass.progress(self.down_blocks.len() + 2 + i, parts);
        }
        pass.checkpoint()?;
        if pass.observes() {
            pass.record("conv_norm_out", &ops::group_norm(&x, &self.conv_norm_out)?);
        }
        Ok(self.conv_out.forward(&ops::group_norm_silu(&x, &self.conv_norm_out)?)?)
    }

    /// Embedding of time and size after SiLU, which every resnet applies to it first: `(b, time_embed_dim)`.
    fn embed_time(&self, timesteps: &[f32], conditioning: &Conditioning, pass: &mut Pass<'_>) -> Result<Tensor> {
        let sinusoids = self.time_proj.embed(timesteps, &self.device)?;
        pass.record("time_proj", &sinusoids);
        let time = self.time_embedding.forward(&sinusoids)?;
        pass.record("time_embedding", &time);
        let both = match &conditioning.size {
            Some(size) => (time + size)?,
            None => time,
        };
        Ok(ops::silu(&both)?)
    }

    fn embed_size(&self, time_ids: &[(f32, f32)], pass: &mut Pass<'_>) -> Result<Option<Tensor>> {
        let Some((sinusoids, mlp)) = &self.add_embedding else { return Ok(None) };
        let flat: Vec<f32> = time_ids.iter().flat_map(|(width, height)| [*width, *height]).collect();
        let embedded = sinusoids.embed(&flat, &self.device)?; // (2b, dim)
        pass.record("add_time_proj", &embedded);
        let size = mlp.forward(&embedded.reshape((time_ids.len(), ()))?)?;
        pass.record("add_embedding", &size);
        Ok(Some(size))
    }
}

impl TextProjection {
    fn load(config: &UNetConfig, weights: &Weights) -> std::result::Result<Option<Self>, LoadError> {
        let Some(projection) = config.text_projection else { return Ok(None) };
        let weights = weights.pp("encoder_hid_proj");
        let shape = [config.cross_attention_dim, projection.input_dim];
        if !projection.normalised {
            return Ok(Some(Self { linear: Linear::load(&weights, shape, true)?, norm: None }));
        }
        let linear = Linear::load(&weights.pp(0), shape, true)?;
        let norm = Some(RmsNorm::load(&weights.pp(1), config.cross_attention_dim, TEXT_NORM_EPS)?);
        Ok(Some(Self { linear, norm }))
    }

    /// `(b, m, input_dim) -> (b, m, cross_attention_dim)`
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.linear.forward(x)?;
        match &self.norm {
            Some(norm) => Ok(norm.forward(&x)?),
            None => Ok(x),
        }
    }
}
