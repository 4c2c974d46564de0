//! Who is at the other end of a connection. Stands in the extensions of every request.

use std::net::SocketAddr;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Somebody on this machine, whoever it is: has to show the token.
    Tcp(SocketAddr),
    /// A process of the user with this id; `None` when the system does not tell.
    Unix(Option<u32>),
    /// This process.
    Memory,
}

impl Peer {
    /// True when the connection itself says that it is the daemon's own user, once the guard has let it in.
    pub(crate) fn is_local_user(self) -> bool {
        matches!(self, Self::Unix(_) | Self::Memory)
    }
}
