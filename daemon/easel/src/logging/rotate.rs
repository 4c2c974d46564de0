//! A log file that is put aside when it has grown, a bounded number of times: `easel.log`, then `easel.1.log` and older ones.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Name of the file that is written.
pub(crate) const CURRENT: &str = "easel.log";

/// A log in a folder; every write is one line.
#[derive(Debug)]
pub(super) struct Rotating {
    folder: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: u64,
    kept: usize,
}

impl Rotating {
    /// Goes on with the log in `folder`, which has to be there. A file of more than `max_bytes` is put aside, `kept` of them stay.
    pub(super) fn open(folder: &Path, max_bytes: u64, kept: usize) -> io::Result<Self> {
        let file = open(&folder.join(CURRENT))?;
        let bytes = file.metadata()?.len();
        Ok(Self { folder: folder.to_owned(), file, bytes, max_bytes, kept })
    }

    fn rotate(&mut self) -> io::Result<()> {
        let older = |index: usize| match index {
            0 => self.folder.join(CURRENT),
            index => self.folder.join(format!("easel.{index}.log")),
        };
        for index in (0..self.kept).rev() {
            match std::fs::rename(older(index), older(index + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = open(&self.folder.join(CURRENT))?;
        self.bytes = 0;
        Ok(())
    }
}

impl Write for Rotating {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.max_bytes {
            self.rotate()?;
        }
        let written = self.file.write(line)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_bounded_number_of_bounded_files_is_kept_and_no_line_is_torn() {
        let folder = tempfile::tempdir().expect("a folder");
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        let mut log = Rotating::open(folder.path(), 20, 2).expect("opened");
        for line in 0..9 {
            log.write_all(format!("line {line}\n").as_bytes()).expect("written");
        }
        assert_eq!(read(CURRENT), "line 8\n");
        assert_eq!(read("easel.1.log"), "line 6\nline 7\n");
        assert_eq!(read("easel.2.log"), "line 4\nline 5\n");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 3);
        drop(log);
        let mut again = Rotating::open(folder.path(), 20, 2).expect("opened");
        again.write_all(b"line 9\n").expect("written");
        assert_eq!(read(CURRENT), "line 8\nline 9\n", "a new run goes on where the last one was");
        let mode = folder.path().join(CURRENT).metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_line_that_is_longer_than_a_file_is_written_all_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut log = Rotating::open(folder.path(), 4, 1).expect("opened");
        log.write_all(b"a long line\n").expect("written");
        assert_eq!(std::fs::read_to_string(folder.path().join(CURRENT)).expect("read"), "a long line\n");
    }
}
