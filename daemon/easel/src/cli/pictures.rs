//! Files of `generate` and `edit`: everything that can be wrong with them is found before any work, and a file appears
//! complete or not at all.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use easel_domain::limits::{MAX_BLOB_BYTES, MAX_NUM_IMAGES};
use easel_sdk::proto;

use super::args::{Format, PictureArgs};
use crate::exit::{Exit, Failure};

/// Where results and previews go.
pub(super) struct Files {
    /// `None`: standard output.
    output: Option<PathBuf>,
    count: u32,
    format: Format,
    previews: Option<PathBuf>,
    force: bool,
}

impl Files {
    /// Checks everything that can be checked before the work: format, folder, files that exist.
    pub(super) fn check(args: &PictureArgs, json: bool) -> Result<Self, Failure> {
        let usage = |message: &str| Err(Failure::new(Exit::Usage, message));
        let output = (args.output.as_os_str() != "-").then(|| args.output.clone());
        let listed = u32::try_from(args.seeds.len()).unwrap_or(u32::MAX);
        let count = args.num_images.unwrap_or(listed.max(1));
        if output.is_none() {
            if json {
                return usage("--json and -o - would both write to standard output: give a file");
            }
            if count > 1 {
                return usage("standard output takes one picture: give a file, or leave --num-images and --seeds out");
            }
            if std::io::stdout().is_terminal() && !args.force {
                return usage("standard output is a terminal, which shows no pictures: give a file, or --force");
            }
        }
        let ending = output.as_deref().and_then(Path::extension).map(|ending| ending.to_string_lossy().into_owned());
        let by_ending = || ending.as_deref().map_or(output.is_none().then_some(Format::Png), Format::of_ending);
        let Some(format) = args.format.or_else(by_ending) else {
            return usage(
                "the format cannot be told from the output's name: end it in .png, .jpg, .webp or .tiff, or give --format",
            );
        };
        let files = Self { output, count, format, previews: args.previews.clone(), force: args.force };
        files.check_outputs()?;
        files.check_previews()?;
        Ok(files)
    }

    /// Format of the results.
    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Writes a result and gives the name under which it is known to the user.
    pub(super) fn write_result(&self, index: u32, bytes: &[u8]) -> Result<String, Failure> {
        let Some(path) = self.path(index) else {
            let mut out = std::io::stdout().lock();
            let written = out.write_all(bytes).and_then(|()| out.flush());
            return written.map(|()| "-".to_owned()).map_err(|error| Failure::fault("standard output", error));
        };
        write_complete(&path, bytes, self.force)?;
        Ok(path.display().to_string())
    }

    /// Writes a preview, if they are wanted, and gives its name.
    pub(super) fn write_preview(&self, preview: &proto::Preview) -> Result<Option<String>, Failure> {
        let Some(folder) = &self.previews else { return Ok(None) };
        let bytes = preview.image.as_ref().map(|image| image.inline.as_ref()).unwrap_or_default();
        let path = folder.join(format!("preview-{}-{:03}.jpg", preview.image_index, preview.step));
        // A generation that had to begin again makes the same previews once more.
        write_complete(&path, bytes, true)?;
        Ok(Some(path.display().to_string()))
    }

    /// Path of result `index`: the output itself, or with the index before its ending when there are several.
    fn path(&self, index: u32) -> Option<PathBuf> {
        let output = self.output.as_ref()?;
        if self.count <= 1 {
            return Some(output.clone());
        }
        let mut name = output.file_stem().map_or_else(OsString::new, OsString::from);
        name.push(format!("-{index}"));
        if let Some(ending) = output.extension() {
            name.push(".");
            name.push(ending);
        }
        Some(output.with_file_name(name))
    }

    fn check_outputs(&self) -> Result<(), Failure> {
        for path in (0..self.count.min(MAX_NUM_IMAGES)).filter_map(|index| self.path(index)) {
            let shown = path.display();
            if path.is_dir() {
                return Err(Failure::new(Exit::Request, format!("{shown} is a folder: give the name of a file")));
            }
            if !folder_of(&path).is_dir() {
                return Err(Failure::new(
                    Exit::NotFound,
                    format!("the folder of {shown} does not exist: make it first"),
                ));
            }
            if !self.force && path.symlink_metadata().is_ok() {
                return Err(exists(&path));
            }
        }
        Ok(())
    }

    fn check_previews(&self) -> Result<(), Failure> {
        let Some(folder) = &self.previews else { return Ok(()) };
        let shown = folder.display();
        fs::create_dir_all(folder)
            .map_err(|error| Failure::new(Exit::Request, format!("the folder {shown} cannot be made: {error}")))?;
        let entries = fs::read_dir(folder).map_err(|error| Failure::fault(shown, error))?;
        let old =
            entries.filter_map(Result::ok).find(|entry| entry.file_name().to_string_lossy().starts_with("preview-"));
        match old {
            Some(old) if !self.force => Err(exists(&old.path())),
            _ => Ok(()),
        }
    }
}

/// Reads the picture to edit; `-` is standard input. The daemon judges the content.
pub(super) fn read_input(path: &Path) -> Result<Vec<u8>, Failure> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(MAX_BLOB_BYTES + 1).read_to_end(&mut bytes)
    } else {
        fs::File::open(path).and_then(|file| file.take(MAX_BLOB_BYTES + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::new(Exit::NotFound, format!("{shown} does not exist")),
        _ => Failure::new(Exit::Request, format!("{shown} cannot be read: {error}")),
    })?;
    if bytes.len() as u64 > MAX_BLOB_BYTES {
        return Err(Failure::new(Exit::Request, format!("{shown} has more than {MAX_BLOB_BYTES} bytes")));
    }
    Ok(bytes)
}

/// Writes a file that appears complete or not at all; one that exists is kept without `force`. `-` is standard output.
pub(super) fn write_new(path: &Path, bytes: &[u8], force: bool) -> Result<(), Failure> {
    if path.as_os_str() == "-" {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(bytes).and_then(|()| out.flush());
        return written.map_err(|error| Failure::fault("standard output", error));
    }
    write_complete(path, bytes, force)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn exists(path: &Path) -> Failure {
    Failure::new(Exit::Request, format!("{} exists and is kept: give another name, or --force", path.display()))
}

/// Writes under a temporary name in the same folder and renames; without `force` an existing file is never replaced,
/// even when it appeared meanwhile.
fn write_complete(path: &Path, bytes: &[u8], force: bool) -> Result<(), Failure> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => exists(path),
        _ => Failure::fault(format_args!("{} cannot be written", path.display()), error),
    };
    // The mode of an ordinary file: the system takes the umask off it.
    let mode = Permissions::from_mode(0o666);
    let mut builder = tempfile::Builder::new();
    let mut file = builder.prefix(".easel-").permissions(mode).tempfile_in(folder_of(path)).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    let renamed = if force { file.persist(path) } else { file.persist_noclobber(path) };
    renamed.map(drop).map_err(|error| failed(error.error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(output: &str, count: u32) -> Files {
        Files { output: Some(output.into()), count, format: Format::Png, previews: None, force: false }
    }

    #[test]
    fn several_pictures_get_their_index_before_the_ending() {
        assert_eq!(files("a/out.png", 1).path(0), Some("a/out.png".into()));
        assert_eq!(files("a/out.b.png", 2).path(1), Some("a/out.b-1.png".into()));
        assert_eq!(files("out", 3).path(2), Some("out-2".into()));
    }

    #[test]
    fn a_file_that_appeared_meanwhile_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.png");
        fs::write(&path, "mine").expect("written");
        let failure = write_complete(&path, b"theirs", false).expect_err("it exists");
        assert_eq!(failure.exit, Exit::Request);
        assert_eq!(fs::read(&path).expect("read"), b"mine");
        write_complete(&path, b"theirs", true).expect("forced");
        assert_eq!(fs::read(&path).expect("read"), b"theirs");
        assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 1, "no temporary file is left");
    }
}
