//! The daemon's side of the discovery file: written when everything listens, removed when the daemon ends.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use easel_sdk::Discovery;

use crate::exit::Failure;
use crate::platform::make_private_dir;

/// A discovery file that stands as long as this value.
pub(crate) struct Published {
    path: PathBuf,
    pid: u32,
}

impl Published {
    /// Writes the file with mode 0600; a reader sees the old one or the new one, never a half.
    pub(crate) fn write(path: &Path, discovery: &Discovery) -> Result<Self, Failure> {
        let failed =
            |error: std::io::Error| Failure::fault(format_args!("{} cannot be written", path.display()), error);
        let folder = path.parent().unwrap_or(Path::new("."));
        make_private_dir(folder)?;
        let mode = Permissions::from_mode(0o600);
        let mut builder = tempfile::Builder::new();
        let mut file = builder.prefix(".daemon-").permissions(mode).tempfile_in(folder).map_err(failed)?;
        serde_json::to_writer_pretty(&mut file, discovery).map_err(|error| failed(error.into()))?;
        writeln!(file).map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(Self { path: path.to_owned(), pid: discovery.pid })
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        let still_ours = matches!(Discovery::read(&self.path), Ok(Some(found)) if found.pid == self.pid);
        if still_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, "cannot remove the discovery file");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discovery(pid: u32) -> Discovery {
        Discovery {
            pid,
            version: "0.1.0".to_owned(),
            protocol_version: 1,
            addresses: Vec::new(),
            port: None,
            socket: "/run/easel.sock".into(),
            token_file: "/state/token".into(),
            start_time_ms: 5,
        }
    }

    #[test]
    fn the_file_is_private_and_goes_with_its_writer_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run/daemon.json");
        let first = Published::write(&path, &discovery(1)).expect("written");
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600);
        let second = Published::write(&path, &discovery(2)).expect("written");
        drop(first);
        assert_eq!(Discovery::read(&path).expect("read"), Some(discovery(2)));
        drop(second);
        assert_eq!(Discovery::read(&path).expect("read"), None);
    }
}
