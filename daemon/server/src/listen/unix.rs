//! The Unix socket: a file of mode 0600 that only the daemon's own user can open.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::BindError;

/// The socket's file, removed when this is dropped unless another daemon has put its own there.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`. A socket that is left over there is removed only when `replace` says that no other daemon can own
/// it.
pub(super) fn bind(path: &Path, replace: bool) -> Result<(UnixListener, SocketFile), BindError> {
    let failed = |source: io::Error| BindError::Socket { path: path.to_owned(), source };
    SocketAddr::from_pathname(path).map_err(failed)?; // Paths of sockets are limited to about 100 bytes.
    make_folder(path).map_err(failed)?;
    make_room(path, replace)?;
    let listener = UnixListener::bind(path).map_err(failed)?;
    // Between these two lines another user could connect; the guard asks for the user id of every connection.
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
    let inode = fs::symlink_metadata(path).map_err(failed)?.ino();
    listener.set_nonblocking(true).map_err(failed)?;
    Ok((listener, SocketFile { path: path.to_owned(), inode }))
}

/// Takes a listener over; its file belongs to who made it.
pub(super) fn adopt(listener: UnixListener) -> Result<(UnixListener, PathBuf), BindError> {
    let refused = |socket: &str, why: String| BindError::Inherited { socket: socket.to_owned(), why };
    let address = listener.local_addr().map_err(|error| refused("(unknown)", error.to_string()))?;
    let path = address.as_pathname().ok_or_else(|| refused("(without a name)", "it has no path".to_owned()))?;
    let shown = path.display().to_string();
    let mode = fs::symlink_metadata(path).map_err(|error| refused(&shown, error.to_string()))?.mode();
    if mode & 0o077 != 0 {
        tracing::warn!("other users can open the socket that was passed on; they are refused by their user id");
    }
    listener.set_nonblocking(true).map_err(|error| refused(&shown, error.to_string()))?;
    let path = path.to_owned();
    Ok((listener, path))
}

/// Makes the folder for this user alone; one that is there stays as it is.
fn make_folder(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    if folder.is_dir() {
        if fs::metadata(folder)?.mode() & 0o077 != 0 {
            tracing::warn!("other users can look into the folder of the socket");
        }
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn make_room(path: &Path, replace: bool) -> Result<(), BindError> {
    let taken = |why| Err(BindError::SocketTaken { path: path.to_owned(), why });
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(BindError::Socket { path: path.to_owned(), source }),
    };
    if !file.file_type().is_socket() {
        return taken("it is not a socket");
    }
    if UnixStream::connect(path).is_ok() {
        return taken("somebody listens there");
    }
    if !replace {
        return taken("it may belong to another daemon");
    }
    fs::remove_file(path).map_err(|source| BindError::Socket { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_the_users_own() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("run/easel.sock");
        let (listener, file) = bind(&path, false).unwrap();
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        drop((listener, file));
        assert!(!path.exists());
    }

    #[test]
    fn a_left_over_socket_is_replaced_only_by_the_holder_of_the_lock() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("easel.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(matches!(bind(&path, false), Err(BindError::SocketTaken { .. })));
        assert!(path.exists());
        bind(&path, true).unwrap();
    }

    #[test]
    fn a_socket_in_use_and_a_file_stay() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("easel.sock");
        let _used = UnixListener::bind(&path).unwrap();
        assert!(matches!(bind(&path, true), Err(BindError::SocketTaken { why: "somebody listens there", .. })));
        let file = home.path().join("file");
        fs::write(&file, "mine").unwrap();
        assert!(matches!(bind(&file, true), Err(BindError::SocketTaken { why: "it is not a socket", .. })));
        assert_eq!(fs::read(&file).unwrap(), b"mine");
    }

    #[test]
    fn another_daemons_file_is_not_removed_with_ours() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("easel.sock");
        let (_old, file) = bind(&path, false).unwrap();
        fs::rename(&path, home.path().join("moved")).unwrap();
        let (_new, _file) = bind(&path, false).unwrap();
        drop(file);
        assert!(path.exists());
    }

    #[test]
    fn the_file_of_a_listener_that_was_taken_over_stays() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("easel.sock");
        let (listener, known) = adopt(UnixListener::bind(&path).unwrap()).unwrap();
        assert_eq!(known, path);
        drop(listener);
        assert!(path.exists());
        #[cfg(target_os = "linux")]
        let name = <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(b"easel-test-adopt").unwrap();
        #[cfg(target_os = "linux")]
        assert!(adopt(UnixListener::bind_addr(&name).unwrap()).is_err());
    }

    #[test]
    fn a_path_that_is_too_long_is_an_error() {
        let path = PathBuf::from(format!("/tmp/{}", "x".repeat(200)));
        assert!(matches!(bind(&path, true), Err(BindError::Socket { .. })));
    }
}
