//! FlowMatchEuler: the noise levels of a picture and the step from one to the next.
//! Source: diffusers `schedulers/scheduling_flow_match_euler_discrete.py` and `calculate_shift` of the DreamLite pipelines;
//! the arithmetic is f32 where numpy's is.

use candle_core::Tensor;
use easel_domain::{Error, Reason, Size};
use serde::Deserialize;

use crate::checkpoint::Checkpoint;
use crate::error::{LoadError, Result};

const FILE: &str = "scheduler/scheduler_config.json";

/// `scheduler_config.json`, with diffusers' defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
struct Config {
    num_train_timesteps: u32,
    shift: f64,
    use_dynamic_shifting: bool,
    base_shift: f64,
    max_shift: f64,
    base_image_seq_len: u32,
    max_image_seq_len: u32,
    invert_sigmas: bool,
    shift_terminal: Option<f64>,
    use_karras_sigmas: bool,
    use_exponential_sigmas: bool,
    use_beta_sigmas: bool,
    time_shift_type: TimeShift,
    stochastic_sampling: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TimeShift {
    Exponential,
    Linear,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            shift: 1.0,
            use_dynamic_shifting: false,
            base_shift: 0.5,
            max_shift: 1.15,
            base_image_seq_len: 256,
            max_image_seq_len: 4096,
            invert_sigmas: false,
            shift_terminal: None,
            use_karras_sigmas: false,
            use_exponential_sigmas: false,
            use_beta_sigmas: false,
            time_shift_type: TimeShift::Exponential,
            stochastic_sampling: false,
        }
    }
}

/// The scheduler of a checkpoint.
#[derive(Clone, Debug)]
pub struct FlowMatchEuler {
    config: Config,
}

/// The noise levels of one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Noise levels, one for each step and a final 0.
    pub sigmas: Vec<f32>,
    /// What the U-Net is told at each step: sigma times the number of training steps.
    pub timesteps: Vec<f32>,
}

impl FlowMatchEuler {
    /// Reads the configuration of a checkpoint. Fails on variants that no DreamLite checkpoint uses.
    pub fn load(checkpoint: &Checkpoint) -> std::result::Result<Self, LoadError> {
        let config: Config = checkpoint.json(FILE)?;
        let unknown = [
            ("invert_sigmas", config.invert_sigmas),
            ("use_karras_sigmas", config.use_karras_sigmas),
            ("use_exponential_sigmas", config.use_exponential_sigmas),
            ("use_beta_sigmas", config.use_beta_sigmas),
            ("stochastic_sampling", config.stochastic_sampling),
        ];
        if let Some((name, _)) = unknown.iter().find(|(_, set)| *set) {
            return Err(LoadError::config(FILE, format!("{name} is not supported; set it to false")));
        }
        if config.max_image_seq_len == config.base_image_seq_len {
            return Err(LoadError::config(FILE, "base_image_seq_len and max_image_seq_len must differ"));
        }
        Ok(Self { config })
    }

    /// How far the noise levels of a picture are shifted: linear in the number of 2x2 latent patches of the target.
    /// `latent` is the size in latent positions.
    pub fn mu(&self, latent: Size) -> f64 {
        let c = &self.config;
        let slope = (c.max_shift - c.base_shift) / (f64::from(c.max_image_seq_len) - f64::from(c.base_image_seq_len));
        let offset = c.base_shift - slope * f64::from(c.base_image_seq_len);
        (latent.pixels() / 4) as f64 * slope + offset
    }

    /// The noise levels for `steps` steps, or for `sigmas` before shifting when they are not empty. `latent` is the size in
    /// latent positions. Fails with `InvalidRequest` when they are not finite, which the reference makes of a single step
    /// with `shift_terminal`.
    pub fn schedule(&self, latent: Size, steps: u32, sigmas: &[f32]) -> Result<Schedule> {
        let schedule = self.schedule_unchecked(latent, steps, sigmas);
        if schedule.timesteps.is_empty() {
            return Err(Error::field(Reason::InvalidRequest, "spec.num_inference_steps", "must be at least 1").into());
        }
        if schedule.sigmas.iter().all(|sigma| sigma.is_finite()) {
            return Ok(schedule);
        }
        let (field, what) = if sigmas.is_empty() {
            ("spec.num_inference_steps", "this model's schedule ends above zero noise and needs at least 2 steps")
        } else {
            (
                "spec.sigmas",
                "these noise levels give a schedule that is not finite; they must lie between 0 and 1 and not all be 1",
            )
        };
        Err(Error::field(Reason::InvalidRequest, field, what).into())
    }

    /// As [`schedule`](Self::schedule), with the values that the reference computes even where they are not finite.
    pub fn schedule_unchecked(&self, latent: Size, steps: u32, sigmas: &[f32]) -> Schedule {
        let mut sigmas = if sigmas.is_empty() { linspace(steps) } else { sigmas.to_vec() };
        self.shift(&mut sigmas, self.mu(latent));
        if let (Some(terminal), Some(last)) = (self.config.shift_terminal.filter(|t| *t != 0.0), sigmas.last()) {
            let scale = (1.0 - last) / (1.0 - terminal) as f32;
            sigmas.iter_mut().for_each(|sigma| *sigma = 1.0 - (1.0 - *sigma) / scale);
        }
        let timesteps = sigmas.iter().map(|sigma| sigma * self.config.num_train_timesteps as f32).collect();
        sigmas.push(0.0);
        Schedule { sigmas, timesteps }
    }

    fn shift(&self, sigmas: &mut [f32], mu: f64) {
        if !self.config.use_dynamic_shifting {
            let shift = self.config.shift;
            let (factor, less) = (shift as f32, (shift - 1.0) as f32);
            sigmas.iter_mut().for_each(|sigma| *sigma = factor * *sigma / (1.0 + less * *sigma));
            return;
        }
        let strength = match self.config.time_shift_type {
            TimeShift::Exponential => mu.exp() as f32,
            TimeShift::Linear => mu as f32,
        };
        sigmas.iter_mut().for_each(|sigma| *sigma = strength / (strength + (1.0 / *sigma - 1.0)));
    }
}

impl Schedule {
    /// Number of steps.
    pub fn steps(&self) -> usize {
        self.timesteps.len()
    }

    /// The latents after step `index`: `x + (sigma' - sigma) * v`.
    pub fn step(&self, index: usize, noise_pred: &Tensor, latents: &Tensor) -> Result<Tensor> {
        let dt = self.sigmas[index + 1] - self.sigmas[index];
        Ok((latents + noise_pred.affine(f64::from(dt), 0.0)?)?)
    }

    /// The clean latents that step `index` predicts from its input: `x - sigma * v`.
    pub fn clean(&self, index: usize, noise_pred: &Tensor, latents: &Tensor) -> Result<Tensor> {
        Ok((latents - noise_pred.affine(f64::from(self.sigmas[index]), 0.0)?)?)
    }
}

/// `numpy.linspace(1, 1 / steps, steps)` in f64, rounded to f32.
fn linspace(steps: u32) -> Vec<f32> {
    let stop = 1.0 / f64::from(steps.max(1));
    let width = (stop - 1.0) / f64::from(steps.saturating_sub(1).max(1));
    (0..steps).map(|i| if i + 1 == steps && steps > 1 { stop } else { f64::from(i) * width + 1.0 } as f32).collect()
}
