//! A world for tests of the core: it does what the core decides, in virtual time, and checks what must always hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use easel_domain::engine::Interrupt;
use easel_domain::event::{CancelOutcome, EncodedImage, Event, EventKind, ResultImage, Snapshot, State};
use easel_domain::{
    DisconnectPolicy, Error, GenerationId, GenerationRequest, ImageFormat, Mode, ModelInfo, Pipeline, Plan,
    PreviewKind, PreviewPolicy, Priority, Reason, RequestId, RestartPolicy, Reused, RunPolicy, Size,
};

use easel_domain::session::Origin;

use super::*;

/// A generation as its watchers see it.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) events: Vec<Arc<Event>>,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) interrupt: Option<Interrupt>,
    /// Number of the newest event of the run before.
    told: u64,
    pub(super) closed: bool,
    pub(super) suspended: bool,
    steps: u32,
}

/// See the module.
pub(super) struct World {
    pub(super) core: Core,
    pub(super) now: Now,
    /// Work that was handed out and has not come back.
    pub(super) pending: Vec<(JobKey, Work)>,
    /// Loads that a test lets come back itself, when it wants to.
    pub(super) loads: Vec<(ActorKind, String)>,
    pub(super) holds_loads: bool,
    todo: VecDeque<Command>,
    pub(super) seen: BTreeMap<JobKey, Seen>,
    pub(super) forgotten: BTreeSet<GenerationId>,
    pub(super) unloaded: Vec<String>,
    pub(super) ready: bool,
    pub(super) drained: bool,
    pub(super) keys: BTreeMap<GenerationId, JobKey>,
    next: u32,
    run: u32,
}

pub(super) const STEPS: u32 = 3;

/// What a test asks for.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) priority: Priority,
    pub(super) mode: Mode,
    pub(super) images: u32,
    pub(super) previews: bool,
    pub(super) timeout: Option<Duration>,
    pub(super) request_id: Option<&'static str>,
    pub(super) prompt: &'static str,
    pub(super) origin: Origin,
    pub(super) seed: Option<u64>,
    pub(super) peak_bytes: u64,
    pub(super) keep_until: Option<SystemTime>,
    pub(super) disconnect: DisconnectPolicy,
    pub(super) restart: RestartPolicy,
    pub(super) model: &'static str,
    pub(super) keep_alive: Option<Duration>,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            priority: Priority::Interactive,
            mode: Mode::Generate,
            images: 1,
            previews: false,
            timeout: None,
            request_id: None,
            prompt: "a boat",
            origin: Origin::default(),
            seed: None,
            peak_bytes: 10,
            keep_until: None,
            disconnect: DisconnectPolicy::Cancel,
            restart: RestartPolicy::Rerun,
            model: "m",
            keep_alive: None,
        }
    }
}

fn model(name: &str) -> ModelInfo {
    ModelInfo {
        name: name.to_owned(),
        description: String::new(),
        demonstration: false,
        license: String::new(),
        pipeline: Pipeline::Mobile,
        native: Size { width: 64, height: 64 },
        min_edge_px: 64,
        max_edge_px: 64,
        default_steps: STEPS,
        guidance: None,
        parameters: 0,
        file_bytes: 0,
        loaded_bytes: 5,
        precisions: easel_domain::Precisions::default(),
        weights_sha256: None,
        fallback_layers: Vec::new(),
    }
}

fn plan(ask: &Ask) -> Plan {
    Plan {
        mode: ask.mode,
        model: ask.model.to_owned(),
        prompt: ask.prompt.to_owned(),
        negative_prompt: String::new(),
        seed: 7,
        seeds: Vec::new(),
        selection: None,
        crop: None,
        tiles: None,
        working: Size { width: 64, height: 64 },
        output: Size { width: 64, height: 64 },
        steps: STEPS,
        sigmas: Vec::new(),
        guidance: None,
        loras: Vec::new(),
        num_images: ask.images,
        output_format: ImageFormat::Png,
        provenance: false,
        source: None,
        model_sha256: None,
        notes: Vec::new(),
    }
}

fn request(ask: &Ask) -> GenerationRequest {
    GenerationRequest {
        mode: Some(ask.mode),
        model: None,
        prompt: ask.prompt.to_owned(),
        negative_prompt: String::new(),
        image: None,
        selection: None,
        tiling: None,
        width: None,
        height: None,
        num_inference_steps: None,
        sigmas: Vec::new(),
        guidance_scale: None,
        image_guidance_scale: None,
        loras: Vec::new(),
        seed: ask.seed,
        seeds: Vec::new(),
        num_images: Some(ask.images),
        output_format: ImageFormat::Png,
        provenance: None,
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(CoreConfig {
            max_active: 8,
            drain_timeout: Duration::from_secs(30),
            max_kept_bytes: 1000,
            durable: false,
            max_memory_bytes: None,
            max_client: 6,
            keep_alive: None,
        })
    }

    pub(super) fn with(config: CoreConfig) -> Self {
        Self {
            core: Core::new(config, ["m", "n", "o"].map(model).to_vec(), "m".to_owned()),
            now: Now { instant: Instant::now(), wall: SystemTime::now() },
            pending: Vec::new(),
            loads: Vec::new(),
            holds_loads: false,
            todo: VecDeque::new(),
            seen: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            unloaded: Vec::new(),
            ready: true,
            drained: false,
            keys: BTreeMap::new(),
            next: 0,
            run: 0,
        }
    }

    pub(super) fn send(&mut self, command: Command) -> Answer {
        let effects = self.core.handle(command, self.now);
        assert_eq!(self.core.broken_invariant(), None);
        effects.list.into_iter().for_each(|effect| self.perform(effect));
        while let Some(command) = self.todo.pop_front() {
            self.send(command);
        }
        effects.answer
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Open { key, id, snapshot, run, .. } => {
                let told = if run.number > 1 { snapshot.sequence } else { 0 };
                let seen = Seen { told, ..Seen::default() };
                assert!(self.seen.insert(key, seen).is_none(), "a generation opens once");
                self.keys.insert(id, key);
            }
            Effect::Publish { key, event, snapshot } => {
                let seen = self.seen.get_mut(&key).expect("events come after the opening");
                assert_eq!(event.sequence, seen.told + seen.events.len() as u64 + 1, "events have no gaps");
                assert_eq!(snapshot.sequence, event.sequence);
                let before = seen.events.last();
                assert!(before.is_none_or(|before| !before.kind.is_last()), "nothing comes after the end");
                if let (EventKind::Progress(now), Some(Some(then))) =
                    (&event.kind, seen.snapshot.as_ref().map(|before| before.progress))
                {
                    assert!(now.fraction >= then.fraction, "progress does not fall");
                }
                seen.events.push(event);
                seen.snapshot = Some(*snapshot);
            }
            Effect::Start { key, work, .. } => {
                assert!(!self.seen[&key].closed, "no work begins after the end");
                let busy = |kind| self.pending.iter().any(|(_, other)| actor_of(*other) == Some(kind));
                assert!(actor_of(work).is_none_or(|kind| !busy(kind)), "an actor has one piece of work");
                self.pending.push((key, work));
            }
            Effect::Interrupt { key, interrupt } => {
                self.seen.get_mut(&key).expect("it is open").interrupt.get_or_insert(interrupt);
            }
            Effect::Close { key } => {
                let seen = self.seen.get_mut(&key).expect("it is open");
                assert!(!seen.closed, "a generation closes once");
                seen.closed = true;
            }
            Effect::Lapse { id } => self.todo.push_back(Command::WatchersGone { id }),
            Effect::Suspend { key } => {
                let seen = self.seen.get_mut(&key).expect("it is open");
                assert!(!seen.closed, "a generation is suspended once and instead of its end");
                (seen.closed, seen.suspended) = (true, true);
            }
            Effect::Forget { id } => assert!(self.forgotten.insert(id), "a generation is forgotten once"),
            Effect::Load { actor, model, .. } if self.holds_loads => self.loads.push((actor, model)),
            Effect::Load { actor, model, .. } => {
                self.todo.push_back(Command::Model { actor, model, news: ModelNews::Loaded { bytes: 5 } });
                self.todo.push_back(Command::Free { actor });
            }
            Effect::Unload { actor, model } => {
                self.todo.push_back(Command::Model { actor, model, news: ModelNews::Absent });
            }
            Effect::Unloaded { name, .. } => self.unloaded.push(name),
            Effect::Ready(ready) => self.ready = ready,
            Effect::Drained => self.drained = true,
            Effect::DropSource { .. } | Effect::DropConditioning { .. } | Effect::ModelChanged { .. } => {}
        }
    }

    fn new_generation(&mut self, ask: &Ask) -> NewGeneration {
        self.next += 1;
        let policy = RunPolicy {
            previews: ask.previews.then_some(PreviewPolicy {
                kind: PreviewKind::Decoded,
                longest_edge_px: None,
                format: ImageFormat::Png,
                every_n_steps: 1,
            }),
            priority: ask.priority,
            on_disconnect: ask.disconnect,
            timeout: ask.timeout,
            keep_until: ask.keep_until,
            on_restart: ask.restart,
            request_id: ask.request_id.map(|id| id.parse::<RequestId>().expect("tests choose good ids")),
            keep_alive: ask.keep_alive,
        };
        let id = GenerationId::new(format!("gen_{:03}_{:04}", self.run, self.next));
        NewGeneration {
            id,
            request: request(ask),
            policy,
            plan: plan(ask),
            source_bytes: 10,
            canvas_bytes: 0,
            origin: ask.origin.clone(),
            peak_bytes: ask.peak_bytes,
            loras: Vec::new(),
        }
    }

    /// A generation under an id that it had before.
    pub(super) fn named(&mut self, ask: &Ask, id: GenerationId) -> NewGeneration {
        NewGeneration { id, ..self.new_generation(ask) }
    }

    /// Creates a generation in a run of the daemon, whose number makes its id another; its key.
    pub(super) fn create_with(&mut self, ask: Ask, run: u32) -> Result<JobKey, Error> {
        self.run = run;
        self.create(ask)
    }

    /// A generation as the store has it after a new start.
    pub(super) fn restored_from(&mut self, ask: Ask, sequence: u64, create_time: SystemTime) -> Restored {
        let new = self.new_generation(&ask);
        Restored { new, sequence, create_time, run: 2, interrupted: true, failure: None }
    }

    /// Creates a generation; its key.
    pub(super) fn create(&mut self, ask: Ask) -> Result<JobKey, Error> {
        let new = self.new_generation(&ask);
        match self.send(Command::Create(Box::new(new))) {
            Answer::Created(created) => created.map(|accepted| self.keys[&accepted.id]),
            answer => panic!("a creation is answered with {answer:?}"),
        }
    }

    pub(super) fn id(&self, key: JobKey) -> GenerationId {
        self.keys.iter().find(|(_, other)| **other == key).map(|(id, _)| id.clone()).expect("it was created")
    }

    pub(super) fn cancel(&mut self, key: JobKey) -> Result<CancelOutcome, Error> {
        let command = Command::Cancel { id: self.id(key), interrupt: Interrupt::Cancelled };
        match self.send(command) {
            Answer::Cancelled(outcome) => outcome,
            answer => panic!("a cancellation is answered with {answer:?}"),
        }
    }

    /// Lets a piece of work come back: as interrupted when it was told to stop, else as a success.
    pub(super) fn finish(&mut self, key: JobKey, work: Work) {
        let outcome = match self.seen[&key].interrupt {
            Some(interrupt) => Outcome::Interrupted(interrupt),
            None => self.success(key, work),
        };
        self.come_back(key, work, outcome);
    }

    pub(super) fn fail(&mut self, key: JobKey, work: Work) {
        self.come_back(key, work, Outcome::Failed(Error::new(Reason::EngineFault, "a fault")));
    }

    pub(super) fn come_back(&mut self, key: JobKey, work: Work, outcome: Outcome) {
        let at = self.pending.iter().position(|other| *other == (key, work)).expect("the work is under way");
        self.pending.remove(at);
        let took = Took { waited: Duration::ZERO, computed: Duration::from_millis(1) };
        self.now.instant += Duration::from_millis(1);
        self.send(Command::Done { key, work, outcome, took, still_busy: false });
    }

    pub(super) fn success(&mut self, key: JobKey, work: Work) -> Outcome {
        let seen = self.seen.get_mut(&key).expect("it is open");
        match work {
            Work::EncodePrompt | Work::EncodeImage | Work::Decode { .. } | Work::Preview { .. } => {
                Outcome::Value { bytes: 100, reused: Reused::Nothing }
            }
            Work::Step { .. } => {
                seen.steps = seen.steps % STEPS + 1;
                Outcome::Stepped { done: seen.steps, total: STEPS, bytes: 50, latents_bytes: 20 }
            }
            Work::ShowPreview { .. } => Outcome::Shown,
            Work::Finish { image } => Outcome::Picture(Box::new(ResultImage {
                index: image,
                seed: 7 + u64::from(image),
                image: EncodedImage::new(ImageFormat::Png, (64, 64), None, vec![0; 100].into()),
                changed: None,
                canvas: None,
            })),
        }
    }

    /// Lets a load come back.
    pub(super) fn loaded(&mut self, at: usize, ok: bool) {
        let (actor, model) = self.loads.remove(at);
        let news = if ok {
            ModelNews::Loaded { bytes: 5 }
        } else {
            ModelNews::Failed(Error::new(Reason::ModelInvalid, "a missing tensor"))
        };
        self.send(Command::Model { actor, model, news });
        self.send(Command::Free { actor });
    }

    /// Does work that satisfies `which`, oldest first, until there is none.
    pub(super) fn run_while(&mut self, which: impl Fn(JobKey, Work) -> bool) {
        while let Some(&(key, work)) = self.pending.iter().find(|(key, work)| which(*key, *work)) {
            self.finish(key, work);
        }
    }

    /// Does everything there is to do.
    pub(super) fn run(&mut self) {
        while !self.loads.is_empty() || !self.pending.is_empty() {
            if !self.loads.is_empty() {
                self.loaded(0, true);
            }
            if let Some(&(key, work)) = self.pending.first() {
                self.finish(key, work);
            }
        }
    }

    pub(super) fn state(&self, key: JobKey) -> State {
        self.seen[&key].snapshot.as_ref().expect("the first event has come").state
    }

    pub(super) fn error(&self, key: JobKey) -> Option<Reason> {
        let snapshot = self.seen[&key].snapshot.as_ref().expect("the first event has come");
        snapshot.error.as_ref().map(|error| error.reason)
    }

    pub(super) fn status(&mut self) -> StatusView {
        match self.send(Command::Status) {
            Answer::Status(status) => *status,
            answer => panic!("a status is answered with {answer:?}"),
        }
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now.instant += time;
        self.send(Command::Tick);
    }
}
