//! The dispatcher's synchronous core: admits generations, numbers their events, decides which of them goes to which
//! actor next, and ends each of them exactly once. It has no clock, channel, thread or random source of its own, and never
//! sees a stage value: the driver keeps those in a table under the generation's key.

mod command;
mod ending;
mod generation;
mod live;
mod models;
mod progress;
mod queue;
mod restore;
mod schedule;
mod system;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use easel_domain::engine::Interrupt;
use easel_domain::event::{CancelOutcome, Event, EventKind, State};
use easel_domain::{Error, GenerationId, GenerationRequest, ModelInfo, Priority, Reason, RequestId, SessionId, limits};

pub(crate) use command::{
    Accepted, ActorKind, Answer, Command, Effect, Effects, JobKey, ModelNews, ModelView, NewGeneration, Now, Outcome,
    Restored, Run, StatusView, Took, Urgency, Work, actor_of, stage_of,
};

use crate::{EndCounts, StageHealth};
use generation::{Generation, Group};
use models::Models;

/// What the core is told at its start.
#[derive(Clone, Debug)]
pub(crate) struct CoreConfig {
    pub(crate) max_active: usize,
    pub(crate) drain_timeout: Duration,
    /// Bytes of results of ended generations that are kept.
    pub(crate) max_kept_bytes: u64,
    /// What has not ended when the daemon stops goes on in its next run.
    pub(crate) durable: bool,
    /// Bytes that networks and running generations may take together.
    pub(crate) max_memory_bytes: Option<u64>,
    /// Generations of one client that may wait or run.
    pub(crate) max_client: usize,
    /// How long a model stays in memory when nobody uses it; `None`: for ever.
    pub(crate) keep_alive: Option<Duration>,
}

/// What an actor is doing, as far as the core knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Busy {
    Idle,
    /// Works for a generation.
    With(JobKey),
    /// Reads a model or rebuilds its network.
    Loading,
}

#[derive(Debug)]
struct Actor {
    busy: Busy,
    health: StageHealth,
    /// When one whose restarts are used up may be tried again.
    until: Option<Instant>,
    restarts: u32,
    computed: Duration,
}

/// An ended generation that can still be asked for.
#[derive(Debug)]
struct Ended {
    id: GenerationId,
    request_id: Option<RequestId>,
    at: Instant,
    bytes: u64,
}

/// See the module. Owned by the dispatcher's task.
#[derive(Debug)]
pub(crate) struct Core {
    config: CoreConfig,
    next_key: JobKey,
    active: BTreeMap<JobKey, Generation>,
    active_ids: HashMap<GenerationId, JobKey>,
    /// Generations that were taken up again; they may be more than are allowed now.
    restored: usize,
    /// Generations that no stage has begun; who is next is decided by [`queue`].
    waiting: BTreeSet<JobKey>,
    /// When each of those who take turns had its last one in each class; only of those with something under way.
    turns: HashMap<(Priority, Group), u64>,
    next_turn: u64,
    /// The last live edit of each session, as long as it may answer the same one again.
    live: HashMap<SessionId, (GenerationId, GenerationRequest)>,
    /// Until when the live work of a session goes on.
    leases: HashMap<SessionId, Instant>,
    /// The time of the last command.
    clock: Option<Now>,
    ended: VecDeque<Ended>,
    ended_ids: HashSet<GenerationId>,
    ended_bytes: u64,
    /// Request ids of active and kept generations.
    requests: HashMap<RequestId, (GenerationId, GenerationRequest)>,
    actors: [Actor; 3],
    models: Models,
    counts: EndCounts,
    previews_dropped: u64,
    /// When draining: the time at which the rest is stopped.
    draining: Option<Instant>,
    drained: bool,
    stalled: bool,
    ready: bool,
    /// Usual time of a generation, to say when to try again.
    usual: Duration,
}

impl Core {
    pub(crate) fn new(config: CoreConfig, models: Vec<ModelInfo>, default_model: String) -> Self {
        let actor = || Actor {
            busy: Busy::Idle,
            health: StageHealth::Ready,
            until: None,
            restarts: 0,
            computed: Duration::ZERO,
        };
        Self {
            config,
            next_key: 1,
            active: BTreeMap::new(),
            active_ids: HashMap::new(),
            restored: 0,
            waiting: BTreeSet::new(),
            turns: HashMap::new(),
            next_turn: 1,
            live: HashMap::new(),
            leases: HashMap::new(),
            clock: None,
            ended: VecDeque::new(),
            ended_ids: HashSet::new(),
            ended_bytes: 0,
            requests: HashMap::new(),
            actors: std::array::from_fn(|_| actor()),
            models: Models::new(models, default_model),
            counts: EndCounts::default(),
            previews_dropped: 0,
            draining: None,
            drained: false,
            stalled: false,
            ready: true,
            usual: Duration::from_secs(2),
        }
    }

    /// Takes a command and decides. Whatever the command was, actors that are idle then get the most urgent work.
    pub(crate) fn handle(&mut self, command: Command, now: Now) -> Effects {
        self.clock = Some(now);
        let mut fx = Vec::new();
        let answer = self.take(command, now, &mut fx);
        self.keep_time(now, &mut fx);
        self.tell_unloads(&mut fx);
        self.schedule(now, &mut fx);
        self.tell_system(&mut fx);
        debug_assert_eq!(self.broken_invariant(), None);
        Effects { list: fx, answer }
    }

    fn take(&mut self, command: Command, now: Now, fx: &mut Vec<Effect>) -> Answer {
        match command {
            Command::Create(new) => return Answer::Created(self.create(*new, now, fx)),
            Command::Restore(restored) => self.restore(*restored, now, fx),
            Command::Renew { session } => self.renew(&session, now),
            Command::ForgetAll(ids) => self.forget_all(&ids, fx),
            Command::Unstored { key } => self.unstored(key, now, fx),
            Command::FindRequest { request_id, request } => {
                return Answer::Found(self.find_request(&request_id, &request));
            }
            Command::Cancel { id, interrupt } => return Answer::Cancelled(self.cancel(&id, interrupt, now, fx)),
            Command::WatchersGone { id } => self.watchers_gone(&id, now, fx),
            Command::Done { key, work, outcome, took, still_busy } => {
                if let Some(actor) = actor_of(work) {
                    let actor = &mut self.actors[actor.index()];
                    actor.busy = if still_busy { Busy::Loading } else { Busy::Idle };
                    actor.computed += took.computed;
                }
                self.done(key, work, (outcome, took), now, fx);
            }
            Command::Free { actor } => self.actors[actor.index()].busy = Busy::Idle,
            Command::Moved { key, work, done, total } => self.moved(key, work, (done, total), now, fx),
            Command::Model { actor, model, news } => self.model_news(actor, &model, news, now, fx),
            Command::Health { actor, health, until, restarts } => {
                let actor = &mut self.actors[actor.index()];
                (actor.health, actor.until, actor.restarts) = (health, until, restarts);
            }
            Command::Stalled { actor } => {
                self.actors[actor.index()].health = StageHealth::Failed;
                self.stalled = true;
            }
            Command::AddModel(info) => self.models.add(*info),
            Command::Models => return Answer::Models(self.models.views()),
            Command::LoadModel { name } => return Answer::Model(self.load_model(&name, now)),
            Command::UnloadModel { name } => return self.unload_model(&name),
            Command::Status => return Answer::Status(Box::new(self.status())),
            Command::MemoryShort(short) => self.memory_short(short, fx),
            Command::Drain => self.drain(now, fx),
            Command::Tick => {}
        }
        Answer::Nothing
    }

    /// When the core wants to be called even if nothing happens.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let deadlines = self.active.values().filter(|generation| !generation.stopping()).filter_map(|g| g.deadline);
        let retention = self.ended.front().and_then(|ended| ended.at.checked_add(limits::GENERATION_RETENTION));
        let health = self.actors.iter().filter_map(|actor| actor.until);
        let drain = self.draining.filter(|_| self.active.values().any(|generation| generation.stop.is_none()));
        let leases = self.leases.values().copied();
        let idle = self.models.next_idle(|name| queue::needs(&self.active, name));
        deadlines.chain(idle).chain(retention).chain(health).chain(drain).chain(leases).chain(self.next_lapse()).min()
    }

    fn create(&mut self, new: NewGeneration, now: Now, fx: &mut Vec<Effect>) -> Result<Accepted, Error> {
        if let Some(request_id) = &new.policy.request_id
            && let Some(id) = self.find_request(request_id, &new.request)?
        {
            return Ok(Accepted { id, existed: true });
        }
        if let Some(id) = self.same_live(&new) {
            return Ok(Accepted { id, existed: true });
        }
        let superseded = self.superseded_by(&new);
        self.admit(&new, &superseded)?;
        self.note_live(&new, now);
        superseded.into_iter().for_each(|key| self.stop(key, Interrupt::Superseded, now, fx));
        let key = self.next_key;
        self.next_key += 1;
        let id = new.id.clone();
        if let Some(request_id) = &new.policy.request_id {
            self.requests.insert(request_id.clone(), (id.clone(), new.request.clone()));
        }
        let mut new = new;
        let loras = std::mem::take(&mut new.loras);
        let mut generation = Generation::new(key, new, now);
        self.waiting.insert(key);
        generation.position = self.place_of(&generation, now);
        // The first event carries the generation as it stands after that event.
        generation.sequence = 1;
        let snapshot = Box::new(generation.snapshot(None, None));
        fx.push(Effect::Open {
            key,
            id: id.clone(),
            policy: Box::new(generation.policy.clone()),
            plan: Arc::clone(&generation.plan),
            loras,
            run: Run { number: 1, after_fault: false },
            snapshot: snapshot.clone(),
        });
        let kind = EventKind::Accepted(snapshot.clone());
        fx.push(Effect::Publish { key, event: Arc::new(Event { sequence: 1, time: now.wall, kind }), snapshot });
        self.active_ids.insert(id.clone(), key);
        self.active.insert(key, generation);
        self.tell_positions(now, fx);
        Ok(Accepted { id, existed: false })
    }

    /// Refuses what there is no room for.
    fn admit(&self, new: &NewGeneration, superseded: &[JobKey]) -> Result<(), Error> {
        if self.draining.is_some() {
            return Err(Error::new(Reason::Draining, "the daemon is about to stop and takes no new generations"));
        }
        if let Some(actor) = ActorKind::ALL.iter().find(|kind| self.unavailable(**kind)) {
            let message = format!("the {} is out of order after repeated faults", actor.name());
            return Err(Error::new(Reason::EngineUnavailable, message).retry_after(limits::RESTART_WINDOW));
        }
        let retry = self.usual.clamp(Duration::from_secs(1), Duration::from_secs(60));
        // What waits for the same live place makes room for the new one.
        let leaving = superseded.iter().filter(|key| self.waiting.contains(*key)).count();
        if self.active.len() - leaving >= self.config.max_active {
            let message = format!("{} generations wait or run already, more are not taken", self.active.len());
            return Err(Error::new(Reason::QueueFull, message).retry_after(retry));
        }
        self.admit_client(&new.origin.client, leaving, retry)?;
        self.admit_memory(new.peak_bytes.saturating_add(self.models.bytes_of(&new.plan.model)), retry)?;
        let held: u64 = self.active.values().map(|generation| generation.held.source + generation.held.canvas).sum();
        if held + new.source_bytes + new.canvas_bytes > limits::MAX_HELD_SOURCE_BYTES {
            let message = "the source pictures of waiting generations leave no room for this one";
            return Err(Error::new(Reason::MemoryExhausted, message).retry_after(retry));
        }
        Ok(())
    }

    fn find_request(&self, id: &RequestId, request: &GenerationRequest) -> Result<Option<GenerationId>, Error> {
        match self.requests.get(id) {
            None => Ok(None),
            Some((generation, first)) if first == request => Ok(Some(generation.clone())),
            Some((generation, _)) => Err(request_conflict(id, generation)),
        }
    }

    fn cancel(
        &mut self,
        id: &GenerationId,
        interrupt: Interrupt,
        now: Now,
        fx: &mut Vec<Effect>,
    ) -> Result<CancelOutcome, Error> {
        let Some(&key) = self.active_ids.get(id) else {
            if self.ended_ids.contains(id) {
                return Ok(CancelOutcome::WasFinished);
            }
            return Err(unknown_generation(id));
        };
        let Some(generation) = self.active.get(&key) else { return Err(unknown_generation(id)) };
        let found = match generation.state {
            State::Queued => CancelOutcome::WasQueued,
            _ => CancelOutcome::WasRunning(generation.progress),
        };
        self.stop(key, interrupt, now, fx);
        Ok(found)
    }

    /// What must always hold; the first sentence that does not.
    pub(crate) fn broken_invariant(&self) -> Option<&'static str> {
        let queued = self.active.values().filter(|generation| generation.state == State::Queued).count();
        let with_actor = self.actors.iter().filter(|actor| matches!(actor.busy, Busy::With(_))).count() as u32;
        let in_flight: u32 = self.active.values().map(|generation| generation.in_flight).sum();
        let rules = [
            (queued == self.waiting.len(), "exactly the queued generations wait"),
            (
                self.active.len() <= self.config.max_active + self.restored,
                "no more generations are active than allowed",
            ),
            (self.active.len() == self.active_ids.len(), "each active generation is found by its id"),
            (in_flight + 3 >= with_actor, "an actor works for a generation that counts it"),
            (self.ended.len() == self.ended_ids.len(), "each kept generation is found by its id"),
            (self.ended.len() <= limits::MAX_KEPT_GENERATIONS, "no more generations are kept than allowed"),
            (
                self.active.values().all(|g| !g.state.is_end() && (!g.stopping() || g.in_flight > 0)),
                "a generation that stops is kept only while work is under way",
            ),
        ];
        rules.iter().find(|(holds, _)| !holds).map(|(_, rule)| *rule)
    }
}

/// The error for a request id that was used with other content.
pub(crate) fn request_conflict(id: &RequestId, generation: &GenerationId) -> Error {
    let message = format!("request id {} was used with other content: choose another one", id.as_str());
    Error::new(Reason::RequestIdConflict, message).about("generation", generation.as_str())
}

/// The error for an id that is not known.
pub(crate) fn unknown_generation(id: &GenerationId) -> Error {
    let message = "there is no such generation, or it is no longer kept";
    Error::new(Reason::GenerationNotFound, message).about("generation", id.as_str())
}

/// The error for a model that is not known.
pub(crate) fn unknown_model(name: &str) -> Error {
    let message = format!("there is no model {name}: list the models to see their names");
    Error::new(Reason::ModelNotFound, message).about("model", name)
}

#[cfg(test)]
mod fair_tests;
#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod sim_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;
