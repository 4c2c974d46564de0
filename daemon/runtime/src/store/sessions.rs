//! Rows of sessions: creating, listing, changing, and where the user stands in the tree.

use std::time::SystemTime;

use easel_domain::session::{Draft, Session};
use easel_domain::{BlobHash, Error, GenerationId, ImageFormat, Reason, RevisionId, Selection, SessionId, limits};
use rusqlite::{OptionalExtension, Row, params};

use super::record::{ms, time};
use super::tree::NewRevision;
use super::{Bytes, Store, from_json, new_id, sql_error, to_json};

/// A picture for a new session to begin with.
#[derive(Clone, Debug)]
pub(crate) struct Canvas {
    pub(crate) hash: BlobHash,
    pub(crate) bytes: Bytes,
    pub(crate) format: Option<ImageFormat>,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// A change of a session.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SessionChange {
    Rename(String),
    Pin(bool),
    Draft(Draft),
    /// Stand at this revision.
    GoTo(RevisionId),
    Undo,
    Redo,
}

const COLUMNS: &str = "id, name, pinned, head, redo, draft, created_ms, updated_ms, version";

/// The columns of a session.
struct Columns {
    id: String,
    name: String,
    pinned: bool,
    head: Option<String>,
    redo: String,
    draft: String,
    created_ms: i64,
    updated_ms: i64,
    version: u64,
}

impl Columns {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            pinned: row.get(2)?,
            head: row.get(3)?,
            redo: row.get(4)?,
            draft: row.get(5)?,
            created_ms: row.get(6)?,
            updated_ms: row.get(7)?,
            version: row.get(8)?,
        })
    }
}

impl Store {
    /// Makes a session; with a canvas that is its first revision.
    pub(crate) fn create_session(
        &mut self,
        name: &str,
        canvas: Option<&Canvas>,
        now: SystemTime,
    ) -> Result<Session, Error> {
        let id = SessionId::new(new_id("ses"));
        self.transact(true, |store| {
            let sql = "INSERT INTO sessions VALUES (?1, ?2, 0, NULL, '[]', ?3, ?4, ?4, 1)";
            let draft = to_json(&Draft::default())?;
            store.db.execute(sql, params![id.as_str(), name, draft, ms(now)]).map_err(sql_error)?;
            if let Some(canvas) = canvas {
                store.ensure_blob(canvas.hash, &canvas.bytes, now)?;
                let root = store.insert_revision(NewRevision::canvas(&id, canvas), now)?;
                store.stand_at(&id, Some(&root), &[])?;
            }
            Ok(())
        })?;
        self.session(&id)
    }

    /// A session as it stands.
    pub(crate) fn session(&self, id: &SessionId) -> Result<Session, Error> {
        let sql = format!("SELECT {COLUMNS} FROM sessions WHERE id = ?1");
        let found = self.db.query_row(&sql, [id.as_str()], Columns::of).optional().map_err(sql_error)?;
        self.filled(found.ok_or_else(|| unknown_session(id))?)
    }

    /// Sessions, the last changed first, after the one that `after` names by its time and id.
    pub(crate) fn sessions(&self, most: usize, after: Option<(i64, &str)>) -> Result<Vec<Session>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM sessions WHERE (updated_ms, id) < (?1, ?2) ORDER BY updated_ms DESC, id DESC LIMIT ?3"
        );
        let (ms, id) = after.unwrap_or((i64::MAX, ""));
        let mut query = self.db.prepare_cached(&sql).map_err(sql_error)?;
        let rows = query.query_map(params![ms, id, most as u64], Columns::of).map_err(sql_error)?;
        rows.map(|row| row.map_err(sql_error).and_then(|columns| self.filled(columns))).collect()
    }

    /// Changes a session and says how it stands then.
    pub(crate) fn change_session(
        &mut self,
        id: &SessionId,
        changes: &[SessionChange],
        now: SystemTime,
    ) -> Result<Session, Error> {
        self.transact(true, |store| {
            for change in changes {
                let session = store.session(id)?;
                match change {
                    SessionChange::Rename(name) => store.set(id, "name", name)?,
                    SessionChange::Pin(pinned) => store.set(id, "pinned", pinned)?,
                    SessionChange::Draft(draft) => {
                        store.set(id, "draft", &to_json(draft)?)?;
                        store.name_inputs(id.as_str(), draft.selection.as_ref().and_then(Selection::mask))?;
                    }
                    SessionChange::GoTo(revision) => store.go_to(&session, revision)?,
                    SessionChange::Undo => store.undo(&session)?,
                    SessionChange::Redo => store.redo(&session)?,
                }
            }
            store.touch_session(id, now)
        })?;
        self.board.changed(id);
        self.session(id)
    }

    /// Notes in the open transaction that a session has changed.
    pub(super) fn touch_session(&mut self, id: &SessionId, now: SystemTime) -> Result<(), Error> {
        let sql = "UPDATE sessions SET updated_ms = ?2, version = version + 1 WHERE id = ?1";
        let mut row = self.db.prepare_cached(sql).map_err(sql_error)?;
        match row.execute(params![id.as_str(), ms(now)]).map_err(sql_error)? {
            0 => Err(unknown_session(id)),
            _ => Ok(()),
        }
    }

    /// Moves the user within the tree.
    pub(super) fn stand_at(&self, id: &SessionId, head: Option<&RevisionId>, redo: &[RevisionId]) -> Result<(), Error> {
        let sql = "UPDATE sessions SET head = ?2, redo = ?3 WHERE id = ?1";
        let head = head.map(RevisionId::as_str);
        self.db.execute(sql, params![id.as_str(), head, to_json(&redo)?]).map(drop).map_err(sql_error)
    }

    fn go_to(&self, session: &Session, revision: &RevisionId) -> Result<(), Error> {
        let found = self.revision(&session.id, revision)?;
        // Somebody has chosen it: the next live result leaves it alone.
        let sql = "UPDATE revisions SET live = 0 WHERE id = ?1";
        self.db.execute(sql, [found.id.as_str()]).map_err(sql_error)?;
        self.stand_at(&session.id, Some(&found.id), &[])
    }

    fn undo(&self, session: &Session) -> Result<(), Error> {
        let nothing = || {
            let message = "there is nothing to undo: the session stands at its first picture";
            Error::new(Reason::SessionState, message).about("session", session.id.as_str())
        };
        let head = session.head.as_ref().ok_or_else(nothing)?;
        let parent = self.revision(&session.id, head)?.parent.ok_or_else(nothing)?;
        let mut redo = session.redo.clone();
        redo.push(head.clone());
        let first = redo.len().saturating_sub(limits::MAX_REDO);
        self.stand_at(&session.id, Some(&parent), &redo[first..])
    }

    fn redo(&self, session: &Session) -> Result<(), Error> {
        let Some((next, rest)) = session.redo.split_last() else {
            let message = "there is nothing to redo: an undo comes first, and an edit ends what could be done again";
            return Err(Error::new(Reason::SessionState, message).about("session", session.id.as_str()));
        };
        self.stand_at(&session.id, Some(next), rest)
    }

    fn set(&self, id: &SessionId, column: &'static str, value: &dyn rusqlite::ToSql) -> Result<(), Error> {
        let sql = format!("UPDATE sessions SET {column} = ?2 WHERE id = ?1");
        self.db.execute(&sql, params![id.as_str(), value]).map(drop).map_err(sql_error)
    }

    fn filled(&self, columns: Columns) -> Result<Session, Error> {
        let count = "SELECT count(*) FROM revisions WHERE session = ?1";
        let active = "SELECT id FROM generations WHERE session = ?1 AND ended = 0 ORDER BY id";
        let revisions = self.db.prepare_cached(count).and_then(|mut q| q.query_row([&columns.id], |row| row.get(0)));
        let mut query = self.db.prepare_cached(active).map_err(sql_error)?;
        let ids = query.query_map([&columns.id], |row| row.get::<_, String>(0)).map_err(sql_error)?;
        Ok(Session {
            revisions: revisions.map_err(sql_error)?,
            active: ids.map(|id| id.map(GenerationId::new)).collect::<Result<_, _>>().map_err(sql_error)?,
            id: SessionId::new(columns.id),
            name: columns.name,
            pinned: columns.pinned,
            head: columns.head.map(RevisionId::new),
            redo: from_json(&columns.redo)?,
            draft: from_json(&columns.draft)?,
            create_time: time(columns.created_ms),
            update_time: time(columns.updated_ms),
            version: columns.version,
        })
    }
}

/// The error for a session that is not known.
pub(crate) fn unknown_session(id: &SessionId) -> Error {
    let message = "there is no such session, or it was deleted";
    Error::new(Reason::SessionNotFound, message).about("session", id.as_str())
}
