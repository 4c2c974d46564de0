//! The bearer token of TCP clients: 256 random bits in a 0600 file, made once.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use easel_sdk::discovery::read_token;

use crate::exit::{Exit, Failure};
use crate::platform::make_private_dir;

const TOKEN_BYTES: usize = 32;

/// The token in `path`, which is made when there is none. Fails when others may read the file.
pub(crate) fn ensure(path: &Path) -> Result<String, Failure> {
    if !path.exists() {
        make(path)?;
    }
    let shown = path.display();
    let metadata = path.metadata().map_err(|error| Failure::fault(&shown, error))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        let message = format!("others may read the token file {shown}: chmod 600 it, or remove it to get a new token");
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(read_token(path)?)
}

fn make(path: &Path) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    make_private_dir(folder)?;
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| Failure::fault("the system gives no random bytes", error))?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let failed = |error| Failure::fault(format_args!("{} cannot be written", path.display()), error);
    let mode = Permissions::from_mode(0o600);
    let mut builder = tempfile::Builder::new();
    let mut file = builder.prefix(".token-").permissions(mode).tempfile_in(folder).map_err(failed)?;
    writeln!(file, "{token}").and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    match file.persist_noclobber(path) {
        // Somebody else was quicker: theirs is the token.
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map(drop).map_err(|error| failed(error.error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state/token");
        let token = ensure(&path).expect("made");
        assert_eq!(token.len(), 2 * TOKEN_BYTES);
        assert_eq!(ensure(&path).expect("read"), token);
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600);
        let other = ensure(&folder.path().join("other/token")).expect("made");
        assert_ne!(token, other);
    }

    #[test]
    fn a_token_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        ensure(&path).expect("made");
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("changed");
        let failure = ensure(&path).expect_err("refused");
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.contains("chmod 600"), "{}", failure.message);
    }
}
