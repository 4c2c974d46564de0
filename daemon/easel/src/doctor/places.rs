//! Folders, files and the socket: whether they are there, and for whom.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::Finding;
use crate::config::Effective;
use crate::platform::{check_socket_path, uid};

/// The state folder and the secrets in it.
pub(super) fn folders(effective: &Effective) -> Vec<Finding> {
    let settings = &effective.settings;
    let mut findings = vec![state(&settings.state_dir)];
    for file in [settings.token_file.clone(), settings.state_dir.join("tokens.json")] {
        findings.extend(secret(&file));
    }
    findings
}

fn state(folder: &Path) -> Finding {
    let (check, shown) = ("state", folder.display());
    let metadata = match folder.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Finding::good(check, format!("{shown} is not there yet, the daemon makes it"));
        }
        Err(error) => {
            return Finding::problem(
                check,
                format!("{shown} cannot be looked at: {error}"),
                "give this user the folder",
            );
        }
    };
    if !metadata.is_dir() {
        return Finding::problem(check, format!("{shown} is no folder"), "move it away, or set state_dir");
    }
    if metadata.uid() != uid() {
        let mend = format!("sudo chown -R $USER {shown}");
        return Finding::problem(check, format!("{shown} belongs to user {}", metadata.uid()), mend);
    }
    // Root may write where the mode says no; a file tells for everybody.
    if let Err(error) = tempfile::Builder::new().prefix(".doctor-").tempfile_in(folder) {
        return Finding::problem(check, format!("{shown} cannot be written: {error}"), format!("chmod u+rwx {shown}"));
    }
    if is_open(&metadata) {
        return Finding::warning(check, format!("others may look into {shown}"), format!("chmod 700 {shown}"));
    }
    Finding::good(check, format!("{shown} is this user's own"))
}

fn secret(file: &Path) -> Option<Finding> {
    let shown = file.display();
    match file.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            Some(Finding::problem("token", format!("{shown} cannot be looked at: {error}"), "give this user the file"))
        }
        Ok(metadata) if is_open(&metadata) => Some(Finding::problem(
            "token",
            format!("others may read {shown}, so that the daemon does not start"),
            format!("chmod 600 {shown}"),
        )),
        Ok(_) => Some(Finding::good("token", format!("{shown} is this user's own"))),
    }
}

/// The socket's path, and what stands there.
pub(super) fn socket(effective: &Effective, answers: bool) -> Vec<Finding> {
    let (check, path) = ("socket", &effective.settings.socket);
    let shown = path.display();
    if let Err(failure) = check_socket_path(path) {
        return vec![Finding::problem(check, failure.message, "set a shorter one as socket")];
    }
    let file = match path.symlink_metadata() {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return vec![Finding::good(check, format!("{shown} is free"))];
        }
        Err(error) => {
            return vec![Finding::problem(
                check,
                format!("{shown} cannot be looked at: {error}"),
                "set another socket",
            )];
        }
    };
    if !file.file_type().is_socket() {
        return vec![Finding::problem(check, format!("{shown} is no socket"), "move it away, or set another socket")];
    }
    let mut findings = Vec::new();
    if is_open(&file) {
        findings.push(Finding::warning(check, format!("other users may open {shown}"), format!("chmod 600 {shown}")));
    }
    let folder = path.parent().and_then(|folder| Some((folder, folder.metadata().ok()?)));
    if let Some((folder, metadata)) = folder.filter(|(_, metadata)| is_open(metadata)) {
        let (folder, mode) = (folder.display(), metadata.permissions().mode() & 0o777);
        let what = format!("others may look into the folder of the socket, {folder} ({mode:o})");
        findings.push(Finding::warning(check, what, format!("chmod 700 {folder}")));
    }
    if answers {
        findings.push(Finding::good(check, format!("the daemon answers at {shown}")));
    } else if std::os::unix::net::UnixStream::connect(path).is_ok() {
        let mend = "stop who listens there, or set another socket";
        findings.push(Finding::problem(
            check,
            format!("somebody listens at {shown} who is no daemon that answers"),
            mend,
        ));
    } else {
        let what = format!("{shown} is left over from a daemon that has gone");
        findings.push(Finding::warning(check, what, "nothing: the next daemon replaces it"));
    }
    findings
}

fn is_open(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o077 != 0
}
