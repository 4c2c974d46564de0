//! The daemon that runs or should run: its discovery file, its lock, its version, its service.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::time::Duration;

use easel_sdk::{Discovery, Easel, PROTOCOL_VERSION, Target};

use super::Finding;
use crate::cli::Context;
use crate::exit::meaning;
use crate::service::ServiceStatus;

/// A daemon that has not answered within this time does not.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known about the daemon.
pub(super) struct Daemon {
    pub(super) answers: bool,
    pub(super) findings: Vec<Finding>,
}

/// Looks for the daemon where the discovery file says, and for the holder of the state folder.
pub(super) async fn look(context: &Context) -> Daemon {
    let check = "daemon";
    let settings = &context.effective.settings;
    let file = context.effective.places.discovery_file();
    let holder = holder(&settings.state_dir.join("daemon.lock"));
    let found = match Discovery::read(&file) {
        Ok(found) => found,
        Err(error) => {
            let mend = format!("remove {}; the daemon writes it anew at its next start", file.display());
            return Daemon { answers: false, findings: vec![Finding::problem(check, error.message.clone(), mend)] };
        }
    };
    let socket = found.as_ref().map_or(&settings.socket, |found| &found.socket);
    let told = tokio::time::timeout(PATIENCE, async { Easel::connect(&Target::unix(socket)).await?.version().await });
    let version = told.await.ok().and_then(Result::ok);
    let mut findings = Vec::new();
    match (&found, &version, &holder) {
        (_, Some(version), _) => {
            findings.push(Finding::good(check, format!("easel {} answers at {}", version.version, socket.display())));
            let own = env!("CARGO_PKG_VERSION");
            if version.version != own || version.protocol_version != PROTOCOL_VERSION {
                let what = format!(
                    "the daemon is easel {} with protocol {}, this program is {own} with {PROTOCOL_VERSION}",
                    version.version, version.protocol_version
                );
                findings.push(Finding::warning(
                    "version",
                    what,
                    "start the daemon again: `easel service stop` and `start`",
                ));
            }
        }
        (Some(found), None, None) => {
            let (pid, file) = (found.pid, file.display());
            let what = format!("{file} speaks of a daemon with pid {pid} that has gone");
            findings.push(Finding::problem(check, what, format!("rm {file}, or start the daemon: `easel serve`")));
        }
        (_, None, Some(pid)) => {
            let what = format!("a process{pid} holds the state folder and does not answer at {}", socket.display());
            let mend = "wait if it just started; else stop that process, or give this one its own --state-dir";
            findings.push(Finding::problem(check, what, mend));
        }
        (None, None, None) => findings.push(Finding::good(check, "none runs; commands bring their own")),
    }
    Daemon { answers: version.is_some(), findings }
}

/// Who holds a lock, as words; `None` when nobody does.
fn holder(path: &std::path::Path) -> Option<String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(_) => return None,
    };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let pid = std::fs::read_to_string(path).unwrap_or_default();
            Some(if pid.trim().is_empty() { String::new() } else { format!(" with pid {}", pid.trim()) })
        }
        _ => None,
    }
}

/// The service, when one is installed.
pub(super) fn service(status: &ServiceStatus) -> Finding {
    let check = "service";
    if status.pid.is_some() {
        return Finding::good(check, format!("installed and {}", status.state));
    }
    match status.last_exit.filter(|code| *code != 0) {
        Some(code) => {
            let why = meaning(code).map_or_else(String::new, |why| format!(": {why}"));
            let what = format!("installed and not running, its last run ended with {code}{why}");
            Finding::problem(check, what, "see `easel service logs`, then `easel service start`")
        }
        None => Finding::good(check, format!("installed, {}", status.state)),
    }
}
