//! One error, two forms: the status of a failed call and the error of an ended generation, both with the same contents.

use std::collections::HashMap;
use std::time::Duration;

use easel_domain::{Class, Error, Reason};
use easel_proto::v1;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::convert::time;

/// `google.rpc.ErrorInfo.domain` of every error of the daemon.
pub const ERROR_DOMAIN: &str = "easel.v1";

/// When to try again if the error itself does not say.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);

// Trailers have to fit into the 8 KiB of headers that clients take by default, details in base64 beside the message.
const MAX_MESSAGE_BYTES: usize = 1024;
const MAX_VIOLATIONS: usize = 16;
const MAX_NAME_BYTES: usize = 128;
const MAX_DESCRIPTION_BYTES: usize = 160;

/// The code of a reason.
pub(crate) fn code(reason: Reason) -> Code {
    match reason {
        Reason::InvalidRequest
        | Reason::InvalidImage
        | Reason::ImageTooLarge
        | Reason::ModelUnsupported
        | Reason::LoraMismatch
        | Reason::LoraInvalid
        | Reason::ReplayInvalid => Code::InvalidArgument,
        Reason::ModelNotFound
        | Reason::GenerationNotFound
        | Reason::BlobNotFound
        | Reason::UploadNotFound
        | Reason::LoraNotFound
        | Reason::SessionNotFound
        | Reason::RevisionNotFound => Code::NotFound,
        Reason::ModelInvalid | Reason::SessionState | Reason::StoreReadOnly => Code::FailedPrecondition,
        // What arrived is not what was sent: the bytes were lost or changed on their way.
        Reason::BlobHashMismatch | Reason::DataLoss | Reason::StoreDamaged => Code::DataLoss,
        Reason::UploadOffsetMismatch => Code::OutOfRange,
        Reason::RequestIdConflict | Reason::NameTaken => Code::AlreadyExists,
        Reason::PermissionDenied => Code::PermissionDenied,
        Reason::Unauthenticated => Code::Unauthenticated,
        Reason::QueueFull | Reason::MemoryExhausted | Reason::StoreFull | Reason::QuotaExceeded | Reason::DiskFull => {
            Code::ResourceExhausted
        }
        Reason::Draining | Reason::EngineUnavailable => Code::Unavailable,
        Reason::Cancelled | Reason::WatcherGone | Reason::LeaseExpired => Code::Cancelled,
        Reason::DeadlineExceeded => Code::DeadlineExceeded,
        // Not UNAVAILABLE, which clients repeat by themselves: the watch has to go on from another sequence number.
        Reason::StreamLagged | Reason::Superseded | Reason::DaemonRestarted => Code::Aborted,
        Reason::EngineFault | Reason::Internal => Code::Internal,
    }
}

/// The status of a failed call.
pub(crate) fn status(error: &Error) -> Status {
    let error = &clipped(error);
    let metadata: HashMap<_, _> = error.metadata.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    let mut details = ErrorDetails::with_error_info(error.reason.as_str(), ERROR_DOMAIN, metadata);
    for violation in &error.violations {
        details.add_bad_request_violation(&violation.field, &violation.description);
    }
    if let Some(wait) = retry_after(error) {
        details.set_retry_info(Some(wait));
    }
    if let Some((kind, name)) = &error.resource {
        details.set_resource_info(*kind, name, "", &error.message);
    }
    if code(error.reason) == Code::FailedPrecondition {
        let subject = error.resource.as_ref().map_or("", |(_, name)| name);
        details.add_precondition_failure_violation(error.reason.as_str(), subject, &error.message);
    }
    Status::with_error_details(code(error.reason), &error.message, details)
}

/// The error of an ended generation.
pub(crate) fn generation_error(error: &Error) -> v1::GenerationError {
    let error = clipped(error);
    let retry_after = retry_after(&error).map(time::duration);
    let (resource_type, resource_name) = error.resource.map(|(kind, name)| (kind.to_owned(), name)).unwrap_or_default();
    v1::GenerationError {
        code: code(error.reason).into(),
        reason: error.reason.as_str().to_owned(),
        message: error.message,
        retry_after,
        violations: error
            .violations
            .into_iter()
            .map(|v| v1::FieldViolation { field: v.field, description: v.description })
            .collect(),
        resource_type,
        resource_name,
        metadata: error.metadata.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
    }
}

fn retry_after(error: &Error) -> Option<Duration> {
    let default = (error.reason.class() == Class::Capacity).then_some(DEFAULT_RETRY);
    error.retry_after.or(default)
}

/// The error with every text shortened, since names and messages may quote what a client sent.
fn clipped(error: &Error) -> Error {
    let mut error = error.clone();
    clip(&mut error.message, MAX_MESSAGE_BYTES);
    error.violations.truncate(MAX_VIOLATIONS);
    for violation in &mut error.violations {
        clip(&mut violation.field, MAX_NAME_BYTES);
        clip(&mut violation.description, MAX_DESCRIPTION_BYTES);
    }
    if let Some((_, name)) = &mut error.resource {
        clip(name, MAX_NAME_BYTES);
    }
    for (_, value) in &mut error.metadata {
        clip(value, MAX_NAME_BYTES);
    }
    error
}

fn clip(text: &mut String, most: usize) {
    const MARK: &str = "...";
    if text.len() > most {
        let mut end = most - MARK.len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(MARK);
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
