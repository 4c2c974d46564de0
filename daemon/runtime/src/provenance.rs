//! What the files of results say of their making: whether, and the text.

use std::sync::Arc;

use easel_domain::provenance::Parameters;
use easel_domain::{Error, FieldViolation, GenerationRequest, ModelInfo, Plan, Reason};

use crate::handle::Catalogue;

/// Knows the models and the version of the daemon. Shared by all generations.
pub(crate) struct Maker {
    catalogue: Arc<dyn Catalogue>,
    version: String,
}

impl Maker {
    pub(crate) fn new(catalogue: Arc<dyn Catalogue>, version: String) -> Self {
        Self { catalogue, version }
    }

    /// The parameters of a picture when its file is to hold them. Blocks while the weights of the model are still being read for
    /// their digest: without it the same request would give other bytes a minute later.
    pub(crate) fn parameters(&self, plan: &Plan, index: u32) -> Result<Option<String>, Error> {
        if !plan.provenance {
            return Ok(None);
        }
        let model = self.catalogue.models().into_iter().find(|model| model.name == plan.model);
        let Some(model) = model else { return Err(crate::scheduler::unknown_model(&plan.model)) };
        let weights_sha256 = self.catalogue.weights_sha256(&plan.model);
        text(plan, index, &ModelInfo { weights_sha256, ..model }, &self.version).map(Some)
    }
}

/// Settles whether the files say how they were made. Parameters that no file can hold are an error when they were asked for, and else
/// left out with a note.
pub(crate) fn settle(
    plan: &mut Plan,
    request: &GenerationRequest,
    model: &ModelInfo,
    (version, default): (&str, bool),
) -> Result<(), Error> {
    plan.provenance = request.provenance.unwrap_or(default);
    // They have no words for tiles: a picture that was made in them could not be made again from its file.
    let tiled = plan.tiles.is_some();
    if !plan.provenance || !tiled && easel_imaging::fits_a_file(&longest(plan, model, version)?) {
        return Ok(());
    }
    let what = match tiled {
        true => "do not tell of tiles yet: leave `whole_canvas` out",
        false => "are too long to be kept in a file: shorten the prompts",
    };
    if request.provenance.is_some() {
        let description = format!("the parameters {what}, or turn it off");
        let violation = FieldViolation { field: "spec.provenance".to_owned(), description };
        return Err(Error::fields(Reason::InvalidRequest, vec![violation]));
    }
    plan.provenance = false;
    plan.notes.push(format!("the parameters {what}; the file does not say how it was made"));
    Ok(())
}

/// No picture of the plan has longer parameters: with the longest seed and every hash.
fn longest(plan: &Plan, model: &ModelInfo, version: &str) -> Result<String, Error> {
    let plan = Plan { seed: u64::MAX, seeds: Vec::new(), ..plan.clone() };
    let weights_sha256 = Some(easel_domain::BlobHash([0; 32]));
    text(&plan, 0, &ModelInfo { weights_sha256, ..model.clone() }, version)
}

fn text(plan: &Plan, index: u32, model: &ModelInfo, version: &str) -> Result<String, Error> {
    serde_json::to_string(&Parameters::of(plan, index, model, version))
        .map_err(|error| Error::new(Reason::Internal, format!("the parameters cannot be written: {error}")))
}
