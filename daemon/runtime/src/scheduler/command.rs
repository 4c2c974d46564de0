//! What the dispatcher's core is told and what it decides.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use easel_domain::engine::Interrupt;
use easel_domain::event::{CancelOutcome, Event, Progress, ResultImage, Snapshot};
use easel_domain::session::Origin;
use easel_domain::{
    Error, GenerationId, GenerationRequest, LoraSource, ModelInfo, Plan, PreviewKind, Priority, RequestId, Reused,
    RunPolicy, SessionId,
};

use crate::{EndCounts, ModelState, StageHealth};

/// Names a generation inside of the runtime; counts acceptances, so that it is the order of arrival as well.
pub(crate) type JobKey = u64;

/// Both clocks, read once for each command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// For waiting and measuring.
    pub(crate) instant: Instant,
    /// For people.
    pub(crate) wall: SystemTime,
}

/// The three actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ActorKind {
    Encoder,
    Denoiser,
    Vae,
}

impl ActorKind {
    pub(crate) const ALL: [Self; 3] = [Self::Encoder, Self::Denoiser, Self::Vae];

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Encoder => "encoder",
            Self::Denoiser => "denoiser",
            Self::Vae => "vae",
        }
    }
}

/// How urgent a piece of work is: the smaller goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Urgency {
    class: std::cmp::Reverse<Priority>,
    order: u64,
}

impl Urgency {
    pub(crate) fn new(priority: Priority, order: u64) -> Self {
        Self { class: std::cmp::Reverse(priority), order }
    }

    /// Work that no generation waits for: after every generation of its class.
    pub(crate) fn background() -> Self {
        Self::new(Priority::Interactive, u64::MAX)
    }
}

/// A piece of work for an actor or for the pixel pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    /// Encoder: prompt and source to embeds.
    EncodePrompt,
    /// VAE: source to image latents.
    EncodeImage,
    /// Denoiser: one step of pass `image` (a picture, or a tile of one, see `Plan::pass`); also takes a preview of it.
    Step { image: u32, preview: bool },
    /// VAE: latents of pass `image` to pixels.
    Decode { image: u32 },
    /// VAE: the latents in the preview slot to a small picture.
    Preview { image: u32, step: u32, kind: PreviewKind },
    /// Pixel pool: scales picture `image` back, encodes and stores it.
    Finish { image: u32 },
    /// Pixel pool: scales and encodes a preview, and shows it.
    ShowPreview { image: u32, step: u32 },
}

/// A generation to admit.
#[derive(Clone, Debug)]
pub(crate) struct NewGeneration {
    pub(crate) id: GenerationId,
    pub(crate) request: GenerationRequest,
    pub(crate) policy: RunPolicy,
    pub(crate) plan: Plan,
    /// Bytes of the decoded source picture.
    pub(crate) source_bytes: u64,
    /// Bytes of the canvas that the result is put into, held to the end.
    pub(crate) canvas_bytes: u64,
    /// Where it belongs and who asked.
    pub(crate) origin: Origin,
    /// Memory that it needs at its peak beside the networks.
    pub(crate) peak_bytes: u64,
    /// The files of its LoRAs, for the driver.
    pub(crate) loras: Vec<LoraSource>,
}

/// A generation that was accepted by an earlier run of the daemon and had not ended.
#[derive(Clone, Debug)]
pub(crate) struct Restored {
    pub(crate) new: NewGeneration,
    /// Number of the newest event that was told.
    pub(crate) sequence: u64,
    /// When it was accepted.
    pub(crate) create_time: SystemTime,
    /// Counts its runs, this one included.
    pub(crate) run: u32,
    /// The daemon ended in disorder while it ran.
    pub(crate) interrupted: bool,
    /// Why it does not run again.
    pub(crate) failure: Option<Error>,
}

/// Which run of a generation it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// From 1.
    pub(crate) number: u32,
    /// The one before ended with the daemon, in disorder.
    pub(crate) after_fault: bool,
}

/// How a piece of work came out.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// A stage value of so many bytes lies in the driver's table now; how much of it was known from before.
    Value { bytes: u64, reused: Reused },
    /// A denoiser step is done.
    Stepped { done: u32, total: u32, bytes: u64, latents_bytes: u64 },
    /// A picture of a generation is stored.
    Picture(Box<ResultImage>),
    /// A preview was shown or dropped.
    Shown,
    /// The work stopped because it was told to.
    Interrupted(Interrupt),
    /// The work failed.
    Failed(Error),
}

/// What happened to a model in one actor.
#[derive(Clone, Debug)]
pub(crate) enum ModelNews {
    Loading(f32),
    /// With the bytes of all networks of the model that are loaded now.
    Loaded {
        bytes: u64,
    },
    Absent,
    Failed(Error),
}

/// How long a piece of work took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Took {
    /// Time waited for a compute slot or a pixel worker.
    pub(crate) waited: Duration,
    /// Time computed.
    pub(crate) computed: Duration,
}

/// Everything that the core is told.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Admit a generation. Answers `Created`.
    Create(Box<NewGeneration>),
    /// Take a generation up again. Nobody waits for an answer.
    Restore(Box<Restored>),
    /// Somebody shows interest in a session: its live work may go on.
    Renew { session: SessionId },
    /// These ended generations were removed for good.
    ForgetAll(Vec<GenerationId>),
    /// An acceptance could not be written: nobody has heard of the generation, and nobody will.
    Unstored { key: JobKey },
    /// Look for a generation with this request id. Answers `Found`.
    FindRequest { request_id: RequestId, request: Box<GenerationRequest> },
    /// Stop a generation. Answers `Cancelled`.
    Cancel { id: GenerationId, interrupt: Interrupt },
    /// The last watcher of a generation has gone.
    WatchersGone { id: GenerationId },
    /// A piece of work came back. `still_busy`: the actor rebuilds its network and tells when it is free again.
    Done { key: JobKey, work: Work, outcome: Outcome, took: Took, still_busy: bool },
    /// An actor has finished a load or a rebuild.
    Free { actor: ActorKind },
    /// A stage moves on.
    Moved { key: JobKey, work: Work, done: u32, total: u32 },
    /// Something happened to a model in an actor.
    Model { actor: ActorKind, model: String, news: ModelNews },
    /// The health of an actor has changed; `until`: when a failed one may be tried again.
    Health { actor: ActorKind, health: StageHealth, until: Option<Instant>, restarts: u32 },
    /// An actor is frozen.
    Stalled { actor: ActorKind },
    /// A model was added.
    AddModel(Box<ModelInfo>),
    /// Answers `Models`.
    Models,
    /// Read a model. Answers `Model`.
    LoadModel { name: String },
    /// Drop a model. Answers `Model` or `Later`.
    UnloadModel { name: String },
    /// Answers `Status`.
    Status,
    /// The machine is short of memory, or no longer.
    MemoryShort(bool),
    /// Take no more and finish.
    Drain,
    /// Time has passed.
    Tick,
}

/// A model as the core sees it.
#[derive(Clone, Debug)]
pub(crate) struct ModelView {
    pub(crate) info: ModelInfo,
    pub(crate) state: ModelState,
    /// Share that is read, 0 to 1.
    pub(crate) fraction: f32,
    pub(crate) problem: Option<Error>,
    pub(crate) default: bool,
}

/// An actor as the core sees it.
#[derive(Clone, Debug)]
pub(crate) struct StageView {
    pub(crate) health: StageHealth,
    pub(crate) generation: Option<GenerationId>,
    pub(crate) waiting: u32,
    pub(crate) computed: Duration,
    pub(crate) restarts: u32,
}

/// The core as it stands.
#[derive(Clone, Debug)]
pub(crate) struct StatusView {
    pub(crate) draining: bool,
    pub(crate) queued: u32,
    pub(crate) running: u32,
    pub(crate) stages: Vec<StageView>,
    pub(crate) value_bytes: u64,
    pub(crate) previews_dropped: u64,
    pub(crate) ended: EndCounts,
}

/// What a command is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The command has no answer.
    Nothing,
    /// The answer comes with [`Effect::Unloaded`].
    Later,
    Created(Result<Accepted, Error>),
    Found(Result<Option<GenerationId>, Error>),
    Cancelled(Result<CancelOutcome, Error>),
    Models(Vec<ModelView>),
    Model(Result<Box<ModelView>, Error>),
    Status(Box<StatusView>),
}

/// An admitted generation, or the one that existed.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) id: GenerationId,
    pub(crate) existed: bool,
}

/// What the driver has to do, in this order.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// A generation was admitted: make room for its values and its watchers.
    Open {
        key: JobKey,
        id: GenerationId,
        policy: Box<RunPolicy>,
        plan: Arc<Plan>,
        loras: Vec<LoraSource>,
        run: Run,
        snapshot: Box<Snapshot>,
    },
    /// An event for the watchers, and the generation after it.
    Publish { key: JobKey, event: Arc<Event>, snapshot: Box<Snapshot> },
    /// Hand work to the actor of its kind, or to the pixel pool.
    Start { key: JobKey, work: Work, urgency: Urgency },
    /// Raise the stop flag of a generation.
    Interrupt { key: JobKey, interrupt: Interrupt },
    /// The source picture is not needed any more.
    DropSource { key: JobKey },
    /// Embeds and image latents are not needed any more.
    DropConditioning { key: JobKey },
    /// The time until which the generation goes on without watchers is over: see whether there are some.
    Lapse { id: GenerationId },
    /// The generation has ended: drop all that it held.
    Close { key: JobKey },
    /// The generation goes on in the next run of the daemon: drop all that it held and send its watchers away.
    Suspend { key: JobKey },
    /// The generation is no longer kept: drop its events and its result.
    Forget { id: GenerationId },
    /// Let an actor read a model.
    Load { actor: ActorKind, model: String, urgency: Urgency },
    /// Let an actor drop a model.
    Unload { actor: ActorKind, model: String },
    /// Tell those who follow a model.
    ModelChanged { name: String, view: Box<ModelView> },
    /// A model that somebody waits for is dropped.
    Unloaded { name: String, view: Box<ModelView> },
    /// Readiness may have changed.
    Ready(bool),
    /// Everything has ended after [`Command::Drain`].
    Drained,
}

/// The decisions of one command.
#[derive(Debug)]
pub(crate) struct Effects {
    pub(crate) list: Vec<Effect>,
    pub(crate) answer: Answer,
}

/// The stage that a piece of work belongs to, and its picture.
pub(crate) fn stage_of(work: Work) -> (easel_domain::event::Stage, u32) {
    use easel_domain::event::Stage;
    match work {
        Work::EncodePrompt => (Stage::EncodePrompt, 0),
        Work::EncodeImage => (Stage::EncodeImage, 0),
        Work::Step { image, .. } => (Stage::Denoise, image),
        Work::Decode { image } => (Stage::Decode, image),
        Work::Finish { image } => (Stage::Finish, image),
        Work::Preview { image, .. } | Work::ShowPreview { image, .. } => (Stage::Preview, image),
    }
}

/// The actor that does a piece of work; `None` for the pixel pool.
pub(crate) fn actor_of(work: Work) -> Option<ActorKind> {
    match work {
        Work::EncodePrompt => Some(ActorKind::Encoder),
        Work::Step { .. } => Some(ActorKind::Denoiser),
        Work::EncodeImage | Work::Decode { .. } | Work::Preview { .. } => Some(ActorKind::Vae),
        Work::Finish { .. } | Work::ShowPreview { .. } => None,
    }
}

/// A progress of nothing, before a stage has told its number of parts.
pub(crate) fn progress_at(work: Work, (done, total): (u32, u32), fraction: f32) -> Progress {
    let (stage, image_index) = stage_of(work);
    Progress { stage, done, total, image_index, fraction }
}
