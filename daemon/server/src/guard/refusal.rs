//! How the guard says no: in the language of HTTP for what is no call of ours, and of gRPC for a call without a token.

use axum::body::Body;
use axum::response::Response;
use easel_domain::Error;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{StatusCode, header};

use crate::status::status;

/// A request that is not let in.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// 200 when the answer is a gRPC status only.
    pub(crate) http: StatusCode,
    /// Why, for gRPC clients and for persons.
    pub(crate) error: Error,
}

impl Refusal {
    /// Refused with an HTTP status; gRPC clients find the error in its headers.
    pub(crate) fn new(http: StatusCode, error: Error) -> Self {
        Self { http, error }
    }

    /// Refused as a handler would.
    pub(crate) fn in_grpc(error: Error) -> Self {
        Self::new(StatusCode::OK, error)
    }

    /// The answer to a request with the given headers: a gRPC status without a message, in the kind of gRPC that was
    /// asked for, or with the sentence as text.
    pub(crate) fn into_response(self, request: &HeaderMap) -> Response {
        let mut response: Response = status(&self.error).into_http();
        *response.status_mut() = self.http;
        let asked = request.get(CONTENT_TYPE).filter(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        match asked {
            Some(kind) => {
                response.headers_mut().insert(CONTENT_TYPE, kind.clone());
            }
            None => {
                let text = HeaderValue::from_static("text/plain; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, text);
                *response.body_mut() = Body::from(format!("{}\n", self.error.message));
            }
        }
        if self.http == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }
}
