//! The models that were added while a daemon ran, so that the next one has them too: `models.json` in the state folder.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};
use crate::platform::make_private_dir;

/// Content of the file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    /// Checkpoint folders by name.
    models: BTreeMap<String, PathBuf>,
}

/// Where added models are remembered.
#[derive(Clone, Debug)]
pub(super) struct ModelsFile {
    path: PathBuf,
}

impl ModelsFile {
    /// The file in a state folder.
    pub(super) fn of_state_dir(state_dir: &Path) -> Self {
        Self { path: state_dir.join("models.json") }
    }

    /// The models that are remembered: folders by name. Fails when the file is damaged: going on without it would
    /// forget its models at the next addition.
    pub(super) fn load(&self) -> Result<BTreeMap<String, PathBuf>, Failure> {
        let shown = self.path.display();
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(Failure::fault(format_args!("{shown} cannot be read"), error)),
        };
        let content: Content = serde_json::from_slice(&text).map_err(|error| {
            Failure::new(
                Exit::Usage,
                format!("{shown} is damaged: {error}; mend it, or remove it and add the models again"),
            )
        })?;
        Ok(content.models)
    }

    /// Adds a model, or gives a known name another folder.
    pub(super) fn remember(&self, name: &str, folder: &Path) -> Result<(), Failure> {
        let mut models = self.load()?;
        models.insert(name.to_owned(), folder.to_owned());
        let failed =
            |error: std::io::Error| Failure::fault(format_args!("{} cannot be written", self.path.display()), error);
        let state_dir = self.path.parent().unwrap_or(Path::new("."));
        make_private_dir(state_dir)?;
        let mut file = tempfile::Builder::new().prefix(".models-").tempfile_in(state_dir).map_err(failed)?;
        serde_json::to_writer_pretty(&mut file, &Content { models }).map_err(|error| failed(error.into()))?;
        writeln!(file).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        file.persist(&self.path).map(drop).map_err(|error| failed(error.error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_there_the_next_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        let file = ModelsFile::of_state_dir(&state);
        assert!(file.load().expect("no file is no error").is_empty());
        file.remember("b.1", Path::new("/models/with \"quotes\"")).expect("written");
        file.remember("a", Path::new("/models/a")).expect("written");
        file.remember("a", Path::new("/models/a2")).expect("written");
        let models = ModelsFile::of_state_dir(&state).load().expect("read");
        assert_eq!(models.len(), 2);
        assert_eq!(models["a"], PathBuf::from("/models/a2"));
        assert_eq!(models["b.1"], PathBuf::from("/models/with \"quotes\""));
    }

    #[test]
    fn a_damaged_file_is_said_and_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("models.json");
        std::fs::write(&path, "{\"models\": ").expect("written");
        let file = ModelsFile::of_state_dir(folder.path());
        assert!(file.load().expect_err("damaged").message.contains("is damaged"));
        assert!(file.remember("a", Path::new("/a")).is_err());
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "{\"models\": ");
    }
}
