//! The six services of the protocol: each method converts, asks the runtime and converts back; nothing else happens
//! here.

mod access;
mod blob;
mod client;
mod deadline;
mod edit_stream;
mod generation;
mod model;
mod session;
mod system;

pub(crate) use access::Accesses;
pub(crate) use blob::Blobs;
pub(crate) use generation::Generations;
pub(crate) use model::Models;
pub(crate) use session::Sessions;
pub(crate) use system::System;

use easel_domain::Error;
use tonic::codegen::BoxStream;
use tonic::{Response, Status};

use crate::status::status;

/// What a unary method answers.
type Answer<T> = Result<Response<T>, Status>;

/// What a streaming method answers.
type StreamAnswer<T> = Result<Response<BoxStream<T>>, Status>;

fn answer<T>(result: Result<T, Error>) -> Answer<T> {
    result.map(Response::new).map_err(|error| refused(&error))
}

/// The status of a call that failed; our own faults are worth a line in the log.
fn refused(error: &Error) -> Status {
    match error.reason.class() {
        easel_domain::Class::Fault => {
            tracing::error!(reason = error.reason.as_str(), %error, "a call failed by our fault");
        }
        _ => tracing::debug!(reason = error.reason.as_str(), "a call was refused"),
    }
    status(error)
}
