//! Reading generations back: those that ended, for clients that ask late, and those that did not, to run them again.

use std::sync::Arc;

use easel_domain::event::{Event, EventKind, ResultImage, Snapshot, State};
use easel_domain::session::Origin;
use easel_domain::{
    BlobHash, Error, GenerationId, GenerationRequest, Plan, RequestId, RevisionId, RunPolicy, SessionId, limits,
};
use rusqlite::{OptionalExtension, Row, params};

use super::record::{EventRecord, ImageRecord, Outcome, time};
use super::{Bytes, Store, from_json, hash_of, sql_error};

/// A generation as it was written.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// How it stands; one that has not ended counts as queued.
    pub(crate) snapshot: Snapshot,
    /// Its newest events without a gap; empty when what clients were told may have been lost in a power cut.
    pub(crate) events: Vec<Arc<Event>>,
    pub(crate) request: GenerationRequest,
    pub(crate) policy: RunPolicy,
    pub(crate) origin: Origin,
    pub(crate) source: Option<BlobHash>,
    /// Times that it was taken up, the first one included.
    pub(crate) runs: u32,
    /// Times that the daemon ended in disorder while it ran, the last one included.
    pub(crate) faults: u32,
    /// The daemon ended in disorder while it ran.
    pub(crate) interrupted: bool,
}

/// The columns of a generation.
struct Columns {
    id: String,
    session: Option<String>,
    parent: Option<String>,
    client: String,
    request: String,
    policy: String,
    plan: String,
    source: Option<Vec<u8>>,
    runs: u32,
    faults: u32,
    resting: bool,
    created_ms: i64,
    ended_ms: Option<i64>,
    outcome: Option<String>,
}

const COLUMNS: &str = "id, session, parent, client, request, policy, plan, source, runs, faults, resting, created_ms, \
                       ended_ms, outcome";

impl Columns {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            session: row.get(1)?,
            parent: row.get(2)?,
            client: row.get(3)?,
            request: row.get(4)?,
            policy: row.get(5)?,
            plan: row.get(6)?,
            source: row.get(7)?,
            runs: row.get(8)?,
            faults: row.get(9)?,
            resting: row.get(10)?,
            created_ms: row.get(11)?,
            ended_ms: row.get(12)?,
            outcome: row.get(13)?,
        })
    }
}

impl Columns {
    /// The generation as it was accepted, and how it ended if it did.
    fn snapshot(&self) -> Result<(Snapshot, Option<Outcome>), Error> {
        let policy: RunPolicy = from_json(&self.policy)?;
        let plan: Plan = from_json(&self.plan)?;
        let snapshot = Snapshot {
            id: GenerationId::new(self.id.clone()),
            state: State::Queued,
            plan: Arc::new(plan),
            sequence: 0,
            queue_position: 0,
            progress: None,
            images: Vec::new(),
            error: None,
            timings: Vec::new(),
            create_time: time(self.created_ms),
            end_time: self.ended_ms.map(time),
            request_id: policy.request_id,
        };
        Ok((snapshot, self.outcome.as_deref().map(from_json).transpose()?))
    }
}

impl Outcome {
    /// The generation as it ended.
    fn over(self, accepted: Snapshot, images: Vec<ResultImage>) -> Snapshot {
        Snapshot {
            state: self.state,
            sequence: self.sequence,
            images,
            error: self.error.map(Error::from),
            timings: self.timings,
            progress: self.progress,
            ..accepted
        }
    }
}

impl Store {
    /// A generation by its id.
    pub(crate) fn generation(&mut self, id: &GenerationId) -> Result<Option<Stored>, Error> {
        let found = self.row("id = ?1", id.as_str())?;
        found.map(|columns| self.stored(columns)).transpose()
    }

    /// A generation as it stands, without the files of its pictures: for lists.
    pub(crate) fn summary(&self, id: &GenerationId) -> Result<Option<Snapshot>, Error> {
        let Some(columns) = self.row("id = ?1", id.as_str())? else { return Ok(None) };
        let (base, outcome) = columns.snapshot()?;
        Ok(Some(match outcome {
            Some(outcome) => {
                let images = outcome.images.iter().map(|record| record.with(Bytes::from([]))).collect();
                outcome.over(base, images)
            }
            None => base,
        }))
    }

    /// The session in which a generation was asked for, if it was in one.
    pub(crate) fn session_of(&self, id: &GenerationId) -> Result<Option<SessionId>, Error> {
        let sql = "SELECT session FROM generations WHERE id = ?1";
        let found = self.db.query_row(sql, [id.as_str()], |row| row.get::<_, Option<String>>(0)).optional();
        Ok(found.map_err(sql_error)?.flatten().map(SessionId::new))
    }

    /// The newest generation with a request id.
    pub(crate) fn generation_of_request(&mut self, request_id: &RequestId) -> Result<Option<Stored>, Error> {
        let found = self.row("request_id = ?1 ORDER BY id DESC LIMIT 1", request_id.as_str())?;
        found.map(|columns| self.stored(columns)).transpose()
    }

    /// Generations that have not ended, oldest first.
    pub(crate) fn unfinished(&mut self) -> Result<Vec<Stored>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM generations WHERE ended = 0 ORDER BY id");
        let columns: Vec<Columns> = {
            let mut query = self.db.prepare(&sql).map_err(sql_error)?;
            let rows = query.query_map([], Columns::of).map_err(sql_error)?;
            rows.collect::<Result<_, _>>().map_err(sql_error)?
        };
        columns.into_iter().map(|columns| self.stored(columns)).collect()
    }

    /// Ids of generations in one of `states` (none: all; those that have not ended count as both of theirs), newest first, older
    /// than `before`.
    pub(crate) fn generation_ids(
        &self,
        most: usize,
        before: Option<&GenerationId>,
        states: &[State],
    ) -> Result<Vec<GenerationId>, Error> {
        let wanted = |ended: i64| {
            let ends = [State::Succeeded, State::Failed, State::Cancelled];
            match ends.into_iter().find(|state| 1 + *state as i64 == ended) {
                Some(end) => states.contains(&end),
                None => states.iter().any(|state| !state.is_end()),
            }
        };
        let sql = "SELECT id, ended FROM generations WHERE id < ?1 ORDER BY id DESC";
        let mut query = self.db.prepare_cached(sql).map_err(sql_error)?;
        // Ids consist of letters below this one.
        let below = before.map_or("~", GenerationId::as_str);
        let mut rows = query.query([below]).map_err(sql_error)?;
        let mut ids = Vec::new();
        while ids.len() < most
            && let Some(row) = rows.next().map_err(sql_error)?
        {
            let (id, ended): (String, i64) = (row.get(0).map_err(sql_error)?, row.get(1).map_err(sql_error)?);
            if states.is_empty() || wanted(ended) {
                ids.push(GenerationId::new(id));
            }
        }
        Ok(ids)
    }

    /// The row of which `condition` holds for `value`.
    fn row(&self, condition: &str, value: &str) -> Result<Option<Columns>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM generations WHERE {condition}");
        self.db.query_row(&sql, [value], Columns::of).optional().map_err(sql_error)
    }

    fn stored(&mut self, columns: Columns) -> Result<Stored, Error> {
        let (base, outcome) = columns.snapshot()?;
        let events = self.events(&base.id, &base)?;
        let snapshot = match outcome {
            Some(outcome) => {
                let images = self.images(&outcome.images)?;
                outcome.over(base, images)
            }
            None => Snapshot { sequence: events.last().map_or(0, |event| event.sequence), ..base },
        };
        let ended = snapshot.state.is_end();
        let ran = events.last().is_some_and(|event| matches!(event.kind, EventKind::Progress(_)));
        let interrupted = ran && !ended && !columns.resting;
        let (snapshot, events) = match self.after_power_cut && !ended {
            false => (snapshot, events),
            // Somebody may have been told more than the disk has: those numbers are not given again.
            true => {
                (Snapshot { sequence: snapshot.sequence + 2 * limits::MAX_UNSYNCED_EVENTS, ..snapshot }, Vec::new())
            }
        };
        Ok(Stored {
            snapshot,
            events,
            request: from_json(&columns.request)?,
            policy: from_json(&columns.policy)?,
            origin: Origin {
                session: columns.session.map(SessionId::new),
                parent: columns.parent.map(RevisionId::new),
                client: columns.client,
            },
            source: columns.source.as_deref().map(hash_of).transpose()?,
            runs: columns.runs,
            faults: columns.faults + u32::from(interrupted),
            interrupted,
        })
    }

    /// The newest events of a generation without a gap.
    fn events(&mut self, id: &GenerationId, base: &Snapshot) -> Result<Vec<Arc<Event>>, Error> {
        let rows: Vec<(u64, i64, String)> = {
            let sql =
                "SELECT sequence, time_ms, kind FROM events WHERE generation = ?1 ORDER BY sequence DESC LIMIT ?2";
            let mut query = self.db.prepare_cached(sql).map_err(sql_error)?;
            let rows = query.query_map(params![id.as_str(), limits::MAX_KEPT_EVENTS as u64], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            });
            rows.map_err(sql_error)?.collect::<Result<_, _>>().map_err(sql_error)?
        };
        let mut events: Vec<Arc<Event>> = Vec::with_capacity(rows.len());
        for (sequence, time_ms, kind) in rows {
            if events.last().is_some_and(|after| after.sequence != sequence + 1) {
                break;
            }
            let kind = self.kind(from_json(&kind)?, base)?;
            events.push(Arc::new(Event { sequence, time: time(time_ms), kind }));
        }
        events.reverse();
        Ok(events)
    }

    fn kind(&mut self, record: EventRecord, base: &Snapshot) -> Result<EventKind, Error> {
        Ok(match record {
            EventRecord::Accepted { position } => EventKind::Accepted(Box::new(Snapshot {
                sequence: 1,
                queue_position: position,
                end_time: None,
                ..base.clone()
            })),
            EventRecord::Queued { position } => EventKind::Queued { position },
            EventRecord::Progress(progress) => EventKind::Progress(progress),
            EventRecord::Succeeded { images, timings, total } => {
                EventKind::Succeeded { images: self.images(&images)?, timings, total }
            }
            EventRecord::Ended { state, error, timings } => EventKind::Ended { state, error: error.into(), timings },
        })
    }

    fn images(&mut self, records: &[ImageRecord]) -> Result<Vec<ResultImage>, Error> {
        let mut images = Vec::with_capacity(records.len());
        for record in records {
            let blob = match record.hash {
                Some(hash) => self.read_blob(hash).ok().flatten(),
                None => None,
            };
            images.push(record.with(blob.map_or_else(|| Bytes::from([]), |blob| blob.bytes)));
        }
        Ok(images)
    }
}
