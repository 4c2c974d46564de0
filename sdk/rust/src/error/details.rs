//! The few messages of `google.rpc` that stand in `grpc-status-details-bin`, and their decoding.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message;
use prost_types::Any;

use super::{Error, FieldViolation, Resource};

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    metadata: BTreeMap<String, String>,
}

/// `google.rpc.BadRequest`.
#[derive(Clone, PartialEq, Message)]
struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    field_violations: Vec<BadField>,
}

/// `google.rpc.BadRequest.FieldViolation`.
#[derive(Clone, PartialEq, Message)]
struct BadField {
    #[prost(string, tag = "1")]
    field: String,
    #[prost(string, tag = "2")]
    description: String,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<prost_types::Duration>,
}

/// `google.rpc.ResourceInfo`.
#[derive(Clone, PartialEq, Message)]
struct ResourceInfo {
    #[prost(string, tag = "1")]
    resource_type: String,
    #[prost(string, tag = "2")]
    resource_name: String,
}

/// Fills `error` from the encoded `google.rpc.Status` in `bytes`. What cannot be decoded is left out: the code and the
/// message stand without it.
pub(super) fn decode(bytes: &[u8], error: &mut Error) {
    let Ok(status) = RpcStatus::decode(bytes) else { return };
    for any in status.details {
        let name = any.type_url.rsplit('/').next().unwrap_or_default();
        // A part that cannot be decoded stays out; the others still help.
        let _ = decode_part(name, &any.value, error);
    }
}

fn decode_part(name: &str, bytes: &[u8], error: &mut Error) -> Result<(), prost::DecodeError> {
    match name {
        "google.rpc.ErrorInfo" => {
            let info = ErrorInfo::decode(bytes)?;
            error.reason = info.reason;
            error.metadata = info.metadata;
        }
        "google.rpc.BadRequest" => {
            let fields = BadRequest::decode(bytes)?.field_violations;
            error.violations.extend(fields.into_iter().map(|bad| violation(bad.field, bad.description)));
        }
        "google.rpc.RetryInfo" => {
            error.retry_after = RetryInfo::decode(bytes)?.retry_delay.and_then(|wait| Duration::try_from(wait).ok());
        }
        "google.rpc.ResourceInfo" => {
            let info = ResourceInfo::decode(bytes)?;
            error.resource = Some(Resource { kind: info.resource_type, name: info.resource_name });
        }
        // PreconditionFailure repeats reason, resource and message.
        _ => {}
    }
    Ok(())
}

fn violation(field: String, description: String) -> FieldViolation {
    FieldViolation { field, description }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::{Code, Status};

    fn any<M: Message>(name: &str, message: &M) -> Any {
        Any { type_url: format!("type.googleapis.com/google.rpc.{name}"), value: message.encode_to_vec() }
    }

    fn status(details: Vec<Any>) -> Status {
        let rpc = RpcStatus { code: 3, message: "wrong".to_owned(), details };
        Status::with_details(Code::InvalidArgument, "wrong", rpc.encode_to_vec().into())
    }

    #[test]
    fn every_detail_is_decoded() {
        let info = ErrorInfo {
            reason: "INVALID_REQUEST".to_owned(),
            domain: "easel".to_owned(),
            metadata: BTreeMap::from([("limit".to_owned(), "8192".to_owned())]),
        };
        let field = BadField { field: "spec.prompt".to_owned(), description: "is empty".to_owned() };
        let wait = prost_types::Duration { seconds: 2, nanos: 500_000_000 };
        let about = ResourceInfo { resource_type: "model".to_owned(), resource_name: "big".to_owned() };
        let error = Error::from(status(vec![
            any("ErrorInfo", &info),
            any("BadRequest", &BadRequest { field_violations: vec![field] }),
            any("RetryInfo", &RetryInfo { retry_delay: Some(wait) }),
            any("ResourceInfo", &about),
        ]));
        assert_eq!(error.code, Code::InvalidArgument);
        assert_eq!(error.reason, "INVALID_REQUEST");
        assert_eq!(error.metadata["limit"], "8192");
        assert_eq!(error.violations, [violation("spec.prompt".to_owned(), "is empty".to_owned())]);
        assert_eq!(error.retry_after, Some(Duration::from_millis(2500)));
        assert_eq!(error.resource, Some(Resource { kind: "model".to_owned(), name: "big".to_owned() }));
    }

    #[test]
    fn broken_details_leave_code_and_message() {
        let broken = Status::with_details(Code::NotFound, "gone", vec![0xff, 0xff, 0xff].into());
        let error = Error::from(broken);
        assert_eq!((error.code, error.message.as_str()), (Code::NotFound, "gone"));
        assert_eq!(error.reason, super::super::reason::UNKNOWN);
        let half = Any { type_url: "x/google.rpc.ErrorInfo".to_owned(), value: vec![0x0a, 0x50] };
        let wait = RetryInfo { retry_delay: Some(prost_types::Duration { seconds: -1, nanos: 0 }) };
        let error = Error::from(status(vec![half, any("RetryInfo", &wait)]));
        assert_eq!(error.retry_after, None, "a negative wait is no wait");
    }
}
