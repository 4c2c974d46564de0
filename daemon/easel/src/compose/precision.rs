//! What is done with low precisions beside serving: files of packed weights, and the measurement of what is lost.

use std::path::PathBuf;

use easel_domain::Reason;
use easel_engine::quality::{Finding, Plan, measure};

use super::{add_models, dreamlite, set_up_computing};
use crate::config::Effective;
use crate::exit::{Exit, Failure};

/// Writes the packed weights of a model into the state folder; each file with its size in bytes.
pub(crate) fn quantise(effective: &Effective, model: &str) -> Result<Vec<(PathBuf, u64)>, Failure> {
    let engine = dreamlite(&effective.settings)?;
    add_models(&engine, &effective.settings)?;
    engine.quantise(model).map_err(|error| match error.reason {
        Reason::ModelNotFound => Failure::new(Exit::NotFound, error.to_string()),
        Reason::InvalidRequest => Failure::new(Exit::Request, error.to_string()),
        _ => Failure::new(Exit::Fault, error.to_string()),
    })
}

/// Measures the low precisions against f32 on a checkpoint, which does not have to be added.
pub(crate) fn quality(effective: &Effective, plan: &Plan, report: &mut dyn FnMut(Finding)) -> Result<(), Failure> {
    set_up_computing(&effective.settings)?;
    measure(plan, report).map_err(|error| Failure::new(Exit::Request, error.to_string()))
}
