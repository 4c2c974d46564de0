//! One daemon for each state folder and each socket: exclusive locks that the system drops with the process, however it
//! ends. Held before anything of another daemon (a stale socket, a discovery file) is replaced.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use easel_sdk::Discovery;

use crate::exit::{Exit, Failure};
use crate::platform::make_private_dir;

/// The locks of a running daemon; dropped with it.
#[derive(Debug)]
pub(crate) struct InstanceLock {
    _files: Vec<File>,
}

impl InstanceLock {
    /// Locks the state folder and the socket. Fails with the pid and the address of the daemon that holds them.
    pub(crate) fn acquire(state_dir: &Path, socket: &Path, discovery_file: &Path) -> Result<Self, Failure> {
        let mut beside = socket.as_os_str().to_owned();
        beside.push(".lock");
        let paths = [state_dir.join("daemon.lock"), PathBuf::from(beside)];
        let files = paths.iter().map(|path| lock(path, discovery_file)).collect::<Result<_, _>>()?;
        Ok(Self { _files: files })
    }
}

fn lock(path: &Path, discovery_file: &Path) -> Result<File, Failure> {
    let shown = path.display();
    make_private_dir(path.parent().unwrap_or(Path::new(".")))?;
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let mut file = opened.map_err(|error| Failure::fault(&shown, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(taken(&mut file, discovery_file)),
        Err(TryLockError::Error(error)) => return Err(Failure::fault(format_args!("{shown} cannot be locked"), error)),
    }
    let pid = std::process::id();
    let noted = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{pid}"));
    noted.map_err(|error| Failure::fault(&shown, error))?;
    Ok(file)
}

fn taken(file: &mut File, discovery_file: &Path) -> Failure {
    let mut pid = String::new();
    // Who holds it is a courtesy; that it is held is certain.
    let _ = file.read_to_string(&mut pid);
    let pid = pid.trim();
    let who = if pid.is_empty() { String::new() } else { format!(" with pid {pid}") };
    let found = Discovery::read(discovery_file).ok().flatten().filter(|found| found.pid.to_string() == pid);
    let place = found.map_or_else(String::new, |found| {
        let places = found.addresses.iter().cloned().chain([found.socket.display().to_string()]);
        format!(", at {}", places.collect::<Vec<_>>().join(" and "))
    });
    let message = format!("a daemon runs already{who}{place}: use it, stop it, or give this one its own --state-dir");
    Failure::new(Exit::AlreadyRunning, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_until_the_first_has_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (state, socket) = (folder.path().join("state"), folder.path().join("run/easel.sock"));
        let discovery = folder.path().join("run/daemon.json");
        let first = InstanceLock::acquire(&state, &socket, &discovery).expect("free");
        let refused = InstanceLock::acquire(&state, &folder.path().join("other.sock"), &discovery).expect_err("taken");
        assert_eq!(refused.exit, Exit::AlreadyRunning);
        assert!(refused.message.contains(&std::process::id().to_string()), "{}", refused.message);
        let refused = InstanceLock::acquire(&folder.path().join("other"), &socket, &discovery).expect_err("taken");
        assert_eq!(refused.exit, Exit::AlreadyRunning);
        drop(first);
        InstanceLock::acquire(&state, &socket, &discovery).expect("free again");
    }
}
