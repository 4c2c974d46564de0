//! What the handle asks the engine itself, without its type.

use std::path::Path;

use easel_domain::engine::{DeviceKind, Engine};
use easel_domain::{BlobHash, Error, KeptCache, LoraBytes, LoraInfo, LoraSource, ModelInfo, Plan};

/// The parts of an engine that do not depend on its types.
pub(crate) trait Catalogue: Send + Sync {
    fn models(&self) -> Vec<ModelInfo>;
    fn add_model(&self, folder: &Path, name: &str) -> Result<ModelInfo, Error>;
    fn resident_bytes(&self, model: &str) -> u64;
    fn kept(&self) -> Vec<KeptCache>;
    fn clear_kept(&self, model: Option<&str>) -> u64;
    fn loras(&self) -> Result<Vec<LoraInfo>, Error>;
    fn find_lora(&self, name: &str) -> Result<(BlobHash, LoraBytes), Error>;
    fn check_lora(&self, model: &str, lora: &LoraSource) -> Result<(), Error>;
    fn weights_sha256(&self, model: &str) -> Option<BlobHash>;
    fn devices(&self) -> [DeviceKind; 3];
    fn peak_bytes(&self, plan: &Plan) -> u64;
}

impl<E: Engine> Catalogue for E {
    fn models(&self) -> Vec<ModelInfo> {
        Engine::models(self)
    }

    fn add_model(&self, folder: &Path, name: &str) -> Result<ModelInfo, Error> {
        Engine::add_model(self, folder, name)
    }

    fn resident_bytes(&self, model: &str) -> u64 {
        Engine::resident_bytes(self, model)
    }

    fn kept(&self) -> Vec<KeptCache> {
        Engine::kept(self)
    }

    fn clear_kept(&self, model: Option<&str>) -> u64 {
        Engine::clear_kept(self, model)
    }

    fn loras(&self) -> Result<Vec<LoraInfo>, Error> {
        Engine::loras(self)
    }

    fn find_lora(&self, name: &str) -> Result<(BlobHash, LoraBytes), Error> {
        Engine::find_lora(self, name)
    }

    fn check_lora(&self, model: &str, lora: &LoraSource) -> Result<(), Error> {
        Engine::check_lora(self, model, lora)
    }

    fn weights_sha256(&self, model: &str) -> Option<BlobHash> {
        Engine::weights_sha256(self, model)
    }

    fn devices(&self) -> [DeviceKind; 3] {
        Engine::devices(self)
    }

    fn peak_bytes(&self, plan: &Plan) -> u64 {
        Engine::peak_bytes(self, plan)
    }
}
