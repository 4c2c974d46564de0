//! An engine that writes down which models were added to it, and is the engine that it wraps in everything else.

use std::path::Path;

use easel_domain::engine::{DeviceKind, Engine, StageControl, StageError};
use easel_domain::{BlobHash, Error, KeptCache, LoraBytes, LoraInfo, LoraSource, ModelInfo, Plan, Reason};

use super::models_file::ModelsFile;

/// An engine and the file in which its added models are remembered.
pub(super) struct Remembering<E> {
    engine: E,
    file: ModelsFile,
}

impl<E> Remembering<E> {
    /// Wraps an engine.
    pub(super) fn new(engine: E, file: ModelsFile) -> Self {
        Self { engine, file }
    }
}

impl<E: Engine> Engine for Remembering<E> {
    type PromptEmbeds = E::PromptEmbeds;
    type Latents = E::Latents;
    type Encoder = E::Encoder;
    type Denoiser = E::Denoiser;
    type Vae = E::Vae;

    fn models(&self) -> Vec<ModelInfo> {
        self.engine.models()
    }

    /// Fails with `Internal` when the model was added but cannot be remembered: it is there until the daemon ends.
    fn add_model(&self, folder: &Path, name: &str) -> Result<ModelInfo, Error> {
        let info = self.engine.add_model(folder, name)?;
        self.file.remember(&info.name, folder).map_err(|failure| {
            let message =
                format!("{name} can be used until the daemon ends, but is not remembered: {}", failure.message);
            Error::new(Reason::Internal, message).about("model", name)
        })?;
        Ok(info)
    }

    fn load_encoder(&self, model: &str, control: &StageControl) -> Result<Self::Encoder, StageError> {
        self.engine.load_encoder(model, control)
    }

    fn load_denoiser(&self, model: &str, control: &StageControl) -> Result<Self::Denoiser, StageError> {
        self.engine.load_denoiser(model, control)
    }

    fn load_vae(&self, model: &str, control: &StageControl) -> Result<Self::Vae, StageError> {
        self.engine.load_vae(model, control)
    }

    fn resident_bytes(&self, model: &str) -> u64 {
        self.engine.resident_bytes(model)
    }

    fn peak_bytes(&self, plan: &Plan) -> u64 {
        self.engine.peak_bytes(plan)
    }

    fn kept(&self) -> Vec<KeptCache> {
        self.engine.kept()
    }

    fn clear_kept(&self, model: Option<&str>) -> u64 {
        self.engine.clear_kept(model)
    }

    fn loras(&self) -> Result<Vec<LoraInfo>, Error> {
        self.engine.loras()
    }

    fn find_lora(&self, name: &str) -> Result<(BlobHash, LoraBytes), Error> {
        self.engine.find_lora(name)
    }

    fn check_lora(&self, model: &str, lora: &LoraSource) -> Result<(), Error> {
        self.engine.check_lora(model, lora)
    }

    fn weights_sha256(&self, model: &str) -> Option<BlobHash> {
        self.engine.weights_sha256(model)
    }

    fn devices(&self) -> [DeviceKind; 3] {
        self.engine.devices()
    }
}
