//! The door of the daemon: gRPC and gRPC-Web services over TCP on the loopback and a Unix socket, the guard in front of
//! them, health and reflection. Entry point: [`Server::bind`], then [`BoundServer::serve`] with a running
//! [`Runtime`](easel_runtime::Runtime). Between wire and runtime stands one total conversion per message (`convert`)
//! and one mapping of errors (`status`). This crate must never know candle, the engine or the command line.

mod access;
mod config;
mod connection;
mod convert;
mod guard;
mod health;
mod listen;
mod metrics;
mod pages;
mod patience;
mod peer;
mod router;
mod serve;
mod services;
mod status;
mod undecoded;

pub use config::{ServerConfig, TcpConfig};
pub use listen::{BindError, BoundServer, Inherited, MemoryConnector, Server};
pub use serve::ServeError;
pub use status::ERROR_DOMAIN;
