//! What the binary decides about the server.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use easel_domain::limits;

/// Where the server listens on the loopback: 127.0.0.1, and ::1 with the same port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpConfig {
    /// Ports in the order of preference; the first free one is taken. Port 0 lets the system choose.
    pub ports: Vec<u16>,
    /// Whether to listen on ::1 as well, where the machine has it.
    pub ipv6: bool,
}

/// Settings of a [`Server`](crate::Server); the binary fills them from its configuration.
#[derive(Clone)]
pub struct ServerConfig {
    /// The loopback; `None`: no TCP. Needs `token`.
    pub tcp: Option<TcpConfig>,
    /// Path of the Unix socket, made with mode 0600 in a folder that is made with mode 0700; `None`: no socket.
    pub unix: Option<PathBuf>,
    /// True when the caller holds the lock of the instance, so that a socket that is left over at `unix` has no owner
    /// and may be removed.
    pub replace_stale_socket: bool,
    /// Accepts connections within the process, see [`BoundServer::memory`](crate::BoundServer::memory).
    pub memory: bool,
    /// Bearer token of TCP connections; not empty.
    pub token: Option<String>,
    /// File of the tokens of paired clients; `None`: they end with the process.
    pub tokens: Option<PathBuf>,
    /// Host names beside `localhost`, `127.0.0.1` and `[::1]`, with any port, for proxies in front of the daemon.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may call, as browsers write them (`https://example.org`). `null` is never listed: it
    /// needs the token.
    pub allowed_origins: Vec<String>,
    /// Version of the daemon, for clients.
    pub version: String,
    /// Generations that may wait or run at one time, for clients; what the runtime was started with.
    pub max_queued_generations: usize,
    /// Connections that may be open at one time.
    pub max_connections: usize,
    /// A connection has to say which protocol it speaks within this time.
    pub first_byte_timeout: Duration,
    /// HTTP/1 headers must be complete within this time.
    pub header_timeout: Duration,
    /// The body of an HTTP/1 request may pause for this long.
    pub body_timeout: Duration,
    /// An HTTP/2 connection that has been silent for this long is asked for a sign of life.
    pub keepalive_interval: Duration,
    /// A connection that does not answer is closed after this time.
    pub keepalive_timeout: Duration,
    /// How long the server goes on accepting after it was told to stop.
    pub lame_duck: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            tcp: None,
            unix: None,
            replace_stale_socket: false,
            memory: false,
            token: None,
            tokens: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            max_queued_generations: limits::MAX_QUEUED_GENERATIONS,
            max_connections: limits::MAX_CONNECTIONS,
            first_byte_timeout: limits::FIRST_BYTE_TIMEOUT,
            header_timeout: limits::HEADER_TIMEOUT,
            body_timeout: limits::BODY_TIMEOUT,
            keepalive_interval: limits::KEEPALIVE_INTERVAL,
            keepalive_timeout: limits::KEEPALIVE_TIMEOUT,
            lame_duck: limits::LAME_DUCK,
        }
    }
}

/// Shows everything but the token.
impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("tcp", &self.tcp)
            .field("unix", &self.unix)
            .field("memory", &self.memory)
            .field("token", &self.token.as_ref().map(|_| "(secret)"))
            .field("allowed_hosts", &self.allowed_hosts)
            .field("allowed_origins", &self.allowed_origins)
            .finish_non_exhaustive()
    }
}
