//! Where clients reach the daemon: the loopback in both families, a Unix socket, and a pipe within the process.

mod memory;
mod tcp;
mod unix;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::ServerConfig;
use crate::access::Access;
pub use memory::MemoryConnector;
pub(crate) use memory::MemoryListener;
pub(crate) use unix::SocketFile;

/// The server before it listens.
#[derive(Debug)]
pub struct Server;

/// Why the server cannot listen.
#[derive(Debug, Error)]
pub enum BindError {
    /// TCP without a token would let every process of the machine in.
    #[error("listening on TCP needs a token")]
    TokenMissing,
    /// There is nowhere to listen.
    #[error("nowhere to listen: neither TCP nor a Unix socket is configured")]
    NowhereToListen,
    /// All ports are taken.
    #[error("none of the ports {ports:?} is free on the loopback: {source}")]
    PortsTaken {
        /// The ports that were tried.
        ports: Vec<u16>,
        /// What the last one said.
        source: io::Error,
    },
    /// Something stands where the socket should be.
    #[error("{} exists already: {why}", path.display())]
    SocketTaken {
        /// Path of the socket.
        path: PathBuf,
        /// Who or what is there.
        why: &'static str,
    },
    /// What a service manager passed on cannot be served.
    #[error("the socket {socket} that the service manager passed on cannot be used: {why}")]
    Inherited {
        /// The socket as it names itself.
        socket: String,
        /// What is wrong with it.
        why: String,
    },
    /// The file of the paired tokens cannot be used.
    #[error("the tokens of paired clients in {} cannot be used: {source}", path.display())]
    Tokens {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("cannot listen on {}: {source}", path.display())]
    Socket {
        /// Path of the socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Listeners that somebody else made: a service manager that keeps the doors while the daemon is not there. They take the
/// place of those that the configuration names, and their files are not removed.
#[derive(Debug, Default)]
pub struct Inherited {
    /// On the loopback, one for each family.
    pub tcp: Vec<std::net::TcpListener>,
    /// The Unix socket.
    pub unix: Option<std::os::unix::net::UnixListener>,
}

/// Listeners that are bound and accept nothing yet; see [`serve`](Self::serve).
#[derive(Debug)]
pub struct BoundServer {
    pub(crate) config: ServerConfig,
    /// One for each family of the loopback that this machine has.
    pub(crate) tcp: Vec<std::net::TcpListener>,
    /// The file is missing when another process owns it.
    pub(crate) unix: Option<(std::os::unix::net::UnixListener, Option<SocketFile>)>,
    pub(crate) memory: Option<MemoryListener>,
    pub(crate) access: Arc<Access>,
    addresses: Vec<SocketAddr>,
    connector: Option<MemoryConnector>,
}

impl Server {
    /// Binds everything that the configuration names. Needs no tokio runtime.
    pub fn bind(config: ServerConfig) -> Result<BoundServer, BindError> {
        Self::bind_with(config, Inherited::default())
    }

    /// As [`bind`](Self::bind), with listeners that were made before.
    pub fn bind_with(mut config: ServerConfig, inherited: Inherited) -> Result<BoundServer, BindError> {
        if config.tcp.is_none() && config.unix.is_none() && !config.memory {
            return Err(BindError::NowhereToListen);
        }
        let access = Access::open(config.tokens.clone());
        let failed = |source| BindError::Tokens { path: config.tokens.clone().unwrap_or_default(), source };
        let access = Arc::new(access.map_err(failed)?);
        let mut tcp = Vec::new();
        if let Some(wanted) = &config.tcp {
            if config.token.as_ref().is_none_or(String::is_empty) {
                return Err(BindError::TokenMissing);
            }
            tcp = match inherited.tcp.is_empty() {
                true => tcp::bind(&wanted.ports, wanted.ipv6)?,
                false => tcp::adopt(inherited.tcp, wanted.ipv6)?,
            };
        }
        let addresses = tcp.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let unix = match (inherited.unix, &config.unix) {
            (Some(listener), Some(_)) => {
                let (listener, path) = unix::adopt(listener)?;
                config.unix = Some(path);
                Some((listener, None))
            }
            (_, Some(path)) => {
                let (listener, file) = unix::bind(path, config.replace_stale_socket)?;
                Some((listener, Some(file)))
            }
            (_, None) => None,
        };
        let (connector, memory) = if config.memory { memory::pipe() } else { (None, None) };
        Ok(BoundServer { config, tcp, unix, memory, access, addresses, connector })
    }
}

impl BoundServer {
    /// The addresses of the loopback: 127.0.0.1 first, then ::1 where the machine has it; both have one port.
    pub fn tcp_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The TCP port.
    pub fn port(&self) -> Option<u16> {
        self.addresses.first().map(SocketAddr::port)
    }

    /// Path of the Unix socket.
    pub fn unix_path(&self) -> Option<&Path> {
        self.config.unix.as_deref()
    }

    /// Connects within the process, when the configuration asks for it.
    pub fn memory(&self) -> Option<MemoryConnector> {
        self.connector.clone()
    }
}
