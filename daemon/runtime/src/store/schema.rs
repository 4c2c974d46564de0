//! Opening the database: where it lies, how it waits for the disk, its tables and how older ones become newer ones.

use std::fs::OpenOptions;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use easel_domain::{Error, Reason};
use rusqlite::Connection;

use super::error::{damaged, of_io, of_sql};

/// Each brings the tables from its index to the next version. Never changed once released, only added to.
const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE blobs (
        hash BLOB PRIMARY KEY, size INTEGER NOT NULL, created_ms INTEGER NOT NULL, used INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE sessions (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, pinned INTEGER NOT NULL, head TEXT, redo TEXT NOT NULL,
        draft TEXT NOT NULL, created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, version INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX sessions_by_update ON sessions (updated_ms);
    CREATE TABLE revisions (
        id TEXT PRIMARY KEY, session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE, parent TEXT,
        hash BLOB NOT NULL, format TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, size INTEGER NOT NULL,
        live INTEGER NOT NULL, created_ms INTEGER NOT NULL, made TEXT
    ) WITHOUT ROWID;
    CREATE INDEX revisions_by_session ON revisions (session, id);
    CREATE INDEX revisions_by_parent ON revisions (parent);
    CREATE INDEX revisions_by_hash ON revisions (hash);
    CREATE TABLE generations (
        id TEXT PRIMARY KEY, session TEXT, parent TEXT, client TEXT NOT NULL, request_id TEXT, ended INTEGER NOT NULL,
        request TEXT NOT NULL, policy TEXT NOT NULL, plan TEXT NOT NULL, source BLOB, runs INTEGER NOT NULL, faults INTEGER NOT NULL,
        resting INTEGER NOT NULL,
        created_ms INTEGER NOT NULL, ended_ms INTEGER, outcome TEXT
    ) WITHOUT ROWID;
    CREATE INDEX generations_by_ended ON generations (ended, ended_ms);
    CREATE INDEX generations_by_session ON generations (session);
    CREATE INDEX generations_by_request ON generations (request_id);
    CREATE INDEX generations_by_source ON generations (source);
    CREATE TABLE events (
        generation TEXT NOT NULL REFERENCES generations (id) ON DELETE CASCADE, sequence INTEGER NOT NULL,
        time_ms INTEGER NOT NULL, kind TEXT NOT NULL, PRIMARY KEY (generation, sequence)
    ) WITHOUT ROWID;
    CREATE TABLE results (
        generation TEXT NOT NULL REFERENCES generations (id) ON DELETE CASCADE, hash BLOB NOT NULL,
        PRIMARY KEY (generation, hash)
    ) WITHOUT ROWID;
    CREATE INDEX results_by_hash ON results (hash);
",
    // What a generation, a revision's edit or a draft needs beside its picture: masks. It goes with its owner, whichever way that
    // goes.
    "
    CREATE TABLE inputs (owner TEXT NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (owner, hash)) WITHOUT ROWID;
    CREATE INDEX inputs_by_hash ON inputs (hash);
    CREATE TRIGGER inputs_of_generation AFTER DELETE ON generations BEGIN DELETE FROM inputs WHERE owner = OLD.id; END;
    CREATE TRIGGER inputs_of_revision AFTER DELETE ON revisions BEGIN DELETE FROM inputs WHERE owner = OLD.id; END;
    CREATE TRIGGER inputs_of_session AFTER DELETE ON sessions BEGIN DELETE FROM inputs WHERE owner = OLD.id; END;
",
];

/// Opens or makes the database at `path`; `None`: one in memory that ends with the process.
pub(super) fn open(path: Option<&Path>) -> Result<Connection, Error> {
    let mut db = match path {
        Some(path) => {
            // SQLite gives its other files the mode of this one.
            let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
            let file = made.map_err(|error| of_io("the database cannot be opened", &error))?;
            let mode = std::fs::Permissions::from_mode(0o600);
            file.set_permissions(mode).map_err(|error| of_io("the database cannot be made private", &error))?;
            Connection::open(path)
        }
        None => Connection::open_in_memory(),
    }
    .map_err(|error| of_sql(&error))?;
    prepare(&db).map_err(|error| of_sql(&error))?;
    let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(|error| of_sql(&error))?;
    if found != "ok" {
        tracing::error!(found, "the database is damaged");
        return Err(damaged());
    }
    migrate(&mut db)?;
    Ok(db)
}

fn prepare(db: &Connection) -> rusqlite::Result<()> {
    // What is deleted is overwritten, so that no prompt stays behind in the file.
    db.pragma_update(None, "secure_delete", "ON")?;
    db.pragma_update(None, "foreign_keys", "ON")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    // On macOS a plain fsync leaves the bytes in the drive's cache.
    db.pragma_update(None, "fullfsync", "ON")?;
    db.pragma_update(None, "checkpoint_fullfsync", "ON")?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    let _: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn migrate(db: &mut Connection) -> Result<(), Error> {
    let sql = |error: rusqlite::Error| of_sql(&error);
    let version: usize = db.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(sql)?;
    if version > MIGRATIONS.len() {
        let message = format!(
            "the state folder was used by a newer easel (its store has version {version}, this one knows {}): use that \
             one, or another --state-dir",
            MIGRATIONS.len()
        );
        return Err(Error::new(Reason::StoreDamaged, message));
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(version) {
        let step = db.transaction().map_err(sql)?;
        step.execute_batch(migration).map_err(sql)?;
        step.pragma_update(None, "user_version", index + 1).map_err(sql)?;
        step.commit().map_err(sql)?;
    }
    Ok(())
}
