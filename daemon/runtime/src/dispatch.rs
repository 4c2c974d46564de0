//! The dispatcher: the driver of [`crate::scheduler`]. A tokio task that owns the core and every stage value, reads commands and
//! reports, and carries out what the core decides. It never waits for an actor, a watcher or a client.

mod job;
mod journal;
mod perform;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use dashmap::DashMap;
use easel_domain::engine::Engine;
use easel_domain::{BlobHash, Error, GenerationId, RgbImage};
use tokio::sync::{mpsc, oneshot, watch};

use crate::actor::{ActorHandle, DenoiserOutput, DenoiserTask, EncoderTask, Report, VaeOutput, VaeTask};
use crate::blobs::BlobHandle;
use crate::hub::{GoneBoard, Hub, WatchCounts};
use crate::pixels::{Edited, PixelPool};
use crate::provenance::Maker;
use crate::scheduler::{Accepted, Answer, Command, Core, JobKey, ModelView, Now};
use crate::slots::ComputeSlots;
use crate::stop::StopToken;
use crate::store::{StoreCommand, StoreHandle};
use crate::watch::Watch;
use job::Job;

/// The shared table: generation id to watch handle.
pub(crate) type Hubs = Arc<DashMap<GenerationId, Arc<Hub>>>;

/// What a new generation edits.
pub(crate) struct Source {
    /// What the model sees.
    pub(crate) picture: RgbImage,
    /// What the result is put into; present exactly when there is a selection.
    pub(crate) edited: Option<Arc<Edited>>,
    /// What the denoiser may redraw, see `DenoiseSpec`.
    pub(crate) mask: Option<Arc<[f32]>>,
    /// The files that it was read from, that of the picture first. Holding them keeps them in memory.
    pub(crate) blobs: Vec<SourceBlob>,
}

impl Source {
    /// Memory of what the model sees, and of what is kept to the end.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.picture.pixels().len() as u64, self.edited.as_ref().map_or(0, |edited| edited.bytes()))
    }
}

/// A file and its hash.
type SourceBlob = (BlobHash, Arc<[u8]>);

/// A command from a handle.
pub(crate) struct Envelope {
    pub(crate) command: Command,
    pub(crate) source: Option<Source>,
    /// Attach a watch to the generation that is created or found.
    pub(crate) attach: bool,
    pub(crate) reply: oneshot::Sender<Reply>,
}

/// See [`Dispatcher::admitting`].
pub(crate) struct Admitting {
    source: Option<Source>,
    /// `None` for one that is taken up again: it is in the store already.
    accepting: Option<Accepting>,
}

/// A generation on its way into the store.
pub(crate) struct Accepting {
    request: easel_domain::GenerationRequest,
    policy: easel_domain::RunPolicy,
    origin: easel_domain::session::Origin,
    attach: bool,
    reply: oneshot::Sender<Reply>,
}

/// What the handle gets back.
pub(crate) struct Reply {
    pub(crate) answer: Answer,
    pub(crate) watch: Option<Result<Watch, Error>>,
    pub(crate) load: Option<watch::Receiver<ModelView>>,
}

/// The dispatcher's ends of the three actors.
pub(crate) struct Actors<E: Engine> {
    pub(crate) encoder: ActorHandle<EncoderTask>,
    pub(crate) denoiser: ActorHandle<DenoiserTask<E>>,
    pub(crate) vae: ActorHandle<VaeTask<E::Latents>>,
}

/// What the dispatcher is made of.
pub(crate) struct Parts<E: Engine> {
    pub(crate) core: Core,
    pub(crate) actors: Actors<E>,
    /// Given to work in the pixel pool.
    pub(crate) reports: mpsc::Sender<Report<E>>,
    pub(crate) hubs: Hubs,
    pub(crate) counts: Arc<WatchCounts>,
    pub(crate) gone: Arc<GoneBoard>,
    pub(crate) slots: Arc<ComputeSlots>,
    pub(crate) stop: StopToken,
    pub(crate) pool: PixelPool,
    pub(crate) maker: Arc<Maker>,
    pub(crate) blobs: BlobHandle,
    pub(crate) store: StoreHandle,
    pub(crate) ready: watch::Sender<bool>,
    pub(crate) drained: watch::Sender<bool>,
}

/// See the module.
pub(crate) struct Dispatcher<E: Engine> {
    core: Core,
    /// `None` after the end of draining.
    actors: Option<Actors<E>>,
    reports: mpsc::Sender<Report<E>>,
    jobs: HashMap<JobKey, Job<E>>,
    hubs: Hubs,
    counts: Arc<WatchCounts>,
    gone: Arc<GoneBoard>,
    slots: Arc<ComputeSlots>,
    /// Root of all stop tokens.
    stop: StopToken,
    pool: PixelPool,
    maker: Arc<Maker>,
    blobs: BlobHandle,
    store: StoreHandle,
    /// What the store is told next, in order. Bounded by the generations that are admitted.
    journal: VecDeque<StoreCommand>,
    ready: watch::Sender<bool>,
    drained: watch::Sender<bool>,
    /// The generation that is being created: what the core does not keep, and who waits for it.
    admitting: Option<Admitting>,
    /// Those who follow a model; one for each model that was ever asked for.
    loads: HashMap<String, watch::Sender<ModelView>>,
    /// Those who wait for a model to be dropped.
    unloads: HashMap<String, Vec<oneshot::Sender<Reply>>>,
    /// What the driver itself has to tell the core.
    echo: VecDeque<Command>,
}

impl<E: Engine> Dispatcher<E> {
    pub(crate) fn new(parts: Parts<E>) -> Self {
        let Parts { core, actors, reports, hubs, counts, gone, slots, stop, pool, maker, blobs, store, ready, drained } =
            parts;
        Self {
            core,
            actors: Some(actors),
            reports,
            jobs: HashMap::new(),
            hubs,
            counts,
            gone,
            slots,
            stop,
            pool,
            maker,
            blobs,
            store,
            journal: VecDeque::new(),
            ready,
            drained,
            admitting: None,
            loads: HashMap::new(),
            unloads: HashMap::new(),
            echo: VecDeque::new(),
        }
    }

    /// Runs until the last handle has gone; then everything stops.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Envelope>, mut reports: mpsc::Receiver<Report<E>>) {
        let gone = Arc::clone(&self.gone);
        let store = self.store.clone();
        loop {
            self.tell_store_now();
            let wake = self.core.next_wake().map(tokio::time::Instant::from_std);
            tokio::select! {
                biased;
                Some(room) = store.room(), if !self.journal.is_empty() => {
                    if let Some(command) = self.journal.pop_front() {
                        room.fill(command);
                    }
                }
                Some(report) = reports.recv() => self.take_report(report),
                ids = gone.take() => self.take_gone(ids),
                envelope = commands.recv() => match envelope {
                    Some(envelope) => self.take_envelope(envelope),
                    None => break,
                },
                () = sleep_until(wake) => {
                    self.tell_core(Command::Tick);
                }
            }
        }
        self.stop.raise(easel_domain::engine::Interrupt::ShuttingDown);
        self.slots.nudge();
    }

    /// Lets the core decide and does what it says.
    fn tell_core(&mut self, command: Command) -> Answer {
        let effects = self.core.handle(command, now());
        effects.list.into_iter().for_each(|effect| self.perform(effect));
        while let Some(command) = self.echo.pop_front() {
            let effects = self.core.handle(command, now());
            effects.list.into_iter().for_each(|effect| self.perform(effect));
        }
        effects.answer
    }

    fn take_gone(&mut self, ids: Vec<GenerationId>) {
        for id in ids {
            // Somebody may have come back in the meantime.
            let abandoned = self.hubs.get(&id).is_some_and(|hub| hub.watchers() == 0);
            if abandoned {
                self.tell_core(Command::WatchersGone { id });
            }
        }
    }

    fn take_envelope(&mut self, envelope: Envelope) {
        let Envelope { command, source, attach, reply } = envelope;
        if let Command::Create(new) = &command {
            let (request, policy, origin) = (new.request.clone(), new.policy.clone(), new.origin.clone());
            let accepting = Accepting { request, policy, origin, attach, reply };
            return self.take_creation(command, source, accepting);
        }
        if matches!(command, Command::Restore(_)) {
            self.admitting = Some(Admitting { source, accepting: None });
            self.tell_core(command);
            self.admitting = None;
            return;
        }
        let loads = matches!(command, Command::LoadModel { .. });
        let unloads = if let Command::UnloadModel { name } = &command { Some(name.clone()) } else { None };
        // Whoever waits for an unload must be there before the core can say that it is done.
        if let Some(name) = unloads {
            return self.unload(name, command, reply);
        }
        let answer = self.tell_core(command);
        if let Answer::Found(Ok(Some(id))) = answer {
            return self.reply_about(id, true, attach, reply);
        }
        let load = match &answer {
            Answer::Model(Ok(view)) if loads => Some(self.follow(view)),
            _ => None,
        };
        // When nobody takes the reply, the watch in it is dropped: that is a disconnect.
        let _ = reply.send(Reply { answer, watch: None, load });
    }

    /// A new generation is answered when the store has it, and not before.
    fn take_creation(&mut self, command: Command, source: Option<Source>, accepting: Accepting) {
        if accepting.reply.is_closed() {
            return;
        }
        self.admitting = Some(Admitting { source, accepting: Some(accepting) });
        let answer = self.tell_core(command);
        // What is left was not admitted.
        let left = self.admitting.take().and_then(|admitting| admitting.accepting);
        match (answer, left) {
            (Answer::Created(Ok(Accepted { id, existed: true })), Some(Accepting { attach, reply, .. })) => {
                self.reply_about(id, false, attach, reply);
            }
            (answer, Some(Accepting { reply, .. })) => drop(reply.send(Reply { answer, watch: None, load: None })),
            (_, None) => {}
        }
    }

    fn unload(&mut self, name: String, command: Command, reply: oneshot::Sender<Reply>) {
        self.unloads.entry(name.clone()).or_default().push(reply);
        let answer = self.tell_core(command);
        if matches!(answer, Answer::Later) {
            return;
        }
        if let Some(reply) = self.unloads.remove(&name).and_then(|mut waiting| waiting.pop()) {
            let _ = reply.send(Reply { answer, watch: None, load: None });
        }
    }

    fn follow(&mut self, view: &ModelView) -> watch::Receiver<ModelView> {
        let sender = self.loads.entry(view.info.name.clone()).or_insert_with(|| watch::Sender::new(view.clone()));
        sender.send_replace(view.clone());
        sender.subscribe()
    }

    fn take_report(&mut self, report: Report<E>) {
        let command = match report {
            Report::Core(command) => command,
            Report::Encoder(mut done) => {
                if let (Some(job), Some(output)) = (self.jobs.get_mut(&done.key), done.output.take()) {
                    job.embeds = output.embeds;
                }
                job::done(*done)
            }
            Report::Denoiser(mut done) => {
                if let (Some(job), Some(output)) = (self.jobs.get_mut(&done.key), done.output.take()) {
                    let DenoiserOutput { state, preview, latents } = output;
                    job.stepped(done.work, state, preview, latents);
                }
                job::done(*done)
            }
            Report::Vae(mut done) => {
                if let (Some(job), Some(output)) = (self.jobs.get_mut(&done.key), done.output.take()) {
                    match output {
                        VaeOutput::Latents(latents, _) => job.image_latents = latents,
                        VaeOutput::Picture(picture) => job.decoded(done.work, picture),
                    }
                }
                job::done(*done)
            }
        };
        self.tell_core(command);
    }
}

async fn sleep_until(wake: Option<tokio::time::Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

fn now() -> Now {
    Now { instant: crate::clock::now(), wall: crate::clock::wall() }
}
