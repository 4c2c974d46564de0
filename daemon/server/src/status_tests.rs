//! The code and the details of every reason, as one table that clients can rely on.

use std::time::Duration;

use tonic_types::ErrorDetails;

use super::*;

const ALL: [Reason; 41] = Reason::ALL;

/// Reason, code, and the details that stand beside `ErrorInfo` when the error knows nothing more than its reason.
const TABLE: &str = "\
INVALID_REQUEST InvalidArgument
INVALID_IMAGE InvalidArgument
IMAGE_TOO_LARGE InvalidArgument
MODEL_NOT_FOUND NotFound
MODEL_INVALID FailedPrecondition PreconditionFailure
MODEL_UNSUPPORTED InvalidArgument
GENERATION_NOT_FOUND NotFound
BLOB_NOT_FOUND NotFound
UPLOAD_NOT_FOUND NotFound
BLOB_HASH_MISMATCH DataLoss
UPLOAD_OFFSET_MISMATCH OutOfRange
REQUEST_ID_CONFLICT AlreadyExists
NAME_TAKEN AlreadyExists
PERMISSION_DENIED PermissionDenied
UNAUTHENTICATED Unauthenticated
QUEUE_FULL ResourceExhausted RetryInfo
MEMORY_EXHAUSTED ResourceExhausted RetryInfo
STORE_FULL ResourceExhausted RetryInfo
DRAINING Unavailable RetryInfo
ENGINE_UNAVAILABLE Unavailable RetryInfo
CANCELLED Cancelled
DEADLINE_EXCEEDED DeadlineExceeded
WATCHER_GONE Cancelled
STREAM_LAGGED Aborted RetryInfo
ENGINE_FAULT Internal
DATA_LOSS DataLoss
SESSION_NOT_FOUND NotFound
REVISION_NOT_FOUND NotFound
SESSION_STATE FailedPrecondition PreconditionFailure
REPLAY_INVALID InvalidArgument
SUPERSEDED Aborted
LEASE_EXPIRED Cancelled
DAEMON_RESTARTED Aborted
QUOTA_EXCEEDED ResourceExhausted RetryInfo
DISK_FULL ResourceExhausted RetryInfo
STORE_READ_ONLY FailedPrecondition RetryInfo PreconditionFailure
STORE_DAMAGED DataLoss
LORA_NOT_FOUND NotFound
LORA_INVALID InvalidArgument
LORA_MISMATCH InvalidArgument
INTERNAL Internal
";

fn kinds(details: &ErrorDetails) -> Vec<&'static str> {
    let kinds = [
        ("BadRequest", details.bad_request().is_some()),
        ("RetryInfo", details.retry_info().is_some()),
        ("PreconditionFailure", details.precondition_failure().is_some()),
        ("ResourceInfo", details.resource_info().is_some()),
    ];
    kinds.into_iter().filter(|(_, present)| *present).map(|(kind, _)| kind).collect()
}

#[test]
fn every_reason_has_its_code_and_details() {
    let mut table = String::new();
    for reason in ALL {
        let status = status(&Error::new(reason, "sentence"));
        let details = status.check_error_details().unwrap();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason.as_str(), ERROR_DOMAIN));
        assert_eq!(status.message(), "sentence");
        let line: Vec<_> = [info.reason.clone(), format!("{:?}", status.code())]
            .into_iter()
            .chain(kinds(&details).into_iter().map(str::to_owned))
            .collect();
        table += &(line.join(" ") + "\n");
    }
    assert_eq!(table, TABLE);
}

#[test]
fn what_the_error_knows_stands_in_the_details() {
    let error = Error::field(Reason::InvalidImage, "spec.image.inline", "is cut off")
        .about("blob", "abc")
        .with("expected_offset", 7)
        .retry_after(Duration::from_secs(3));
    let status = status(&error);
    let details = status.check_error_details().unwrap();
    let violation = &details.bad_request().unwrap().field_violations[0];
    assert_eq!((violation.field.as_str(), violation.description.as_str()), ("spec.image.inline", "is cut off"));
    let resource = details.resource_info().unwrap();
    assert_eq!((resource.resource_type.as_str(), resource.resource_name.as_str()), ("blob", "abc"));
    assert_eq!(details.error_info().unwrap().metadata["expected_offset"], "7");
    assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(3)));

    let ended = generation_error(&error);
    assert_eq!(ended.code, i32::from(status.code()));
    assert_eq!(ended.message, status.message());
    assert_eq!(ended.reason, "INVALID_IMAGE");
    assert_eq!(ended.violations[0].field, "spec.image.inline");
    assert_eq!((ended.resource_type.as_str(), ended.resource_name.as_str()), ("blob", "abc"));
    assert_eq!(ended.metadata["expected_offset"], "7");
    assert_eq!(ended.retry_after, Some(prost_types::Duration { seconds: 3, nanos: 0 }));
}

#[test]
fn a_broken_checkpoint_is_named_as_what_stands_in_the_way() {
    let error = Error::new(Reason::ModelInvalid, "unet has no conv_in.weight").about("model", "mine");
    let details = status(&error).check_error_details().unwrap();
    let failure = &details.precondition_failure().unwrap().violations[0];
    assert_eq!((failure.r#type.as_str(), failure.subject.as_str()), ("MODEL_INVALID", "mine"));
    assert_eq!(failure.description, "unet has no conv_in.weight");
}

#[test]
fn long_texts_of_a_client_do_not_burst_the_headers() {
    let long = "\u{e9}".repeat(1 << 13);
    let violation = easel_domain::FieldViolation { field: long.clone(), description: long.clone() };
    let error =
        Error::fields(Reason::InvalidRequest, vec![violation; 100]).about("model", long.clone()).with("k", long);
    let headers = status(&error).into_http::<()>().headers().clone();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    assert!(bytes < 16 * 1024, "{bytes} bytes of headers");
    assert!(generation_error(&error).message.ends_with("..."));
}
