//! Watches: a generation's numbered events in order, and its newest preview.

use std::sync::Arc;
use std::time::Duration;

use easel_domain::event::{Event, Preview, Snapshot, Watched};
use easel_domain::{Error, GenerationId, Reason, limits};
use tokio::sync::watch;

use crate::hub::Hub;

/// What a poll found.
#[derive(Clone, Debug, PartialEq)]
pub struct Polled {
    /// State events after the asked number, in order.
    pub events: Vec<Arc<Event>>,
    /// Takes the place of events that are no longer kept: `events` is empty then, and the next poll goes on from the snapshot's
    /// sequence.
    pub snapshot: Option<Box<Snapshot>>,
    /// The newest preview when it is newer than the asked number.
    pub preview: Option<Arc<Preview>>,
    /// True when there is nothing more to poll for.
    pub done: bool,
}

/// A view of one generation. Dropping it is a disconnect: the last one to go cancels the generation when its policy says so.
#[derive(Debug)]
pub struct Watch {
    hub: Arc<Hub>,
    changed: watch::Receiver<()>,
    /// Number of the last event that was handed out.
    after: u64,
    /// Number of the last preview that was handed out.
    after_preview: u64,
    /// The newest event when the watch began: up to there the reader catches up and does not lag.
    begun_at: u64,
    over: bool,
}

impl Watch {
    /// Fails with `InvalidRequest` when `after` is beyond the newest event.
    pub(crate) fn new(hub: Arc<Hub>, after: u64) -> Result<Self, Error> {
        let changed = hub.subscribe();
        let begun_at = check_sequence(&hub, after)?;
        hub.enter();
        Ok(Self { hub, changed, after, after_preview: 0, begun_at, over: false })
    }

    /// The generation that is watched.
    pub fn id(&self) -> &GenerationId {
        self.hub.id()
    }

    /// Waits for the next state event, in order and without gaps, or the newest preview. `None` after the last event. Fails
    /// with `StreamLagged` once when the reader is more than [`limits::MAX_WATCH_LAG`] events behind; it ends then. Safe to
    /// drop while it waits.
    pub async fn next(&mut self) -> Option<Result<Watched, Error>> {
        loop {
            self.changed.mark_unchanged();
            if let Some(next) = self.take() {
                return Some(next);
            }
            if self.over || self.changed.changed().await.is_err() {
                return None;
            }
        }
    }

    fn take(&mut self) -> Option<Result<Watched, Error>> {
        if self.over {
            return None;
        }
        let mut state = self.hub.lock();
        let newest = state.newest();
        if newest.saturating_sub(self.after.max(self.begun_at)) > limits::MAX_WATCH_LAG as u64 {
            self.over = true;
            let message = format!("the reader is more than {} events behind", limits::MAX_WATCH_LAG);
            let error = Error::new(Reason::StreamLagged, format!("{message}: watch again after {}", self.after));
            return Some(Err(error.retry_after(Duration::ZERO)));
        }
        if self.after < newest {
            if let Some(event) = state.event(self.after + 1) {
                self.after += 1;
                self.over = event.kind.is_last();
                return Some(Ok(Watched::Event(Arc::clone(event))));
            }
            self.after = newest;
            self.over = state.ended();
            return Some(Ok(Watched::Snapshot(Box::new(state.snapshot.clone()))));
        }
        self.over = state.ended();
        if state.suspended && !self.over {
            self.over = true;
            return Some(Err(suspended()));
        }
        let preview = state.preview_after(self.after_preview)?;
        self.after_preview = preview.number;
        Some(Ok(Watched::Preview(preview)))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.hub.leave();
    }
}

/// See [`crate::Runtime::poll`].
pub(crate) async fn poll(hub: &Hub, after: u64, after_preview: u64, wait: Duration) -> Result<Polled, Error> {
    check_sequence(hub, after)?;
    let mut changed = hub.subscribe();
    let until = tokio::time::Instant::now() + wait.min(limits::MAX_POLL_WAIT);
    loop {
        changed.mark_unchanged();
        let polled = poll_now(hub, after, after_preview);
        if !polled.done && polled.events.is_empty() && hub.lock().suspended {
            return Err(suspended());
        }
        if polled.done || !polled.events.is_empty() || polled.preview.is_some() || polled.snapshot.is_some() {
            return Ok(polled);
        }
        match tokio::time::timeout_at(until, changed.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Ok(polled),
        }
    }
}

fn poll_now(hub: &Hub, after: u64, after_preview: u64) -> Polled {
    let mut state = hub.lock();
    let kept = after >= state.newest() || state.event(after + 1).is_some();
    let (events, snapshot) = if kept {
        let events = state.events.iter().filter(|event| event.sequence > after);
        (events.take(limits::MAX_WATCH_LAG).cloned().collect(), None)
    } else {
        (Vec::new(), Some(Box::new(state.snapshot.clone())))
    };
    let told = events.last().map_or(if kept { after } else { state.newest() }, |event: &Arc<Event>| event.sequence);
    let done = state.ended() && told == state.newest();
    let preview = state.preview_after(after_preview);
    Polled { events, snapshot, preview, done }
}

fn suspended() -> Error {
    let message =
        "the daemon stops; the generation goes on when it is back: watch it again after the last sequence number";
    Error::new(Reason::Draining, message).retry_after(Duration::from_secs(1))
}

/// The newest event; fails when `after` is beyond it.
fn check_sequence(hub: &Hub, after: u64) -> Result<u64, Error> {
    let newest = hub.lock().newest();
    if after > newest {
        let description = format!("{after} is beyond the newest event, which has {newest}");
        return Err(Error::field(Reason::InvalidRequest, "after_sequence", description));
    }
    Ok(newest)
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
