//! The three kinds of actors: what each network is given, what it makes, and how it is read.

use std::marker::PhantomData;

use easel_domain::engine::{
    DenoiseSpec, Denoiser, Denoising, EncodeSpec, Encoder, Engine, StageControl, StageError, StageValue, Vae,
};
use easel_domain::{Error, PreviewKind, Reason, Rect, Reused, RgbImage, Size};

use super::worker::{Finished, Report};
use crate::pixels;
use crate::scheduler::{ActorKind, Outcome};

/// A kind of actor for an engine.
pub(crate) trait Kind<E: Engine>: Send + 'static {
    /// What it owns, one for each model.
    type Network: Send;
    /// What it is given.
    type Task: Send + 'static;
    /// What it makes.
    type Output: Send + 'static;

    /// Which of the three.
    const KIND: ActorKind;

    /// Reads a network.
    fn load(engine: &E, model: &str, control: &StageControl) -> Result<Self::Network, StageError>;

    /// Does a piece of work.
    fn run(network: &mut Self::Network, task: Self::Task, control: &StageControl) -> Result<Self::Output, StageError>;

    /// What the dispatcher's core is told about it.
    fn outcome(output: &Self::Output) -> Outcome;

    /// The way of the output to the dispatcher's table.
    fn report(finished: Finished<Self::Output>) -> Report<E>;
}

/// A prompt to read.
pub(crate) struct EncoderTask {
    pub(crate) spec: EncodeSpec,
    /// Only read it for later.
    pub(crate) prepare: bool,
}

pub(crate) struct EncoderOutput<E: Engine> {
    /// `None` after a preparation.
    pub(crate) embeds: Option<E::PromptEmbeds>,
    reused: Reused,
}

pub(crate) struct EncoderKind<E>(PhantomData<fn() -> E>);

impl<E: Engine> Kind<E> for EncoderKind<E> {
    type Network = E::Encoder;
    type Task = EncoderTask;
    type Output = EncoderOutput<E>;

    const KIND: ActorKind = ActorKind::Encoder;

    fn load(engine: &E, model: &str, control: &StageControl) -> Result<E::Encoder, StageError> {
        engine.load_encoder(model, control)
    }

    fn run(
        network: &mut E::Encoder,
        task: EncoderTask,
        control: &StageControl,
    ) -> Result<EncoderOutput<E>, StageError> {
        if task.prepare {
            return Ok(EncoderOutput { embeds: None, reused: network.prepare(&task.spec, control)? });
        }
        let (embeds, reused) = network.encode(&task.spec, control)?;
        Ok(EncoderOutput { embeds: Some(embeds), reused })
    }

    fn outcome(output: &EncoderOutput<E>) -> Outcome {
        let bytes = output.embeds.as_ref().map_or(0, StageValue::size_bytes);
        Outcome::Value { bytes, reused: output.reused }
    }

    fn report(finished: Finished<EncoderOutput<E>>) -> Report<E> {
        Report::Encoder(Box::new(finished))
    }
}

type DenoisingOf<E> = <<E as Engine>::Denoiser as Denoiser>::Denoising;

/// One step. The state travels with the job, so that the denoiser can do another job's step next.
pub(crate) struct DenoiserTask<E: Engine> {
    /// `None`: begin.
    pub(crate) state: Option<DenoisingOf<E>>,
    pub(crate) spec: DenoiseSpec,
    pub(crate) prompt_embeds: E::PromptEmbeds,
    pub(crate) image_latents: Option<E::Latents>,
    /// Also predict the clean latents.
    pub(crate) preview: bool,
}

pub(crate) struct DenoiserOutput<E: Engine> {
    pub(crate) state: DenoisingOf<E>,
    pub(crate) preview: Option<E::Latents>,
    /// After the last step.
    pub(crate) latents: Option<E::Latents>,
}

pub(crate) struct DenoiserKind<E>(PhantomData<fn() -> E>);

impl<E: Engine> Kind<E> for DenoiserKind<E> {
    type Network = E::Denoiser;
    type Task = DenoiserTask<E>;
    type Output = DenoiserOutput<E>;

    const KIND: ActorKind = ActorKind::Denoiser;

    fn load(engine: &E, model: &str, control: &StageControl) -> Result<E::Denoiser, StageError> {
        engine.load_denoiser(model, control)
    }

    fn run(
        network: &mut E::Denoiser,
        task: DenoiserTask<E>,
        control: &StageControl,
    ) -> Result<DenoiserOutput<E>, StageError> {
        control.checkpoint()?;
        let mut state = match task.state {
            Some(state) => state,
            None => network.begin(&task.spec, &task.prompt_embeds, task.image_latents.as_ref())?,
        };
        network.step(&mut state, control)?;
        let preview = task.preview.then(|| state.predicted());
        let latents = (state.done() >= state.total()).then(|| state.latents());
        Ok(DenoiserOutput { state, preview, latents })
    }

    fn outcome(output: &DenoiserOutput<E>) -> Outcome {
        Outcome::Stepped {
            done: output.state.done(),
            total: output.state.total(),
            bytes: output.state.size_bytes(),
            latents_bytes: output.latents.as_ref().map_or(0, StageValue::size_bytes),
        }
    }

    fn report(finished: Finished<DenoiserOutput<E>>) -> Report<E> {
        Report::Denoiser(Box::new(finished))
    }
}

pub(crate) enum VaeTask<L> {
    /// The source as a whole, or each of its parts.
    Encode {
        image: RgbImage,
        parts: Vec<Rect>,
        size: Size,
    },
    /// `part`: what comes out is a part of a picture, which may be of one colour.
    Decode {
        latents: L,
        part: bool,
    },
    Preview {
        latents: L,
        kind: PreviewKind,
    },
}

pub(crate) enum VaeOutput<L> {
    /// Of the source or of each of its parts.
    Latents(Vec<L>, Reused),
    Picture(RgbImage),
}

pub(crate) struct VaeKind<E>(PhantomData<fn() -> E>);

impl<E: Engine> Kind<E> for VaeKind<E> {
    type Network = E::Vae;
    type Task = VaeTask<E::Latents>;
    type Output = VaeOutput<E::Latents>;

    const KIND: ActorKind = ActorKind::Vae;

    fn load(engine: &E, model: &str, control: &StageControl) -> Result<E::Vae, StageError> {
        engine.load_vae(model, control)
    }

    fn run(
        network: &mut E::Vae,
        task: VaeTask<E::Latents>,
        control: &StageControl,
    ) -> Result<VaeOutput<E::Latents>, StageError> {
        control.checkpoint()?;
        Ok(match task {
            VaeTask::Encode { image, parts, size } if parts.is_empty() => {
                let (latents, reused) = network.encode(&image, size, control)?;
                VaeOutput::Latents(vec![latents], reused)
            }
            VaeTask::Encode { image, parts, size } => {
                let mut all = Vec::with_capacity(parts.len());
                for part in parts {
                    control.checkpoint()?;
                    all.push(network.encode(&pixels::part(&image, part)?, size, control)?.0);
                }
                VaeOutput::Latents(all, Reused::Nothing)
            }
            VaeTask::Decode { latents, part } => {
                let picture = network.decode(&latents, control)?;
                if !part && is_of_one_colour(&picture) {
                    let message = "the picture has one colour only, which is what a broken device makes";
                    return Err(Error::new(Reason::EngineFault, message).into());
                }
                VaeOutput::Picture(picture)
            }
            VaeTask::Preview { latents, kind: PreviewKind::Decoded } => {
                VaeOutput::Picture(network.decode(&latents, control)?)
            }
            VaeTask::Preview { latents, kind: PreviewKind::Projection } => {
                VaeOutput::Picture(network.project(&latents)?)
            }
        })
    }

    fn outcome(output: &VaeOutput<E::Latents>) -> Outcome {
        match output {
            VaeOutput::Latents(latents, reused) => {
                let bytes = latents.iter().map(StageValue::size_bytes).sum();
                Outcome::Value { bytes, reused: *reused }
            }
            VaeOutput::Picture(picture) => {
                Outcome::Value { bytes: picture.pixels().len() as u64, reused: Reused::Nothing }
            }
        }
    }

    fn report(finished: Finished<VaeOutput<E::Latents>>) -> Report<E> {
        Report::Vae(Box::new(finished))
    }
}

/// True when every pixel is the same, and no channel at an end of the range: no network draws that, but a broken device gives
/// zeros everywhere, which is grey. At an end many values become one, so that plain white is a picture.
fn is_of_one_colour(picture: &RgbImage) -> bool {
    let mut pixels = picture.pixels().chunks_exact(3);
    let Some(first) = pixels.next() else { return false };
    first.iter().all(|value| (1..255).contains(value)) && pixels.all(|pixel| pixel == first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_other_pixel_makes_a_picture() {
        let mut pixels = vec![7; 4 * 4 * 3];
        let picture = |pixels: &[u8]| RgbImage::new(4, 4, pixels).expect("the sides fit the bytes");
        assert!(is_of_one_colour(&picture(&pixels)));
        pixels[20] = 8;
        assert!(!is_of_one_colour(&picture(&pixels)));
        assert!(!is_of_one_colour(&picture(&[255; 48])), "plain white is a picture");
    }
}
