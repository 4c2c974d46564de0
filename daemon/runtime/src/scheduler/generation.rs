//! The record of a generation that has not ended: what is done, what is under way, what is ready to begin.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use easel_domain::engine::Interrupt;
use easel_domain::event::{Progress, ResultImage, Snapshot, Stage, StageTiming, State};
use easel_domain::session::Origin;
use easel_domain::{Error, GenerationId, Mode, Plan, Priority, Reused, RunPolicy, SessionId};

use super::command::{JobKey, NewGeneration, Now, Took, Urgency, Work, stage_of};

const STAGES: [Stage; 6] =
    [Stage::EncodePrompt, Stage::EncodeImage, Stage::Denoise, Stage::Decode, Stage::Finish, Stage::Preview];

/// A stage that runs once for each generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Once {
    /// The plan has no such stage.
    Unneeded,
    Todo,
    Running,
    Done,
}

/// Bytes of the values that the driver holds for a generation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeldBytes {
    pub(crate) source: u64,
    /// The canvas of a selection, to the end.
    pub(crate) canvas: u64,
    pub(crate) conditioning: u64,
    pub(crate) denoising: u64,
}

impl HeldBytes {
    pub(crate) fn sum(self) -> u64 {
        self.source + self.canvas + self.conditioning + self.denoising
    }
}

/// Those who take turns within a class: sessions, and clients with what they make outside of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Group {
    Session(SessionId),
    Client(String),
}

impl Group {
    fn of(origin: &Origin) -> Self {
        match &origin.session {
            Some(session) => Self::Session(session.clone()),
            None => Self::Client(origin.client.clone()),
        }
    }
}

/// A generation from its admission to its end. Owned by the core, which drops it at the end.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) key: JobKey,
    pub(crate) id: GenerationId,
    pub(crate) policy: RunPolicy,
    pub(crate) origin: Origin,
    /// Whose turn it is with this one.
    pub(crate) group: Group,
    /// Memory that it needs at its peak.
    pub(crate) peak_bytes: u64,
    /// It has been noticed that its time without watchers is over.
    pub(crate) lapsed: bool,
    pub(crate) plan: Arc<Plan>,
    pub(crate) created: Now,
    pub(crate) deadline: Option<Instant>,
    pub(crate) state: State,
    pub(crate) sequence: u64,
    /// Place in the queue as last told; 0 when it does not wait.
    pub(crate) position: u32,
    /// It was told to stop; the first reason counts.
    pub(crate) stop: Option<Interrupt>,
    /// A stage has failed; it ends when the others have come back.
    pub(crate) failure: Option<Error>,
    /// Pieces of work that are with an actor or the pixel pool.
    pub(crate) in_flight: u32,
    pub(crate) prompt: Once,
    pub(crate) image: Once,
    /// The pass that the denoiser is at; `passes()` of the plan when all are denoised.
    pub(crate) denoising: u32,
    pub(crate) steps_done: u32,
    pub(crate) stepping: bool,
    /// Pictures that wait for their decoding.
    pub(crate) decodes: VecDeque<u32>,
    pub(crate) decoded: u32,
    /// Tiles of each picture that are not decoded yet.
    undecoded: Vec<u32>,
    pub(crate) results: Vec<Option<ResultImage>>,
    /// The preview slot holds latents after this step of this picture.
    pub(crate) preview: Option<(u32, u32)>,
    pub(crate) preview_running: bool,
    pub(crate) held: HeldBytes,
    /// Bytes of each pass after the denoiser: latents, then pixels, then nothing.
    pub(crate) picture_bytes: Vec<u64>,
    pub(crate) progress: Option<Progress>,
    /// Parts of the stage that runs once or decodes, as last told.
    parts: [(u32, u32); STAGES.len()],
    timings: [Timing; STAGES.len()],
    /// When the stage became ready to begin or go on.
    ready_since: [Instant; STAGES.len()],
}

/// What a stage took so far.
#[derive(Clone, Copy, Debug, Default)]
struct Timing {
    waited: Duration,
    computed: Duration,
    reused: Reused,
}

impl Generation {
    pub(crate) fn new(key: JobKey, new: NewGeneration, now: Now) -> Self {
        let NewGeneration { id, policy, plan, source_bytes, canvas_bytes, origin, peak_bytes, .. } = new;
        let (pictures, passes) = (plan.num_images as usize, plan.passes() as usize);
        Self {
            key,
            id,
            deadline: policy.timeout.and_then(|timeout| now.instant.checked_add(timeout)),
            policy,
            group: Group::of(&origin),
            origin,
            peak_bytes,
            lapsed: false,
            created: now,
            state: State::Queued,
            sequence: 0,
            position: 0,
            stop: None,
            failure: None,
            in_flight: 0,
            prompt: Once::Todo,
            image: if plan.mode == Mode::Edit { Once::Todo } else { Once::Unneeded },
            denoising: 0,
            steps_done: 0,
            stepping: false,
            decodes: VecDeque::new(),
            decoded: 0,
            undecoded: vec![plan.tiles_per_image(); pictures],
            results: vec![None; pictures],
            preview: None,
            preview_running: false,
            picture_bytes: vec![0; passes],
            held: HeldBytes { source: source_bytes, canvas: canvas_bytes, ..HeldBytes::default() },
            progress: None,
            parts: [(0, 0); STAGES.len()],
            timings: [Timing::default(); STAGES.len()],
            ready_since: [now.instant; STAGES.len()],
            plan: Arc::new(plan),
        }
    }

    pub(crate) fn urgency(&self) -> Urgency {
        Urgency::new(self.policy.priority, self.key)
    }

    /// How long a stage has been ready to begin or go on.
    pub(crate) fn ready_for(&self, stage: Stage, now: Now) -> Duration {
        now.instant.saturating_duration_since(self.ready_since[index(stage)])
    }

    /// True when it is a live edit of this session.
    pub(crate) fn is_live_of(&self, session: &SessionId) -> bool {
        self.policy.priority == Priority::Live && self.origin.session.as_ref() == Some(session)
    }

    /// True when it takes no new work: it only waits for what is under way.
    pub(crate) fn stopping(&self) -> bool {
        self.stop.is_some() || self.failure.is_some()
    }

    pub(crate) fn conditioned(&self) -> bool {
        self.prompt == Once::Done && matches!(self.image, Once::Done | Once::Unneeded)
    }

    /// True when the denoiser can do the next step.
    pub(crate) fn can_step(&self) -> bool {
        !self.stopping() && self.conditioned() && !self.stepping && self.denoising < self.plan.passes()
    }

    pub(crate) fn denoised(&self) -> bool {
        self.denoising == self.plan.passes()
    }

    pub(crate) fn finished(&self) -> bool {
        self.results.iter().all(Option::is_some) && (self.conditioned() || !self.plan.is_preparation())
    }

    /// Bytes of all values that the driver holds.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held.sum() + self.picture_bytes.iter().sum::<u64>()
    }

    /// Notes that a pass is decoded; gives its picture when that was the last of its tiles.
    pub(crate) fn decoded_pass(&mut self, pass: u32) -> Option<u32> {
        self.decoded += 1;
        let (image, _) = self.plan.pass(pass);
        let undone = self.undecoded.get_mut(image as usize)?;
        *undone = undone.saturating_sub(1);
        (*undone == 0).then_some(image)
    }

    /// Notes that a picture is a file.
    pub(crate) fn finished_image(&mut self, image: u32) {
        let tiles = self.plan.tiles_per_image();
        (image * tiles..(image + 1) * tiles).for_each(|pass| self.holds(pass, 0));
    }

    /// Notes what pass `image` holds now.
    pub(crate) fn holds(&mut self, image: u32, bytes: u64) {
        if let Some(slot) = self.picture_bytes.get_mut(image as usize) {
            *slot = bytes;
        }
    }

    /// True when the step that comes next is to be shown. The last one is not: the picture itself follows.
    pub(crate) fn previews_next_step(&self) -> bool {
        let step = self.steps_done + 1;
        let wanted = |every: u32| step.is_multiple_of(every.max(1)) && step < self.plan.steps;
        // One tile says little of the whole.
        self.plan.tiles.is_none() && self.policy.previews.is_some_and(|previews| wanted(previews.every_n_steps))
    }

    /// A stage can begin or go on from now.
    pub(crate) fn ready(&mut self, stage: Stage, now: Now) {
        self.ready_since[index(stage)] = now.instant;
    }

    /// Notes that work begins: what it waited.
    pub(crate) fn started(&mut self, work: Work, now: Now) {
        self.in_flight += 1;
        let at = index(stage_of(work).0);
        self.timings[at].waited += now.instant.saturating_duration_since(self.ready_since[at]);
    }

    /// Notes how much of what a stage makes was known from before.
    pub(crate) fn reused(&mut self, work: Work, reused: Reused) {
        self.timings[index(stage_of(work).0)].reused = reused;
    }

    /// Notes that work has come back.
    pub(crate) fn returned(&mut self, work: Work, took: Took) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let timing = &mut self.timings[index(stage_of(work).0)];
        timing.waited += took.waited;
        timing.computed += took.computed;
    }

    /// Notes how far a stage is and returns where the generation stands then.
    pub(crate) fn moved(&mut self, work: Work, done: u32, total: u32) -> Progress {
        let (stage, _) = stage_of(work);
        self.parts[index(stage)] = (done, total);
        let mut progress = super::command::progress_at(work, (done, total), self.fraction());
        if matches!(work, Work::Step { .. } | Work::Decode { .. }) {
            progress.image_index = self.plan.pass(progress.image_index).0;
        }
        self.progress = Some(progress);
        progress
    }

    /// The number of parts that a stage has told, at least 1.
    pub(crate) fn total_of(&self, stage: Stage) -> u32 {
        self.parts[index(stage)].1.max(1)
    }

    /// Share of the generation that is done, by the usual cost of its stages; never falls.
    fn fraction(&self) -> f32 {
        const PROMPT: f32 = 0.10;
        const IMAGE: f32 = 0.05;
        const DENOISE: f32 = 0.78;
        const DECODE: f32 = 0.06;
        const FINISH: f32 = 0.01;
        let once = |state: Once, stage: Stage| match state {
            Once::Done => 1.0,
            Once::Running => {
                let (done, total) = self.parts[index(stage)];
                done as f32 / total.max(1) as f32
            }
            Once::Todo | Once::Unneeded => 0.0,
        };
        let (pictures, passes) = (self.plan.num_images as f32, self.plan.passes() as f32);
        let denoised = self.denoising as f32 + self.steps_done as f32 / self.plan.steps.max(1) as f32;
        let finished = self.results.iter().flatten().count() as f32;
        let image = if self.image == Once::Unneeded { 0.0 } else { IMAGE };
        let done = PROMPT * once(self.prompt, Stage::EncodePrompt)
            + image * once(self.image, Stage::EncodeImage)
            + DENOISE * denoised
            + DECODE * self.decoded as f32
            + FINISH * finished;
        let all = PROMPT + image + passes * (DENOISE + DECODE) + pictures * FINISH;
        (done / all).clamp(0.0, 1.0).max(self.progress.map_or(0.0, |progress| progress.fraction))
    }

    pub(crate) fn timings(&self) -> Vec<StageTiming> {
        let all = STAGES.iter().zip(self.timings);
        let of = |(&stage, timing): (&Stage, Timing)| {
            let Timing { waited, computed, reused } = timing;
            StageTiming { stage, waited, computed, reused }
        };
        let mut timings: Vec<_> = all.map(of).collect();
        timings.retain(|timing| {
            self.parts[index(timing.stage)].1 > 0 || !timing.computed.is_zero() || !timing.waited.is_zero()
        });
        timings
    }

    pub(crate) fn snapshot(&self, error: Option<Error>, end_time: Option<SystemTime>) -> Snapshot {
        let done = self.state == State::Succeeded;
        Snapshot {
            id: self.id.clone(),
            state: self.state,
            plan: Arc::clone(&self.plan),
            sequence: self.sequence,
            queue_position: self.position,
            progress: self.progress,
            images: if done { self.results.iter().flatten().cloned().collect() } else { Vec::new() },
            error,
            timings: self.timings(),
            create_time: self.created.wall,
            end_time,
            request_id: self.policy.request_id.clone(),
        }
    }
}

fn index(stage: Stage) -> usize {
    stage as usize
}
