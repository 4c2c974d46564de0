//! The VAE stage: pictures to latents and back, and the cheap preview. Keeps the latents of source pictures.

use easel_domain::engine::{self, StageControl, StageError, StageValue};
use easel_domain::{Error, Reason, RgbImage, Size};
use easel_imaging::{Filter, resize};

use super::Settings;
use super::residency::Resident;
use crate::checkpoint::Checkpoint;
use crate::error::{EngineError, Result};
use crate::kept::{Kept, PictureKey};
use crate::pass::Pass;
use crate::vae::{Projection, TinyVae, to_image, to_pixels};
use crate::values::Latents;

/// The tiny VAE with the map for its previews.
pub struct Vae {
    network: TinyVae,
    projection: Projection,
    /// Latents by source and working size.
    image_latents: Kept<(PictureKey, Size), Latents>,
    _resident: Resident,
}

impl Vae {
    pub(super) fn load(
        checkpoint: &Checkpoint,
        settings: &Settings,
        resident: Resident,
        control: &StageControl,
    ) -> Result<Self> {
        let network = TinyVae::load(checkpoint, &settings.devices.vae)?;
        resident.set_bytes(network.resident_bytes());
        let projection = Projection::fit(&network, control)?;
        let image_latents = Kept::new(settings.keep.latents_bytes);
        Ok(Self { network, projection, image_latents, _resident: resident })
    }

    fn encode_image(&mut self, image: &RgbImage, size: Size, control: &StageControl) -> Result<Latents> {
        let multiple = self.network.config().size_multiple();
        let size = Size { width: size.width / multiple * multiple, height: size.height / multiple * multiple };
        if size.pixels() == 0 {
            let what = format!("width and height must be at least {multiple} for an edit");
            return Err(Error::field(Reason::InvalidRequest, "spec.width", what).into());
        }
        let key = (PictureKey::of(image), size);
        if let Some(latents) = self.image_latents.get(&key) {
            return Ok(latents);
        }
        let resized = resize(image, size, Filter::Lanczos);
        let pixels = to_pixels(&resized, self.network.device())?;
        let latents = Latents::new(self.network.encode(&pixels, &mut Pass::new(control))?);
        self.image_latents.put(key, latents.clone(), latents.size_bytes());
        Ok(latents)
    }

    fn decode_latents(&self, latents: &Latents, control: &StageControl) -> Result<RgbImage> {
        let latents = latents.tensor().to_device(self.network.device())?;
        if !latents.sum_all()?.to_scalar::<f32>()?.is_finite() {
            return Err(EngineError::NotFinite("the latents"));
        }
        to_image(&self.network.decode(&self.network.unscale(&latents)?, &mut Pass::new(control))?)
    }
}

impl engine::Vae for Vae {
    type Latents = Latents;

    fn encode(
        &mut self,
        image: &RgbImage,
        size: Size,
        control: &StageControl,
    ) -> std::result::Result<Latents, StageError> {
        Ok(self.encode_image(image, size, control)?)
    }

    fn decode(&mut self, latents: &Latents, control: &StageControl) -> std::result::Result<RgbImage, StageError> {
        Ok(self.decode_latents(latents, control)?)
    }

    fn project(&mut self, latents: &Latents) -> std::result::Result<RgbImage, StageError> {
        Ok(self.projection.project(latents.tensor())?)
    }
}
