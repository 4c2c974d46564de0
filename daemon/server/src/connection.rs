//! One connection from its first byte to its end: finds out which HTTP it speaks within a time limit, then serves it.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, Cursor};
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use easel_domain::limits::{MAX_CONCURRENT_STREAMS, MAX_HEADER_BYTES, MAX_MESSAGE_BYTES};
use http::{Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::ServerConfig;
use crate::patience::Patient;
use crate::peer::Peer;

/// What an HTTP/2 connection begins with.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Headers of an HTTP/1 request.
const MAX_HTTP1_HEADERS: usize = 64;

/// Serves connections; cheap to clone, one clone for each.
#[derive(Clone)]
pub(crate) struct Connections {
    http: Builder<TokioExecutor>,
    router: Router,
    first_byte_timeout: Duration,
    body_timeout: Duration,
    /// Says that connections end as soon as their streams do.
    closing: CancellationToken,
}

impl Connections {
    /// Connections that `router` answers until `closing` and the streams that are open then have ended.
    pub(crate) fn new(config: &ServerConfig, router: Router, closing: CancellationToken) -> Self {
        let mut http = Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(config.header_timeout)
            .max_headers(MAX_HTTP1_HEADERS)
            .max_buf_size(usize::try_from(MAX_HEADER_BYTES).unwrap_or(usize::MAX));
        // Windows that hold a whole message, so that a picture goes through without waiting for the other side.
        let window = u32::try_from(MAX_MESSAGE_BYTES).unwrap_or(u32::MAX);
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(config.keepalive_interval)
            .keep_alive_timeout(config.keepalive_timeout)
            .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
            .max_header_list_size(MAX_HEADER_BYTES)
            .initial_stream_window_size(window)
            .initial_connection_window_size(window.saturating_mul(2));
        let (first_byte_timeout, body_timeout) = (config.first_byte_timeout, config.body_timeout);
        Self { http, router, first_byte_timeout, body_timeout, closing }
    }

    /// Serves one connection to its end.
    pub(crate) async fn serve<S>(self, peer: Peer, mut stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let begun = tokio::select! {
            begun = tokio::time::timeout(self.first_byte_timeout, first_bytes(&mut stream)) => begun,
            () = self.closing.cancelled() => return,
        };
        let first = match begun {
            Ok(Ok(first)) => first,
            Ok(Err(error)) => return tracing::debug!(%error, "connection lost before its first request"),
            Err(_) => return tracing::debug!(?peer, "connection closed, it said nothing in time"),
        };
        // What was read already comes first again.
        let (reader, writer) = tokio::io::split(stream);
        let io = TokioIo::new(tokio::io::join(Cursor::new(first).chain(reader), writer));
        let router = self.router.clone();
        let patience = self.body_timeout;
        let service = service_fn(move |request| answer(router.clone(), peer, patience, request));
        let mut connection = pin!(self.http.serve_connection(io, service));
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = self.closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "connection ended");
        }
    }
}

fn answer(
    router: Router,
    peer: Peer,
    patience: Duration,
    request: Request<Incoming>,
) -> impl Future<Output = Result<axum::response::Response, Infallible>> {
    // HTTP/2 asks a silent client for a sign of life, and its request may be a stream that pauses for long.
    let is_http2 = request.version() == Version::HTTP_2;
    let mut request = request.map(|body| match is_http2 {
        true => Body::new(body),
        false => Body::new(Patient::new(body, patience)),
    });
    request.extensions_mut().insert(peer);
    router.oneshot(request)
}

/// Reads until it is clear whether the connection speaks HTTP/2. A client that sends half of the first line and then
/// nothing is as silent as one that sends nothing.
async fn first_bytes(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HTTP2_PREFACE.len());
    while bytes.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(&bytes) {
        let missing = HTTP2_PREFACE.len() - bytes.len();
        let mut part = [0; HTTP2_PREFACE.len()];
        let read = stream.read(&mut part[..missing]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&part[..read]);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn the_first_bytes_decide_and_none_is_lost() {
        for (sent, read) in
            [(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest"[..], 24), (b"POST / HTTP/1.1\r\n", 17), (b"x", 1)]
        {
            let (mut client, mut server) = tokio::io::duplex(256);
            client.write_all(sent).await.unwrap();
            let first = first_bytes(&mut server).await.unwrap();
            assert_eq!(first, &sent[..read]);
        }
        let (client, mut server) = tokio::io::duplex(256);
        drop(client);
        assert!(first_bytes(&mut server).await.is_err());
    }
}
