//! Blobs of the store: files by their hash on the disk, or bytes in memory, with a row for each, within a quota.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use easel_domain::{BlobHash, Error, Reason};
use rusqlite::params;

use super::error::of_io;
use super::record::{ms, time};
use super::{Bytes, Store, hash_of, sql_error};
use crate::{Blob, BlobInfo, pixels};

/// A blob that came just now is on its way into a row that names it.
const FRESH: Duration = Duration::from_secs(60);

/// Where the bytes are, and what is known of each.
pub(super) struct Shelf {
    folder: Option<PathBuf>,
    memory: HashMap<BlobHash, Bytes>,
    known: HashMap<BlobHash, Known>,
    bytes: u64,
    /// Blobs whose rows stand in the transaction that is open.
    uncommitted: Vec<BlobHash>,
    /// Blobs that the transaction which is open removes: their bytes go when it is committed.
    doomed: Vec<(BlobHash, Known)>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    size: u64,
    created_ms: i64,
    /// When it was last used; written with the next row.
    used_ms: i64,
    touched: bool,
}

impl Shelf {
    pub(super) fn new(folder: Option<&Path>) -> Self {
        let folder = folder.map(|folder| folder.join("blobs"));
        Self {
            folder,
            memory: HashMap::new(),
            known: HashMap::new(),
            bytes: 0,
            uncommitted: Vec::new(),
            doomed: Vec::new(),
        }
    }

    pub(super) fn sizes(&self) -> (u64, u64) {
        (self.known.len() as u64, self.bytes)
    }

    fn path(&self, hash: BlobHash) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(hash.to_string()))
    }

    /// The transaction is over. After a failed one its blobs have no row: they are written again when somebody needs
    /// them, and the next start removes their files otherwise.
    /// Gives back which blobs are to lose their bytes now.
    fn settle(&mut self, committed: bool) -> Vec<BlobHash> {
        for hash in std::mem::take(&mut self.uncommitted) {
            if !committed {
                self.memory.remove(&hash);
                self.forget(hash);
            }
        }
        let doomed = std::mem::take(&mut self.doomed);
        if !committed {
            for (hash, known) in doomed {
                self.bytes += known.size;
                self.known.insert(hash, known);
            }
            return Vec::new();
        }
        // One that came again in the same transaction stays.
        doomed.into_iter().map(|(hash, _)| hash).filter(|hash| !self.known.contains_key(hash)).collect()
    }

    fn forget(&mut self, hash: BlobHash) {
        if let Some(known) = self.known.remove(&hash) {
            self.bytes -= known.size;
        }
    }
}

impl Store {
    /// Reads which blobs there are; drops files without a row, and rows without a file that nothing needs.
    pub(super) fn sweep_blobs(&mut self) -> Result<(), Error> {
        let Some(folder) = self.shelf.folder.clone() else { return Ok(()) };
        let failed = |error: std::io::Error| of_io("the blobs of the store cannot be listed", &error);
        let mut there = HashMap::new();
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let size = entry.metadata().map_err(failed)?.len();
            let name = entry.file_name();
            match name.to_str().and_then(|name| name.parse::<BlobHash>().ok()) {
                Some(hash) => drop(there.insert(hash, size)),
                // A write that was interrupted.
                None => self.files.remove(&entry.path()).map_err(failed)?,
            }
        }
        for (hash, known) in self.blob_rows()? {
            // What is gone or not whole is never served: asking for it says that it is not there.
            if there.get(&hash) == Some(&known.size) {
                there.remove(&hash);
                self.shelf.bytes += known.size;
                self.shelf.known.insert(hash, known);
            } else {
                tracing::warn!(%hash, "the file of a blob is missing or has another size");
                self.db.execute("DELETE FROM blobs WHERE hash = ?1", params![hash.0]).map_err(sql_error)?;
            }
        }
        // No row names what is left.
        for hash in there.into_keys() {
            if let Some(path) = self.shelf.path(hash) {
                self.files.remove(&path).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn blob_rows(&self) -> Result<Vec<(BlobHash, Known)>, Error> {
        let mut query = self.db.prepare("SELECT hash, size, created_ms, used FROM blobs").map_err(sql_error)?;
        let rows = query.query_map([], |row| {
            let known = Known { size: row.get(1)?, created_ms: row.get(2)?, used_ms: row.get(3)?, touched: false };
            Ok((row.get::<_, Vec<u8>>(0)?, known))
        });
        rows.map_err(sql_error)?
            .map(|row| row.map_err(sql_error).and_then(|(hash, known)| Ok((hash_of(&hash)?, known))))
            .collect()
    }

    /// Keeps a blob. `synced`: it is there after a power cut as well; else only with the next commit that waits.
    pub(crate) fn put_blob(
        &mut self,
        hash: BlobHash,
        bytes: &Bytes,
        synced: bool,
        now: SystemTime,
    ) -> Result<(), Error> {
        self.transact(synced, |store| store.ensure_blob(hash, bytes, now))
    }

    /// Writes the file of a blob, and its row into the transaction that is open. The file is on the disk when this
    /// returns.
    pub(super) fn ensure_blob(&mut self, hash: BlobHash, bytes: &Bytes, now: SystemTime) -> Result<(), Error> {
        if self.touch_blob(hash, now) {
            return Ok(());
        }
        let size = bytes.len() as u64;
        self.make_room(size, now)?;
        match (self.shelf.path(hash), &self.shelf.folder) {
            (Some(path), Some(folder)) => {
                let temporary = path.with_extension("new");
                let files = &mut self.files;
                let written = files.write_synced(&temporary, bytes).and_then(|()| {
                    files.rename(&temporary, &path)?;
                    files.sync_dir(folder)
                });
                if let Err(error) = written {
                    // What cannot be written may still be removed; at the latest the next start does it.
                    let _ = files.remove(&temporary);
                    return Err(of_io("the file of a picture cannot be written", &error));
                }
            }
            _ => drop(self.shelf.memory.insert(hash, Bytes::clone(bytes))),
        }
        let at = ms(now);
        let sql = "INSERT INTO blobs VALUES (?1, ?2, ?3, ?3) ON CONFLICT DO NOTHING";
        self.db.prepare_cached(sql).and_then(|mut row| row.execute(params![hash.0, size, at])).map_err(sql_error)?;
        self.shelf.uncommitted.push(hash);
        self.shelf.known.insert(hash, Known { size, created_ms: at, used_ms: at, touched: false });
        self.shelf.bytes += size;
        Ok(())
    }

    /// A blob with its content, which is checked: what is damaged is never served.
    pub(crate) fn blob(&mut self, hash: BlobHash, now: SystemTime) -> Result<Option<Blob>, Error> {
        self.touch_blob(hash, now);
        self.read_blob(hash)
    }

    /// As [`blob`](Self::blob), and does not count as a use.
    pub(super) fn read_blob(&mut self, hash: BlobHash) -> Result<Option<Blob>, Error> {
        let Some(known) = self.shelf.known.get(&hash).copied() else { return Ok(None) };
        let bytes = match self.shelf.path(hash) {
            None => self.shelf.memory.get(&hash).cloned(),
            Some(path) => match self.files.read(&path) {
                Ok(bytes) => Some(Bytes::from(bytes)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => return Err(of_io("the file of a picture cannot be read", &error)),
            },
        };
        let Some(bytes) = bytes else {
            self.shelf.forget(hash);
            return Ok(None);
        };
        if self.shelf.folder.is_some() && pixels::hash(&bytes) != hash {
            tracing::error!(%hash, "the file of a blob has another content than it should");
            let message =
                "the file of the picture is damaged on the disk: bring the picture again, or restore the state folder";
            return Err(Error::new(Reason::DataLoss, message).about("blob", hash.to_string()));
        }
        let info = BlobInfo { hash, size_bytes: known.size, create_time: time(known.created_ms) };
        Ok(Some(Blob { info, bytes }))
    }

    /// Size of a blob that is there.
    pub(crate) fn blob_size(&mut self, hash: BlobHash, now: SystemTime) -> Option<u64> {
        self.touch_blob(hash, now);
        self.shelf.known.get(&hash).map(|known| known.size)
    }

    fn touch_blob(&mut self, hash: BlobHash, now: SystemTime) -> bool {
        match self.shelf.known.get_mut(&hash) {
            Some(known) => {
                (known.used_ms, known.touched) = (ms(now), true);
                true
            }
            None => false,
        }
    }

    /// Removes the least recently used blobs that nothing needs until `size` more bytes fit.
    fn make_room(&mut self, size: u64, now: SystemTime) -> Result<(), Error> {
        let over = |store: &Self| store.shelf.bytes + size > store.config.quota_bytes;
        if !over(self) {
            return Ok(());
        }
        let needed = self.needed_blobs()?;
        let fresh = ms(now) - FRESH.as_millis() as i64;
        let mut spare: Vec<_> = self.shelf.known.iter().filter(|(hash, _)| !needed.contains(hash)).collect();
        spare.retain(|(_, known)| known.used_ms < fresh);
        spare.sort_by_key(|(hash, known)| (known.used_ms, **hash));
        let spare: Vec<_> = spare.into_iter().map(|(hash, _)| *hash).collect();
        for hash in spare {
            if !over(self) {
                return Ok(());
            }
            self.remove_blob(hash)?;
        }
        if over(self) {
            let message = "the store has no room: what it holds belongs to sessions and running generations; delete \
                           sessions or raise store_quota_mb";
            return Err(Error::new(Reason::StoreFull, message).retry_after(Duration::from_secs(30)));
        }
        Ok(())
    }

    /// Says in the open transaction which blobs an owner (a generation, a revision, the draft of a session) needs beside its
    /// picture; what it named before is let go.
    pub(super) fn name_inputs(&self, owner: &str, hashes: impl IntoIterator<Item = BlobHash>) -> Result<(), Error> {
        self.db.execute("DELETE FROM inputs WHERE owner = ?1", [owner]).map_err(sql_error)?;
        for hash in hashes {
            let sql = "INSERT INTO inputs VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            self.db.execute(sql, params![owner, hash.0]).map_err(sql_error)?;
        }
        Ok(())
    }

    /// Blobs that a revision, a draft or an unfinished generation needs.
    fn needed_blobs(&self) -> Result<HashSet<BlobHash>, Error> {
        self.hashes(
            "SELECT hash FROM revisions UNION SELECT source FROM generations WHERE ended = 0 AND source NOT NULL \
             UNION SELECT hash FROM inputs WHERE owner NOT IN (SELECT id FROM generations WHERE ended > 0)",
        )
    }

    /// The transaction is over: what it has removed for good loses its bytes. A crash before that leaves files without rows, which
    /// the next start removes.
    pub(super) fn settle_blobs(&mut self, committed: bool) {
        for hash in self.shelf.settle(committed) {
            self.shelf.memory.remove(&hash);
            if let Some(path) = self.shelf.path(hash)
                && let Err(error) = self.files.remove(&path)
            {
                tracing::warn!(%error, "the file of a picture cannot be removed; the next start tries again");
            }
        }
    }

    /// Removes a blob that nothing needs, with the transaction that is open.
    pub(super) fn remove_blob(&mut self, hash: BlobHash) -> Result<(), Error> {
        self.db.execute("DELETE FROM blobs WHERE hash = ?1", params![hash.0]).map_err(sql_error)?;
        if let Some(known) = self.shelf.known.remove(&hash) {
            self.shelf.bytes -= known.size;
            self.shelf.doomed.push((hash, known));
        }
        Ok(())
    }

    /// Removes those of `candidates` that nothing names any more; returns them.
    pub(super) fn remove_unnamed(&mut self, candidates: Vec<BlobHash>) -> Result<Vec<BlobHash>, Error> {
        let named = self.named_blobs()?;
        let unnamed: Vec<_> = candidates.into_iter().filter(|hash| !named.contains(hash)).collect();
        for hash in &unnamed {
            self.remove_blob(*hash)?;
        }
        Ok(unnamed)
    }

    /// Removes blobs that nothing names and nobody has used for `grace`; returns them.
    pub(super) fn remove_idle_blobs(&mut self, now: SystemTime, grace: Duration) -> Result<Vec<BlobHash>, Error> {
        let until = ms(now) - grace.as_millis() as i64;
        let idle = self.shelf.known.iter().filter(|(_, known)| known.used_ms <= until);
        let idle = idle.map(|(hash, _)| *hash).collect();
        self.remove_unnamed(idle)
    }

    fn named_blobs(&self) -> Result<HashSet<BlobHash>, Error> {
        let sql = "SELECT hash FROM revisions UNION SELECT hash FROM results \
                   UNION SELECT source FROM generations WHERE source NOT NULL UNION SELECT hash FROM inputs";
        self.hashes(sql)
    }

    fn hashes(&self, sql: &str) -> Result<HashSet<BlobHash>, Error> {
        let mut query = self.db.prepare_cached(sql).map_err(sql_error)?;
        let rows = query.query_map([], |row| row.get::<_, Vec<u8>>(0)).map_err(sql_error)?;
        rows.map(|row| hash_of(&row.map_err(sql_error)?)).collect()
    }

    /// Writes when blobs were last used, into the transaction that is open.
    pub(super) fn write_uses(&mut self) -> Result<(), Error> {
        let touched = self.shelf.known.iter_mut().filter(|(_, known)| known.touched);
        for (hash, known) in touched {
            let mut row = self.db.prepare_cached("UPDATE blobs SET used = ?2 WHERE hash = ?1").map_err(sql_error)?;
            row.execute(params![hash.0, known.used_ms]).map_err(sql_error)?;
            known.touched = false;
        }
        Ok(())
    }
}
