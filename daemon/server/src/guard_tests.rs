//! Who gets in: every combination of host, origin, token, user and method that matters.

use http::request::Builder;

use super::*;

const TOKEN: &str = "0123456789abcdef";
const CALL: &str = "/easel.v1.SystemService/GetStatus";
const OPEN: &str = "/easel.v1.SystemService/GetVersion";

fn access() -> Arc<Access> {
    Arc::new(Access::open(None).unwrap())
}

fn guard_with(token: Option<&str>) -> Guard {
    let config = ServerConfig {
        token: token.map(str::to_owned),
        allowed_hosts: vec!["Studio.example".into()],
        allowed_origins: vec!["https://Good.example".into()],
        ..ServerConfig::default()
    };
    Guard::new(&config, Some(1000), access())
}

fn tcp() -> Peer {
    Peer::Tcp(([127, 0, 0, 1], 50_000).into())
}

fn call(path: &str) -> Builder {
    http::Request::post(path).header("content-type", "application/grpc-web+proto").header("host", "localhost:7700")
}

fn with_token(path: &str) -> Builder {
    call(path).header("authorization", format!("Bearer {TOKEN}"))
}

/// 0 when the request goes on, 204 for an answered preflight, the HTTP status otherwise; 200 is a refusal in gRPC.
fn verdict(guard: &Guard, peer: Peer, request: Builder) -> u16 {
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    parts.extensions.insert(peer);
    match guard.admit(&parts) {
        Ok(Pass::Call(_)) => 0,
        Ok(Pass::Preflight) => 204,
        Err(refusal) => refusal.http.as_u16(),
    }
}

fn verdict_for(request: Builder) -> u16 {
    verdict(&guard_with(Some(TOKEN)), tcp(), request)
}

#[test]
fn only_known_hosts_are_served() {
    let known =
        ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:7700", "[::1]", "[::1]:7700", "studio.example:443"];
    let unknown =
        ["evil.example", "localhost.evil.example", "127.0.0.2", "user@localhost", "[::2]", "", "0.0.0.0", "::1"];
    let host = |name: &str| {
        let request = http::Request::post(OPEN).header("content-type", "application/grpc").header("host", name);
        verdict_for(request)
    };
    for name in known {
        assert_eq!(host(name), 0, "{name}");
    }
    for name in unknown {
        assert_eq!(host(name), 421, "{name}");
    }
    assert_eq!(verdict_for(http::Request::post(OPEN).header("content-type", "application/grpc")), 421);
    assert_eq!(verdict_for(call(OPEN).header("host", "evil.example")), 421);
}

#[test]
fn the_authority_of_http2_is_a_host_too() {
    let request = |uri: String| http::Request::post(uri).header("content-type", "application/grpc");
    assert_eq!(verdict_for(request(format!("http://localhost:7700{OPEN}"))), 0);
    assert_eq!(verdict_for(request(format!("http://evil.example{OPEN}"))), 421);
    let both = request(format!("http://localhost{OPEN}")).header("host", "evil.example");
    assert_eq!(verdict_for(both), 421);
}

#[test]
fn origins_are_refused_unless_listed_and_null_needs_the_token() {
    let origin = |request: Builder, origin: &str| verdict_for(request.header("origin", origin));
    assert_eq!(origin(with_token(CALL), "https://evil.example"), 403);
    assert_eq!(origin(with_token(CALL), "https://good.example"), 0);
    assert_eq!(origin(call(OPEN), "https://good.example"), 0);
    assert_eq!(origin(call(CALL), "https://good.example"), 200);
    assert_eq!(origin(with_token(CALL), "null"), 0);
    assert_eq!(origin(call(CALL), "null"), 403);
    // So that a plugin finds the daemon and begins a pairing.
    assert_eq!(origin(call(OPEN), "null"), 0);
    assert_eq!(origin(call("/easel.v1.AccessService/BeginPairing"), "null"), 0);
    assert_eq!(origin(call("/easel.v1.AccessService/BeginPairing"), "https://evil.example"), 403);
    assert_eq!(origin(with_token(CALL).header("origin", "https://good.example"), "https://good.example"), 403);
    // Without a token nothing vouches for a page without an origin, not even the socket.
    let request = call(CALL).header("origin", "null");
    assert_eq!(verdict(&guard_with(None), Peer::Unix(Some(1000)), request), 403);
}

#[test]
fn the_daemons_own_pages_are_let_through_and_those_beside_it_are_not() {
    let from = |origin: &str| verdict_for(with_token(CALL).header("origin", origin));
    assert_eq!(from("http://localhost:7700"), 0);
    for other in ["http://localhost:7701", "http://localhost", "https://localhost:7700", "http://127.0.0.1:7700"] {
        assert_eq!(from(other), 403, "{other}");
    }
    let rebound = http::Request::post(CALL).header("content-type", "application/grpc-web+proto");
    let rebound = rebound.header("host", "evil.example:7700").header("origin", "http://evil.example:7700");
    assert_eq!(verdict_for(rebound.header("authorization", format!("Bearer {TOKEN}"))), 421);
}

#[test]
fn a_paired_token_opens_what_its_scopes_say_where_it_was_given() {
    let guard = guard_with(Some(TOKEN));
    let wish =
        crate::access::Wish { name: "x".into(), scopes: vec![crate::access::Scope::Read], origin: "null".into() };
    let begun = guard.access.begin(wish).unwrap();
    guard.access.answer(&begun.code, true).unwrap();
    let poll = guard.access.poll(&begun.secret, "null", std::time::Duration::ZERO);
    let polled = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(poll);
    let Ok(crate::access::Polled::Confirmed(token, _)) = polled else { panic!("not confirmed") };
    let ask = |path: &str, origin: Option<&str>| {
        let mut request = call(path).header("authorization", format!("Bearer {token}"));
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        verdict(&guard, tcp(), request)
    };
    assert_eq!(ask(CALL, Some("null")), 0);
    assert_eq!(ask("/easel.v1.GenerationService/RunGeneration", Some("null")), 200);
    assert_eq!(ask("/easel.v1.AccessService/ListTokens", Some("null")), 200);
    assert_eq!(ask(CALL, None), 200, "given to a page, used by a program");
    assert_eq!(ask(CALL, Some("https://good.example")), 200);
    assert_eq!(ask(OPEN, None), 0, "what needs no token minds no wrong one");
}

#[test]
fn preflights_are_answered_for_those_who_may_call() {
    let preflight = |origin: &str| {
        let request = http::Request::options(CALL).header("host", "localhost").header("origin", origin);
        verdict_for(request.header("access-control-request-method", "POST"))
    };
    assert_eq!(preflight("https://good.example"), 204);
    assert_eq!(preflight("null"), 204);
    assert_eq!(preflight("https://evil.example"), 403);
    assert_eq!(verdict_for(http::Request::options(CALL).header("host", "localhost")), 405);
}

#[test]
fn tcp_needs_the_token_but_for_open_methods() {
    assert_eq!(verdict_for(with_token(CALL)), 0);
    assert_eq!(verdict_for(call(CALL)), 200);
    for wrong in ["Bearer nonsense", "Bearer ", "Basic 0123456789abcdef", TOKEN, "", "Bearer 0123456789abcdef0"] {
        assert_eq!(verdict_for(call(CALL).header("authorization", wrong)), 200, "{wrong}");
    }
    assert_eq!(verdict_for(call(CALL).header("authorization", format!("bearer  {TOKEN}"))), 0);
    for open in [
        OPEN,
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ] {
        assert_eq!(verdict_for(call(open)), 0, "{open}");
    }
    for closed in ["/", "/easel.v1.SystemService/GetVersion/x", "/grpc.health.v1.HealthX/Check", "//GetVersion"] {
        assert_eq!(verdict_for(call(closed)), 200, "{closed}");
    }
}

#[test]
fn the_socket_is_for_its_own_user() {
    let guard = guard_with(Some(TOKEN));
    assert_eq!(verdict(&guard, Peer::Unix(Some(1000)), call(CALL)), 0);
    assert_eq!(verdict(&guard, Peer::Memory, call(CALL)), 0);
    for other in [Some(0), Some(1001), None] {
        assert_eq!(verdict(&guard, Peer::Unix(other), with_token(OPEN)), 403, "{other:?}");
    }
    // A system that does not tell the daemon's own user lets nobody in.
    let blind = Guard::new(&ServerConfig::default(), None, access());
    assert_eq!(verdict(&blind, Peer::Unix(None), call(CALL)), 403);
    let (nobody, ()) = call(CALL).body(()).unwrap().into_parts();
    assert!(guard.admit(&nobody).is_err());
}

#[test]
fn only_grpc_comes_through() {
    let kind = |kind: &str| {
        let request = http::Request::post(CALL).header("host", "localhost").header("content-type", kind);
        verdict(&guard_with(None), Peer::Memory, request)
    };
    for right in
        ["application/grpc", "application/grpc+proto", "application/grpc-web", "application/grpc-web-text+proto"]
    {
        assert_eq!(kind(right), 0, "{right}");
    }
    for wrong in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json",
        "",
        "application/grpcx",
    ] {
        assert_eq!(kind(wrong), 415, "{wrong}");
    }
    let get = http::Request::get(CALL).header("host", "localhost");
    assert_eq!(verdict(&guard_with(None), Peer::Memory, get), 405);
}

#[test]
fn a_refusal_speaks_the_callers_language() {
    let mut grpc = HeaderMap::new();
    grpc.insert(CONTENT_TYPE, "application/grpc-web+proto".parse().unwrap());
    let refusal = || Refusal::in_grpc(Error::new(Reason::Unauthenticated, "no token"));
    let response = refusal().into_response(&grpc);
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/grpc-web+proto");
    assert_eq!(response.headers()["grpc-status"], "16");
    let plain = Refusal::new(StatusCode::FORBIDDEN, Error::new(Reason::PermissionDenied, "no"))
        .into_response(&HeaderMap::new());
    assert_eq!(plain.status(), 403);
    assert_eq!(plain.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(plain.headers()["grpc-status"], "7");
}
