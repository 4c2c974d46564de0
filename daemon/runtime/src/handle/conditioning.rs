//! What is kept between generations, as the server asks for it: prepare, list, clear.

use std::time::Duration;

use easel_domain::event::{EventKind, StageTiming, Watched};
use easel_domain::session::Origin;
use easel_domain::{
    DisconnectPolicy, Error, GenerationRequest, KeptCache, Priority, Reason, RestartPolicy, RunPolicy, resolve,
};

use super::{Runtime, confused};
use crate::scheduler::{Answer, unknown_model};

/// What a preparation took.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// Time of each stage, and how much was known from before.
    pub timings: Vec<StageTiming>,
    /// From acceptance to the end.
    pub total: Duration,
}

impl Runtime {
    /// Reads prompt and source of a request for later, so that its generation finds them: a client prepares while its user
    /// types. The prompt may be empty. Runs when nothing more urgent does, and stops when the future is dropped. Fails as
    /// [`create`](Self::create) does.
    pub async fn prepare(&self, request: GenerationRequest) -> Result<Prepared, Error> {
        let model = self.model_info(request.model.as_deref())?;
        let settle = |source| resolve::resolve_preparation(&request, &model, source);
        let (plan, source) = self.resolve(&request, &Origin::default(), settle).await?;
        let policy = RunPolicy {
            previews: None,
            priority: Priority::Batch,
            on_disconnect: DisconnectPolicy::Cancel,
            timeout: None,
            request_id: None,
            keep_until: None,
            on_restart: RestartPolicy::Fail,
        };
        let reply = self.admit("prep", (request, policy, Origin::default()), (plan, source, Vec::new()), true).await?;
        let mut watch = match (reply.answer, reply.watch) {
            (Answer::Created(Err(error)), _) => return Err(error),
            (Answer::Created(Ok(_)), Some(watch)) => watch?,
            _ => return Err(confused()),
        };
        while let Some(watched) = watch.next().await {
            let Watched::Event(event) = watched? else { continue };
            match &event.kind {
                EventKind::Succeeded { timings, total, .. } => {
                    return Ok(Prepared { timings: timings.clone(), total: *total });
                }
                EventKind::Ended { error, .. } => return Err(error.clone()),
                _ => {}
            }
        }
        Err(Error::new(Reason::Draining, "the daemon stopped before the preparation was done"))
    }

    /// What the loaded models keep between generations.
    pub fn kept(&self) -> Vec<KeptCache> {
        self.0.catalogue.kept()
    }

    /// Drops what a model (`None`: all) keeps; bytes that this frees. Fails with `ModelNotFound`.
    pub fn clear_kept(&self, model: Option<&str>) -> Result<u64, Error> {
        if let Some(name) = model
            && !self.0.catalogue.models().iter().any(|known| known.name == name)
        {
            return Err(unknown_model(name));
        }
        Ok(self.0.catalogue.clear_kept(model))
    }
}
