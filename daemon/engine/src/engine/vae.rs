//! The VAE stage: pictures to latents and back, and the cheap preview. Keeps the latents of source pictures.

use easel_domain::engine::{self, StageControl, StageError, StageValue};
use easel_domain::{Error, KeptKind, Reason, Reused, RgbImage, Size};
use easel_imaging::{Filter, resize};

use super::Settings;
use super::residency::Resident;
use crate::checkpoint::Checkpoint;
use crate::error::{EngineError, Result};
use crate::kept::{Kept, KeptList, Key, PictureKey};
use crate::pass::Pass;
use crate::vae::{Projection, TinyVae, to_image, to_pixels};
use crate::values::Latents;

/// The tiny VAE with the map for its previews.
pub struct Vae {
    network: TinyVae,
    projection: Projection,
    image_latents: Kept<Source, Latents>,
    _resident: Resident,
}

/// What image latents depend on: the picture and the working size.
#[derive(Debug, PartialEq)]
struct Source(PictureKey, Size);

impl Key for Source {
    const KIND: KeptKind = KeptKind::ImageLatents;

    fn picture(&self) -> Option<PictureKey> {
        Some(self.0)
    }

    fn size(&self) -> Option<Size> {
        Some(self.1)
    }
}

impl Vae {
    pub(super) fn load(
        checkpoint: &Checkpoint,
        settings: &Settings,
        kept: &KeptList,
        resident: Resident,
        control: &StageControl,
    ) -> Result<Self> {
        let network = TinyVae::load(checkpoint, &settings.devices.vae)?;
        resident.set_bytes(network.resident_bytes());
        let projection = Projection::fit(&network, control)?;
        let image_latents = Kept::new(settings.keep.latents_bytes, kept);
        Ok(Self { network, projection, image_latents, _resident: resident })
    }

    fn encode_image(&mut self, image: &RgbImage, size: Size, control: &StageControl) -> Result<(Latents, Reused)> {
        let multiple = self.network.config().size_multiple();
        let size = Size { width: size.width / multiple * multiple, height: size.height / multiple * multiple };
        if size.pixels() == 0 {
            let what = format!("width and height must be at least {multiple} for an edit");
            return Err(Error::field(Reason::InvalidRequest, "spec.width", what).into());
        }
        let key = Source(PictureKey::of(image), size);
        if let Some(latents) = self.image_latents.get(&key) {
            return Ok((latents, Reused::All));
        }
        let resized = resize(image, size, Filter::Lanczos);
        let pixels = to_pixels(&resized, self.network.device())?;
        let latents = Latents::new(self.network.encode(&pixels, &mut Pass::new(control))?);
        self.image_latents.put(key, latents.clone(), latents.size_bytes());
        Ok((latents, Reused::Nothing))
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
    ) -> std::result::Result<(Latents, Reused), StageError> {
        Ok(self.encode_image(image, size, control)?)
    }

    fn decode(&mut self, latents: &Latents, control: &StageControl) -> std::result::Result<RgbImage, StageError> {
        Ok(self.decode_latents(latents, control)?)
    }

    fn project(&mut self, latents: &Latents) -> std::result::Result<RgbImage, StageError> {
        Ok(self.projection.project(latents.tensor())?)
    }
}
