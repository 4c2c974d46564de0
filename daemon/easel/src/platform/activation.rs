//! Listeners that the service manager made and passes on: systemd by numbered file descriptors, launchd by name.

use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;

use easel_server::Inherited;

use crate::config::env::Environment;
use crate::exit::{Exit, Failure};

/// The first descriptor that systemd passes on, see sd_listen_fds(3).
const FIRST_FD: RawFd = 3;
/// Descriptors that may be passed on: the Unix socket, and the loopback in both families.
const MAX_FDS: RawFd = 3;

/// What was passed on to this process; empty when it was started in another way. To be called once.
pub(crate) fn inherited(env: &Environment) -> Result<Inherited, Failure> {
    let mut fds = of_systemd(env)?;
    #[cfg(target_os = "macos")]
    fds.extend(super::macos::sockets()?);
    let mut inherited = Inherited::default();
    for fd in fds.drain(..) {
        sort_in(fd, &mut inherited)?;
    }
    Ok(inherited)
}

fn of_systemd(env: &Environment) -> Result<Vec<OwnedFd>, Failure> {
    // The variables are for one process: a child of that process sees them as well, and must not use them.
    if env.text("LISTEN_PID").and_then(|pid| pid.parse().ok()) != Some(std::process::id()) {
        return Ok(Vec::new());
    }
    let count = env.text("LISTEN_FDS").and_then(|count| count.parse::<RawFd>().ok());
    let count = count.filter(|count| (0..=MAX_FDS).contains(count));
    let count =
        count.ok_or_else(|| Failure::new(Exit::Usage, format!("LISTEN_FDS is not a number up to {MAX_FDS}")))?;
    let taken = (FIRST_FD..FIRST_FD + count).map(take);
    let taken: io::Result<Vec<_>> = taken.collect();
    taken.map_err(|error| Failure::new(Exit::Usage, format!("LISTEN_FDS names a descriptor that is not open: {error}")))
}

/// Owns a descriptor that was there when the process began, and keeps it from children.
fn take(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with these commands reads and sets a flag of a descriptor; a closed one is an error.
    let done = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    if done == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, was passed on for this process to own, and nobody else in it knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn sort_in(fd: OwnedFd, inherited: &mut Inherited) -> Result<(), Failure> {
    let refused = |why: &str| Failure::new(Exit::Usage, format!("the service manager passed on {why}"));
    let unix = UnixListener::from(fd);
    if unix.local_addr().is_ok() {
        return match inherited.unix.replace(unix) {
            Some(_) => Err(refused("two Unix sockets: list one")),
            None => Ok(()),
        };
    }
    let tcp = TcpListener::from(OwnedFd::from(unix));
    if tcp.local_addr().is_err() {
        return Err(refused("something that is neither a TCP nor a Unix socket: list ListenStream= only"));
    }
    inherited.tcp.push(tcp);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_told_apart_and_anything_else_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let unix = UnixListener::bind(folder.path().join("a.sock")).expect("bound");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("bound");
        let mut inherited = Inherited::default();
        sort_in(unix.into(), &mut inherited).expect("a Unix socket");
        sort_in(tcp.into(), &mut inherited).expect("a TCP socket");
        assert!(inherited.unix.is_some() && inherited.tcp.len() == 1);
        let second = UnixListener::bind(folder.path().join("b.sock")).expect("bound");
        assert!(sort_in(second.into(), &mut inherited).is_err());
        let file = std::fs::File::create(folder.path().join("file")).expect("made");
        assert!(sort_in(file.into(), &mut inherited).is_err());
    }

    #[test]
    fn what_is_meant_for_another_process_is_left_alone() {
        let other = Environment::of(&[("LISTEN_PID", "1"), ("LISTEN_FDS", "2")]);
        assert!(of_systemd(&other).expect("nothing").is_empty());
        let pid = std::process::id().to_string();
        for wrong in ["", "x", "-1", "4"] {
            let env = Environment::of(&[("LISTEN_PID", &pid), ("LISTEN_FDS", wrong)]);
            assert_eq!(of_systemd(&env).expect_err("wrong").exit, Exit::Usage, "{wrong}");
        }
    }
}
