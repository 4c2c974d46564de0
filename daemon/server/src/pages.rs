//! The pages that the daemon serves to a browser: the Studio, the panel for Figma in a browser, and the page that exchanges the code of
//! `easel open`. Only the files
//! that were built into the binary, by GET and HEAD; everything else goes on to the services.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_NONE_MATCH, SET_COOKIE, X_FRAME_OPTIONS,
};
use http::request::Parts;
use http::{Method, StatusCode};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::access::{Access, CallOrigin, SignedIn};
use crate::guard::cookie;
use crate::metrics::is_scrape;

/// Where a code is exchanged, by POST.
pub(crate) const SIGN_IN: &str = "/open";

/// The built files of the Studio by their paths below its folder; empty when the tree had none.
static STUDIO: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/studio_files.rs"));

/// The built panels of plugins whose host lets no other page reach this machine, below `ui/`: Figma's in a browser.
static PANELS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/plugin_files.rs"));

/// The daemon's own pages.
static OWN: [(&str, &[u8]); 3] = [
    ("open", include_bytes!("pages/open.html")),
    ("open.css", include_bytes!("pages/open.css")),
    ("open.js", include_bytes!("pages/open.js")),
];

/// What stands in when there is no Studio.
static NO_STUDIO: &[u8] = include_bytes!("pages/index.html");

/// Bytes of the body of a sign-in: a code of 64 digits and its frame.
const MAX_SIGN_IN_BYTES: usize = 1024;

/// A browser stays signed in this long; see `limits::BROWSER_LIFETIME`.
const COOKIE_AGE_S: u64 = easel_domain::limits::BROWSER_LIFETIME.as_secs();

/// Nothing from elsewhere, nothing inline, and no frame around it. Pictures come as blobs that the page has made.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; font-src 'self'; \
                      connect-src 'self'; worker-src 'self' blob:; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// Whose page may frame a panel; it is told nothing that the user has not paired it for.
const FRAMES: (&str, &str) = ("frame-ancestors 'none'", "frame-ancestors https://www.figma.com");

/// On every answer to a browser.
const SAFETY: [(&str, &str); 6] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
];

struct Page {
    bytes: Bytes,
    kind: &'static str,
    etag: String,
    /// Its name has a digest of its content, so that it never changes.
    is_constant: bool,
    /// It stands in a frame of its host's page.
    is_panel: bool,
}

/// All pages, and where a browser signs in.
pub(crate) struct Pages {
    by_path: BTreeMap<String, Page>,
    access: Arc<Access>,
}

#[derive(Deserialize)]
struct SignIn {
    code: String,
}

impl Pages {
    /// The pages that were built in.
    pub(crate) fn new(access: Arc<Access>) -> Self {
        Self::of(STUDIO, access)
    }

    fn of(studio: &[(&'static str, &'static [u8])], access: Arc<Access>) -> Self {
        let mut by_path = BTreeMap::new();
        for (name, bytes) in studio.iter().chain(PANELS).chain(&OWN).copied() {
            let path = if name == "index.html" { "/".to_owned() } else { format!("/{name}") };
            by_path.insert(path, Page::new(name, bytes));
        }
        by_path.entry("/".to_owned()).or_insert_with(|| Page::new("index.html", NO_STUDIO));
        Self { by_path, access }
    }

    fn page(&self, parts: &Parts) -> Response {
        let Some(page) = self.by_path.get(parts.uri.path()) else {
            return said(StatusCode::NOT_FOUND, "there is no such page: the Studio is at /\n");
        };
        let is_known = parts.headers.get_all(IF_NONE_MATCH).iter().any(|known| {
            let known = known.to_str().unwrap_or_default();
            known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == page.etag)
        });
        let body = match (is_known, &parts.method) {
            (true, _) | (_, &Method::HEAD) => Body::empty(),
            _ => Body::from(page.bytes.clone()),
        };
        let mut response = safe(body);
        let headers = response.headers_mut();
        if page.is_panel {
            headers.remove(X_FRAME_OPTIONS);
            if let Ok(policy) = HeaderValue::from_str(&POLICY.replace(FRAMES.0, FRAMES.1)) {
                headers.insert(CONTENT_SECURITY_POLICY, policy);
            }
        }
        if let Ok(etag) = HeaderValue::from_str(&page.etag) {
            headers.insert(ETAG, etag);
        }
        let cache = if page.is_constant { "public, max-age=31536000, immutable" } else { "no-cache" };
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.kind));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(page.bytes.len()));
        response
    }

    /// Exchanges a code; the guard has seen that a page of this daemon asks.
    async fn sign_in(&self, parts: &Parts, body: Body) -> Response {
        let origin = parts.extensions.get::<CallOrigin>().cloned().unwrap_or_default().0;
        let body = axum::body::to_bytes(body, MAX_SIGN_IN_BYTES).await.ok();
        let Some(SignIn { code }) = body.and_then(|body| serde_json::from_slice(&body).ok()) else {
            return said(StatusCode::BAD_REQUEST, "send {\"code\": \"CODE\"}\n");
        };
        let SignedIn { cookie, key } = match self.access.sign_in(&code, &origin) {
            Ok(signed) => signed,
            Err(error) => return said(StatusCode::FORBIDDEN, &format!("{error}\n")),
        };
        let name = cookie::name(parts);
        let cookie = format!("{name}={cookie}; Path=/; HttpOnly; SameSite=Strict; Max-Age={COOKIE_AGE_S}");
        let mut response = safe(Body::from(serde_json::json!({ "key": key }).to_string()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
            cookie.set_sensitive(true);
            headers.insert(SET_COOKIE, cookie);
        }
        response
    }
}

impl Page {
    fn new(name: &str, bytes: &'static [u8]) -> Self {
        let digest = Sha256::digest(bytes);
        let etag: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let is_constant = name.starts_with("assets/");
        let is_panel = name.starts_with("ui/") && kind(name).starts_with("text/html");
        Self { bytes: Bytes::from_static(bytes), kind: kind(name), etag: format!("\"{etag}\""), is_constant, is_panel }
    }
}

/// Serves pages and sign-ins; everything else goes on.
pub(crate) async fn pages(State(pages): State<Arc<Pages>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if is_page(&parts) {
        return pages.page(&parts);
    }
    match parts.uri.path() {
        SIGN_IN if parts.method == Method::POST => pages.sign_in(&parts, body).await,
        _ => next.run(Request::from_parts(parts, body)).await,
    }
}

/// True when a browser asks for a page, whether or not there is one.
pub(crate) fn is_page(request: &Parts) -> bool {
    let is_call = ["/easel.v1.", "/grpc."].iter().any(|prefix| request.uri.path().starts_with(prefix));
    matches!(request.method, Method::GET | Method::HEAD) && !is_call && !is_scrape(request)
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("html", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn safe(body: Body) -> Response {
    let mut response = Response::new(body);
    make_safe(response.headers_mut());
    response
}

fn make_safe(headers: &mut HeaderMap) {
    for (name, value) in SAFETY {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

/// A sentence with a status.
fn said(status: StatusCode, sentence: &str) -> Response {
    let mut response = safe(Body::from(sentence.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
#[path = "pages_tests.rs"]
mod tests;
