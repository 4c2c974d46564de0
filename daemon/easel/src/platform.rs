//! What differs between systems. `unsafe` stands in the files below this one alone.

// Calls into the system, each with its argument.
#[allow(unsafe_code)]
mod activation;
#[cfg(any(target_os = "macos", test))]
#[allow(unsafe_code)]
mod macos;
#[allow(unsafe_code)]
mod user;

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

pub(crate) use activation::inherited;
pub(crate) use user::uid;

use crate::exit::{Exit, Failure};

/// Bytes of the path of a Unix socket, without the closing zero: `sun_path` has 104 on macOS and the BSDs, 108 on Linux.
const MAX_SOCKET_PATH_BYTES: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Fails when the system could not bind a socket at `path`, saying what to do.
pub(crate) fn check_socket_path(path: &Path) -> Result<(), Failure> {
    let bytes = path.as_os_str().as_bytes().len();
    if bytes <= MAX_SOCKET_PATH_BYTES {
        return Ok(());
    }
    let shown = path.display();
    let message = format!(
        "socket: {shown} has {bytes} bytes, this system allows {MAX_SOCKET_PATH_BYTES}: set a shorter one with --socket"
    );
    Err(Failure::new(Exit::Usage, message))
}

/// Makes a folder, and those above it, that nobody else may enter.
pub(crate) fn make_private_dir(path: &Path) -> Result<(), Failure> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Failure::fault(format_args!("the folder {} cannot be made", path.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_path_that_is_allowed_can_be_bound() {
        let folder = tempfile::tempdir().expect("a folder");
        let room = MAX_SOCKET_PATH_BYTES - folder.path().as_os_str().len() - 1;
        let longest = folder.path().join("s".repeat(room));
        check_socket_path(&longest).expect("allowed");
        std::os::unix::net::UnixListener::bind(&longest).expect("bound");
        let longer = folder.path().join("s".repeat(room + 1));
        assert_eq!(check_socket_path(&longer).expect_err("too long").exit, Exit::Usage);
        assert!(std::os::unix::net::UnixListener::bind(&longer).is_err());
    }
}
