//! The journal: accepted generations, their events and their ends, many in one transaction.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use easel_domain::event::{Event, EventKind, Progress, ResultImage};
use easel_domain::session::Origin;
use easel_domain::{Error, GenerationId, GenerationRequest, Plan, RunPolicy, SessionId, limits};
use rusqlite::params;

use super::record::{EventRecord, ImageRecord, Outcome, ms};
use super::{Bytes, Store, sql_error, to_json};
use easel_domain::BlobHash;

/// A generation that was admitted.
#[derive(Clone, Debug)]
pub(crate) struct Accept {
    pub(crate) id: GenerationId,
    pub(crate) origin: Origin,
    pub(crate) request: GenerationRequest,
    pub(crate) policy: RunPolicy,
    pub(crate) plan: Arc<Plan>,
    /// The source picture; its blob is kept with the generation.
    pub(crate) source: Option<(BlobHash, Bytes)>,
    /// What the request needs beside it; kept in the same way.
    pub(crate) inputs: Vec<(BlobHash, Bytes)>,
    /// Its first event.
    pub(crate) event: Arc<Event>,
}

/// Something to be written.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    /// A generation with its first event; waits for the disk.
    Accept(Box<Accept>),
    /// An event of a generation; the last one waits for the disk. `progress`: where the generation stands.
    Event { id: GenerationId, event: Arc<Event>, progress: Option<Progress> },
    /// A generation is taken up again. `fault`: the daemon ended in disorder while it ran.
    Rerun { id: GenerationId, fault: bool },
    /// A generation waits for the next run of the daemon, which ends in order.
    Rest { id: GenerationId },
    /// What leaves no trace, and yet is told in its turn.
    Nothing,
}

impl Write {
    /// True when nobody may hear of it before it is on the disk.
    pub(crate) fn waits(&self) -> bool {
        match self {
            Self::Accept(_) | Self::Rerun { .. } | Self::Rest { .. } => true,
            Self::Event { event, .. } => event.kind.is_last(),
            Self::Nothing => false,
        }
    }

    /// True for the last event of a generation.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self, Self::Event { event, .. } if event.kind.is_last())
    }
}

impl Store {
    /// Writes all of it or nothing. Returns the sessions that have changed.
    pub(crate) fn write(&mut self, writes: &[&Write], now: SystemTime) -> Result<BTreeSet<SessionId>, Error> {
        let far = |write: &Write| match write {
            Write::Event { id, .. } => {
                self.unsynced.get(id).is_some_and(|count| *count + writes.len() as u64 >= limits::MAX_UNSYNCED_EVENTS)
            }
            _ => false,
        };
        let synced = writes.iter().any(|write| write.waits() || far(write));
        let changed = self.transact(synced, |store| {
            let mut changed = BTreeSet::new();
            for write in writes {
                store.write_one(write, now, &mut changed)?;
            }
            store.write_uses()?;
            Ok(changed)
        })?;
        if synced {
            self.unsynced.clear();
        }
        for write in writes {
            if let Write::Event { id, event, .. } = write
                && !event.kind.is_last()
                && !synced
            {
                *self.unsynced.entry(id.clone()).or_default() += 1;
            }
        }
        for write in writes {
            if let Write::Accept(accept) = write
                && let Some(session) = &accept.origin.session
            {
                self.board.accepted(session, &accept.id);
            }
        }
        changed.iter().for_each(|session| self.board.changed(session));
        Ok(changed)
    }

    fn write_one(&mut self, write: &Write, now: SystemTime, changed: &mut BTreeSet<SessionId>) -> Result<(), Error> {
        match write {
            Write::Accept(accept) => {
                self.write_accept(accept, now)?;
                changed.extend(accept.origin.session.clone());
            }
            Write::Event { id, event, progress } => {
                self.write_event(id, event)?;
                if event.kind.is_last() {
                    changed.extend(self.write_end(id, event, *progress, now)?);
                }
            }
            Write::Rerun { id, fault } => {
                let sql = "UPDATE generations SET runs = runs + 1, faults = faults + ?2, resting = 0 WHERE id = ?1";
                self.db.execute(sql, params![id.as_str(), fault]).map_err(sql_error)?;
            }
            Write::Rest { id } => {
                let sql = "UPDATE generations SET resting = 1 WHERE id = ?1";
                self.db.execute(sql, params![id.as_str()]).map_err(sql_error)?;
            }
            Write::Nothing => {}
        }
        Ok(())
    }

    fn write_accept(&mut self, accept: &Accept, now: SystemTime) -> Result<(), Error> {
        for (hash, bytes) in accept.source.iter().chain(&accept.inputs) {
            self.ensure_blob(*hash, bytes, now)?;
        }
        self.name_inputs(accept.id.as_str(), accept.inputs.iter().map(|(hash, _)| *hash))?;
        if let Some(session) = &accept.origin.session {
            self.touch_session(session, now)?;
        }
        let sql = "INSERT INTO generations (id, session, parent, client, request_id, ended, request, policy, plan, source, \
                   runs, faults, resting, created_ms) VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8, ?9, 1, 0, 0, ?10)";
        let origin = &accept.origin;
        let mut row = self.db.prepare_cached(sql).map_err(sql_error)?;
        row.execute(params![
            accept.id.as_str(),
            origin.session.as_ref().map(|id| id.as_str()),
            origin.parent.as_ref().map(|id| id.as_str()),
            origin.client,
            accept.policy.request_id.as_ref().map(|id| id.as_str()),
            to_json(&accept.request)?,
            to_json(&accept.policy)?,
            to_json(&*accept.plan)?,
            accept.source.as_ref().map(|(hash, _)| hash.0),
            ms(accept.event.time),
        ])
        .map_err(sql_error)?;
        drop(row);
        self.write_event(&accept.id, &accept.event)
    }

    /// In memory nobody would ever read them back: the watch handles have them.
    fn write_event(&mut self, id: &GenerationId, event: &Event) -> Result<(), Error> {
        if !self.durable() {
            return Ok(());
        }
        // A generation that was deleted while it ran has no row to join.
        let sql = "INSERT INTO events SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM generations WHERE id = ?1)";
        let kind = to_json(&EventRecord::of(&event.kind))?;
        let mut row = self.db.prepare_cached(sql).map_err(sql_error)?;
        row.execute(params![id.as_str(), event.sequence, ms(event.time), kind]).map(drop).map_err(sql_error)
    }

    fn write_end(
        &mut self,
        id: &GenerationId,
        event: &Event,
        progress: Option<Progress>,
        now: SystemTime,
    ) -> Result<Option<SessionId>, Error> {
        let made: &[_] = if let EventKind::Succeeded { images, .. } = &event.kind { images } else { &[] };
        let (state, error, timings) = match &event.kind {
            EventKind::Ended { state, error, timings } => (*state, Some(error.into()), timings.clone()),
            EventKind::Succeeded { timings, .. } => (easel_domain::event::State::Succeeded, None, timings.clone()),
            _ => return Ok(None),
        };
        let images = made.iter().map(ImageRecord::from).collect();
        let outcome = Outcome { state, images, error, timings, progress, sequence: event.sequence };
        let sql = "UPDATE generations SET ended = ?2, ended_ms = ?3, outcome = ?4 WHERE id = ?1";
        let state = 1 + state as i64;
        let ended = self
            .db
            .prepare_cached(sql)
            .and_then(|mut row| row.execute(params![id.as_str(), state, ms(event.time), to_json(&outcome).ok()]))
            .map_err(sql_error)?;
        if ended == 0 {
            return Ok(None);
        }
        for file in made.iter().flat_map(ResultImage::files) {
            let Some(hash) = file.hash else { continue };
            self.ensure_blob(hash, &file.bytes, now)?;
            let sql = "INSERT INTO results VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            self.db.prepare_cached(sql).and_then(|mut r| r.execute(params![id.as_str(), hash.0])).map_err(sql_error)?;
        }
        self.unsynced.remove(id);
        self.join_tree(id, made, now)
    }
}
