//! The file of the tokens: JSON, mode 0600, replaced as a whole. It holds digests, no secrets.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::tokens::Entry;

/// The tokens in a file; none when there is no file. Fails when others may write it, or when it is not what was written.
pub(crate) fn read(path: &Path) -> io::Result<Vec<Entry>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    if file.metadata()?.mode() & 0o077 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "others may read or write it: chmod 600 it"));
    }
    serde_json::from_reader(io::BufReader::new(file)).map_err(|error| {
        let message = format!("it is damaged ({error}): remove it, and pair every plugin again");
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

/// Writes the tokens, complete or not at all.
pub(crate) fn write(path: &Path, entries: &[Entry]) -> io::Result<()> {
    let beside = beside(path);
    let written = write_new(&beside, entries).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

fn write_new(path: &Path, entries: &[Entry]) -> io::Result<()> {
    // Left over by a process that ended in the middle.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&serde_json::to_vec_pretty(entries)?)?;
    file.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}
