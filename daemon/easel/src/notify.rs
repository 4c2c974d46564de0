//! What the daemon tells its service manager, by the protocol of sd_notify(3): that it is ready, alive, about to stop. Without a
//! manager that listens every call does nothing.

use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::config::env::Environment;

/// The ear of the service manager.
#[derive(Debug)]
pub(crate) struct Notifier {
    ear: Option<(UnixDatagram, SocketAddr)>,
}

impl Notifier {
    /// The ear that NOTIFY_SOCKET names.
    pub(crate) fn of(env: &Environment) -> Self {
        let Some(name) = env.text("NOTIFY_SOCKET") else { return Self { ear: None } };
        let ear = address(name).and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            // A manager that does not read must not stop the daemon.
            socket.set_nonblocking(true)?;
            Ok((socket, address))
        });
        if let Err(error) = &ear {
            tracing::warn!(%error, "the service manager cannot be told anything");
        }
        Self { ear: ear.ok() }
    }

    /// The daemon listens; `status` is for a person.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}\nMAINPID={}", std::process::id()));
    }

    /// The daemon is alive.
    pub(crate) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// The daemon finishes its work, which takes at most `within`.
    pub(crate) fn stopping(&self, within: Duration) {
        let within_us = within.as_micros();
        self.tell(&format!("STOPPING=1\nSTATUS=finishes its work\nEXTEND_TIMEOUT_USEC={within_us}"));
    }

    /// Something went wrong; `status` is for a person.
    pub(crate) fn failed(&self, status: &str) {
        self.tell(&format!("STATUS={status}"));
    }

    fn tell(&self, message: &str) {
        if let Some((socket, address)) = &self.ear
            && let Err(error) = socket.send_to_addr(message.as_bytes(), address)
        {
            tracing::warn!(%error, "the service manager was not told");
        }
    }
}

/// How often the service manager wants a sign of life: half of what it waits. `None`: it wants none.
pub(crate) fn watchdog_interval(env: &Environment) -> Option<Duration> {
    let pid = env.text("WATCHDOG_PID").and_then(|pid| pid.parse::<u32>().ok());
    if env.text("WATCHDOG_PID").is_some() && pid != Some(std::process::id()) {
        return None;
    }
    let limit_us = env.text("WATCHDOG_USEC")?.parse::<u64>().ok().filter(|limit| *limit > 0)?;
    Some(Duration::from_micros(limit_us) / 2)
}

/// A path, or a name of Linux's abstract namespace behind `@`.
fn address(name: &str) -> std::io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = name.strip_prefix('@') {
        return <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name);
    }
    SocketAddr::from_pathname(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_hears_what_it_is_told_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let abstract_name = format!("@easel-test-{}", std::process::id());
        for name in [path.to_str().expect("text"), &abstract_name] {
            let ear = UnixDatagram::bind_addr(&address(name).expect("a name")).expect("bound");
            let notifier = Notifier::of(&Environment::of(&[("NOTIFY_SOCKET", name)]));
            notifier.stopping(Duration::from_secs(2));
            let mut heard = [0; 256];
            let bytes = ear.recv(&mut heard).expect("heard");
            assert!(String::from_utf8_lossy(&heard[..bytes]).contains("EXTEND_TIMEOUT_USEC=2000000"));
        }
        Notifier::of(&Environment::of(&[])).alive();
        Notifier::of(&Environment::of(&[("NOTIFY_SOCKET", "/nowhere/at/all")])).alive();
    }

    #[test]
    fn signs_of_life_are_for_the_process_that_was_asked() {
        let pid = std::process::id().to_string();
        let interval = |variables: &[(&str, &str)]| watchdog_interval(&Environment::of(variables));
        assert_eq!(interval(&[]), None);
        assert_eq!(interval(&[("WATCHDOG_USEC", "30000000")]), Some(Duration::from_secs(15)));
        assert_eq!(interval(&[("WATCHDOG_USEC", "2000"), ("WATCHDOG_PID", &pid)]), Some(Duration::from_millis(1)));
        assert_eq!(interval(&[("WATCHDOG_USEC", "2000"), ("WATCHDOG_PID", "1")]), None);
        assert_eq!(interval(&[("WATCHDOG_USEC", "0")]), None);
        assert_eq!(interval(&[("WATCHDOG_USEC", "soon")]), None);
    }
}
