//! Status, readiness, draining and the watch over stalls, as the server asks for them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use super::Runtime;
use crate::scheduler::{ActorKind, Answer, Command, StatusView};
use crate::{BlobStatus, EndCounts, MemoryStatus, RuntimeStatus, StageStatus};

/// What a drain waits beyond its timeout, for stages to reach a checkpoint and threads to end.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

impl Runtime {
    /// How the runtime is doing.
    pub async fn status(&self) -> RuntimeStatus {
        let shared = &self.0;
        let view = match self.ask(Command::Status).await.map(|reply| reply.answer) {
            Ok(Answer::Status(view)) => *view,
            // The dispatcher has ended, and with it everything that it counted.
            _ => StatusView {
                draining: true,
                queued: 0,
                running: 0,
                stages: Vec::new(),
                value_bytes: 0,
                previews_dropped: 0,
                ended: EndCounts::default(),
            },
        };
        let uptime = shared.started.elapsed().as_secs_f32().max(f32::EPSILON);
        let devices = shared.catalogue.devices();
        let stages = ActorKind::ALL.iter().zip(view.stages).map(|(kind, stage)| StageStatus {
            name: kind.name(),
            health: stage.health,
            generation: stage.generation,
            waiting: stage.waiting,
            occupancy: (stage.computed.as_secs_f32() / uptime).clamp(0.0, 1.0),
            restarts: stage.restarts,
            device: devices[kind.index()],
        });
        let models = shared.catalogue.models();
        RuntimeStatus {
            start_time: shared.start_time,
            draining: view.draining,
            queued: view.queued,
            running: view.running,
            stages: stages.collect(),
            memory: MemoryStatus {
                resident_bytes: resident_bytes(),
                model_bytes: models.iter().map(|model| shared.catalogue.resident_bytes(&model.name)).sum(),
                stage_value_bytes: view.value_bytes,
            },
            watchers: shared.counts.watchers.load(Ordering::Relaxed),
            store: shared.store.ask(|store| store.status()).await.unwrap_or_default(),
            blobs: shared.blobs.status().await.unwrap_or(BlobStatus::default()),
            previews_dropped: view.previews_dropped + shared.counts.previews_dropped.load(Ordering::Relaxed),
            ended: view.ended,
        }
    }

    /// Whether the dispatcher answers; waits for as long as it does not.
    pub async fn answers(&self) -> bool {
        self.ask(Command::Status).await.is_ok()
    }

    /// False while draining, when an actor has used up its restarts and when one is frozen: never for a client's mistake.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.0.ready.clone()
    }

    /// Takes no new generations, cancels those that wait, gives running ones the drain timeout, cancels the rest, ends the
    /// actors and returns. What has ended can still be asked for. Returns a few seconds after the timeout even when a
    /// stage does not stop. May be called more than once.
    pub async fn drain(&self) {
        let ended = async {
            if self.ask(Command::Drain).await.is_err() {
                return;
            }
            let mut drained = self.0.drained.clone();
            // An error means that the dispatcher has gone, and then all has ended.
            let _ = drained.wait_for(|drained| *drained).await;
            // Nobody sends here: it is closed when the last thread has ended.
            let _ = self.0.threads.lock().await.recv().await;
        };
        if tokio::time::timeout(self.0.config.drain_timeout + DRAIN_GRACE, ended).await.is_err() {
            tracing::error!("a stage did not stop in time");
        }
    }

    /// Waits until an actor does not answer within the stall limit and returns its name. It cannot be ended then: the
    /// process has to. Waits for ever otherwise.
    pub async fn wait_stalled(&self) -> String {
        let mut stalled = self.0.stalled.clone();
        match stalled.wait_for(Option::is_some).await.ok().and_then(|name| *name) {
            Some(name) => name.to_owned(),
            None => std::future::pending().await,
        }
    }
}

/// Resident bytes of the process; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    crate::proc::proc_bytes(&status, "VmRSS").unwrap_or(0)
}
