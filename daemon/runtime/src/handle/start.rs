//! Putting the runtime together.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dashmap::DashMap;
use easel_domain::engine::{DeviceKind, Engine};
use easel_domain::{Error, Reason, limits};
use tokio::sync::{Mutex, mpsc, watch};

use super::{Runtime, Shared, housekeeping, recover};
use crate::actor::hooks::Pulse;
use crate::actor::{ActorContext, DenoiserKind, EncoderKind, Report, VaeKind, task, thread};
use crate::blobs::BlobHandle;
use crate::dispatch::{Actors, Dispatcher, Parts};
use crate::hub::{GoneBoard, WatchCounts};
use crate::pixels::PixelPool;
use crate::provenance::Maker;
use crate::scheduler::{ActorKind, Command, Core, CoreConfig, unknown_model};
use crate::slots::ComputeSlots;
use crate::stop::StopToken;
use crate::store::{self, Store, StoreConfig, StoreHandle, Stored, SystemFiles};
use crate::{Pace, RuntimeConfig};

impl Runtime {
    /// Starts the actors. To be called within a tokio runtime with its timer enabled. Fails with `ModelNotFound` when the engine does not
    /// know the default model, and with `Internal` when a thread cannot be started.
    pub fn start<E: Engine>(engine: Arc<E>, config: RuntimeConfig) -> Result<Self, Error> {
        Self::start_on(engine, config, &Drive::Threads)
    }

    /// As [`start`](Self::start), with tasks in place of threads: everything happens on the threads of the tokio runtime that this is
    /// called in, work and writes take the time that `pace` draws, and the engine itself should take none. For tests: on a
    /// runtime of one thread with its clock paused a daemon lives through hours in moments, and alike each time. No turns
    /// on the CPU are taken.
    pub fn start_in_virtual_time<E: Engine>(engine: Arc<E>, config: RuntimeConfig, pace: Pace) -> Result<Self, Error> {
        Self::start_on(engine, config, &Drive::Tasks(pace))
    }

    fn start_on<E: Engine>(engine: Arc<E>, config: RuntimeConfig, drive: &Drive) -> Result<Self, Error> {
        let models = Engine::models(&*engine);
        let default_model = match &config.default_model {
            Some(name) if models.iter().any(|model| model.name == *name) => name.clone(),
            Some(name) => return Err(unknown_model(name)),
            None => match models.first() {
                Some(first) => first.name.clone(),
                None => return Err(Error::new(Reason::Internal, "the engine has no model")),
            },
        };
        let (report_sender, reports) = mpsc::channel(limits::ACTOR_MAILBOX);
        let (alive, threads) = mpsc::channel(1);
        let (slots, stop) = (Arc::new(ComputeSlots::new(config.cpu_slots)), StopToken::default());
        let actors = start_actors(&engine, &report_sender, (&slots, &stop), alive, drive)?;
        let pulses = [&actors.encoder.pulse, &actors.denoiser.pulse, &actors.vae.pulse].map(Arc::clone);
        let stalled = watch_stalls(pulses, config.stall_limit, report_sender.clone());

        let (commands, command_receiver) = mpsc::channel(limits::ACTOR_MAILBOX);
        let (ready, ready_receiver) = watch::channel(true);
        let (drained, drained_receiver) = watch::channel(false);
        let (store, unfinished) = open_store(&config, drive)?;
        let cache_bytes = match store.durable() {
            true => config.max_blob_store_bytes.min(limits::BLOB_CACHE_BYTES),
            false => config.max_blob_store_bytes,
        };
        let blobs = BlobHandle::spawn(cache_bytes, store.clone());
        let (pool, hubs, counts) = (drive.pool(), Arc::new(DashMap::new()), Arc::new(WatchCounts::default()));
        let core_config = CoreConfig {
            max_active: config.max_queued_generations.clamp(1, limits::MAX_QUEUED_GENERATIONS),
            drain_timeout: config.drain_timeout,
            // The other half is left to sources, uploads and running generations.
            max_kept_bytes: cache_bytes / 2,
            durable: store.durable(),
            max_memory_bytes: config.max_memory_bytes,
            max_client: config.max_client_generations.max(1),
        };
        let gone = Arc::new(GoneBoard::default());
        recover::open_hubs(&unfinished, &hubs, &gone, &counts);
        let dispatcher = Dispatcher::new(Parts {
            core: Core::new(core_config, models, default_model.clone()),
            actors,
            reports: report_sender,
            hubs: Arc::clone(&hubs),
            counts: Arc::clone(&counts),
            gone: Arc::clone(&gone),
            slots,
            stop,
            pool: pool.clone(),
            maker: Arc::new(Maker::new(Arc::<E>::clone(&engine), config.version.clone())),
            blobs: blobs.clone(),
            store: store.clone(),
            ready,
            drained,
        });
        tokio::spawn(dispatcher.run(command_receiver, reports));
        let grace = config.recovery_grace;
        let runtime = Self(Arc::new(Shared {
            commands,
            hubs,
            counts,
            blobs,
            store,
            pool,
            catalogue: engine,
            config,
            default_model,
            start_time: SystemTime::now(),
            started: tokio::time::Instant::now(),
            ready: ready_receiver,
            drained: drained_receiver,
            stalled,
            threads: Mutex::new(threads),
        }));
        tokio::spawn(recover::recover(Arc::downgrade(&runtime.0), unfinished, gone, grace));
        tokio::spawn(housekeeping::run(Arc::downgrade(&runtime.0)));
        Ok(runtime)
    }
}

/// On what the parts of the runtime run.
enum Drive {
    Threads,
    Tasks(Pace),
}

impl Drive {
    fn pool(&self) -> PixelPool {
        match self {
            Self::Threads => PixelPool::new(),
            Self::Tasks(_) => PixelPool::inline(),
        }
    }
}

/// Opens the store and starts what owns it; with the generations that have not ended.
fn open_store(config: &RuntimeConfig, drive: &Drive) -> Result<(StoreHandle, Vec<Stored>), Error> {
    let store_config = StoreConfig {
        folder: config.state_dir.as_deref().map(store::folder_in),
        quota_bytes: match config.state_dir {
            Some(_) => config.store_quota_bytes,
            None => config.max_blob_store_bytes,
        },
        keep: config.keep,
        version: config.version.clone(),
    };
    let mut store = Store::open(store_config, Box::new(SystemFiles), SystemTime::now())?;
    let unfinished = store.unfinished()?;
    let handle = match drive {
        Drive::Threads => StoreHandle::spawn(store)?,
        Drive::Tasks(pace) => StoreHandle::spawn_task(store, pace.of(0)),
    };
    Ok((handle, unfinished))
}

fn start_actors<E: Engine>(
    engine: &Arc<E>,
    reports: &mpsc::Sender<Report<E>>,
    (slots, stop): (&Arc<ComputeSlots>, &StopToken),
    alive: mpsc::Sender<()>,
    drive: &Drive,
) -> Result<Actors<E>, Error> {
    let [encoder, denoiser, vae] = Engine::devices(&**engine);
    let context = |device: DeviceKind| ActorContext {
        engine: Arc::clone(engine),
        reports: reports.clone(),
        slots: (device == DeviceKind::Cpu && matches!(drive, Drive::Threads)).then(|| Arc::clone(slots)),
        stop: stop.clone(),
        _alive: alive.clone(),
    };
    Ok(match drive {
        Drive::Threads => Actors {
            encoder: thread::spawn::<E, EncoderKind<E>>(context(encoder))?,
            denoiser: thread::spawn::<E, DenoiserKind<E>>(context(denoiser))?,
            vae: thread::spawn::<E, VaeKind<E>>(context(vae))?,
        },
        Drive::Tasks(pace) => Actors {
            encoder: task::spawn::<E, EncoderKind<E>>(context(encoder), pace.of(1)),
            denoiser: task::spawn::<E, DenoiserKind<E>>(context(denoiser), pace.of(2)),
            vae: task::spawn::<E, VaeKind<E>>(context(vae), pace.of(3)),
        },
    })
}

/// Looks whether a busy actor passes its checkpoints. Ends with the dispatcher, or with the first one that does not.
fn watch_stalls<E: Engine>(
    pulses: [Arc<Pulse>; 3],
    limit: Duration,
    reports: mpsc::Sender<Report<E>>,
) -> watch::Receiver<Option<&'static str>> {
    let (sender, stalled) = watch::channel(None);
    let period = (limit / 4).clamp(Duration::from_millis(5), Duration::from_secs(5));
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(period);
        loop {
            tokio::select! {
                () = reports.closed() => return,
                _ = ticks.tick() => {}
            }
            let silent = |pulse: &Arc<Pulse>| pulse.silent_for().is_some_and(|silence| silence > limit);
            let Some(actor) = ActorKind::ALL.into_iter().find(|actor| silent(&pulses[actor.index()])) else { continue };
            tracing::error!(actor = actor.name(), limit_ms = limit.as_millis() as u64, "an actor does not answer");
            // Without a dispatcher nobody wants to know.
            let _ = reports.send(Report::Core(Command::Stalled { actor })).await;
            sender.send_replace(Some(actor.name()));
            return reports.closed().await;
        }
    });
    stalled
}
