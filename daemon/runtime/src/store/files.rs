//! The file layer of the store: the few operations on which its promise rests, so that a test can record them and look at
//! what a power cut would leave after each.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// What the store does with files beside the database. Paths are absolute.
pub(crate) trait Files: Send {
    /// Makes a folder that nobody else may enter, and those above it.
    fn make_dir(&mut self, path: &Path) -> io::Result<()>;

    /// Writes a new file with mode 0600 and waits until the disk has it.
    fn write_synced(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Renames a file over another; both or neither is there at any moment.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;

    /// Waits until the disk has the names of a folder.
    fn sync_dir(&mut self, path: &Path) -> io::Result<()>;

    /// Removes a file; one that is not there is no error.
    fn remove(&mut self, path: &Path) -> io::Result<()>;

    /// A whole file.
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>>;

    /// Called after each commit of the database, before anybody hears of it. `synced`: the commit has waited for the disk.
    fn committed(&mut self, synced: bool);
}

/// The system's files.
#[derive(Debug, Default)]
pub(crate) struct SystemFiles;

impl Files for SystemFiles {
    fn make_dir(&mut self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn write_synced(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn committed(&mut self, _synced: bool) {}
}
