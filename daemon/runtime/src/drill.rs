//! The drill engine: an engine without weights, for tests of everything around an engine and for authors of clients.
//! It takes the time that it is told to take, draws a real picture from prompt, seed and source, and fails on demand.

use std::sync::Arc;
use std::time::Duration;

use easel_domain::engine::DeviceKind;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The stage returns `EngineFault`.
    Error,
    /// The stage panics.
    Panic,
    /// The values are not finite; the VAE finds out.
    Nan,
    /// The stage stops answering for ever: no checkpoint, no return.
    Freeze,
}

/// Where something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrillStage {
    /// Reading the networks.
    Load,
    /// The encoder.
    Encode,
    /// The VAE's encoder.
    EncodeImage,
    /// The denoiser.
    Denoise,
    /// The VAE's decoder.
    Decode,
}

/// A fault to inject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrillFault {
    /// Where.
    pub stage: DrillStage,
    /// At which part of the stage, from 1: layer, step or strip.
    pub part: u32,
    /// What.
    pub fault: Fault,
    /// How often, then never again; `None`: every time.
    pub times: Option<u32>,
    /// Only for prompts that contain this text; `None`: for all.
    pub prompt_contains: Option<String>,
}

/// Timings and faults of a [`DrillEngine`].
#[derive(Clone, Debug)]
pub struct DrillConfig {
    /// Time of reading each network.
    pub load: Duration,
    /// Time of one encoder layer.
    pub encode_layer: Duration,
    /// Layers of the encoder, at least 1.
    pub encode_layers: u32,
    /// Time of one denoiser step.
    pub denoise_step: Duration,
    /// Time of one VAE strip.
    pub vae_strip: Duration,
    /// Strips of the VAE, at least 1.
    pub vae_strips: u32,
    /// Where the stages pretend to compute.
    pub devices: [DeviceKind; 3],
    /// What goes wrong.
    pub faults: Vec<DrillFault>,
}

impl Default for DrillConfig {
    /// About a quarter of a second for a picture of four steps.
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            load: ms(20),
            encode_layer: ms(5),
            encode_layers: 8,
            denoise_step: ms(40),
            vae_strip: ms(10),
            vae_strips: 4,
            devices: [DeviceKind::Cpu; 3],
            faults: Vec::new(),
        }
    }
}

/// See the module.
pub struct DrillEngine {
    config: Arc<DrillConfig>,
}

impl DrillEngine {
    /// An engine with one model, `drill`.
    pub fn new(config: DrillConfig) -> Self {
        Self { config: Arc::new(config) }
    }

    /// Its settings.
    pub fn config(&self) -> &DrillConfig {
        &self.config
    }
}
