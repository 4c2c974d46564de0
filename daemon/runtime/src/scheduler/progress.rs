//! What comes back from the actors and the pixel pool, and what it makes possible.

use std::sync::Arc;

use easel_domain::event::{Event, EventKind, Stage};

use super::Core;
use super::command::{Effect, JobKey, Now, Outcome, Took, Work, stage_of};
use super::generation::{Generation, Once};

impl Core {
    /// Numbers an event of a generation and publishes it.
    pub(super) fn emit(generation: &mut Generation, kind: EventKind, now: Now, fx: &mut Vec<Effect>) {
        generation.sequence += 1;
        let event = Arc::new(Event { sequence: generation.sequence, time: now.wall, kind });
        fx.push(Effect::Publish { key: generation.key, event, snapshot: Box::new(generation.snapshot(None, None)) });
    }

    /// A stage moves on.
    pub(super) fn moved(&mut self, key: JobKey, work: Work, (done, total): (u32, u32), now: Now, fx: &mut Vec<Effect>) {
        let Some(generation) = self.active.get_mut(&key) else { return };
        if !generation.stopping() {
            let progress = generation.moved(work, done, total);
            Self::emit(generation, EventKind::Progress(progress), now, fx);
        }
    }

    /// Work has come back.
    pub(super) fn done(
        &mut self,
        key: JobKey,
        work: Work,
        (outcome, took): (Outcome, Took),
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        let Some(generation) = self.active.get_mut(&key) else { return };
        generation.returned(work, took);
        match outcome {
            Outcome::Interrupted(interrupt) => {
                // A sibling of a failed stage comes back as interrupted too; the failure stays the reason then.
                if generation.failure.is_none() {
                    generation.stop.get_or_insert(interrupt);
                }
            }
            Outcome::Failed(_) if matches!(work, Work::ShowPreview { .. }) => generation.preview_running = false,
            Outcome::Failed(error) => {
                if generation.failure.is_none() {
                    generation.failure = Some(error);
                    // Its other stages stop at their next checkpoint.
                    let interrupt = easel_domain::engine::Interrupt::Cancelled;
                    fx.push(Effect::Interrupt { key, interrupt });
                }
            }
            _ if generation.stopping() => {}
            outcome => self.advance(key, work, outcome, now, fx),
        }
        self.settle(key, now, fx);
    }

    fn advance(&mut self, key: JobKey, work: Work, outcome: Outcome, now: Now, fx: &mut Vec<Effect>) {
        let Some(generation) = self.active.get_mut(&key) else { return };
        match (work, outcome) {
            (Work::EncodePrompt | Work::EncodeImage, Outcome::Value { bytes, reused }) => {
                generation.reused(work, reused);
                let once = if work == Work::EncodePrompt { &mut generation.prompt } else { &mut generation.image };
                *once = Once::Done;
                generation.held.conditioning += bytes;
                if generation.conditioned() {
                    generation.held.source = 0;
                    generation.ready(Stage::Denoise, now);
                    fx.push(Effect::DropSource { key });
                }
                Self::stage_done(generation, work, now, fx);
            }
            (Work::Step { image, preview }, Outcome::Stepped { done, total, bytes, latents_bytes }) => {
                generation.held.denoising = bytes;
                self.stepped(key, (image, preview), (done, total, latents_bytes), now, fx);
            }
            (Work::Decode { image }, Outcome::Value { bytes, .. }) => {
                let complete = generation.decoded_pass(image);
                generation.holds(image, bytes);
                Self::stage_done(generation, work, now, fx);
                if let Some(image) = complete {
                    self.finish(key, image, now, fx);
                }
            }
            (Work::Preview { image, step, .. }, Outcome::Value { .. }) => {
                generation.ready(Stage::Preview, now);
                self.start_silently(key, Work::ShowPreview { image, step }, now, fx);
            }
            (Work::ShowPreview { .. }, _) => generation.preview_running = false,
            (Work::Finish { image }, Outcome::Picture(picture)) => {
                if let Some(slot) = generation.results.get_mut(image as usize) {
                    *slot = Some(*picture);
                }
                generation.finished_image(image);
                Self::stage_done(generation, work, now, fx);
            }
            (work, outcome) => tracing::error!(?work, ?outcome, "work came back with something that it does not make"),
        }
    }

    fn stepped(
        &mut self,
        key: JobKey,
        (image, preview): (u32, bool),
        (done, total, latents_bytes): (u32, u32, u64),
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        let Some(generation) = self.active.get_mut(&key) else { return };
        generation.stepping = false;
        generation.steps_done = done;
        generation.ready(Stage::Denoise, now);
        if preview {
            generation.ready(Stage::Preview, now);
            if generation.preview.replace((image, done)).is_some() {
                self.previews_dropped += 1;
            }
        }
        if done >= total {
            generation.denoising += 1;
            generation.steps_done = 0;
            generation.held.denoising = 0;
            generation.holds(image, latents_bytes);
            generation.decodes.push_back(image);
            generation.ready(Stage::Decode, now);
            // The picture itself is next; an older state of it is of no use to anybody.
            if generation.preview.take().is_some() {
                self.previews_dropped += 1;
            }
            if generation.denoised() {
                generation.held.conditioning = 0;
                fx.push(Effect::DropConditioning { key });
            }
        }
        let progress = generation.moved(Work::Step { image, preview }, done, total);
        Self::emit(generation, EventKind::Progress(progress), now, fx);
    }

    /// Tells that a stage has ended: all its parts are done.
    fn stage_done(generation: &mut Generation, work: Work, now: Now, fx: &mut Vec<Effect>) {
        let total = generation.total_of(stage_of(work).0);
        let progress = generation.moved(work, total, total);
        Self::emit(generation, EventKind::Progress(progress), now, fx);
    }
}
