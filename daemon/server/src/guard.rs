//! Stands before every handler: who may talk to the daemon at all. A browser runs pages of strangers on the user's own
//! machine, so that loopback alone protects nothing: the name under which the daemon was reached, the page that asks,
//! and the token or the user id of the other process are looked at before any byte of a message.

mod cors;
mod refusal;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use easel_domain::{Error, Reason};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode};
use subtle::ConstantTimeEq as _;
use tonic_health::pb::health_server;
use tonic_reflection::pb::{v1, v1alpha};

use crate::ServerConfig;
use crate::peer::Peer;
use cors::Origin;
pub(crate) use refusal::Refusal;

/// Names under which a daemon on the loopback is reached.
const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Calls that need no token, so that a client and a proxy can say what is wrong before they have one.
const OPEN_METHODS: [&str; 1] = ["/easel.v1.SystemService/GetVersion"];
const OPEN_SERVICES: [&str; 3] = [
    health_server::SERVICE_NAME,
    v1::server_reflection_server::SERVICE_NAME,
    v1alpha::server_reflection_server::SERVICE_NAME,
];

/// Who may talk to the daemon.
#[derive(Debug)]
pub(crate) struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
    token: Option<Token>,
    /// The daemon's own user.
    uid: Option<u32>,
}

/// What happens to a request that is let in.
#[derive(Debug, PartialEq, Eq)]
enum Pass {
    /// It goes on to its handler.
    Call,
    /// A browser asks whether a page may call: answered here.
    Preflight,
}

impl Guard {
    /// A guard for the daemon of the user with the id `uid`.
    pub(crate) fn new(config: &ServerConfig, uid: Option<u32>) -> Self {
        let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Self {
            hosts: lower(&config.allowed_hosts),
            origins: lower(&config.allowed_origins),
            token: config.token.as_ref().filter(|token| !token.is_empty()).map(|token| Token(token.clone())),
            uid,
        }
    }

    fn admit(&self, request: &Parts) -> Result<Pass, Refusal> {
        let peer = request.extensions.get::<Peer>().copied();
        self.check_user(peer)?;
        self.check_host(request)?;
        let has_token = self.has_token(&request.headers);
        let origin = Origin::of(&request.headers);
        self.check_origin(origin, has_token, cors::is_preflight(request))?;
        if cors::is_preflight(request) {
            return Ok(Pass::Preflight);
        }
        check_shape(request)?;
        let open = is_open(request.uri.path());
        if open || has_token || peer.is_some_and(Peer::is_local_user) {
            return Ok(Pass::Call);
        }
        let message =
            "the token is missing or wrong: send `authorization: Bearer TOKEN` with what `easel token` prints";
        Err(Refusal::in_grpc(Error::new(Reason::Unauthenticated, message)))
    }

    /// Only the same user's processes reach the socket's file; this asks the system once more.
    fn check_user(&self, peer: Option<Peer>) -> Result<(), Refusal> {
        let allowed = match peer {
            Some(Peer::Unix(uid)) => uid.is_some() && uid == self.uid,
            Some(Peer::Tcp(_) | Peer::Memory) => true,
            None => false,
        };
        if allowed {
            return Ok(());
        }
        let message = "this socket belongs to another user: each user runs a daemon of their own";
        Err(Refusal::new(StatusCode::FORBIDDEN, Error::new(Reason::PermissionDenied, message)))
    }

    /// A page that has its own name resolved to the loopback (DNS rebinding) cannot change the name that the browser
    /// sends along.
    fn check_host(&self, request: &Parts) -> Result<(), Refusal> {
        let mut names = Vec::new();
        names.extend(request.uri.authority().map(|authority| authority.as_str().to_owned()));
        for value in request.headers.get_all(HOST) {
            names.push(String::from_utf8_lossy(value.as_bytes()).into_owned());
        }
        if !names.is_empty() && names.iter().all(|name| self.is_known_host(name)) {
            return Ok(());
        }
        let host = names.join(", ");
        let message =
            format!("the host \"{host}\" is not served here: call localhost, or allow it in the configuration");
        Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, Error::new(Reason::PermissionDenied, message)))
    }

    fn is_known_host(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let Ok(authority) = name.parse::<Authority>() else { return false };
        if name.contains('@') {
            return false;
        }
        let host = authority.host();
        LOCAL_HOSTS.contains(&host) || self.hosts.iter().any(|known| known == host || *known == name)
    }

    fn check_origin(&self, origin: Origin<'_>, has_token: bool, preflight: bool) -> Result<(), Refusal> {
        let message = match origin {
            Origin::Absent => return Ok(()),
            Origin::Page(page) if self.origins.contains(&page.to_ascii_lowercase()) => return Ok(()),
            // A preflight cannot carry the token; the call that follows has to.
            Origin::Null if self.token.is_some() && (has_token || preflight) => return Ok(()),
            Origin::Null if self.token.is_some() => {
                let message = "a page without an origin needs the token for every call: pair the plugin again";
                return Err(Refusal::new(StatusCode::FORBIDDEN, Error::new(Reason::Unauthenticated, message)));
            }
            Origin::Null => "pages without an origin may not call this daemon".to_owned(),
            Origin::Page(page) => {
                format!("pages of the origin \"{page}\" may not call: allow it in the configuration")
            }
            Origin::Unreadable => "the origin cannot be read".to_owned(),
        };
        Err(Refusal::new(StatusCode::FORBIDDEN, Error::new(Reason::PermissionDenied, message)))
    }

    /// True when the answer may be read by the page that asked, so that it can show what is wrong.
    fn lets_read(&self, origin: Origin<'_>) -> bool {
        match origin {
            Origin::Absent | Origin::Unreadable => false,
            Origin::Null => self.token.is_some(),
            Origin::Page(page) => self.origins.contains(&page.to_ascii_lowercase()),
        }
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        let Some(Token(token)) = &self.token else { return false };
        let bearer = headers.get(AUTHORIZATION).map(http::HeaderValue::as_bytes).and_then(|value| {
            let (scheme, rest) = value.split_at_checked(b"Bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then(|| rest.trim_ascii())
        });
        bearer.is_some_and(|given| given.ct_eq(token.as_bytes()).into())
    }
}

/// Runs the guard before `next`, and lets an allowed page read the answer.
pub(crate) async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let readable = cors::readable_by(&parts.headers, |origin| guard.lets_read(origin));
    let mut response = match guard.admit(&parts) {
        Ok(Pass::Call) => next.run(Request::from_parts(parts, body)).await,
        Ok(Pass::Preflight) => cors::preflight_answer(),
        Err(refusal) => {
            tracing::debug!(path = parts.uri.path(), status = %refusal.http, "request refused");
            refusal.into_response(&parts.headers)
        }
    };
    if let Some(origin) = readable {
        cors::expose(response.headers_mut(), origin);
    }
    response
}

/// Only what a gRPC client sends; forms and other things that a page can send without a preflight do not come through.
fn check_shape(request: &Parts) -> Result<(), Refusal> {
    if request.method != Method::POST {
        let message = "this is a gRPC server: call it with POST";
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, Error::new(Reason::InvalidRequest, message)));
    }
    let kind = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let allowed = ["application/grpc", "application/grpc-web", "application/grpc-web-text"];
    if allowed.contains(&kind.strip_suffix("+proto").unwrap_or(kind)) {
        return Ok(());
    }
    let message = "this is a gRPC server: send application/grpc or application/grpc-web";
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Error::new(Reason::InvalidRequest, message)))
}

fn is_open(path: &str) -> bool {
    let service = path.strip_prefix('/').and_then(|path| path.split_once('/')).map(|(service, _)| service);
    OPEN_METHODS.contains(&path) || service.is_some_and(|service| OPEN_SERVICES.contains(&service))
}

/// The secret of TCP connections; never printed.
struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
