//! SHA-256 of weight files, remembered by what the file system says of them, so that a start does not read gigabytes to know
//! what it knew yesterday.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use easel_domain::BlobHash;
use easel_domain::limits::MAX_KNOWN_DIGESTS;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::checkpoint::{Checkpoint, FileStamp};
use crate::error::LoadError;

/// What is known of files; cheap to clone, clones share it.
#[derive(Clone, Default)]
pub(crate) struct Digests(Arc<State>);

#[derive(Default)]
struct State {
    /// Where it is kept between starts.
    file: Option<PathBuf>,
    known: Mutex<HashMap<FileStamp, BlobHash>>,
}

/// The digests of a checkpoint's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ModelDigests {
    /// Of all files together.
    pub(crate) weights: BlobHash,
    /// Of `text_encoder`, `unet` and `vae`.
    pub(crate) components: [BlobHash; 3],
}

/// The components in the order in which they are digested.
pub(crate) const COMPONENTS: [&str; 3] = ["text_encoder", "unet", "vae"];

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    stamp: FileStamp,
    sha256: BlobHash,
}

impl Digests {
    /// Digests that are kept in a file; one that cannot be read counts as empty.
    pub(crate) fn open(file: Option<PathBuf>) -> Self {
        let lines = file.as_ref().and_then(|file| std::fs::read(file).ok());
        let lines: Vec<Line> = lines.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let known = lines.into_iter().take(MAX_KNOWN_DIGESTS).map(|line| (line.stamp, line.sha256)).collect();
        Self(Arc::new(State { file, known: Mutex::new(known) }))
    }

    /// The digests of a checkpoint as far as they can be told without reading a weight file.
    pub(crate) fn known(&self, checkpoint: &Checkpoint) -> Option<ModelDigests> {
        let look_up =
            |file: &str| Ok(checkpoint.file_stamp(file)?.and_then(|stamp| self.locked().get(&stamp).copied()));
        of_checkpoint(checkpoint, look_up).ok().flatten()
    }

    /// The digests of a checkpoint; reads the files that are not known.
    pub(crate) fn compute(&self, checkpoint: &Checkpoint) -> Result<ModelDigests, LoadError> {
        let mut news = false;
        let digests = of_checkpoint(checkpoint, |file| {
            let read = || Ok(BlobHash(checkpoint.digest(file)?));
            let (digest, is_news) = self.learn(|| checkpoint.file_stamp(file), read)?;
            news |= is_news;
            Ok(Some(digest))
        })?;
        if news {
            self.keep();
        }
        digests.ok_or_else(|| LoadError::NoWeights { component: COMPONENTS[0].into() })
    }

    /// SHA-256 of a single file; reads it when it is not known.
    pub(crate) fn of_file(&self, path: &Path) -> std::io::Result<BlobHash> {
        let read = || {
            let mut hash = Sha256::new();
            std::io::copy(&mut std::fs::File::open(path)?, &mut hash)?;
            Ok(BlobHash(hash.finalize().into()))
        };
        let (digest, is_news) = self.learn(|| FileStamp::of(path).map(Some), read)?;
        if is_news {
            self.keep();
        }
        Ok(digest)
    }

    /// The digest of what has a stamp, read when it is not known, and whether it is remembered from now on. What has no stamp is
    /// read and not remembered: another build may have other bytes under its name.
    fn learn<E>(
        &self,
        stamp: impl Fn() -> Result<Option<FileStamp>, E>,
        read: impl FnOnce() -> Result<BlobHash, E>,
    ) -> Result<(BlobHash, bool), E> {
        let Some(before) = stamp()? else { return Ok((read()?, false)) };
        if let Some(digest) = self.locked().get(&before) {
            return Ok((*digest, false));
        }
        let digest = read()?;
        // A file that changed while it was read is read again next time.
        let is_news = stamp()?.as_ref() == Some(&before);
        if is_news {
            self.locked().insert(before, digest);
        }
        Ok((digest, is_news))
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<FileStamp, BlobHash>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is known of files that are still there. When it cannot, the next start reads the weights again.
    fn keep(&self) {
        let Some(file) = &self.0.file else { return };
        let mut known = self.locked();
        known.retain(|stamp, _| stamp.is_current());
        let mut lines: Vec<Line> =
            known.iter().map(|(stamp, sha256)| Line { stamp: stamp.clone(), sha256: *sha256 }).collect();
        lines.sort_by(|a, b| a.stamp.path.cmp(&b.stamp.path));
        lines.truncate(MAX_KNOWN_DIGESTS);
        let write = || -> std::io::Result<()> {
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let passing = file.with_extension("new");
            std::fs::write(&passing, serde_json::to_vec(&lines)?)?;
            std::fs::rename(&passing, file)
        };
        if let Err(error) = write() {
            tracing::warn!(%error, "the digests of weight files are not kept");
        }
    }
}

/// Joins the digests of files as `sha256sum text_encoder/*.safetensors unet/*.safetensors vae/*.safetensors | sha256sum`
/// does, for each component and for all; `None` when one is not known.
fn of_checkpoint(
    checkpoint: &Checkpoint,
    mut digest: impl FnMut(&str) -> Result<Option<BlobHash>, LoadError>,
) -> Result<Option<ModelDigests>, LoadError> {
    let mut all = Sha256::new();
    let mut components = [BlobHash([0; 32]); 3];
    for (component, name) in components.iter_mut().zip(COMPONENTS) {
        let mut own = Sha256::new();
        for file in checkpoint.weight_files(name)? {
            let Some(digest) = digest(&file)? else { return Ok(None) };
            let line = format!("{digest}  {file}\n");
            own.update(&line);
            all.update(&line);
        }
        *component = BlobHash(own.finalize().into());
    }
    Ok(Some(ModelDigests { weights: BlobHash(all.finalize().into()), components }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkpoint whose weights are empty safetensors files.
    fn checkpoint(folder: &Path) -> Checkpoint {
        for (component, stem) in
            [("text_encoder", "model"), ("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model")]
        {
            let folder = folder.join(component);
            std::fs::create_dir_all(&folder).expect("a folder");
            std::fs::write(folder.join(format!("{stem}.safetensors")), b"\x02\0\0\0\0\0\0\0{}").expect("a file");
        }
        Checkpoint::folder(folder)
    }

    #[test]
    fn what_was_read_once_is_known_after_a_start_until_the_file_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoint = checkpoint(folder.path());
        let cache = folder.path().join("state/digests.json");
        let first = Digests::open(Some(cache.clone()));
        assert_eq!(first.known(&checkpoint), None);
        let computed = first.compute(&checkpoint).expect("digests");
        let line = |file: &str| format!("{}  {file}\n", BlobHash(Sha256::digest(b"\x02\0\0\0\0\0\0\0{}").into()));
        let lines = line("text_encoder/model.safetensors")
            + &line("unet/diffusion_pytorch_model.safetensors")
            + &line("vae/diffusion_pytorch_model.safetensors");
        assert_eq!(computed.weights, BlobHash(Sha256::digest(lines).into()));
        assert_eq!(Digests::open(Some(cache.clone())).known(&checkpoint), Some(computed));
        std::fs::write(folder.path().join("vae/diffusion_pytorch_model.safetensors"), b"\x03\0\0\0\0\0\0\0{ }")
            .expect("a file");
        let again = Digests::open(Some(cache));
        assert_eq!(again.known(&checkpoint), None);
        let changed = again.compute(&checkpoint).expect("digests");
        assert_eq!(changed.components[..2], computed.components[..2]);
        assert_ne!(changed.components[2], computed.components[2]);
    }

    #[test]
    fn what_is_compiled_in_is_not_remembered_since_another_build_may_have_other_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = folder.path().join("digests.json");
        let digests = Digests::open(Some(cache.clone()));
        let embedded = crate::embedded::checkpoint();
        let computed = digests.compute(&embedded).expect("digests");
        assert_eq!(digests.compute(&embedded).expect("digests"), computed);
        assert_eq!(digests.known(&embedded), None);
        assert!(!cache.exists(), "a start with the embedded model alone writes nothing");
    }

    #[test]
    fn a_cache_that_cannot_be_read_counts_as_empty() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = folder.path().join("digests.json");
        std::fs::write(&cache, "[{\"path\": 1}]").expect("a file");
        assert!(Digests::open(Some(cache)).locked().is_empty());
    }
}
