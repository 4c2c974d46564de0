//! What browsers ask for before a page may call, and what lets it read the answer. None of this protects the daemon,
//! the guard does; it only tells the browser what the guard decided.

use axum::body::Body;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderMap, HeaderValue,
    ORIGIN, VARY,
};
use http::request::Parts;
use http::{Method, StatusCode};

/// Where a request comes from, as the browser says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin<'a> {
    /// No browser.
    Absent,
    /// A sandboxed page or a `data:` page: anybody, never an identity.
    Null,
    /// A page of this origin.
    Page(&'a str),
    /// Several origins, or none that can be read.
    Unreadable,
}

impl<'a> Origin<'a> {
    /// The origin that stands in the headers.
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut values = headers.get_all(ORIGIN).iter();
        match (values.next().map(HeaderValue::to_str), values.next()) {
            (None, _) => Self::Absent,
            (Some(Ok("null")), None) => Self::Null,
            (Some(Ok(page)), None) => Self::Page(page),
            _ => Self::Unreadable,
        }
    }

    /// As tokens remember it: empty for a program.
    pub(super) fn name(self) -> String {
        match self {
            Self::Absent => String::new(),
            Self::Null => "null".to_owned(),
            Self::Page(page) => page.to_ascii_lowercase(),
            Self::Unreadable => "unreadable".to_owned(),
        }
    }
}

/// True when a browser asks whether a page may call.
pub(super) fn is_preflight(request: &Parts) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key(ORIGIN)
        && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The origin that pages of this daemon have, as the browser reached it: scheme, host and port of the request.
pub(super) fn own_origin(request: &Parts) -> Option<String> {
    let host = match request.uri.authority() {
        Some(authority) => authority.as_str(),
        None => request.headers.get(HOST)?.to_str().ok()?,
    };
    Some(format!("http://{}", host.to_ascii_lowercase()))
}

/// The answer to a preflight that is let in; [`expose`] adds for whom.
pub(super) fn preflight_answer() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, easel-client, grpc-timeout, x-grpc-web, x-user-agent"),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
    response
}

/// Lets a page of `origin` read the answer and the headers in which gRPC puts its status.
pub(super) fn expose(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("grpc-status, grpc-message, grpc-status-details-bin"),
    );
    headers.append(VARY, HeaderValue::from_static("origin"));
}
