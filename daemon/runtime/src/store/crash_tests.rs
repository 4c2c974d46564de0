//! What a power cut leaves, after every single thing that the store writes.
//!
//! The recording file layer notes each operation in its order, and the bytes of the database after each commit. For every prefix of
//! that record a folder is made in which only that has survived for which the store had waited: an unsynced commit is gone,
//! a file that was not yet synced is half there or not at all, and the write-ahead log is cut at several places within
//! the commit that was under way. From each the store must come up, and have all that was acknowledged until then.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use easel_domain::event::State;
use easel_domain::session::Origin;

use super::tests::{accept, at, bytes, config, queued, request, success};
use super::*;

/// One thing that was done.
#[derive(Clone, Debug)]
enum Done {
    Wrote(PathBuf, Vec<u8>),
    Renamed(PathBuf, PathBuf),
    SyncedFolder,
    Removed(PathBuf),
    /// The database and its log after a commit, and whether the commit had waited for the disk.
    Committed {
        database: Vec<u8>,
        log: Vec<u8>,
        synced: bool,
    },
    /// The client was told that this generation was accepted, or ended with this picture.
    Told(Told),
}

#[derive(Clone, Debug)]
enum Told {
    Accepted(&'static str),
    Ended(&'static str, u8),
}

type Record = Arc<Mutex<Vec<Done>>>;

struct Recorder {
    folder: PathBuf,
    record: Record,
    inner: SystemFiles,
}

impl Recorder {
    fn note(&self, done: Done) {
        self.record.lock().expect("nobody panics").push(done);
    }
}

impl Files for Recorder {
    fn make_dir(&mut self, path: &Path) -> io::Result<()> {
        self.inner.make_dir(path)
    }

    fn write_synced(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.note(Done::Wrote(path.to_owned(), bytes.to_vec()));
        self.inner.write_synced(path, bytes)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.note(Done::Renamed(from.to_owned(), to.to_owned()));
        self.inner.rename(from, to)
    }

    fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        self.note(Done::SyncedFolder);
        self.inner.sync_dir(path)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.note(Done::Removed(path.to_owned()));
        self.inner.remove(path)
    }

    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.inner.read(path)
    }

    fn committed(&mut self, synced: bool) {
        let read = |name: &str| std::fs::read(self.folder.join(name)).unwrap_or_default();
        self.note(Done::Committed { database: read("easel.db"), log: read("easel.db-wal"), synced });
    }
}

/// What the disk certainly has, and what it may have.
#[derive(Clone, Default)]
struct Disk {
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// Renames that no sync of the folder has followed.
    loose: Vec<(PathBuf, PathBuf)>,
    database: Vec<u8>,
    /// The log up to the last commit that has waited.
    log: Vec<u8>,
    /// The log as it was written.
    written_log: Vec<u8>,
    told: Vec<Told>,
}

impl Disk {
    fn apply(&mut self, done: &Done) {
        match done {
            Done::Wrote(path, bytes) => drop(self.files.insert(path.clone(), bytes.clone())),
            Done::Renamed(from, to) => self.loose.push((from.clone(), to.clone())),
            Done::SyncedFolder => self.settle(),
            Done::Removed(path) => drop(self.files.remove(path)),
            Done::Committed { database, log, synced } => {
                self.written_log.clone_from(log);
                if *synced {
                    self.database.clone_from(database);
                    self.log.clone_from(log);
                }
            }
            Done::Told(told) => self.told.push(told.clone()),
        }
    }

    fn settle(&mut self) {
        for (from, to) in std::mem::take(&mut self.loose) {
            if let Some(bytes) = self.files.remove(&from) {
                self.files.insert(to, bytes);
            }
        }
    }

    /// Makes the folder that a power cut leaves. `kept_loose`: renames that no sync has followed have reached the disk.
    fn lay_out(&self, folder: &Path, log: &[u8], kept_loose: bool) {
        let blobs = folder.join("blobs");
        std::fs::create_dir_all(&blobs).expect("made");
        let mut left = self.clone();
        if kept_loose {
            left.settle();
        }
        for (path, bytes) in &left.files {
            std::fs::write(blobs.join(path.file_name().expect("a name")), bytes).expect("written");
        }
        if !self.database.is_empty() {
            std::fs::write(folder.join("easel.db"), &self.database).expect("written");
            std::fs::write(folder.join("easel.db-wal"), log).expect("written");
        }
    }

    /// The store must come up from what is left, with all that was acknowledged.
    fn check(&self, folder: &Path, what: &str) {
        let mut store = Store::open(config(Some(folder)), Box::new(SystemFiles), at(1000))
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let whole: String = store.db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("readable");
        assert_eq!(whole, "ok", "{what}");
        for told in &self.told {
            let id = match told {
                Told::Accepted(id) | Told::Ended(id, _) => id,
            };
            let stored = store.generation(&GenerationId::new(*id)).expect("readable");
            let stored = stored.unwrap_or_else(|| panic!("{what}: {id} was accepted and is lost"));
            if let Some(source) = stored.source
                && !stored.snapshot.state.is_end()
            {
                store.blob(source, at(1000)).expect("readable").unwrap_or_else(|| panic!("{what}: the source is lost"));
            }
            if let Told::Ended(_, fill) = told {
                assert_eq!(stored.snapshot.state, State::Succeeded, "{what}: {id}");
                assert_eq!(stored.snapshot.images[0].image.bytes, bytes(*fill, 1000).1, "{what}: {id}");
            }
        }
        for session in store.sessions(100, None).expect("readable") {
            for revision in store.revisions(&session.id, 100, None).expect("readable") {
                let blob = store.blob(revision.hash, at(1000)).expect("whole");
                assert!(blob.is_some(), "{what}: a revision has no picture");
            }
        }
    }
}

/// What a busy daemon writes; says into the record what a client is told.
fn live(folder: &Path, record: &Record) {
    let files = Recorder { folder: folder.to_owned(), record: Arc::clone(record), inner: SystemFiles };
    let mut store = Store::open(config(Some(folder)), Box::new(files), at(0)).expect("the store opens");
    // Without it the log is appended to only, so that its prefixes are what the disk may have.
    store.db.pragma_update(None, "wal_autocheckpoint", 0).expect("set");
    let tell = |told: Told| record.lock().expect("nobody panics").push(Done::Told(told));
    let (hash, content) = bytes(77, 600);
    let canvas =
        sessions::Canvas { hash, bytes: content, format: Some(easel_domain::ImageFormat::Png), width: 1, height: 1 };
    let session = store.create_session("s", Some(&canvas), at(1)).expect("made");
    let origin = Origin { session: Some(session.id.clone()), parent: session.head, client: String::new() };
    let ids = ["g0", "g1", "g2", "g3"];
    for (index, id) in ids.into_iter().enumerate() {
        let fill = 10 + index as u8;
        let source = bytes(fill, 300);
        let origin = if index % 2 == 0 { origin.clone() } else { Origin::default() };
        let one = accept(id, request("a boat", Some(source.0)), origin, Some(source));
        store.write(&[&one], at(2)).expect("written");
        tell(Told::Accepted(id));
        store.write(&[&queued(id, 2), &queued(id, 3)], at(3)).expect("written");
        store.write(&[&queued(id, 4)], at(3)).expect("written");
        if index != 2 {
            let fill = 20 + index as u8;
            let (hash, picture) = bytes(fill, 1000);
            store.put_blob(hash, &picture, false, at(4)).expect("written");
            store.write(&[&success(id, 5, fill)], at(5)).expect("written");
            tell(Told::Ended(id, fill));
        }
    }
    store.change_session(&session.id, &[SessionChange::Undo], at(6)).expect("undone");
}

#[test]
fn every_prefix_of_what_is_written_is_a_store_with_all_that_was_acknowledged() {
    let home = tempfile::tempdir().expect("a folder");
    let record: Record = Arc::default();
    live(&home.path().join("store"), &record);
    let record = record.lock().expect("nobody panics").clone();
    assert!(record.len() > 40, "{} things were written", record.len());
    let mut disk = Disk::default();
    let mut checked = 0;
    for (count, done) in record.iter().enumerate() {
        // The log may be cut anywhere between what was synced and what this commit writes.
        let mut logs = vec![disk.log.clone()];
        if let Done::Committed { log, .. } = done
            && log.len() > disk.log.len()
            && log.starts_with(&disk.log)
        {
            let span = log.len() - disk.log.len();
            logs.extend([1, span / 3, span / 2, span - 1, span].map(|cut| log[..disk.log.len() + cut].to_vec()));
        }
        let kept: &[bool] = if disk.loose.is_empty() { &[false] } else { &[false, true] };
        for (log, kept) in logs.iter().flat_map(|log| kept.iter().map(move |kept| (log, *kept))) {
            let left = home.path().join(format!("left-{checked}"));
            disk.lay_out(&left, log, kept);
            if let Done::Wrote(path, bytes) = done {
                // The file that was being written: half of it.
                let half = left.join("blobs").join(path.file_name().expect("a name"));
                std::fs::write(half, &bytes[..bytes.len() / 2]).expect("written");
            }
            disk.check(
                &left,
                &format!("after {count} of {}, before {done:?}", record.len()).chars().take(200).collect::<String>(),
            );
            std::fs::remove_dir_all(&left).expect("removed");
            checked += 1;
        }
        disk.apply(done);
    }
    assert!(checked > 60, "{checked} power cuts");
}

/// The recorder notices a store that acknowledges before it has waited: the check above can fail.
#[test]
fn the_check_sees_what_is_lost() {
    let home = tempfile::tempdir().expect("a folder");
    let record: Record = Arc::default();
    live(&home.path().join("store"), &record);
    let record = record.lock().expect("nobody panics").clone();
    let mut disk = Disk::default();
    for done in &record {
        match done {
            // As if no commit had ever waited after the first ones.
            Done::Committed { .. } if !disk.told.is_empty() => {}
            done => disk.apply(done),
        }
    }
    let left = home.path().join("left");
    disk.lay_out(&left, &disk.log, true);
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| disk.check(&left, "lost")));
    assert!(found.is_err());
}
