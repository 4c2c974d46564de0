//! What happens to a generation, as a program likes to match it.

use std::time::{Duration, SystemTime};

use easel_proto::v1::{self, generation_event};

use crate::Error;

/// One event of a generation.
#[derive(Clone, Debug)]
pub struct Event {
    /// Number of the state event, from 1 without gaps; 0 for previews, which are not numbered.
    pub sequence: u64,
    /// Id of the generation.
    pub generation_id: String,
    /// When it happened, where the daemon says so.
    pub time: Option<SystemTime>,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum EventKind {
    /// First event, before any work: what was resolved.
    Accepted(Box<v1::Generation>),
    /// The place in the queue has changed; 1 is next.
    Queued {
        /// 1 is next.
        position: u32,
    },
    /// A stage begins, moves on or ends.
    Progress(v1::Progress),
    /// How far the picture has come. The newest wins; a slow reader misses some.
    Preview(Box<v1::Preview>),
    /// Last event of a success.
    Succeeded(Succeeded),
    /// Last event otherwise.
    Ended(Ended),
    /// In place of events that the daemon no longer keeps: the generation as it stands.
    Snapshot(Box<v1::Generation>),
}

/// A generation that succeeded.
#[derive(Clone, Debug)]
pub struct Succeeded {
    /// The pictures, by index. [`Easel::picture`](crate::Easel::picture) gives the bytes of each.
    pub images: Vec<v1::ResultImage>,
    /// Time of each stage.
    pub timings: Vec<v1::StageTiming>,
    /// From acceptance to the end.
    pub total: Duration,
}

/// A generation that failed or was cancelled.
#[derive(Clone, Debug)]
pub struct Ended {
    /// True when it was cancelled (by a call, a lost connection or a deadline), false when it failed.
    pub cancelled: bool,
    /// Why.
    pub error: Error,
    /// Time of each stage so far.
    pub timings: Vec<v1::StageTiming>,
}

impl Event {
    /// True for the last event of a generation.
    pub fn is_last(&self) -> bool {
        match &self.kind {
            EventKind::Succeeded(_) | EventKind::Ended(_) => true,
            EventKind::Snapshot(generation) => is_end(generation.state()),
            _ => false,
        }
    }

    /// From the message on the wire; an event of a kind that this client does not know is `None`.
    pub(crate) fn from_wire(event: v1::GenerationEvent) -> Result<Option<Self>, Error> {
        let Some(kind) = event.event else { return Ok(None) };
        let missing = |what: &str| Error::protocol(format!("an event came without its {what}"));
        let kind = match kind {
            generation_event::Event::Accepted(accepted) => {
                EventKind::Accepted(Box::new(accepted.generation.ok_or_else(|| missing("generation"))?))
            }
            generation_event::Event::Queued(queued) => EventKind::Queued { position: queued.position },
            generation_event::Event::Progress(progress) => {
                EventKind::Progress(progress.progress.ok_or_else(|| missing("progress"))?)
            }
            generation_event::Event::Preview(preview) => EventKind::Preview(Box::new(preview)),
            generation_event::Event::Succeeded(done) => EventKind::Succeeded(Succeeded {
                images: done.images,
                timings: done.timings,
                total: done.total.and_then(|total| total.try_into().ok()).unwrap_or_default(),
            }),
            generation_event::Event::Ended(end) => EventKind::Ended(Ended {
                cancelled: end.state() == v1::GenerationState::Cancelled,
                timings: end.timings,
                error: Error::from(end.error.ok_or_else(|| missing("error"))?),
            }),
            generation_event::Event::Snapshot(snapshot) => {
                EventKind::Snapshot(Box::new(snapshot.generation.ok_or_else(|| missing("generation"))?))
            }
        };
        let time = event.time.and_then(|time| time.try_into().ok());
        Ok(Some(Self { sequence: event.sequence, generation_id: event.generation_id, time, kind }))
    }

    /// The outcome, when this is the last event.
    pub fn outcome(self) -> Option<Result<Succeeded, Error>> {
        match self.kind {
            EventKind::Succeeded(done) => Some(Ok(done)),
            EventKind::Ended(end) => Some(Err(end.error)),
            EventKind::Snapshot(generation) => outcome_of(*generation),
            _ => None,
        }
    }
}

fn is_end(state: v1::GenerationState) -> bool {
    use v1::GenerationState::{Cancelled, Failed, Succeeded};
    matches!(state, Succeeded | Failed | Cancelled)
}

fn outcome_of(generation: v1::Generation) -> Option<Result<Succeeded, Error>> {
    if !is_end(generation.state()) {
        return None;
    }
    if generation.state() != v1::GenerationState::Succeeded {
        return Some(Err(Error::from(generation.error.unwrap_or_default())));
    }
    let begin = generation.create_time.and_then(|time| SystemTime::try_from(time).ok());
    let end = generation.end_time.and_then(|time| SystemTime::try_from(time).ok());
    let total = begin.zip(end).and_then(|(begin, end)| end.duration_since(begin).ok()).unwrap_or_default();
    Some(Ok(Succeeded { images: generation.images, timings: generation.timings, total }))
}
