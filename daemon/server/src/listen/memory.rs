//! Connections within the process, for a daemon that serves its own command only, and for tests.

use std::io;

use tokio::io::DuplexStream;
use tokio::sync::mpsc;

/// Connections that may wait to be accepted.
const BACKLOG: usize = 16;

/// Bytes that one side may be ahead of the other.
const PIPE_BYTES: usize = 64 * 1024;

/// Connects to the server within its process, as the daemon's own user.
#[derive(Clone, Debug)]
pub struct MemoryConnector(mpsc::Sender<DuplexStream>);

impl MemoryConnector {
    /// The client's end of a new connection. Fails with `ConnectionRefused` when the server does not listen any more.
    pub async fn connect(&self) -> io::Result<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        self.0.send(theirs).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(ours)
    }
}

/// The server's side.
#[derive(Debug)]
pub(crate) struct MemoryListener(mpsc::Receiver<DuplexStream>);

impl MemoryListener {
    /// The next connection; waits for ever when every connector has gone.
    pub(crate) async fn accept(&mut self) -> DuplexStream {
        match self.0.recv().await {
            Some(stream) => stream,
            None => std::future::pending().await,
        }
    }
}

/// Both sides.
pub(super) fn pipe() -> (Option<MemoryConnector>, Option<MemoryListener>) {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    (Some(MemoryConnector(sender)), Some(MemoryListener(receiver)))
}
