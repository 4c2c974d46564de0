//! What the dispatcher holds for a generation that has not ended: its values between the stages.

use std::collections::HashMap;
use std::sync::Arc;

use easel_domain::engine::{DenoiseSpec, Denoiser, EncodeSpec, Engine};
use easel_domain::{LoraSource, Plan, PreviewPolicy, RgbImage};
use tracing::Span;

use super::{Source, SourceBlob};
use crate::actor::worker::Finished;
use crate::actor::{DenoiserTask, EncoderTask, VaeTask};
use crate::hub::Hub;
use crate::pixels::Edited;
use crate::scheduler::{Command, Work};
use crate::stop::StopToken;

type DenoisingOf<E> = <<E as Engine>::Denoiser as Denoiser>::Denoising;

/// Dropped as a whole when the generation ends.
pub(super) struct Job<E: Engine> {
    pub(super) hub: Arc<Hub>,
    pub(super) stop: StopToken,
    pub(super) plan: Arc<Plan>,
    pub(super) previews: Option<PreviewPolicy>,
    pub(super) span: Span,
    /// Until both encoders have seen it.
    pub(super) source: Option<RgbImage>,
    /// The files of its LoRAs.
    pub(super) loras: Vec<LoraSource>,
    /// The canvas of a selection, to the end.
    pub(super) edited: Option<Arc<Edited>>,
    /// What the denoiser may redraw.
    mask: Option<Arc<[f32]>>,
    /// The files of the source, that of the picture first; they are kept in memory.
    blobs: Vec<SourceBlob>,
    /// Counts the runs of the generation, this one included.
    pub(super) run: u32,
    pub(super) embeds: Option<E::PromptEmbeds>,
    /// Of the source, or of each of its tiles.
    pub(super) image_latents: Vec<E::Latents>,
    /// Between two steps; while a step runs it is with the denoiser.
    denoising: Option<DenoisingOf<E>>,
    /// Denoised pictures that wait for the VAE.
    latents: HashMap<u32, E::Latents>,
    /// Decoded pictures that wait for the pixel pool.
    pub(super) pictures: HashMap<u32, RgbImage>,
    /// The preview slot: one frame, the newest wins.
    preview: Option<E::Latents>,
    pub(super) preview_picture: Option<RgbImage>,
}

impl<E: Engine> Job<E> {
    pub(super) fn new(
        (hub, stop, span): (Arc<Hub>, StopToken, Span),
        plan: Arc<Plan>,
        (previews, run): (Option<PreviewPolicy>, u32),
        source: Option<Source>,
    ) -> Self {
        let (source, edited, mask, blobs) = source.map_or((None, None, None, Vec::new()), |source| {
            (Some(source.picture), source.edited, source.mask, source.blobs)
        });
        Self {
            hub,
            stop,
            plan,
            previews,
            span,
            source,
            loras: Vec::new(),
            edited,
            mask,
            blobs,
            run,
            embeds: None,
            image_latents: Vec::new(),
            denoising: None,
            latents: HashMap::new(),
            pictures: HashMap::new(),
            preview: None,
            preview_picture: None,
        }
    }

    /// The files of the source, that of the picture first.
    pub(super) fn source_blobs(&self) -> Vec<SourceBlob> {
        self.blobs.clone()
    }

    pub(super) fn encode_task(&self) -> EncoderTask {
        let spec = EncodeSpec {
            mode: self.plan.mode,
            prompt: self.plan.prompt.clone(),
            negative_prompt: self.plan.negative_prompt.clone(),
            image: self.source.clone(),
        };
        EncoderTask { spec, prepare: self.plan.is_preparation() }
    }

    /// `None` when a value that the work needs is not there.
    pub(super) fn denoiser_task(&mut self, image: u32, preview: bool) -> Option<DenoiserTask<E>> {
        Some(DenoiserTask {
            state: self.denoising.take(),
            spec: DenoiseSpec {
                loras: self.loras.clone(),
                mask: self.mask.clone(),
                ..self.plan.denoise_spec(self.plan.pass(image).0)
            },
            prompt_embeds: self.embeds.clone()?,
            image_latents: self.image_latents.get(self.plan.pass(image).1 as usize).cloned(),
            preview,
        })
    }

    /// `None` when a value that the work needs is not there.
    pub(super) fn vae_task(&mut self, work: Work) -> Option<VaeTask<E::Latents>> {
        Some(match work {
            Work::EncodeImage => {
                let parts = self.plan.tiles.as_ref().map_or_else(Vec::new, |tiles| tiles.rects().collect());
                VaeTask::Encode { image: self.source.clone()?, parts, size: self.plan.working }
            }
            Work::Decode { image } => {
                let part = self.plan.tiles.is_some() || self.plan.selection.is_some();
                VaeTask::Decode { latents: self.latents.remove(&image)?, part }
            }
            Work::Preview { kind, .. } => VaeTask::Preview { latents: self.preview.take()?, kind },
            _ => return None,
        })
    }

    /// Takes what a step has made.
    pub(super) fn stepped(
        &mut self,
        work: Work,
        state: DenoisingOf<E>,
        preview: Option<E::Latents>,
        latents: Option<E::Latents>,
    ) {
        let Work::Step { image, .. } = work else { return };
        if let Some(latents) = latents {
            self.latents.insert(image, latents);
            self.preview = None;
        } else {
            self.denoising = Some(state);
            self.preview = preview.or(self.preview.take());
        }
    }

    /// The decoded tiles of a picture, or the picture itself; `None` when one is missing.
    pub(super) fn take_pictures(&mut self, image: u32) -> Option<Vec<RgbImage>> {
        let tiles = self.plan.tiles_per_image();
        (image * tiles..(image + 1) * tiles).map(|pass| self.pictures.remove(&pass)).collect()
    }

    /// Takes a picture from the VAE.
    pub(super) fn decoded(&mut self, work: Work, picture: RgbImage) {
        match work {
            Work::Decode { image } => {
                self.pictures.insert(image, picture);
            }
            _ => self.preview_picture = Some(picture),
        }
    }
}

/// What the core is told of work that is over; its output has been taken.
pub(super) fn done<O>(finished: Finished<O>) -> Command {
    let Finished { key, work, outcome, took, still_busy, .. } = finished;
    Command::Done { key, work, outcome, took, still_busy }
}
