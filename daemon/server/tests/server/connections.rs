//! Connections that say nothing, say half, or are too many; and where the server listens.

use std::time::Duration;

use easel_proto::v1;
use easel_proto::v1::system_service_client::SystemServiceClient;
use easel_server::{BindError, Server, ServerConfig, TcpConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Endpoint;

use crate::support::{Daemon, quick};

/// Reads until the other side closes, which it has to do by itself.
async fn read_to_close(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let daemon = Daemon::start_with(quick(), |config| config.first_byte_timeout = Duration::from_millis(100)).await;
    for said in [&b""[..], b"PRI * HT"] {
        let mut stream = daemon.tcp().await;
        stream.write_all(said).await.unwrap();
        assert_eq!(read_to_close(&mut stream).await, b"");
    }
}

#[tokio::test]
async fn headers_that_do_not_end_are_cut_off() {
    let daemon = Daemon::start_with(quick(), |config| config.header_timeout = Duration::from_millis(100)).await;
    let mut stream = daemon.tcp().await;
    stream.write_all(b"POST / HTTP/1.1\r\nhost: local").await.unwrap();
    read_to_close(&mut stream).await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let daemon = Daemon::start_with(quick(), |config| config.body_timeout = Duration::from_millis(100)).await;
    let mut stream = daemon.tcp().await;
    let request = "POST /easel.v1.SystemService/GetVersion HTTP/1.1\r\nhost: localhost\r\n\
        content-type: application/grpc-web+proto\r\ncontent-length: 5\r\n\r\n\0\0";
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = String::from_utf8_lossy(&read_to_close(&mut stream).await).into_owned();
    assert!(answer.contains("grpc-status: 3"), "{answer}");
}

#[tokio::test]
async fn a_connection_that_rests_after_an_answer_is_closed() {
    let daemon = Daemon::start_with(quick(), |config| config.header_timeout = Duration::from_millis(100)).await;
    let mut stream = daemon.tcp().await;
    let request = b"POST /easel.v1.SystemService/GetVersion HTTP/1.1\r\nhost: localhost\r\n\
        content-type: application/grpc-web+proto\r\ncontent-length: 5\r\n\r\n\0\0\0\0\0";
    stream.write_all(request).await.unwrap();
    let answer = String::from_utf8_lossy(&read_to_close(&mut stream).await).into_owned();
    assert!(answer.contains("grpc-status:0"), "{answer}");
}

#[tokio::test]
async fn headers_that_are_too_large_are_refused() {
    let daemon = Daemon::start(quick()).await;
    let mut stream = daemon.tcp().await;
    let request = format!("POST / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "y".repeat(64 * 1024));
    let _ = stream.write_all(request.as_bytes()).await;
    let answer = read_to_close(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn one_connection_too_many_is_refused_and_its_place_comes_back() {
    let daemon = Daemon::start_with(quick(), |config| config.max_connections = 2).await;
    let begin = b"POST / HTTP/1.1\r\n";
    let (mut first, mut second) = (daemon.tcp().await, daemon.tcp().await);
    first.write_all(begin).await.unwrap();
    second.write_all(begin).await.unwrap();
    let mut third = daemon.tcp().await;
    assert_eq!(read_to_close(&mut third).await, b"");
    // The first one ends with an answer; when that is read to its end its place is about to be free.
    first.write_all(b"host: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(read_to_close(&mut first).await.starts_with(b"HTTP/1.1 415"));
    loop {
        let mut fourth = daemon.tcp().await;
        if fourth.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.is_err() {
            continue;
        }
        if read_to_close(&mut fourth).await.starts_with(b"HTTP/1.1 200") {
            break;
        }
    }
}

#[tokio::test]
async fn both_families_and_the_socket_answer() {
    let daemon = Daemon::start(quick()).await;
    let mut channels = vec![daemon.tcp_channel(), daemon.unix_channel(), daemon.channel()];
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        channels.push(Endpoint::from_shared(format!("http://[::1]:{}", daemon.port)).unwrap().connect_lazy());
    }
    for channel in channels {
        let version = SystemServiceClient::new(channel).get_version(v1::GetVersionRequest {}).await.unwrap();
        assert_eq!(version.into_inner().version, "1.2.3");
    }
}

#[tokio::test]
async fn a_stopped_server_lets_nobody_in_and_frees_its_port() {
    let daemon = Daemon::start(quick()).await;
    let port = daemon.port;
    let idle = daemon.tcp().await;
    daemon.stop().await.unwrap().unwrap();
    drop(idle);
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    let config = ServerConfig {
        tcp: Some(TcpConfig { ports: vec![port], ipv6: true }),
        token: Some("t".into()),
        ..Default::default()
    };
    assert_eq!(Server::bind(config).unwrap().port(), Some(port));
}

#[test]
fn tcp_needs_a_token_and_a_server_needs_a_place() {
    let tcp = Some(TcpConfig { ports: vec![0], ipv6: true });
    for token in [None, Some(String::new())] {
        let config = ServerConfig { tcp: tcp.clone(), token, ..Default::default() };
        assert!(matches!(Server::bind(config), Err(BindError::TokenMissing)));
    }
    assert!(matches!(Server::bind(ServerConfig::default()), Err(BindError::NowhereToListen)));
}

#[test]
fn the_token_is_not_printed() {
    let config = ServerConfig { token: Some("very-secret".into()), ..Default::default() };
    assert!(!format!("{config:?}").contains("very-secret"));
}
