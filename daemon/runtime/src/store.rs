//! The store: sessions, revisions, generations, their events and the files of pictures, in SQLite and beside it. Synchronous, with
//! every time and every file operation given to it; its thread is in [`thread`].
//!
//! Its promise: a process that is killed loses nothing, and a power cut loses nothing that was acknowledged. It rests on an
//! order: the file of a blob is on the disk before the row that names it, and an acceptance or an end is on the disk before
//! anybody hears of it. Progress between them is written without waiting for the disk.

mod blobs;
mod board;
mod error;
mod files;
mod journal;
mod read;
mod record;
mod replay;
mod retention;
mod schema;
mod sessions;
mod thread;
mod tree;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use easel_domain::{BlobHash, Error, GenerationId, limits};
use rusqlite::{Connection, OptionalExtension};

pub(crate) use board::{News, SessionBoard};
pub(crate) use files::{Files, SystemFiles};
pub(crate) use journal::{Accept, Write};
pub(crate) use read::Stored;
pub use retention::Cleaned;
pub(crate) use sessions::{Canvas, SessionChange};
pub(crate) use thread::{Entry, StoreCommand, StoreHandle};

use error::of_sql;

/// How long ended generations and sessions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Until the daemon ends; as long as it runs, for an hour.
    None,
    /// For so many days after their last change.
    Days(u32),
    /// Until they are deleted.
    Forever,
}

/// What the store is told at its start.
#[derive(Clone, Debug)]
pub(crate) struct StoreConfig {
    /// Folder of the database and the blobs; `None`: all in memory.
    pub(crate) folder: Option<PathBuf>,
    /// Bytes of all blobs.
    pub(crate) quota_bytes: u64,
    pub(crate) keep: Keep,
    /// Version of the daemon, for what revisions say of their making.
    pub(crate) version: String,
}

/// The size of the store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreStatus {
    /// True when it outlives the process.
    pub durable: bool,
    /// Sessions.
    pub sessions: u64,
    /// Revisions of all sessions.
    pub revisions: u64,
    /// Generations, ended ones included.
    pub generations: u64,
    /// Blobs.
    pub blobs: u64,
    /// Bytes of all blobs.
    pub blob_bytes: u64,
    /// Bytes that blobs may have.
    pub quota_bytes: u64,
    /// Bytes of the database.
    pub database_bytes: u64,
    /// Why the last write failed, when it did.
    pub problem: Option<Error>,
}

/// See the module. Owned by its thread.
pub(crate) struct Store {
    config: StoreConfig,
    db: Connection,
    files: Box<dyn Files>,
    shelf: blobs::Shelf,
    board: SessionBoard,
    /// Events of unfinished generations since the disk was last waited for.
    unsynced: HashMap<GenerationId, u64>,
    /// The machine was started anew since the store was last open, or may have been.
    after_power_cut: bool,
    /// What the next commit does.
    waits_for_disk: bool,
    problem: Option<Error>,
}

impl Store {
    /// Opens or makes the store; removes what an interrupted write left behind.
    pub(crate) fn open(config: StoreConfig, mut files: Box<dyn Files>, now: SystemTime) -> Result<Self, Error> {
        if let Some(folder) = &config.folder {
            let made = files.make_dir(folder).and_then(|()| files.make_dir(&folder.join("blobs")));
            made.map_err(|error| error::of_io("the folder of the store cannot be made", &error))?;
        }
        let db = schema::open(config.folder.as_ref().map(|folder| folder.join("easel.db")).as_deref())?;
        let shelf = blobs::Shelf::new(config.folder.as_deref());
        let mut store = Self {
            config,
            db,
            files,
            shelf,
            board: SessionBoard::default(),
            unsynced: HashMap::new(),
            after_power_cut: false,
            waits_for_disk: true,
            problem: None,
        };
        store.note_boot()?;
        store.sweep_blobs()?;
        store.clean_at_start(now)?;
        Ok(store)
    }

    /// Where viewers wait for changes of sessions.
    pub(crate) fn board(&self) -> SessionBoard {
        self.board.clone()
    }

    /// True when it outlives the process.
    pub(crate) fn durable(&self) -> bool {
        self.config.folder.is_some()
    }

    pub(crate) fn status(&mut self) -> Result<StoreStatus, Error> {
        let count =
            |sql: &str| -> Result<u64, Error> { self.db.query_row(sql, [], |row| row.get(0)).map_err(sql_error) };
        let (sessions, revisions) = (count("SELECT count(*) FROM sessions")?, count("SELECT count(*) FROM revisions")?);
        let generations = count("SELECT count(*) FROM generations")?;
        let pages = count("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")?;
        let (blobs, blob_bytes) = self.shelf.sizes();
        Ok(StoreStatus {
            durable: self.durable(),
            sessions,
            revisions,
            generations,
            blobs,
            blob_bytes,
            quota_bytes: self.config.quota_bytes,
            database_bytes: pages,
            problem: self.problem.clone(),
        })
    }

    /// Does `work` in a transaction; all of it is there afterwards or nothing. `synced`: waits for the disk.
    fn transact<T>(&mut self, synced: bool, work: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let done = self.begin(synced).and_then(|()| {
            let done = work(self).and_then(|done| self.db.execute_batch("COMMIT").map(|()| done).map_err(sql_error));
            if done.is_err() {
                // After a failed commit SQLite may have rolled back already; then this says so, and that is fine.
                let _ = self.db.execute_batch("ROLLBACK");
            }
            done
        });
        self.settle_blobs(done.is_ok());
        match &done {
            Ok(_) => {
                self.problem = None;
                self.files.committed(synced);
            }
            Err(error) if error.reason.class() != easel_domain::Class::Caller => self.problem = Some(error.clone()),
            Err(_) => {}
        }
        done
    }

    fn begin(&mut self, synced: bool) -> Result<(), Error> {
        if synced != self.waits_for_disk {
            let level = if synced { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
            self.db.execute_batch(level).map_err(sql_error)?;
            self.waits_for_disk = synced;
        }
        self.db.execute_batch("BEGIN IMMEDIATE").map_err(sql_error)
    }

    /// Leaves nothing of what was deleted in the write-ahead log.
    fn truncate_log(&self) -> Result<(), Error> {
        self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(sql_error)
    }

    /// Notes whether the machine runs since the store was last open: only then has everything survived that was written.
    fn note_boot(&mut self) -> Result<(), Error> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = boot.trim().to_owned();
        let last: Option<String> = self
            .db
            .query_row("SELECT value FROM meta WHERE key = 'boot'", [], |row| row.get(0))
            .optional()
            .map_err(sql_error)?;
        self.after_power_cut = boot.is_empty() || last.is_some_and(|last| last != boot);
        self.transact(true, |store| {
            let sql = "INSERT INTO meta VALUES ('boot', ?1) ON CONFLICT DO UPDATE SET value = ?1";
            store.db.execute(sql, [boot]).map(drop).map_err(sql_error)
        })
    }
}

fn sql_error(error: rusqlite::Error) -> Error {
    of_sql(&error)
}

/// The hash in a column.
fn hash_of(bytes: &[u8]) -> Result<BlobHash, Error> {
    bytes.try_into().map(BlobHash).map_err(|_| error::damaged())
}

/// Reads a column that holds JSON.
fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|problem| {
        tracing::error!(%problem, "a row of the store cannot be read");
        error::damaged()
    })
}

/// Writes a column that holds JSON.
fn to_json<T: serde::Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|problem| {
        Error::new(easel_domain::Reason::Internal, format!("a value cannot be written to the store: {problem}"))
    })
}

/// An id that sorts by the time at which it is given.
pub(crate) fn new_id(kind: &str) -> String {
    format!("{kind}_{}", uuid::Uuid::now_v7().simple())
}

/// Bytes that several hold.
type Bytes = Arc<[u8]>;

/// Folder of the store in a state folder.
pub(crate) fn folder_in(state_dir: &Path) -> PathBuf {
    state_dir.join("store")
}

const _: () = assert!(limits::STORE_BATCH <= limits::STORE_MAILBOX);

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod retention_tests;
#[cfg(test)]
mod tests;
