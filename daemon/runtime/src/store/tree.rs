//! The tree of revisions of a session.

use std::time::SystemTime;

use easel_domain::event::ResultImage;
use easel_domain::session::{Made, Revision};
use easel_domain::{
    BlobHash, Error, GenerationId, GenerationRequest, ImageFormat, Plan, Priority, Reason, RevisionId, RunPolicy,
    SessionId, limits,
};
use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::record::{ms, time};
use super::sessions::Canvas;
use super::{Store, from_json, hash_of, new_id, sql_error, to_json};

/// How a revision was made, as it stands in its row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct MadeRecord {
    pub(super) generation: GenerationId,
    pub(super) image_index: u32,
    pub(super) request: GenerationRequest,
    pub(super) plan: Plan,
    pub(super) version: String,
}

/// A revision to add.
pub(super) struct NewRevision<'a> {
    pub(super) session: &'a SessionId,
    pub(super) parent: Option<RevisionId>,
    pub(super) hash: BlobHash,
    pub(super) format: Option<ImageFormat>,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) size: u64,
    pub(super) live: bool,
    pub(super) made: Option<MadeRecord>,
}

impl<'a> NewRevision<'a> {
    /// A picture that was brought.
    pub(super) fn canvas(session: &'a SessionId, canvas: &Canvas) -> Self {
        Self {
            session,
            parent: None,
            hash: canvas.hash,
            format: canvas.format,
            width: canvas.width,
            height: canvas.height,
            size: canvas.bytes.len() as u64,
            live: false,
            made: None,
        }
    }
}

const COLUMNS: &str = "id, session, parent, hash, format, width, height, size, live, created_ms, made";

/// The columns of a revision.
struct Columns {
    id: String,
    session: String,
    parent: Option<String>,
    hash: Vec<u8>,
    format: String,
    width: u32,
    height: u32,
    size: u64,
    live: bool,
    created_ms: i64,
    made: Option<String>,
}

impl Columns {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            session: row.get(1)?,
            parent: row.get(2)?,
            hash: row.get(3)?,
            format: row.get(4)?,
            width: row.get(5)?,
            height: row.get(6)?,
            size: row.get(7)?,
            live: row.get(8)?,
            created_ms: row.get(9)?,
            made: row.get(10)?,
        })
    }

    fn revision(self) -> Result<Revision, Error> {
        let made: Option<MadeRecord> = self.made.as_deref().map(from_json).transpose()?;
        Ok(Revision {
            id: RevisionId::new(self.id),
            session: SessionId::new(self.session),
            parent: self.parent.map(RevisionId::new),
            made: made.map(|made| Made {
                generation: made.generation,
                image_index: made.image_index,
                request: made.request,
                plan: made.plan,
                version: made.version,
            }),
            hash: hash_of(&self.hash)?,
            format: from_json(&self.format)?,
            width: self.width,
            height: self.height,
            size_bytes: self.size,
            live: self.live,
            create_time: time(self.created_ms),
        })
    }
}

impl Store {
    /// A revision of a session.
    pub(crate) fn revision(&self, session: &SessionId, id: &RevisionId) -> Result<Revision, Error> {
        let sql = format!("SELECT {COLUMNS} FROM revisions WHERE id = ?1 AND session = ?2");
        let mut query = self.db.prepare_cached(&sql).map_err(sql_error)?;
        let found = query.query_row([id.as_str(), session.as_str()], Columns::of).optional().map_err(sql_error)?;
        found.ok_or_else(|| unknown_revision(id))?.revision()
    }

    /// Revisions of a session, oldest first, after `after`.
    pub(crate) fn revisions(
        &self,
        session: &SessionId,
        most: usize,
        after: Option<&RevisionId>,
    ) -> Result<Vec<Revision>, Error> {
        self.session(session)?;
        let sql = format!("SELECT {COLUMNS} FROM revisions WHERE session = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
        let mut query = self.db.prepare_cached(&sql).map_err(sql_error)?;
        let after = after.map_or("", RevisionId::as_str);
        let rows = query.query_map(params![session.as_str(), after, most as u64], Columns::of).map_err(sql_error)?;
        rows.map(|row| row.map_err(sql_error)?.revision()).collect()
    }

    /// A revision and those that it was made from, the root first.
    pub(crate) fn line_to(&self, session: &SessionId, id: &RevisionId) -> Result<Vec<Revision>, Error> {
        let mut line = vec![self.revision(session, id)?];
        while let Some(parent) = line.last().and_then(|revision| revision.parent.clone()) {
            line.push(self.revision(session, &parent)?);
        }
        line.reverse();
        Ok(line)
    }

    /// Adds a revision in the open transaction.
    pub(super) fn insert_revision(&mut self, new: NewRevision<'_>, now: SystemTime) -> Result<RevisionId, Error> {
        let id = RevisionId::new(new_id("rev"));
        let made = new.made.as_ref().map(to_json).transpose()?;
        let sql = "INSERT INTO revisions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        let mut row = self.db.prepare_cached(sql).map_err(sql_error)?;
        row.execute(params![
            id.as_str(),
            new.session.as_str(),
            new.parent.as_ref().map(RevisionId::as_str),
            new.hash.0,
            to_json(&new.format)?,
            new.width,
            new.height,
            new.size,
            new.live,
            ms(now),
            made,
        ])
        .map_err(sql_error)?;
        drop(row);
        if let Some(made) = &new.made {
            self.name_inputs(id.as_str(), made.request.inputs())?;
        }
        Ok(id)
    }

    /// Results of a generation of a session become revisions, in the open transaction. Returns the session when it has one that
    /// still exists: it has changed, whatever the end was.
    pub(super) fn join_tree(
        &mut self,
        id: &GenerationId,
        images: &[ResultImage],
        now: SystemTime,
    ) -> Result<Option<SessionId>, Error> {
        let sql = "SELECT session, parent, request, plan, policy FROM generations WHERE id = ?1 AND session NOT NULL";
        type Found = (String, Option<String>, String, String, String);
        let found: Option<Found> = self
            .db
            .prepare_cached(sql)
            .and_then(|mut query| {
                let columns = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
                query.query_row([id.as_str()], columns).optional()
            })
            .map_err(sql_error)?;
        let Some((session, parent, request, plan, policy)) = found else { return Ok(None) };
        let (session, parent) = (SessionId::new(session), parent.map(RevisionId::new));
        let standing = match self.session(&session) {
            Ok(standing) => standing,
            Err(error) if error.reason == Reason::SessionNotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let policy: RunPolicy = from_json(&policy)?;
        let live = policy.priority == Priority::Live;
        if live && !images.is_empty() {
            self.drop_live(&session, parent.as_ref(), standing.head.as_ref())?;
        }
        let (request, plan): (GenerationRequest, Plan) = (from_json(&request)?, from_json(&plan)?);
        let mut first = None;
        for image in images {
            let file = image.whole();
            let Some(hash) = file.hash else { continue };
            let made = MadeRecord {
                generation: id.clone(),
                image_index: image.index,
                request: request.clone(),
                plan: plan.clone(),
                version: self.config.version.clone(),
            };
            let new = NewRevision {
                session: &session,
                parent: parent.clone(),
                hash,
                format: Some(file.format),
                width: file.width,
                height: file.height,
                size: file.size_bytes,
                live,
                made: Some(made),
            };
            let added = self.insert_revision(new, now)?;
            first.get_or_insert(added);
        }
        // Whoever has moved on in the meantime is not moved back; a live result is only looked at.
        if let Some(first) = first
            && !live
            && standing.head == parent
        {
            self.stand_at(&session, Some(&first), &[])?;
        }
        self.touch_session(&session, now)?;
        Ok(Some(session))
    }

    /// Removes the live results of a parent that nobody has chosen and nothing was made from.
    fn drop_live(
        &self,
        session: &SessionId,
        parent: Option<&RevisionId>,
        head: Option<&RevisionId>,
    ) -> Result<(), Error> {
        let sql = "DELETE FROM revisions WHERE session = ?1 AND parent IS ?2 AND live = 1 AND id IS NOT ?3 \
                   AND NOT EXISTS (SELECT 1 FROM revisions AS child WHERE child.parent = revisions.id) \
                   AND NOT EXISTS (SELECT 1 FROM generations WHERE generations.parent = revisions.id AND ended = 0)";
        let (parent, head) = (parent.map(RevisionId::as_str), head.map(RevisionId::as_str));
        self.db.execute(sql, params![session.as_str(), parent, head]).map(drop).map_err(sql_error)
    }

    /// Fails when a session has as many revisions as it may.
    pub(crate) fn check_room(&self, session: &SessionId) -> Result<(), Error> {
        let revisions = self.session(session)?.revisions;
        if revisions < limits::MAX_REVISIONS {
            return Ok(());
        }
        let message = format!("the session has {revisions} revisions, more are not taken: go on in a new session");
        Err(Error::new(Reason::SessionState, message).about("session", session.as_str()))
    }
}

/// The error for a revision that is not known.
pub(crate) fn unknown_revision(id: &RevisionId) -> Error {
    let message = "the session has no such revision: list its revisions";
    Error::new(Reason::RevisionNotFound, message).about("revision", id.as_str())
}
