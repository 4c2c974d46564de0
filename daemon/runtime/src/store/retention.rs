//! What is removed and when: by the user's word at once, by age from time to time. What is removed leaves no byte behind.

use std::time::{Duration, SystemTime};

use easel_domain::{BlobHash, Error, GenerationId, Reason, SessionId, limits};
use rusqlite::params;

use super::record::ms;
use super::sessions::unknown_session;
use super::{Keep, Store, hash_of, sql_error};

/// What a clean-up has removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Sessions.
    pub sessions: u64,
    /// Ended generations.
    pub generations: Vec<GenerationId>,
    /// Pictures.
    pub blobs: Vec<BlobHash>,
    /// Bytes of the pictures.
    pub bytes: u64,
}

/// Sessions that have not changed since ?1, are not pinned and have nothing under way.
const OLD_SESSIONS: &str = "pinned = 0 AND updated_ms < ?1 \
    AND NOT EXISTS (SELECT 1 FROM generations WHERE generations.session = sessions.id AND generations.ended = 0)";

/// Generations that ended before ?1. One of a session stays as long as that: its revisions say how they were made.
fn old_generations() -> String {
    format!(
        "ended > 0 AND ended_ms < ?1 AND (session IS NULL OR NOT EXISTS \
         (SELECT 1 FROM sessions WHERE sessions.id = generations.session AND NOT ({OLD_SESSIONS})))"
    )
}

impl Store {
    /// Removes a session with its revisions and generations. Its running generations are to be ended before.
    pub(crate) fn delete_session(&mut self, id: &SessionId) -> Result<Cleaned, Error> {
        let bytes = self.shelf.sizes().1;
        let mut cleaned = self.transact(true, |store| {
            let gone = store.ids("SELECT id FROM generations WHERE session = ?1", id.as_str())?;
            let running = store.ids("SELECT id FROM generations WHERE session = ?1 AND ended = 0", id.as_str())?;
            if !running.is_empty() {
                let message = "generations of the session are still running: cancel them, then delete it";
                return Err(Error::new(Reason::SessionState, message).about("session", id.as_str()));
            }
            let own = store.blobs_of("id = ?1", "session = ?1", id.as_str())?;
            let deleted = store.db.execute("DELETE FROM sessions WHERE id = ?1", [id.as_str()]).map_err(sql_error)?;
            if deleted == 0 {
                return Err(unknown_session(id));
            }
            store.db.execute("DELETE FROM generations WHERE session = ?1", [id.as_str()]).map_err(sql_error)?;
            let blobs = store.remove_unnamed(own)?;
            Ok(Cleaned { sessions: 1, generations: gone, blobs, bytes: 0 })
        })?;
        cleaned.bytes = bytes - self.shelf.sizes().1;
        self.truncate_log()?;
        self.board.changed(id);
        Ok(cleaned)
    }

    /// Removes what is older than the retention allows.
    pub(crate) fn clean(&mut self, now: SystemTime) -> Result<Cleaned, Error> {
        let hour = limits::GENERATION_RETENTION;
        let age = match self.config.keep {
            Keep::Forever => None,
            Keep::None => Some(hour),
            Keep::Days(days) => Some(hour.max(Duration::from_secs(u64::from(days) * 24 * 60 * 60))),
        };
        let until = age.and_then(|age| now.checked_sub(age)).map_or(i64::MIN, ms);
        self.clean_until(until, limits::UNNAMED_BLOB_KEEP, now)
    }

    /// Removes all that has ended and is not pinned, whatever its age.
    pub(crate) fn clean_all(&mut self, now: SystemTime) -> Result<Cleaned, Error> {
        self.clean_until(i64::MAX, Duration::ZERO, now)
    }

    pub(super) fn clean_at_start(&mut self, now: SystemTime) -> Result<Cleaned, Error> {
        match self.config.keep {
            Keep::None => self.clean_all(now),
            _ => self.clean(now),
        }
    }

    fn clean_until(&mut self, until_ms: i64, blob_grace: Duration, now: SystemTime) -> Result<Cleaned, Error> {
        let bytes = self.shelf.sizes().1;
        let mut cleaned = self.transact(true, |store| {
            let own = store.blobs_of(OLD_SESSIONS, &old_generations(), until_ms)?;
            let generations =
                store.ids(&format!("SELECT id FROM generations WHERE {}", old_generations()), until_ms)?;
            let sql = format!("DELETE FROM generations WHERE {}", old_generations());
            store.db.execute(&sql, [until_ms]).map_err(sql_error)?;
            let sql = format!("DELETE FROM sessions WHERE {OLD_SESSIONS}");
            let sessions = store.db.execute(&sql, [until_ms]).map_err(sql_error)?;
            let mut blobs = store.remove_unnamed(own)?;
            blobs.extend(store.remove_idle_blobs(now, blob_grace)?);
            Ok(Cleaned { sessions: sessions as u64, generations, blobs, bytes: 0 })
        })?;
        cleaned.bytes = bytes - self.shelf.sizes().1;
        if cleaned.sessions > 0 || !cleaned.generations.is_empty() {
            self.truncate_log()?;
        }
        Ok(cleaned)
    }

    /// Removes generations that the runtime forgets; only where nothing outlives the process.
    pub(crate) fn forget(&mut self, id: &GenerationId) -> Result<(), Error> {
        if self.durable() {
            return Ok(());
        }
        self.transact(false, |store| {
            let sql = "DELETE FROM generations WHERE id = ?1 AND ended > 0 AND session IS NULL";
            store.db.execute(sql, params![id.as_str()]).map(drop).map_err(sql_error)
        })
    }

    /// Blobs that the chosen sessions and generations name.
    fn blobs_of(
        &self,
        sessions: &str,
        generations: &str,
        argument: impl rusqlite::ToSql,
    ) -> Result<Vec<BlobHash>, Error> {
        let sql = format!(
            "SELECT hash FROM revisions WHERE session IN (SELECT id FROM sessions WHERE {sessions}) \
             UNION SELECT hash FROM results WHERE generation IN (SELECT id FROM generations WHERE {generations}) \
             UNION SELECT source FROM generations WHERE source NOT NULL AND {generations} \
             UNION SELECT hash FROM inputs WHERE owner IN (SELECT id FROM sessions WHERE {sessions} \
             UNION SELECT id FROM revisions WHERE session IN (SELECT id FROM sessions WHERE {sessions}) \
             UNION SELECT id FROM generations WHERE {generations})"
        );
        let mut query = self.db.prepare(&sql).map_err(sql_error)?;
        let rows = query.query_map([argument], |row| row.get::<_, Vec<u8>>(0)).map_err(sql_error)?;
        rows.map(|hash| hash_of(&hash.map_err(sql_error)?)).collect()
    }

    fn ids(&self, sql: &str, argument: impl rusqlite::ToSql) -> Result<Vec<GenerationId>, Error> {
        let mut query = self.db.prepare(sql).map_err(sql_error)?;
        let rows = query.query_map([argument], |row| row.get::<_, String>(0)).map_err(sql_error)?;
        rows.map(|id| id.map(GenerationId::new).map_err(sql_error)).collect()
    }
}
