//! The discovery file: where the daemon of this user runs. The daemon writes it when it is ready and removes it when it
//! ends; clients read it. JSON, mode 0600, replaced atomically.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use etcetera::app_strategy::{AppStrategy, AppStrategyArgs};
use serde::{Deserialize, Serialize};

use crate::{Error, Target};

/// What the discovery file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovery {
    /// Process id of the daemon.
    pub pid: u32,
    /// Version of the daemon, semantic.
    pub version: String,
    /// Version of its protocol.
    pub protocol_version: u32,
    /// Loopback addresses on which it listens, as `http://127.0.0.1:7461`; empty when it listens on its socket only.
    pub addresses: Vec<String>,
    /// TCP port; absent when it listens on its socket only.
    pub port: Option<u16>,
    /// Unix socket.
    pub socket: PathBuf,
    /// File with the bearer token that TCP asks for.
    pub token_file: PathBuf,
    /// When the daemon started, in milliseconds since 1970-01-01 UTC.
    pub start_time_ms: u64,
}

/// Where the daemon of this user keeps its things when nothing else is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Configuration: `$XDG_CONFIG_HOME/easel`, on macOS `~/Library/Application Support/easel`.
    pub config_dir: PathBuf,
    /// State (token, added models): `$XDG_STATE_HOME/easel`, on macOS `~/Library/Application Support/easel`.
    pub state_dir: PathBuf,
    /// Socket and discovery file: `$XDG_RUNTIME_DIR/easel`, else `run` in the state folder.
    pub runtime_dir: PathBuf,
}

impl Places {
    /// The places by the system's conventions. Fails when the user has no home folder.
    pub fn of_this_user() -> Result<Self, Error> {
        let args =
            AppStrategyArgs { top_level_domain: String::new(), author: String::new(), app_name: "easel".to_owned() };
        let native = etcetera::app_strategy::choose_native_strategy(args)
            .map_err(|_| Error::setup("the home folder is not known: set HOME"))?;
        let state_dir = native.state_dir().unwrap_or_else(|| native.data_dir());
        let runtime_dir = native.runtime_dir().unwrap_or_else(|| state_dir.join("run"));
        Ok(Self { config_dir: native.config_dir(), state_dir, runtime_dir })
    }

    /// The same with another state folder: socket and discovery file move into it, so that daemons with different state
    /// folders do not meet.
    #[must_use]
    pub fn with_state_dir(self, state_dir: PathBuf) -> Self {
        Self { runtime_dir: state_dir.join("run"), state_dir, ..self }
    }

    /// The discovery file.
    pub fn discovery_file(&self) -> PathBuf {
        self.runtime_dir.join("daemon.json")
    }

    /// The Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.runtime_dir.join("easel.sock")
    }

    /// The token file.
    pub fn token_file(&self) -> PathBuf {
        self.state_dir.join("token")
    }
}

impl Discovery {
    /// Reads a discovery file. `None` when there is none; fails when it cannot be read or is no discovery file.
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::setup(format!("{} cannot be read: {error}", path.display()))),
        };
        let wrong = |error| Error::setup(format!("{} is not a discovery file: {error}", path.display()));
        serde_json::from_slice(&text).map(Some).map_err(wrong)
    }

    /// The places where the daemon can be reached, the Unix socket first. Reading the token may fail; then TCP is left
    /// out.
    pub fn targets(&self) -> Vec<Target> {
        let token = read_token(&self.token_file).ok();
        let tcp = self.addresses.iter().map(|address| Target::Tcp { address: address.clone(), token: token.clone() });
        std::iter::once(Target::Unix(self.socket.clone())).chain(tcp.filter(|_| token.is_some())).collect()
    }

    /// When the daemon started.
    pub fn start_time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.start_time_ms)
    }
}

/// Reads a token file; fails when it cannot be read or holds no token.
pub fn read_token(path: &Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::setup(format!("the token file {} cannot be read: {error}", path.display())))?;
    let token = text.trim();
    let plain = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !plain {
        return Err(Error::setup(format!("{} holds no token: one line of plain characters", path.display())));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discovery(folder: &Path) -> Discovery {
        Discovery {
            pid: 7,
            version: "0.1.0".to_owned(),
            protocol_version: 1,
            addresses: vec!["http://127.0.0.1:7461".to_owned()],
            port: Some(7461),
            socket: folder.join("easel.sock"),
            token_file: folder.join("token"),
            start_time_ms: 1000,
        }
    }

    #[test]
    fn targets_leave_tcp_out_without_a_token() {
        let folder = tempfile::tempdir().expect("a folder");
        let discovery = discovery(folder.path());
        assert_eq!(discovery.targets(), [Target::Unix(folder.path().join("easel.sock"))]);
        std::fs::write(folder.path().join("token"), "abc\n").expect("written");
        let targets = discovery.targets();
        assert_eq!(targets.len(), 2);
        assert_eq!(targets[1], Target::tcp("http://127.0.0.1:7461", Some("abc".to_owned())));
    }

    #[test]
    fn a_missing_file_is_none_and_a_wrong_one_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("daemon.json");
        assert_eq!(Discovery::read(&file).expect("no file is no error"), None);
        std::fs::write(&file, "{}").expect("written");
        assert!(Discovery::read(&file).expect_err("no discovery file").message.contains("is not a discovery file"));
        let written = discovery(folder.path());
        std::fs::write(&file, serde_json::to_vec(&written).expect("json")).expect("written");
        assert_eq!(Discovery::read(&file).expect("read"), Some(written));
    }

    #[test]
    fn a_token_file_holds_one_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        std::fs::write(&file, " \n").expect("written");
        assert!(read_token(&file).is_err());
        std::fs::write(&file, "two words").expect("written");
        assert!(read_token(&file).is_err());
    }
}
