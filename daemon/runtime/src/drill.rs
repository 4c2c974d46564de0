//! The drill engine: an engine without weights, for tests of everything around an engine and for authors of clients.
//! It takes the time that it is told to take, draws a real picture from prompt, seed and source, and fails on demand: as its
//! settings say, or with the reason that a prompt names as in `drill:QUEUE_FULL`.

mod networks;
mod picture;
mod script;
mod settings;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use easel_domain::engine::{DeviceKind, Engine, StageControl, StageError};
use easel_domain::{Error, KeptCache, ModelInfo, Pipeline, Reason, Size};

pub use networks::{DrillDenoiser, DrillDenoising, DrillEmbeds, DrillEncoder, DrillLatents, DrillVae};
pub use script::{DrillFault, DrillStage, Fault, Interval};

use networks::Network;
use script::Script;

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
    /// Time of one VAE strip, in both directions.
    pub vae_strip: Duration,
    /// Strips of the VAE, at least 1.
    pub vae_strips: u32,
    /// Native edge of the model in pixels, a multiple of 16.
    pub native_px: u32,
    /// Where the stages pretend to compute: encoder, denoiser, VAE.
    pub devices: [DeviceKind; 3],
    /// What goes wrong.
    pub faults: Vec<DrillFault>,
}

impl Default for DrillConfig {
    /// About a quarter of a second for a picture of four steps, without faults.
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            load: ms(20),
            encode_layer: ms(5),
            encode_layers: 8,
            denoise_step: ms(40),
            vae_strip: ms(10),
            vae_strips: 4,
            native_px: 256,
            devices: [DeviceKind::Cpu; 3],
            faults: Vec::new(),
        }
    }
}

/// An engine whose networks only pretend; see the module.
pub struct DrillEngine {
    script: Arc<Script>,
    models: Mutex<Vec<Known>>,
}

/// A model, and a count of its networks that are alive.
struct Known {
    info: ModelInfo,
    alive: Arc<()>,
}

impl DrillEngine {
    /// An engine with one model, `drill`.
    pub fn new(config: DrillConfig) -> Self {
        let known = Known { info: model_info("drill", config.native_px), alive: Arc::default() };
        Self { script: Arc::new(Script::new(config)), models: Mutex::new(vec![known]) }
    }

    /// When the stages computed and for which prompt, oldest first; the newest few thousand.
    pub fn intervals(&self) -> Vec<Interval> {
        self.script.intervals()
    }

    fn load(&self, model: &str, control: &StageControl) -> Result<Network, StageError> {
        let alive = self.models.lock().unwrap_or_else(PoisonError::into_inner).iter().find_map(|known| {
            let found = known.info.name == model;
            found.then(|| Arc::clone(&known.alive))
        });
        let Some(alive) = alive else {
            let message = format!("there is no model {model}");
            return Err(Error::new(Reason::ModelNotFound, message).about("model", model).into());
        };
        self.script.load(model, control)?;
        Ok(Network { script: Arc::clone(&self.script), _alive: alive })
    }
}

impl Engine for DrillEngine {
    type PromptEmbeds = DrillEmbeds;
    type Latents = DrillLatents;
    type Encoder = DrillEncoder;
    type Denoiser = DrillDenoiser;
    type Vae = DrillVae;

    fn models(&self) -> Vec<ModelInfo> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|known| known.info.clone()).collect()
    }

    fn add_model(&self, folder: &Path, name: &str) -> Result<ModelInfo, Error> {
        if !folder.is_dir() {
            let message = "the folder of the model does not exist or is no folder";
            return Err(Error::new(Reason::ModelInvalid, message).about("model", name));
        }
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if models.iter().any(|known| known.info.name == name) {
            return Err(Error::new(Reason::NameTaken, format!("there is a model {name} already")).about("model", name));
        }
        let model = model_info(name, self.script.config().native_px);
        models.push(Known { info: model.clone(), alive: Arc::default() });
        Ok(model)
    }

    fn load_encoder(&self, model: &str, control: &StageControl) -> Result<DrillEncoder, StageError> {
        Ok(DrillEncoder::new(self.load(model, control)?))
    }

    fn load_denoiser(&self, model: &str, control: &StageControl) -> Result<DrillDenoiser, StageError> {
        Ok(DrillDenoiser::new(self.load(model, control)?))
    }

    fn load_vae(&self, model: &str, control: &StageControl) -> Result<DrillVae, StageError> {
        Ok(DrillVae::new(self.load(model, control)?))
    }

    /// The networks have no weights; what they hold is a handful of bytes each.
    fn resident_bytes(&self, model: &str) -> u64 {
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let alive =
            models.iter().find(|known| known.info.name == model).map_or(0, |known| Arc::strong_count(&known.alive) - 1);
        (alive * size_of::<Network>()) as u64
    }

    fn kept(&self) -> Vec<KeptCache> {
        Vec::new()
    }

    fn clear_kept(&self, _model: Option<&str>) -> u64 {
        0
    }

    fn devices(&self) -> [DeviceKind; 3] {
        self.script.config().devices
    }
}

fn model_info(name: &str, native_px: u32) -> ModelInfo {
    ModelInfo {
        name: name.to_owned(),
        description: "draws gradients without any network, to try clients and the daemon itself".to_owned(),
        demonstration: true,
        license: "MIT OR Apache-2.0".to_owned(),
        pipeline: Pipeline::Mobile,
        native: Size { width: native_px, height: native_px },
        min_edge_px: 64,
        max_edge_px: 2048,
        default_steps: 4,
        guidance: None,
        parameters: 0,
        file_bytes: 0,
        loaded_bytes: (3 * size_of::<Network>()) as u64,
        precisions: easel_domain::Precisions::default(),
        weights_sha256: None,
        fallback_layers: Vec::new(),
    }
}
