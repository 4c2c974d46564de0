//! A browser that signs in to the Studio, as raw HTTP/1.1: what it gets, and what others do not.

use easel_proto::v1;
use easel_proto::v1::access_service_client::AccessServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Daemon, TOKEN, quick};

const STATUS: &str = "POST /easel.v1.SystemService/GetStatus";

/// One request and the whole answer as text.
async fn ask(daemon: &Daemon, first_line: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
    let mut stream = daemon.tcp().await;
    let mut request = format!("{first_line} HTTP/1.1\r\nconnection: close\r\nhost: 127.0.0.1:{}\r\n", daemon.port);
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("content-length: {}\r\n\r\n", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The path of a new code, and the code in it.
async fn code(daemon: &Daemon) -> (String, String) {
    let mut user = AccessServiceClient::new(daemon.unix_channel());
    let path = user.create_browser_code(v1::CreateBrowserCodeRequest {}).await.unwrap().into_inner().path;
    let code = path.strip_prefix("/open#").unwrap().to_owned();
    (path, code)
}

fn own(daemon: &Daemon) -> String {
    format!("http://127.0.0.1:{}", daemon.port)
}

async fn sign_in(daemon: &Daemon, origin: &str, code: &str) -> String {
    let headers = [("origin", origin), ("content-type", "application/json")];
    ask(daemon, "POST /open", &headers, format!("{{\"code\": \"{code}\"}}").as_bytes()).await
}

/// Cookie and key of an answer to a sign-in.
fn halves(answer: &str) -> (String, String) {
    let cookie = answer.split("set-cookie: ").nth(1).unwrap().split(';').next().unwrap().to_owned();
    let key = answer.split("\"key\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    (cookie, key)
}

async fn call(daemon: &Daemon, origin: Option<&str>, cookie: Option<&str>, key: Option<&str>) -> String {
    let bearer = key.map(|key| format!("Bearer {key}"));
    let mut headers = vec![("content-type", "application/grpc-web+proto")];
    headers.extend(origin.map(|origin| ("origin", origin)));
    headers.extend(cookie.map(|cookie| ("cookie", cookie)));
    headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    ask(daemon, STATUS, &headers, &[0; 5]).await
}

#[tokio::test]
async fn a_code_becomes_a_cookie_that_counts_with_the_key_on_the_daemons_own_pages() {
    let daemon = Daemon::start(quick()).await;
    let own = own(&daemon);
    let (_, code) = code(&daemon).await;
    let answer = sign_in(&daemon, &own, &code).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("cache-control: no-store"), "{answer}");
    for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(answer.contains(part), "{part} is missing in {answer}");
    }
    let (cookie, key) = halves(&answer);
    assert!(cookie.starts_with(&format!("easel-studio-{}=", daemon.port)), "{cookie}");
    let whole = call(&daemon, Some(&own), Some(&cookie), Some(&key)).await;
    assert!(whole.contains("grpc-status:0"), "{whole}");

    for (origin, with_cookie, with_key) in [
        (Some(own.as_str()), true, false), // A form of a stranger would bring the cookie only.
        (Some(&own), false, true),
        (None, true, true), // A server beside the daemon that was sent the cookie and speaks for itself.
        (Some("null"), true, true),
        (Some("http://127.0.0.1:8000"), true, true),
        (Some("https://evil.example"), true, true),
    ] {
        let cookie = with_cookie.then_some(cookie.as_str());
        let answer = call(&daemon, origin, cookie, with_key.then_some(key.as_str())).await;
        assert!(!answer.contains("grpc-status:0"), "{origin:?} {with_cookie} {with_key}: {answer}");
    }
}

#[tokio::test]
async fn a_code_is_good_once_and_for_the_daemons_own_page_only() {
    let daemon = Daemon::start(quick()).await;
    let own = own(&daemon);
    let (_, code) = code(&daemon).await;
    for strange in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        let answer = sign_in(&daemon, strange, &code).await;
        assert!(answer.starts_with("HTTP/1.1 403") && !answer.contains("set-cookie"), "{answer}");
    }
    let body = format!("{{\"code\": \"{code}\"}}");
    for headers in
        [&[("content-type", "application/json")][..], &[("origin", own.as_str()), ("content-type", "text/plain")]]
    {
        let answer = ask(&daemon, "POST /open", headers, body.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    }
    let (cookie, key) = halves(&sign_in(&daemon, &own, &code).await);
    let again = sign_in(&daemon, &own, &code).await;
    assert!(again.starts_with("HTTP/1.1 403") && again.contains("easel open"), "{again}");
    let answer = call(&daemon, Some(&own), Some(&cookie), Some(&key)).await;
    assert!(answer.contains("grpc-status: 16"), "a code that came twice was stolen: {answer}");
    let wrong = sign_in(&daemon, &own, "0000").await;
    assert!(wrong.starts_with("HTTP/1.1 403"), "{wrong}");
    let headers = [("origin", own.as_str()), ("content-type", "application/json")];
    for body in [&b"nonsense"[..], &[b'x'; 4096]] {
        let answer = ask(&daemon, "POST /open", &headers, body).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
}

#[tokio::test]
async fn pages_are_served_to_browsers_of_this_address_alone() {
    let daemon = Daemon::start(quick()).await;
    let page = ask(&daemon, "GET /", &[], b"").await;
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("content-type: text/html"), "{page}");
    assert!(page.contains("content-security-policy: default-src 'none'"), "{page}");
    let head = ask(&daemon, "HEAD /open.js", &[], b"").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    let missing = ask(&daemon, "GET /../Cargo.toml", &[], b"").await;
    assert!(missing.starts_with("HTTP/1.1 404"), "{missing}");
    for method in ["PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = ask(&daemon, &format!("{method} /"), &[], b"").await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    }
    let strange = ask(&daemon, "GET /", &[("origin", "https://evil.example")], b"").await;
    assert!(strange.starts_with("HTTP/1.1 403"), "{strange}");
    let bearer = format!("Bearer {TOKEN}");
    let null = ask(&daemon, "GET /", &[("origin", "null"), ("authorization", &bearer)], b"").await;
    assert!(null.starts_with("HTTP/1.1 403"), "{null}");
    let mut stream = daemon.tcp().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut rebound = String::new();
    stream.read_to_string(&mut rebound).await.unwrap();
    assert!(rebound.starts_with("HTTP/1.1 421"), "{rebound}");
}
