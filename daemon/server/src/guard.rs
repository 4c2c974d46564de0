//! Stands before every handler: who may talk to the daemon at all. A browser runs pages of strangers on the user's own
//! machine, so that loopback alone protects nothing: the name under which the daemon was reached, the page that asks,
//! and the token or the user id of the other process are looked at before any byte of a message.

pub(crate) mod cookie;
mod cors;
mod refusal;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use easel_domain::{Error, Reason};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode};
use subtle::ConstantTimeEq as _;

use crate::ServerConfig;
use crate::access::scope::{self, Needs};
use crate::access::{Access, CallOrigin, Caller, Shown};
use crate::metrics::is_scrape;
use crate::pages;
use crate::peer::Peer;
use cors::Origin;
pub(crate) use refusal::Refusal;

/// Names under which a daemon on the loopback is reached.
const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Who may talk to the daemon.
#[derive(Debug)]
pub(crate) struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
    token: Option<Token>,
    /// The daemon's own user.
    uid: Option<u32>,
    /// Tokens beside the user's own.
    access: Arc<Access>,
}

/// What happens to a request that is let in.
#[derive(Debug, PartialEq, Eq)]
enum Pass {
    /// It goes on to its handler, which is told who calls.
    Call(Caller),
    /// A browser asks whether a page may call: answered here.
    Preflight,
}

impl Guard {
    /// A guard for the daemon of the user with the id `uid`.
    pub(crate) fn new(config: &ServerConfig, uid: Option<u32>, access: Arc<Access>) -> Self {
        let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Self {
            hosts: lower(&config.allowed_hosts),
            origins: lower(&config.allowed_origins),
            token: config.token.as_ref().filter(|token| !token.is_empty()).map(|token| Token(token.clone())),
            uid,
            access,
        }
    }

    fn admit(&self, request: &Parts) -> Result<Pass, Refusal> {
        let peer = request.extensions.get::<Peer>().copied();
        self.check_user(peer)?;
        self.check_host(request)?;
        let origin = Origin::of(&request.headers);
        if is_scrape(request) {
            return self.admit_scraper(request, origin, peer);
        }
        if pages::is_page(request) {
            self.check_origin(request, origin, false)?;
            return Ok(Pass::Call(Caller::Nobody));
        }
        if request.uri.path() == pages::SIGN_IN && request.method == Method::POST {
            return check_sign_in(request, origin);
        }
        let is_preflight = cors::is_preflight(request);
        let token = self.by_token(request, origin);
        let needs = scope::needs(request.uri.path());
        let vouched = matches!(token, Ok(Caller::Owner | Caller::Token(_))) || needs == Needs::Nothing;
        self.check_origin(request, origin, vouched || is_preflight)?;
        if is_preflight {
            return Ok(Pass::Preflight);
        }
        check_shape(request)?;
        let caller = match token {
            Ok(Caller::Nobody) if peer.is_some_and(Peer::is_local_user) => Caller::Owner,
            Ok(caller) => caller,
            Err(_) if needs == Needs::Nothing => Caller::Nobody,
            Err(refusal) => return Err(refusal),
        };
        if scope::allows(needs, &caller) {
            return Ok(Pass::Call(caller));
        }
        Err(Refusal::in_grpc(not_allowed(needs, &caller)))
    }

    /// Metrics are for who may read, and a scraper speaks plain HTTP.
    fn admit_scraper(&self, request: &Parts, origin: Origin<'_>, peer: Option<Peer>) -> Result<Pass, Refusal> {
        let token = self.by_token(request, origin);
        let token = token.map_err(|refusal| Refusal::new(StatusCode::FORBIDDEN, refusal.error))?;
        self.check_origin(request, origin, token != Caller::Nobody)?;
        let caller = match token {
            Caller::Nobody if peer.is_some_and(Peer::is_local_user) => Caller::Owner,
            caller => caller,
        };
        if scope::allows(scope::METRICS, &caller) {
            return Ok(Pass::Call(caller));
        }
        let status = if caller == Caller::Nobody { StatusCode::UNAUTHORIZED } else { StatusCode::FORBIDDEN };
        Err(Refusal::new(status, not_allowed(scope::METRICS, &caller)))
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

    /// `vouched`: a token came along, or the call needs none, or it is a preflight, which cannot carry one.
    fn check_origin(&self, request: &Parts, origin: Origin<'_>, vouched: bool) -> Result<(), Refusal> {
        let message = match origin {
            Origin::Absent => return Ok(()),
            Origin::Page(page) if self.is_allowed_page(request, page) => return Ok(()),
            Origin::Null if self.token.is_some() && vouched => return Ok(()),
            Origin::Null if self.token.is_some() => {
                let message = "a page without an origin needs a token for every call: pair the plugin again";
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

    /// Listed pages, and those that this daemon serves itself: the host was looked at before.
    fn is_allowed_page(&self, request: &Parts, page: &str) -> bool {
        let page = page.to_ascii_lowercase();
        self.origins.contains(&page) || cors::own_origin(request).is_some_and(|own| own == page)
    }

    /// True when the answer may be read by the page that asked, so that it can show what is wrong.
    fn lets_read(&self, request: &Parts) -> bool {
        match Origin::of(&request.headers) {
            Origin::Absent | Origin::Unreadable => false,
            Origin::Null => self.token.is_some(),
            Origin::Page(page) => self.is_allowed_page(request, page),
        }
    }

    /// Who calls, as far as the token says. Fails when a token is used elsewhere than where it was given.
    fn by_token(&self, request: &Parts, origin: Origin<'_>) -> Result<Caller, Refusal> {
        let Some(given) = bearer(&request.headers) else { return Ok(Caller::Nobody) };
        let owners = self.token.as_ref().is_some_and(|Token(own)| given.as_bytes().ct_eq(own.as_bytes()).into());
        if owners {
            return Ok(Caller::Owner);
        }
        let origin = origin.name();
        let cookie = cookie::of_studio(request);
        let known = self.access.identify(&Shown { token: given, cookie, origin: &origin });
        Ok(known.map_err(Refusal::in_grpc)?.map_or(Caller::Nobody, Caller::Token))
    }
}

/// The bearer token of a call.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case("Bearer ").then(|| token.trim_ascii())
}

fn not_allowed(needs: Needs, caller: &Caller) -> Error {
    let message = match (needs, caller) {
        (Needs::OneOf(scopes), Caller::Token(_)) => {
            let names: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
            format!("the token is not good for this: pair again and ask for the scope {}", names.join(" or "))
        }
        (_, Caller::Token(_)) => "this is for the daemon's own user: use the `easel` command".to_owned(),
        _ => {
            let message = "the token is missing or wrong: send `authorization: Bearer TOKEN` with what `easel token` \
                           prints, or pair with `easel pair`";
            return Error::new(Reason::Unauthenticated, message);
        }
    };
    Error::new(Reason::PermissionDenied, message)
}

/// Runs the guard before `next`, and lets an allowed page read the answer.
pub(crate) async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let readable = guard.lets_read(&parts).then(|| parts.headers.get(ORIGIN).cloned()).flatten();
    let mut response = match guard.admit(&parts) {
        Ok(Pass::Call(caller)) => {
            let origin = CallOrigin(Origin::of(&parts.headers).name());
            parts.extensions.insert(caller);
            parts.extensions.insert(origin);
            next.run(Request::from_parts(parts, body)).await
        }
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

/// A browser signs in from the page that this daemon has served and from nowhere else.
fn check_sign_in(request: &Parts, origin: Origin<'_>) -> Result<Pass, Refusal> {
    let is_own = cors::own_origin(request).is_some_and(|own| own == origin.name());
    let is_json = request.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if is_own && is_json {
        return Ok(Pass::Call(Caller::Nobody));
    }
    let message = "browsers sign in with `easel open`";
    Err(Refusal::new(StatusCode::FORBIDDEN, Error::new(Reason::PermissionDenied, message)))
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
