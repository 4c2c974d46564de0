//! The three networks of the drill engine and what passes between them.

use std::sync::Arc;

use easel_domain::engine::{
    DenoiseSpec, Denoiser, Denoising, DeviceKind, EncodeSpec, Encoder, StageControl, StageError, StageValue, Vae,
};
use easel_domain::{Error, Reason, Reused, RgbImage, Size};

use super::picture::{self, Grid};
use super::script::{DrillStage, Part, Script};

/// What each network holds: the script, and a sign that it is alive.
pub(super) struct Network {
    pub(super) script: Arc<Script>,
    /// Counted by the engine to tell what is in memory; belongs to one model.
    pub(super) _alive: Arc<()>,
}

/// What the drill encoder makes: a hash of what it saw.
#[derive(Clone, Debug)]
pub struct DrillEmbeds {
    hash: u64,
    prompt: Arc<str>,
    finite: bool,
    device: DeviceKind,
}

impl StageValue for DrillEmbeds {
    fn size_bytes(&self) -> u64 {
        self.prompt.len() as u64 + 8
    }

    fn device(&self) -> DeviceKind {
        self.device
    }
}

/// Latents of the drill engine: a grid of colours, an eighth of the picture's size.
#[derive(Clone, Debug)]
pub struct DrillLatents {
    grid: Arc<Grid>,
    prompt: Arc<str>,
    finite: bool,
    device: DeviceKind,
}

impl StageValue for DrillLatents {
    fn size_bytes(&self) -> u64 {
        self.grid.size_bytes()
    }

    fn device(&self) -> DeviceKind {
        self.device
    }
}

/// The encoder of the drill engine.
pub struct DrillEncoder(Network);

impl DrillEncoder {
    pub(super) fn new(network: Network) -> Self {
        Self(network)
    }
}

impl Encoder for DrillEncoder {
    type PromptEmbeds = DrillEmbeds;

    fn encode(&mut self, spec: &EncodeSpec, control: &StageControl) -> Result<(DrillEmbeds, Reused), StageError> {
        let config = self.0.script.config();
        let cost = (config.encode_layers, config.encode_layer);
        let finite = self.0.script.compute(DrillStage::Encode, &spec.prompt, cost, control)?;
        let mut hash =
            picture::hash(spec.prompt.as_bytes()) ^ picture::hash(spec.negative_prompt.as_bytes()).rotate_left(1);
        if let Some(image) = &spec.image {
            hash ^= picture::hash(image.pixels());
        }
        let embeds = DrillEmbeds { hash, prompt: spec.prompt.as_str().into(), finite, device: config.devices[0] };
        Ok((embeds, Reused::Nothing))
    }

    /// Takes the time that encoding takes, and keeps nothing.
    fn prepare(&mut self, spec: &EncodeSpec, control: &StageControl) -> Result<Reused, StageError> {
        Ok(self.encode(spec, control)?.1)
    }
}

/// The denoiser of the drill engine.
pub struct DrillDenoiser(Network);

impl DrillDenoiser {
    pub(super) fn new(network: Network) -> Self {
        Self(network)
    }
}

/// A drill denoising: moves from noise to a target in equal steps.
pub struct DrillDenoising {
    noise: Grid,
    target: Grid,
    sigmas: Vec<f32>,
    done: u32,
    prompt: Arc<str>,
    finite: bool,
    device: DeviceKind,
}

impl DrillDenoising {
    fn at(&self, sigma: f32) -> DrillLatents {
        DrillLatents {
            grid: Arc::new(self.target.mix(&self.noise, sigma)),
            prompt: Arc::clone(&self.prompt),
            finite: self.finite,
            device: self.device,
        }
    }

    fn sigma(&self) -> f32 {
        self.sigmas.get(self.done as usize).copied().unwrap_or(0.0)
    }
}

impl Denoising for DrillDenoising {
    type Latents = DrillLatents;

    fn done(&self) -> u32 {
        self.done
    }

    fn total(&self) -> u32 {
        self.sigmas.len() as u32
    }

    fn size_bytes(&self) -> u64 {
        self.noise.size_bytes() + self.target.size_bytes()
    }

    fn sigmas(&self) -> &[f32] {
        &self.sigmas
    }

    fn latents(&self) -> DrillLatents {
        self.at(self.sigma())
    }

    fn predicted(&self) -> DrillLatents {
        let sigma = self.sigma();
        self.at(sigma * sigma)
    }
}

impl Denoiser for DrillDenoiser {
    type PromptEmbeds = DrillEmbeds;
    type Latents = DrillLatents;
    type Denoising = DrillDenoising;

    fn begin(
        &mut self,
        spec: &DenoiseSpec,
        prompt_embeds: &DrillEmbeds,
        image_latents: Option<&DrillLatents>,
    ) -> Result<DrillDenoising, StageError> {
        if spec.edit != image_latents.is_some() {
            return Err(Error::new(Reason::Internal, "an edit needs image latents, a generation has none").into());
        }
        let steps = spec.steps.max(1);
        let sigmas = match spec.sigmas.is_empty() {
            true => (0..steps).map(|step| 1.0 - step as f32 / steps as f32).collect(),
            false => spec.sigmas.clone(),
        };
        let source = image_latents.map(|latents| latents.grid.as_ref());
        let target = Grid::target(spec.size, prompt_embeds.hash, spec.seed, source);
        let target = match (&spec.mask, source) {
            (Some(mask), Some(source)) => source.mix_by(&target, mask, spec.size),
            _ => target,
        };
        Ok(DrillDenoising {
            noise: Grid::noise(spec.size, spec.seed),
            target,
            sigmas,
            done: 0,
            prompt: Arc::clone(&prompt_embeds.prompt),
            finite: prompt_embeds.finite && image_latents.is_none_or(|latents| latents.finite),
            device: self.0.script.config().devices[1],
        })
    }

    fn step(&mut self, state: &mut DrillDenoising, control: &StageControl) -> Result<(), StageError> {
        let time = self.0.script.config().denoise_step;
        let part = Part { stage: DrillStage::Denoise, part: state.done + 1, prompt: &state.prompt };
        let finite = self.0.script.compute_part(part, time, control)?;
        state.finite &= finite;
        state.done += 1;
        Ok(())
    }
}

/// The VAE of the drill engine.
pub struct DrillVae(Network);

impl DrillVae {
    pub(super) fn new(network: Network) -> Self {
        Self(network)
    }
}

impl Vae for DrillVae {
    type Latents = DrillLatents;

    fn encode(
        &mut self,
        image: &RgbImage,
        size: Size,
        control: &StageControl,
    ) -> Result<(DrillLatents, Reused), StageError> {
        let config = self.0.script.config();
        let cost = (config.vae_strips, config.vae_strip);
        let finite = self.0.script.compute(DrillStage::EncodeImage, "", cost, control)?;
        let grid = Arc::new(Grid::from_picture(image, size));
        let latents = DrillLatents { grid, prompt: "".into(), finite, device: config.devices[2] };
        Ok((latents, Reused::Nothing))
    }

    fn decode(&mut self, latents: &DrillLatents, control: &StageControl) -> Result<RgbImage, StageError> {
        let config = self.0.script.config();
        let cost = (config.vae_strips, config.vae_strip);
        let finite = self.0.script.compute(DrillStage::Decode, &latents.prompt, cost, control)?;
        if !finite || !latents.finite {
            return Err(Error::new(Reason::EngineFault, "the latents are not finite").into());
        }
        Ok(latents.grid.to_picture()?)
    }

    fn project(&mut self, latents: &DrillLatents) -> Result<RgbImage, StageError> {
        Ok(latents.grid.to_small_picture()?)
    }
}
