//! The models, as the server asks for them.

use std::path::PathBuf;
use std::sync::Arc;

use easel_domain::{Error, Reason, limits};
use tokio::sync::watch;

use super::catalogue::Catalogue;
use super::{Runtime, confused};
use crate::scheduler::{Answer, Command, ModelView, unknown_model};
use crate::{ModelState, ModelStatus};

/// Follows the loading of a model.
pub struct LoadWatch {
    views: watch::Receiver<ModelView>,
    catalogue: Arc<dyn Catalogue>,
    first: bool,
    over: bool,
}

impl LoadWatch {
    /// Waits for news: the model and the share that is read, 0 to 1. The first comes at once. `None` after the model is loaded or was
    /// dropped again; when it cannot be read, the reason and then `None`.
    pub async fn next(&mut self) -> Option<Result<(ModelStatus, f32), Error>> {
        if self.over || (!self.first && self.views.changed().await.is_err()) {
            return None;
        }
        self.first = false;
        let view = self.views.borrow_and_update().clone();
        self.over = view.state != ModelState::Loading;
        if let Some(problem) = &view.problem {
            return Some(Err(problem.clone()));
        }
        let fraction = view.fraction;
        Some(Ok((status_of(view, &*self.catalogue), fraction)))
    }
}

impl Runtime {
    /// The models, the default first.
    pub async fn models(&self) -> Vec<ModelStatus> {
        match self.ask(Command::Models).await.map(|reply| reply.answer) {
            Ok(Answer::Models(views)) => views.into_iter().map(|view| status_of(view, &*self.0.catalogue)).collect(),
            _ => Vec::new(),
        }
    }

    /// One model. Fails with `ModelNotFound`.
    pub async fn model(&self, name: &str) -> Result<ModelStatus, Error> {
        self.models().await.into_iter().find(|model| model.info.name == name).ok_or_else(|| unknown_model(name))
    }

    /// Adds a checkpoint folder; without a name it gets the folder's. Fails with `ModelInvalid`, `InvalidRequest` or
    /// `NameTaken`.
    pub async fn add_model(&self, folder: PathBuf, name: Option<String>) -> Result<ModelStatus, Error> {
        let name = match name {
            Some(name) => name,
            None => folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        };
        check_name(&name)?;
        let catalogue = Arc::clone(&self.0.catalogue);
        let wanted = name.clone();
        let (info, _) = self.0.pool.run(move || catalogue.add_model(&folder, &wanted)).await;
        self.ask(Command::AddModel(Box::new(info?))).await?;
        self.model(&name).await
    }

    /// Reads a model into memory. The watch tells the progress; the loading goes on when it is dropped. Fails with `ModelNotFound` or
    /// `Draining`.
    pub async fn load_model(&self, name: &str) -> Result<LoadWatch, Error> {
        let reply = self.ask(Command::LoadModel { name: name.to_owned() }).await?;
        match (reply.answer, reply.load) {
            (Answer::Model(Err(error)), _) => Err(error),
            (_, Some(views)) => {
                Ok(LoadWatch { views, catalogue: Arc::clone(&self.0.catalogue), first: true, over: false })
            }
            _ => Err(confused()),
        }
    }

    /// Drops a model's networks when the generations that run with it have ended; those that wait load it again.
    pub async fn unload_model(&self, name: &str) -> Result<ModelStatus, Error> {
        match self.ask(Command::UnloadModel { name: name.to_owned() }).await?.answer {
            Answer::Model(view) => Ok(status_of(*view?, &*self.0.catalogue)),
            _ => Err(confused()),
        }
    }
}

fn status_of(view: ModelView, catalogue: &dyn Catalogue) -> ModelStatus {
    // What the engine knows of a model grows: the digest of its weights comes when they have been read.
    let info = catalogue.models().into_iter().find(|info| info.name == view.info.name).unwrap_or(view.info);
    ModelStatus {
        resident_bytes: catalogue.resident_bytes(&info.name),
        state: view.state,
        problem: view.problem.map(|problem| problem.message),
        default: view.default,
        info,
    }
}

/// Names stand in requests, logs and on command lines.
fn check_name(name: &str) -> Result<(), Error> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    if name.is_empty() || name.len() > limits::MAX_MODEL_NAME_BYTES || !name.bytes().all(allowed) {
        let most = limits::MAX_MODEL_NAME_BYTES;
        let description = format!("must have 1 to {most} characters out of A-Z a-z 0-9 . _ -");
        return Err(Error::field(Reason::InvalidRequest, "name", description));
    }
    Ok(())
}
