//! Accepts connections until the daemon is told to stop, then lets go of them in an order in which no request is lost.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use easel_domain::limits::STREAM_FLUSH;
use easel_runtime::Runtime;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;

use crate::connection::Connections;
use crate::listen::{BoundServer, MemoryListener, SocketFile};
use crate::peer::Peer;
use crate::{health, router};

/// How long to wait when the system has no room for one more connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the server cannot serve.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The listeners cannot be handed to tokio.
    #[error("cannot use the listeners: {0}")]
    Listener(#[from] io::Error),
    /// The descriptors of the protocol cannot be read.
    #[error("cannot describe the services: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

impl BoundServer {
    /// Serves `runtime` until `shutdown` resolves, then drains: health says NOT_SERVING, new connections are taken for
    /// the time of the lame duck, the listeners close, connections end with their streams, and the runtime drains,
    /// which ends the streams.
    pub async fn serve(self, runtime: Runtime, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self { config, tcp, unix, memory, access, .. } = self;
        let mut listeners = Listeners::new(tcp, unix, memory)?;
        let reporter = HealthReporter::new();
        let router = router::router(&config, own_uid(), &runtime, access, reporter.clone())?;
        let closing = CancellationToken::new();
        let connections = Connections::new(&config, router, closing.clone());
        let permits = Arc::new(Semaphore::new(config.max_connections));
        let mut open = JoinSet::new();
        let mut following = JoinSet::new();
        health::begin(&reporter, &runtime.ready()).await;
        following.spawn(health::follow(reporter.clone(), runtime.ready()));

        let mut stop = pin!(async {
            shutdown.await;
            following.shutdown().await;
            health::stop(&reporter).await;
            sleep(config.lame_duck).await;
        });
        loop {
            let (peer, stream) = tokio::select! {
                accepted = listeners.accept() => accepted,
                Some(_) = open.join_next() => continue,
                () = &mut stop => break,
            };
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                tracing::warn!(most = config.max_connections, "connection refused, too many are open");
                continue;
            };
            let connections = connections.clone();
            open.spawn(async move {
                connections.serve(peer, stream).await;
                drop(permit);
            });
        }
        drop(listeners);
        closing.cancel();
        runtime.drain().await;
        let ended = timeout(STREAM_FLUSH, async { while open.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            tracing::debug!(connections = open.len(), "connections cut");
        }
        open.shutdown().await;
        Ok(())
    }
}

/// The user that this process runs as, as the other end of a socket of its own sees it.
fn own_uid() -> Option<u32> {
    let (ours, _theirs) = UnixStream::pair().ok()?;
    ours.peer_cred().ok().map(|cred| cred.uid())
}

/// A connection of any kind.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl Stream for TcpStream {}
impl Stream for UnixStream {}
impl Stream for DuplexStream {}

struct Listeners {
    v4: Option<TcpListener>,
    v6: Option<TcpListener>,
    unix: Option<UnixListener>,
    memory: Option<MemoryListener>,
    /// Removes the socket's file when the listeners are dropped.
    _file: Option<SocketFile>,
}

impl Listeners {
    fn new(
        tcp: Vec<std::net::TcpListener>,
        unix: Option<(std::os::unix::net::UnixListener, Option<SocketFile>)>,
        memory: Option<MemoryListener>,
    ) -> io::Result<Self> {
        let mut tcp = tcp.into_iter().map(TcpListener::from_std);
        let (v4, v6) = (tcp.next().transpose()?, tcp.next().transpose()?);
        let (unix, file) = unix.unzip();
        Ok(Self { v4, v6, unix: unix.map(UnixListener::from_std).transpose()?, memory, _file: file.flatten() })
    }

    /// The next connection, whichever way it comes. Safe to drop while it waits.
    async fn accept(&mut self) -> (Peer, Box<dyn Stream>) {
        loop {
            let accepted = tokio::select! {
                accepted = accept_tcp(self.v4.as_ref()) => accepted,
                accepted = accept_tcp(self.v6.as_ref()) => accepted,
                accepted = accept_unix(self.unix.as_ref()) => accepted,
                stream = accept_memory(self.memory.as_mut()) => return (Peer::Memory, stream),
            };
            match accepted {
                Ok(connection) => return connection,
                Err(error) => {
                    // Out of file descriptors, most likely: others have to end first.
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn accept_tcp(listener: Option<&TcpListener>) -> io::Result<(Peer, Box<dyn Stream>)> {
    let Some(listener) = listener else { return std::future::pending().await };
    let (stream, address) = listener.accept().await?;
    let _ = stream.set_nodelay(true); // Fails when the other side has gone already; reading will tell.
    Ok((Peer::Tcp(address), Box::new(stream)))
}

async fn accept_unix(listener: Option<&UnixListener>) -> io::Result<(Peer, Box<dyn Stream>)> {
    let Some(listener) = listener else { return std::future::pending().await };
    let (stream, _) = listener.accept().await?;
    let uid = stream.peer_cred().ok().map(|cred| cred.uid());
    Ok((Peer::Unix(uid), Box::new(stream)))
}

async fn accept_memory(listener: Option<&mut MemoryListener>) -> Box<dyn Stream> {
    match listener {
        Some(listener) => Box::new(listener.accept().await),
        None => std::future::pending().await,
    }
}
