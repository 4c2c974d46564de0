//! What the runtime tells about a generation: its state, its numbered events and its previews.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::{BlobHash, Error, GenerationId, ImageFormat, Plan, PreviewKind, Rect, RequestId, Reused};

/// State of a generation; it moves downwards only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum State {
    /// Waiting for its turn.
    Queued,
    /// At least one stage has begun.
    Running,
    /// Ended with a result.
    Succeeded,
    /// Ended with an error.
    Failed,
    /// Ended by a cancellation, a lost connection or a deadline.
    Cancelled,
}

impl State {
    /// True when nothing more happens.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// A stage of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stage {
    /// Prompt and source picture to `prompt_embeds`.
    EncodePrompt,
    /// Source picture to `image_latents`.
    EncodeImage,
    /// Noise to latents.
    Denoise,
    /// Latents to pixels.
    Decode,
    /// Scaling back and encoding of the file.
    Finish,
    /// Previews, beside the way of the picture: never in the plan and never in progress, only in timings.
    Preview,
}

/// Where a generation stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The stage that is running.
    pub stage: Stage,
    /// Parts of the stage that are done.
    pub done: u32,
    /// Parts of the stage in all.
    pub total: u32,
    /// Which picture of the generation, from 0.
    pub image_index: u32,
    /// Share of the whole generation that is done, 0 to 1.
    pub fraction: f32,
}

/// How long a stage took over all pictures of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageTiming {
    /// The stage.
    pub stage: Stage,
    /// Time waited for its turn.
    pub waited: Duration,
    /// Time computed.
    pub computed: Duration,
    /// How much of what it makes was known from before.
    pub reused: Reused,
}

/// An encoded picture.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedImage {
    /// Encoding.
    pub format: ImageFormat,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Hash of the file; `None` for previews, which are not kept.
    pub hash: Option<BlobHash>,
    /// Size of the file in bytes, also where `bytes` were left out.
    pub size_bytes: u64,
    /// The file; empty in lists and where it is lost.
    pub bytes: Arc<[u8]>,
}

impl EncodedImage {
    /// A picture with its file.
    pub fn new(format: ImageFormat, (width, height): (u32, u32), hash: Option<BlobHash>, bytes: Arc<[u8]>) -> Self {
        Self { format, width, height, hash, size_bytes: bytes.len() as u64, bytes }
    }
}

/// One finished picture.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultImage {
    /// Which picture of the generation, from 0.
    pub index: u32,
    /// The seed it was made from.
    pub seed: u64,
    /// The file.
    pub image: EncodedImage,
    /// What an edit of a selection may have changed of the canvas; `None`: everything. A layer has this size and lies here.
    pub changed: Option<Rect>,
    /// The whole canvas, when `image` is a layer and a session goes on from it.
    pub canvas: Option<EncodedImage>,
}

impl ResultImage {
    /// All its files.
    pub fn files(&self) -> impl Iterator<Item = &EncodedImage> {
        std::iter::once(&self.image).chain(&self.canvas)
    }

    /// The picture that a session goes on from.
    pub fn whole(&self) -> &EncodedImage {
        self.canvas.as_ref().unwrap_or(&self.image)
    }
}

/// A picture of how far the denoiser has come. Not numbered with the state events; the newest wins.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// Increases with every preview of a generation, from 1.
    pub number: u64,
    /// Which picture of the generation, from 0.
    pub image_index: u32,
    /// The step after which it was taken, from 1.
    pub step: u32,
    /// Counts the runs of a generation, from 1.
    pub epoch: u32,
    /// How it was made.
    pub kind: PreviewKind,
    /// The encoded picture.
    pub image: EncodedImage,
}

/// A generation as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Its id.
    pub id: GenerationId,
    /// Its state.
    pub state: State,
    /// What was resolved.
    pub plan: Arc<Plan>,
    /// Number of its newest state event.
    pub sequence: u64,
    /// Place in the queue, 1 is next; 0 when it is not waiting.
    pub queue_position: u32,
    /// Where it stands while it runs.
    pub progress: Option<Progress>,
    /// The pictures when it has succeeded.
    pub images: Vec<ResultImage>,
    /// The error when it has failed or was cancelled.
    pub error: Option<Error>,
    /// Time of each stage so far.
    pub timings: Vec<StageTiming>,
    /// When it was accepted.
    pub create_time: SystemTime,
    /// When it ended.
    pub end_time: Option<SystemTime>,
    /// The request id that the client chose.
    pub request_id: Option<RequestId>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// First event, before any work.
    Accepted(Box<Snapshot>),
    /// The place in the queue has changed.
    Queued {
        /// 1 is next.
        position: u32,
    },
    /// A stage begins, moves on or ends.
    Progress(Progress),
    /// Last event of a success.
    Succeeded {
        /// The pictures.
        images: Vec<ResultImage>,
        /// Time of each stage.
        timings: Vec<StageTiming>,
        /// From acceptance to the end.
        total: Duration,
    },
    /// Last event otherwise.
    Ended {
        /// [`State::Failed`] or [`State::Cancelled`].
        state: State,
        /// Why.
        error: Error,
        /// Time of each stage so far.
        timings: Vec<StageTiming>,
    },
}

impl EventKind {
    /// True for the last event of a generation.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Succeeded { .. } | Self::Ended { .. })
    }
}

/// A numbered state event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// From 1 without gaps for each generation.
    pub sequence: u64,
    /// When it happened.
    pub time: SystemTime,
    /// What happened.
    pub kind: EventKind,
}

/// What a watcher is given next.
#[derive(Clone, Debug, PartialEq)]
pub enum Watched {
    /// A state event, in order and without gaps.
    Event(Arc<Event>),
    /// The newest preview.
    Preview(Arc<Preview>),
    /// Takes the place of events that are no longer kept.
    Snapshot(Box<Snapshot>),
}

/// What a cancellation found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CancelOutcome {
    /// It was waiting and has been taken out of the queue.
    WasQueued,
    /// It was running and stops at the next step, layer or strip.
    WasRunning(Option<Progress>),
    /// It had ended already.
    WasFinished,
}
