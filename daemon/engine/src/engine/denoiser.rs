//! The denoiser stage: from noise to latents, one scheduler step at a time, as diffusers' `DreamLiteMobilePipeline` (one
//! branch) and `DreamLitePipeline` (two branches, three in edits) do it.
//!
//! The reference runs the branches of a step as one batch with padded prompts; here each runs by itself with its prompt's own
//! length, which is the same arithmetic without the padding and can be stopped sooner.

mod hold;

use candle_core::{D, DType, Device, Tensor};
use easel_domain::engine::{self, DenoiseSpec, StageControl, StageError};
use easel_domain::{Error, Guidance, LoraSource, Pipeline, Reason, Size};

use super::residency::Resident;
use crate::checkpoint::Checkpoint;
use crate::error::{EngineError, LoadError, Result};
use crate::lora::{self, Adapters, LoraFile};
use crate::noise::TorchGenerator;
use crate::pass::Pass;
use crate::scheduler::{FlowMatchEuler, Schedule};
use crate::unet::{Conditioning, UNet};
use crate::vae::VaeConfig;
use crate::values::{Latents, PromptEmbeds};
use hold::Hold;

/// The U-Net with its scheduler.
pub struct Denoiser {
    unet: UNet,
    scheduler: FlowMatchEuler,
    pipeline: Pipeline,
    /// How latents and pixels belong together.
    vae: VaeConfig,
    /// Names the layers of the U-Net for the cache of LoRAs.
    layers: u64,
    loras: lora::Cache,
    _resident: Resident,
}

/// One pass of the U-Net in a step.
struct Branch {
    conditioning: Conditioning,
    /// What stands on the right of the latents: the source's latents, or zeros. `(1, c, h, w')`
    right: Tensor,
}

/// A picture that is being denoised.
pub struct Denoising {
    branches: Vec<Branch>,
    /// What LoRAs add to the U-Net for this picture; `None` without them.
    adapters: Option<Adapters>,
    schedule: Schedule,
    guidance: Option<Guidance>,
    /// What holds the latents to the source outside of a mask; `None`: nothing does.
    hold: Option<Hold>,
    done: usize,
    latents: Tensor,
    predicted: Tensor,
    /// What the newest step gave to the scheduler, after guidance; the latents before the first.
    noise_pred: Tensor,
}

impl Denoiser {
    pub(super) fn load(
        checkpoint: &Checkpoint,
        pipeline: Pipeline,
        device: &Device,
        loras: &lora::Cache,
        resident: Resident,
    ) -> std::result::Result<Self, LoadError> {
        let unet = UNet::load(checkpoint, device)?;
        let vae = VaeConfig::load(checkpoint)?;
        if unet.config().in_channels != vae.latent_channels || unet.config().out_channels != vae.latent_channels {
            return Err(LoadError::config(
                "unet/config.json",
                "in_channels and out_channels must equal the VAE's latent_channels",
            ));
        }
        resident.set_bytes(unet.resident_bytes());
        let scheduler = FlowMatchEuler::load(checkpoint)?;
        let layers = lora::name_of(unet.targets());
        let loras = loras.clone();
        Ok(Self { unet, scheduler, pipeline, vae, layers, loras, _resident: resident })
    }

    /// Its network.
    pub fn unet(&self) -> &UNet {
        &self.unet
    }

    /// As [`Denoiser::begin`](engine::Denoiser::begin), with the noise given instead of drawn: `noise (1, c, h, w)` for the
    /// size of `spec`. For comparing with another implementation.
    pub fn begin_with_noise(
        &self,
        spec: &DenoiseSpec,
        noise: Tensor,
        prompt_embeds: &PromptEmbeds,
        image_latents: Option<&Latents>,
    ) -> Result<Denoising> {
        let latent = self.latent_size(spec.size)?;
        let schedule = self.scheduler.schedule(latent, spec.steps, &spec.sigmas)?;
        let zeros = noise.zeros_like()?;
        let image = match image_latents.filter(|_| spec.edit) {
            Some(image) => self.fitting(image, &noise)?,
            None => zeros.clone(),
        };
        let rights = match (self.pipeline, spec.edit) {
            (Pipeline::Mobile, _) => vec![image],
            (Pipeline::Base, false) => vec![zeros.clone(), zeros],
            (Pipeline::Base, true) => vec![zeros, image.clone(), image],
        };
        let prompts = prompt_embeds.branches();
        if prompts.len() != rights.len() {
            let what = format!("{} prompts were encoded for {} branches", prompts.len(), rights.len());
            return Err(Error::new(Reason::Internal, what).into());
        }
        let guidance = match self.pipeline {
            Pipeline::Mobile => None,
            Pipeline::Base => Some(spec.guidance.unwrap_or(super::registry::DEFAULT_GUIDANCE)),
        };
        // Raw width and height: the reference does not round what it tells the U-Net.
        let time_ids = [(spec.size.width as f32, spec.size.height as f32)];
        let adapters = self.adapters(&spec.loras)?;
        let _filled = adapters.as_ref().map(|adapters| self.unet.adapt(adapters));
        let control = StageControl::detached();
        let mut pass = Pass::new(&control);
        let mut branches = Vec::with_capacity(rights.len());
        for (prompt, right) in prompts.iter().zip(rights) {
            let prompt = prompt.to_device(self.unet.device())?;
            branches.push(Branch { conditioning: self.unet.condition(&prompt, None, &time_ids, &mut pass)?, right });
        }
        let (predicted, noise_pred) = (noise.clone(), noise.clone());
        let hold = self.hold(spec, &noise, image_latents)?;
        Ok(Denoising { branches, adapters, schedule, guidance, hold, done: 0, latents: noise, predicted, noise_pred })
    }

    fn hold(&self, spec: &DenoiseSpec, noise: &Tensor, image_latents: Option<&Latents>) -> Result<Option<Hold>> {
        let Some(mask) = &spec.mask else { return Ok(None) };
        let Some(image) = image_latents.filter(|_| spec.edit) else {
            return Err(Error::new(Reason::Internal, "a mask without a source to hold the latents to").into());
        };
        // The inverse of what the decoder does with the latents of a result.
        let shift = self.vae.shift_factor.unwrap_or(0.0);
        let image = self.fitting(image, noise)?.affine(self.vae.scaling_factor, -shift * self.vae.scaling_factor)?;
        Ok(Some(Hold::new((mask, spec.size, self.scale_factor()), image, noise.clone())?))
    }

    /// Pixels along one side of a latent position.
    fn scale_factor(&self) -> u32 {
        self.vae.scale_factor()
    }

    /// What the LoRAs of a picture add together; `None` when there are none.
    fn adapters(&self, loras: &[LoraSource]) -> Result<Option<Adapters>> {
        if loras.is_empty() {
            return Ok(None);
        }
        let mut read = Vec::with_capacity(loras.len());
        for source in loras {
            let key = lora::Key { sha256: source.lora.sha256, layers: self.layers };
            let file = LoraFile::of(source);
            let found = self.loras.get_or_read(key, || lora::read(&file, self.unet.targets()))?;
            read.push((found, source.lora.weight));
        }
        Ok(Some(lora::join(&read, self.unet.device())?))
    }

    fn latent_size(&self, size: Size) -> Result<Size> {
        let latent = Size { width: size.width / self.scale_factor(), height: size.height / self.scale_factor() };
        if latent.width == 0 || latent.height == 0 {
            let what = format!("{size} is smaller than one latent position of {0}x{0} pixels", self.scale_factor());
            return Err(Error::field(Reason::InvalidRequest, "spec.width", what).into());
        }
        Ok(latent)
    }

    fn draw(&self, latent: Size, seed: u64) -> Result<Tensor> {
        let shape = (1, self.unet.config().in_channels, latent.height as usize, latent.width as usize);
        let values = TorchGenerator::new(seed).randn(shape.1 * shape.2 * shape.3);
        Ok(Tensor::from_vec(values, shape, self.unet.device())?)
    }

    /// Checks that the source can stand beside the latents. A source whose width was floored may be narrower, which the
    /// mobile pipeline takes and the base pipeline cannot put into one batch.
    fn fitting(&self, image: &Latents, noise: &Tensor) -> Result<Tensor> {
        let image = image.tensor().to_device(self.unet.device())?.to_dtype(DType::F32)?;
        let ((_, channels, height, width), (_, c, h, w)) = (image.dims4()?, noise.dims4()?);
        let narrower = self.pipeline == Pipeline::Mobile && width <= w;
        if channels == c && height == h && (width == w || narrower) {
            return Ok(image);
        }
        let what = "width and height must be multiples of 16 for an edit, so that source and result have the same size";
        Err(Error::field(Reason::InvalidRequest, "spec.width", what).into())
    }

    fn velocity(&self, state: &Denoising, control: &StageControl) -> Result<Tensor> {
        let _filled = state.adapters.as_ref().map(|adapters| self.unet.adapt(adapters));
        let width = state.latents.dim(D::Minus1)?;
        let count = state.branches.len();
        let mut halves = Vec::with_capacity(count);
        for (i, branch) in state.branches.iter().enumerate() {
            // The target stands on the left, the source on the right.
            let diptych = Tensor::cat(&[&state.latents, &branch.right], 3)?;
            let timestep = [state.schedule.timesteps[state.done]];
            let mut pass = Pass::nth(control, i, count);
            let predicted = self.unet.forward(&diptych, &timestep, &branch.conditioning, &mut pass)?;
            halves.push(predicted.narrow(3, 0, width)?.contiguous()?);
        }
        guide(&halves, state.guidance)
    }
}

impl engine::Denoiser for Denoiser {
    type PromptEmbeds = PromptEmbeds;
    type Latents = Latents;
    type Denoising = Denoising;

    fn begin(
        &mut self,
        spec: &DenoiseSpec,
        prompt_embeds: &PromptEmbeds,
        image_latents: Option<&Latents>,
    ) -> std::result::Result<Denoising, StageError> {
        let noise = self.draw(self.latent_size(spec.size)?, spec.seed)?;
        Ok(self.begin_with_noise(spec, noise, prompt_embeds, image_latents)?)
    }

    fn step(&mut self, state: &mut Denoising, control: &StageControl) -> std::result::Result<(), StageError> {
        if state.done == state.schedule.steps() {
            return Err(Error::new(Reason::Internal, "a step after the last one").into());
        }
        let noise_pred = self.velocity(state, control)?;
        let latents = state.schedule.step(state.done, &noise_pred, &state.latents)?;
        if !latents.sum_all().and_then(|sum| sum.to_scalar::<f32>()).map_err(EngineError::from)?.is_finite() {
            return Err(EngineError::NotFinite("the latents").into());
        }
        let predicted = state.schedule.clean(state.done, &noise_pred, &state.latents)?;
        (state.latents, state.predicted) = match &state.hold {
            // The last noise level is 0: there the source itself stands outside of the mask.
            Some(hold) => (hold.apply(&latents, state.schedule.sigmas[state.done + 1])?, hold.apply(&predicted, 0.0)?),
            None => (latents, predicted),
        };
        state.noise_pred = noise_pred;
        state.done += 1;
        Ok(())
    }
}

impl Denoising {
    /// What the newest step gave to the scheduler, after guidance: `(1, c, h, w)`.
    pub fn noise_pred(&self) -> &Tensor {
        &self.noise_pred
    }

    /// The levels of time that the U-Net is told, one for each step.
    pub fn timesteps(&self) -> &[f32] {
        &self.schedule.timesteps
    }
}

impl engine::Denoising for Denoising {
    type Latents = Latents;

    fn done(&self) -> u32 {
        self.done as u32
    }

    fn total(&self) -> u32 {
        self.schedule.steps() as u32
    }

    fn size_bytes(&self) -> u64 {
        let tensors =
            self.branches.iter().map(|branch| &branch.right).chain([&self.latents, &self.predicted, &self.noise_pred]);
        let tensors: u64 = tensors.map(|tensor| 4 * tensor.elem_count() as u64).sum();
        let adapters = self.adapters.as_ref().map_or(0, Adapters::size_bytes);
        let hold = self.hold.as_ref().map_or(0, Hold::size_bytes);
        adapters + hold + tensors + self.branches.iter().map(|branch| branch.conditioning.size_bytes()).sum::<u64>()
    }

    fn sigmas(&self) -> &[f32] {
        &self.schedule.sigmas[..self.schedule.steps()]
    }

    fn latents(&self) -> Latents {
        Latents::new(self.latents.clone())
    }

    fn predicted(&self) -> Latents {
        Latents::new(self.predicted.clone())
    }
}

/// Joins the branches: `u + g (c - u)` with two, `u + g (text - image) + g_i (image - u)` with three.
fn guide(halves: &[Tensor], guidance: Option<Guidance>) -> Result<Tensor> {
    match (halves, guidance) {
        ([only], _) => Ok(only.clone()),
        ([uncond, cond], Some(guidance)) => {
            let towards = (cond - uncond)?.affine(f64::from(guidance.guidance_scale), 0.0)?;
            Ok((uncond + towards)?)
        }
        ([uncond, image, text], Some(guidance)) => {
            let towards_text = (text - image)?.affine(f64::from(guidance.guidance_scale), 0.0)?;
            let towards_image = (image - uncond)?.affine(f64::from(guidance.image_guidance_scale), 0.0)?;
            Ok(((uncond + towards_text)? + towards_image)?)
        }
        _ => Err(Error::new(Reason::Internal, format!("no rule joins {} branches", halves.len())).into()),
    }
}
