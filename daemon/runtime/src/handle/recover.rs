//! After a start: generations that an earlier run of the daemon had accepted and not ended go on from their seeds.

use std::sync::{Arc, Weak};
use std::time::Duration;

use easel_domain::{DisconnectPolicy, Error, GenerationId, Reason, RestartPolicy, limits};

use super::{Runtime, Shared};
use crate::dispatch::{Hubs, Source};
use crate::hub::{GoneBoard, Hub, WatchCounts};
use crate::scheduler::{Command, NewGeneration, Restored};
use crate::store::Stored;

/// Makes their watch handles, so that watchers who come back at once find them.
pub(super) fn open_hubs(unfinished: &[Stored], hubs: &Hubs, gone: &Arc<GoneBoard>, counts: &Arc<WatchCounts>) {
    for stored in unfinished {
        let policy = &stored.policy;
        let may_end = policy.on_disconnect == DisconnectPolicy::Cancel || policy.keep_until.is_some();
        let gone = may_end.then(|| Arc::clone(gone));
        let hub = Hub::restored(stored.snapshot.clone(), stored.events.clone(), gone, Arc::clone(counts));
        hubs.insert(stored.snapshot.id.clone(), Arc::new(hub));
    }
}

/// Hands them to the dispatcher, the oldest first. One that ends with its last watcher gets `grace` for one to come back.
pub(super) async fn recover(shared: Weak<Shared>, unfinished: Vec<Stored>, gone: Arc<GoneBoard>, grace: Duration) {
    if !unfinished.is_empty() {
        tracing::info!(count = unfinished.len(), "taking up generations of the last run");
    }
    let mut lonely = Vec::new();
    for stored in unfinished {
        let Some(shared) = shared.upgrade() else { return };
        if stored.policy.on_disconnect == DisconnectPolicy::Cancel {
            lonely.push(stored.snapshot.id.clone());
        }
        Runtime(shared).restore(stored).await;
    }
    if lonely.is_empty() {
        return;
    }
    tokio::time::sleep(grace).await;
    let Some(shared) = shared.upgrade() else { return };
    let unwatched = |id: &&GenerationId| shared.hubs.get(id).is_some_and(|hub| hub.watchers() == 0);
    lonely.iter().filter(unwatched).for_each(|id| gone.write(id));
}

impl Runtime {
    async fn restore(&self, stored: Stored) {
        let (source, loras, failure) = match self.reason_to_fail(&stored) {
            Some(error) => (None, Vec::new(), Some(error)),
            None => match (self.source_of(&stored).await, self.loras_again(&stored.snapshot.plan).await) {
                (Ok(source), Ok(loras)) => (source, loras, None),
                (Err(error), _) | (_, Err(error)) => (None, Vec::new(), Some(error)),
            },
        };
        let (source_bytes, canvas_bytes) = source.as_ref().map_or((0, 0), Source::bytes);
        let Stored { snapshot, request, policy, origin, runs, interrupted, .. } = stored;
        let plan = snapshot.plan.as_ref().clone();
        let (peak_bytes, model_bytes) = self.memory_of(&plan, canvas_bytes);
        let new = NewGeneration {
            id: snapshot.id,
            request,
            policy,
            plan,
            source_bytes,
            canvas_bytes,
            origin,
            peak_bytes,
            model_bytes,
            loras,
        };
        let (sequence, create_time) = (snapshot.sequence, snapshot.create_time);
        let restored = Restored { new, sequence, create_time, run: runs + 1, interrupted, failure };
        // Nobody waits for the answer; without a dispatcher the daemon ends again, and the store keeps what it has.
        let _ = self.tell(Command::Restore(Box::new(restored)), source).await;
    }

    fn reason_to_fail(&self, stored: &Stored) -> Option<Error> {
        if stored.policy.on_restart == RestartPolicy::Fail {
            let message =
                "the daemon ended before the generation was done, and it was not to run again: create it anew";
            return Some(Error::new(Reason::DaemonRestarted, message));
        }
        if stored.faults >= limits::MAX_FAULTS {
            let faults = stored.faults;
            let message =
                format!("the daemon ended {faults} times while the generation ran: it may be the cause; report it");
            return Some(Error::new(Reason::DaemonRestarted, message));
        }
        self.model_info(Some(&stored.snapshot.plan.model)).err()
    }
}
