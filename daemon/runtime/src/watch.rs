//! Watches: a generation's numbered events in order, and its newest preview.

use std::sync::Arc;

use easel_domain::event::{Event, Preview, Watched};
use easel_domain::{Error, GenerationId};

/// What a poll found.
#[derive(Clone, Debug, PartialEq)]
pub struct Polled {
    /// State events after the asked number, in order. When they are no longer kept this is empty and `snapshot` is set.
    pub events: Vec<Arc<Event>>,
    /// Takes the place of events that are no longer kept; go on from its sequence.
    pub snapshot: Option<Box<easel_domain::event::Snapshot>>,
    /// The newest preview when it is newer than the asked number.
    pub preview: Option<Arc<Preview>>,
    /// True when there is nothing more to poll for.
    pub done: bool,
}

/// A view of one generation. Dropping it is a disconnect: the last one to go cancels the generation when its policy says so.
#[derive(Debug)]
pub struct Watch {
    id: GenerationId,
}

impl Watch {
    /// The generation that is watched.
    pub fn id(&self) -> &GenerationId {
        &self.id
    }

    /// Waits for the next state event, in order and without gaps, or the newest preview. `None` after the last event. Fails
    /// with `StreamLagged` once when the reader is more than [`easel_domain::limits::MAX_WATCH_LAG`] events behind; it ends then. Safe to
    /// drop while it waits.
    pub async fn next(&mut self) -> Option<Result<Watched, Error>> {
        None
    }
}
