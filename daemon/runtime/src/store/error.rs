//! Errors of disk and database as errors with a mend.

use std::io;

use easel_domain::{Error, Reason};
use rusqlite::ErrorCode;

/// What went wrong with a file.
pub(super) fn of_io(what: &str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => disk_full(),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => read_only(),
        _ => {
            tracing::error!(%error, what, "the store failed");
            Error::new(Reason::Internal, format!("{what}: {error}; look at the disk of the state folder"))
        }
    }
}

/// What went wrong with the database.
pub(super) fn of_sql(error: &rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => disk_full(),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => read_only(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(),
        Some(ErrorCode::SystemIoFailure) if !has_room() => disk_full(),
        _ => {
            tracing::error!(%error, "the database failed");
            Error::new(Reason::Internal, format!("the database of the state folder failed: {error}"))
        }
    }
}

/// A row holds what this program never writes.
pub(super) fn damaged() -> Error {
    let message = "the database of the state folder is damaged: stop the daemon, move the folder `store` away (a copy may \
                   be repaired with `sqlite3 easel.db .recover`) and start again";
    Error::new(Reason::StoreDamaged, message)
}

fn disk_full() -> Error {
    let message = "the disk of the state folder is full: free some space, lower store_quota_mb, or delete sessions";
    Error::new(Reason::DiskFull, message).retry_after(std::time::Duration::from_secs(10))
}

fn read_only() -> Error {
    let message = "the state folder cannot be written: give it back to the user of the daemon with mode 0700, or choose \
                   another --state-dir";
    Error::new(Reason::StoreReadOnly, message).retry_after(std::time::Duration::from_secs(10))
}

/// SQLite reports some full disks as plain failures of a write; then nothing else is known either.
fn has_room() -> bool {
    io::Error::last_os_error().raw_os_error() != Some(libc::ENOSPC)
}
