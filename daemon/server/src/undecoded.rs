//! Messages that no handler sees, since they cannot be decoded or are too large: the library answers them with a bare status.
//! They are the caller's mistake, and get the code and the details of one.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use easel_domain::limits::MAX_MESSAGE_BYTES;
use easel_domain::{Error, Reason};
use tonic::{Code, Status};

use crate::status::status;

/// The services whose every error carries details.
const OURS: &str = "/easel.v1.";

/// Replaces bare statuses of our own services.
pub(crate) async fn explain(request: Request, next: Next) -> Response {
    let ours = request.uri().path().starts_with(OURS);
    let response = next.run(request).await;
    let bare = Status::from_header_map(response.headers()).filter(|status| ours && status.details().is_empty());
    match bare.as_ref().and_then(explained) {
        Some(error) => status(&error).into_http::<axum::body::Body>().into_response(),
        None => response,
    }
}

/// What a bare status means: errors of handlers have details, so that this one comes from the library.
fn explained(bare: &Status) -> Option<Error> {
    let message = match bare.code() {
        Code::Internal | Code::Cancelled | Code::Unknown => {
            format!("the message cannot be read: {}", bare.message())
        }
        Code::OutOfRange => {
            format!("the message is larger than {MAX_MESSAGE_BYTES} bytes: upload pictures and give their hash")
        }
        _ => return None,
    };
    Some(Error::new(Reason::InvalidRequest, message))
}
