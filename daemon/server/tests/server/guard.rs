//! The guard as a browser and other programs meet it: raw HTTP/1.1 over the loopback.

use easel_proto::v1;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::support::{Daemon, TOKEN, ended, endless, quick, run_request};

const CALL: &str = "/easel.v1.SystemService/GetStatus";
const OPEN: &str = "/easel.v1.SystemService/GetVersion";
const PAGE: &str = "https://studio.example";

async fn daemon() -> Daemon {
    Daemon::start_with(quick(), |config| config.allowed_origins = vec![PAGE.into()]).await
}

/// An empty gRPC-Web call and the whole answer as text, headers in lower case.
async fn ask<S>(mut stream: S, first_line: &str, headers: &[(&str, &str)]) -> String
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut request = format!("{first_line} HTTP/1.1\r\nconnection: close\r\ncontent-length: 5\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(b"\r\n\0\0\0\0\0").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(path: &str) -> String {
    format!("POST {path}")
}

const WEB: (&str, &str) = ("content-type", "application/grpc-web+proto");
const HOST: (&str, &str) = ("host", "localhost");

#[tokio::test]
async fn a_call_with_the_token_is_answered_in_grpc_web() {
    let daemon = daemon().await;
    let token = format!("Bearer {TOKEN}");
    let answer = ask(daemon.tcp().await, &post(CALL), &[HOST, WEB, ("authorization", &token)]).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.contains("content-type: application/grpc-web+proto") && answer.contains("grpc-status:0"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_call_without_the_token_is_unauthenticated_and_open_ones_are_not() {
    let daemon = daemon().await;
    let answer = ask(daemon.tcp().await, &post(CALL), &[HOST, WEB]).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("grpc-status: 16"), "{answer}");
    assert!(answer.contains("grpc-status-details-bin:") && answer.contains("easel%20token"), "{answer}");
    for open in [OPEN, "/grpc.health.v1.Health/Check"] {
        let answer = ask(daemon.tcp().await, &post(open), &[HOST, WEB]).await;
        assert!(answer.contains("grpc-status:0"), "{open}: {answer}");
    }
    let socket = UnixStream::connect(&daemon.socket).await.unwrap();
    let answer = ask(socket, &post(CALL), &[HOST, WEB]).await;
    assert!(answer.contains("grpc-status:0"), "{answer}");
}

#[tokio::test]
async fn strange_hosts_and_pages_do_not_reach_a_handler() {
    let daemon = daemon().await;
    let token = format!("Bearer {TOKEN}");
    let token = ("authorization", token.as_str());
    let answer = ask(daemon.tcp().await, &post(CALL), &[("host", "evil.example"), WEB, token]).await;
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    let answer = ask(daemon.tcp().await, &post(CALL), &[HOST, WEB, token, ("origin", "https://evil.example")]).await;
    assert!(answer.starts_with("HTTP/1.1 403") && !answer.contains("access-control-allow-origin"), "{answer}");
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let answer = ask(daemon.tcp().await, &post(CALL), &[HOST, ("content-type", kind), token]).await;
        assert!(answer.starts_with("HTTP/1.1 415"), "{kind}: {answer}");
    }
    let answer = ask(daemon.tcp().await, &format!("GET {CALL}"), &[HOST, token]).await;
    assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: POST"), "{answer}");
}

#[tokio::test]
async fn a_listed_page_may_ask_call_and_read() {
    let daemon = daemon().await;
    let asks = [HOST, ("origin", PAGE), ("access-control-request-method", "POST")];
    let answer = ask(daemon.tcp().await, &format!("OPTIONS {CALL}"), &asks).await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    assert!(answer.contains(&format!("access-control-allow-origin: {PAGE}")), "{answer}");
    assert!(answer.contains("access-control-allow-headers: authorization, content-type"), "{answer}");
    let token = format!("Bearer {TOKEN}");
    let with_token = [HOST, WEB, ("origin", PAGE), ("authorization", token.as_str())];
    let answer = ask(daemon.tcp().await, &post(CALL), &with_token).await;
    assert!(answer.contains("grpc-status:0"), "{answer}");
    let exposed = "access-control-expose-headers: grpc-status, grpc-message, grpc-status-details-bin";
    assert!(answer.contains(exposed) && answer.contains("vary: origin"), "{answer}");
    let without = ask(daemon.tcp().await, &post(CALL), &with_token[..3]).await;
    assert!(without.contains("grpc-status: 16") && without.contains("access-control-allow-origin"), "{without}");
}

#[tokio::test]
async fn a_page_without_an_origin_is_nobody_without_the_token() {
    let daemon = daemon().await;
    let null = ("origin", "null");
    let answer =
        ask(daemon.tcp().await, &format!("OPTIONS {CALL}"), &[HOST, null, ("access-control-request-method", "POST")])
            .await;
    assert!(answer.starts_with("HTTP/1.1 204") && answer.contains("access-control-allow-origin: null"), "{answer}");
    let answer = ask(daemon.tcp().await, &post(CALL), &[HOST, WEB, null]).await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("grpc-status: 16"), "{answer}");
    let answer = ask(daemon.tcp().await, &post(OPEN), &[HOST, WEB, null]).await;
    assert!(answer.contains("grpc-status:0") && answer.contains("access-control-allow-origin: null"), "{answer}");
    let token = format!("Bearer {TOKEN}");
    let answer = ask(daemon.tcp().await, &post(CALL), &[HOST, WEB, null, ("authorization", &token)]).await;
    assert!(answer.contains("grpc-status:0"), "{answer}");
}

#[tokio::test]
async fn a_page_that_goes_away_cancels_its_generation() {
    let daemon = Daemon::start(endless()).await;
    let message = run_request("a page").encode_to_vec();
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&message);
    let head = format!(
        "POST /easel.v1.GenerationService/RunGeneration HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/grpc-web+proto\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {}\r\n\r\n",
        frame.len()
    );
    let mut stream = daemon.tcp().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&frame).await.unwrap();
    let mut seen = Vec::new();
    let id = loop {
        assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
        let text = String::from_utf8_lossy(&seen);
        if let Some(id) = text.find("gen_").and_then(|at| text.get(at..at + 36)) {
            break id.to_owned();
        }
    };
    drop(stream);
    let end = ended(&mut daemon.generations(), &id).await;
    assert_eq!((end.state(), end.error.unwrap().reason.as_str()), (v1::GenerationState::Cancelled, "WATCHER_GONE"));
}
