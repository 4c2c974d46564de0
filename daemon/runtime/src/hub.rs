//! The watch handle of a generation: its kept events, its newest preview and how it stands. Written by the dispatcher,
//! read by watchers at their own pace: there is no buffer for each watcher, so that a slow one costs nobody anything.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use easel_domain::event::{Event, Preview, Snapshot};
use easel_domain::{GenerationId, limits};
use tokio::sync::{Notify, watch};

/// Generations whose last watcher has gone. Bounded by the number of generations; written by watches as they are dropped,
/// which cannot wait, and read by the dispatcher.
#[derive(Debug, Default)]
pub(crate) struct GoneBoard {
    ids: Mutex<Vec<GenerationId>>,
    written: Notify,
}

impl GoneBoard {
    pub(crate) fn write(&self, id: &GenerationId) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if !ids.contains(id) {
            ids.push(id.clone());
        }
        self.written.notify_one();
    }

    /// Waits until something is written and takes it.
    pub(crate) async fn take(&self) -> Vec<GenerationId> {
        loop {
            let ids = std::mem::take(&mut *self.ids.lock().unwrap_or_else(PoisonError::into_inner));
            if !ids.is_empty() {
                return ids;
            }
            self.written.notified().await;
        }
    }
}

/// Counts over all hubs.
#[derive(Debug, Default)]
pub(crate) struct WatchCounts {
    /// Watches that are open.
    pub(crate) watchers: AtomicU32,
    /// Previews that nobody read before the next one came.
    pub(crate) previews_dropped: AtomicU64,
}

/// See the module. Owned by the shared table, kept alive by its watches.
#[derive(Debug)]
pub(crate) struct Hub {
    id: GenerationId,
    /// Where the loss of the last watcher is told; `None` when the generation goes on without watchers.
    gone: Option<Arc<GoneBoard>>,
    counts: Arc<WatchCounts>,
    state: Mutex<HubState>,
    /// Changes with every event and preview.
    changed: watch::Sender<()>,
}

#[derive(Debug)]
pub(crate) struct HubState {
    pub(crate) events: VecDeque<Arc<Event>>,
    pub(crate) snapshot: Snapshot,
    pub(crate) preview: Option<Arc<Preview>>,
    previews: u64,
    pub(crate) preview_read: bool,
    watchers: u32,
    /// The daemon stops before the end; the next one goes on with it.
    pub(crate) suspended: bool,
}

impl HubState {
    /// Number of the newest event.
    pub(crate) fn newest(&self) -> u64 {
        self.snapshot.sequence
    }

    pub(crate) fn ended(&self) -> bool {
        self.snapshot.state.is_end()
    }

    /// The event with a number; `None` when it is not kept any more or is not there yet.
    pub(crate) fn event(&self, sequence: u64) -> Option<&Arc<Event>> {
        let first = self.events.front()?.sequence;
        self.events.get(sequence.checked_sub(first)? as usize)
    }

    /// The newest preview if its number is above `after`.
    pub(crate) fn preview_after(&mut self, after: u64) -> Option<Arc<Preview>> {
        let preview = self.preview.as_ref().filter(|preview| preview.number > after)?;
        self.preview_read = true;
        Some(Arc::clone(preview))
    }
}

impl Hub {
    pub(crate) fn new(snapshot: Snapshot, gone: Option<Arc<GoneBoard>>, counts: Arc<WatchCounts>) -> Self {
        let state = HubState {
            events: VecDeque::new(),
            preview: None,
            previews: 0,
            preview_read: true,
            watchers: 0,
            suspended: false,
            // Nothing has been told yet, whatever the snapshot says.
            snapshot: Snapshot { sequence: 0, ..snapshot.clone() },
        };
        Self { id: snapshot.id, gone, counts, state: Mutex::new(state), changed: watch::Sender::new(()) }
    }

    /// The handle of a generation that was told about before, as the store has it.
    pub(crate) fn restored(
        snapshot: Snapshot,
        events: Vec<Arc<Event>>,
        gone: Option<Arc<GoneBoard>>,
        counts: Arc<WatchCounts>,
    ) -> Self {
        let hub = Self::new(snapshot.clone(), gone, counts);
        {
            let mut state = hub.lock();
            state.events = events.into();
            state.snapshot = snapshot;
        }
        hub
    }

    /// Sends the watchers away: they come back to the next daemon.
    pub(crate) fn suspend(&self) {
        self.lock().suspended = true;
        self.changed.send_replace(());
    }

    pub(crate) fn id(&self) -> &GenerationId {
        &self.id
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, HubState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.lock().snapshot.clone()
    }

    /// Takes the next event and how the generation stands after it.
    pub(crate) fn publish(&self, event: Arc<Event>, snapshot: Snapshot) {
        {
            let mut state = self.lock();
            debug_assert_eq!(event.sequence, state.newest() + 1, "events have no gaps");
            if state.events.len() == limits::MAX_KEPT_EVENTS {
                state.events.pop_front();
            }
            state.events.push_back(event);
            state.snapshot = snapshot;
            if state.ended() {
                state.preview = None;
            }
        }
        self.changed.send_replace(());
    }

    /// Takes a preview, numbers it, and drops the one before. Nothing is shown after the end.
    pub(crate) fn show(&self, mut preview: Preview) {
        {
            let mut state = self.lock();
            if state.ended() {
                return;
            }
            if !state.preview_read {
                self.counts.previews_dropped.fetch_add(1, Ordering::Relaxed);
            }
            state.previews += 1;
            preview.number = state.previews;
            state.preview = Some(Arc::new(preview));
            state.preview_read = false;
        }
        self.changed.send_replace(());
    }

    pub(crate) fn watchers(&self) -> u32 {
        self.lock().watchers
    }

    pub(crate) fn enter(&self) {
        self.lock().watchers += 1;
        self.counts.watchers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.counts.watchers.fetch_sub(1, Ordering::Relaxed);
        let mut state = self.lock();
        state.watchers -= 1;
        let abandoned = state.watchers == 0 && !state.ended();
        drop(state);
        if abandoned && let Some(gone) = &self.gone {
            gone.write(&self.id);
        }
    }
}
