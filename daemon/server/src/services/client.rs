//! Who asks, for quotas.

use easel_domain::limits::MAX_CLIENT_NAME_BYTES;
use tonic::Request;

use crate::access::Caller;
use crate::peer::Peer;

const HEADER: &str = "easel-client";

/// The token of a paired client, whatever it calls itself; the name that another client gives itself, else its connection over TCP; empty for the
/// user's own command line over the Unix socket.
pub(crate) fn client<T>(request: &Request<T>) -> String {
    if let Some(Caller::Token(known)) = request.extensions().get::<Caller>() {
        return known.id.clone();
    }
    let named = request.metadata().get(HEADER).and_then(|name| name.to_str().ok());
    if let Some(name) = named.filter(|name| !name.is_empty() && name.len() <= MAX_CLIENT_NAME_BYTES) {
        return name.to_owned();
    }
    match request.extensions().get::<Peer>() {
        Some(Peer::Tcp(address)) => address.to_string(),
        _ => String::new(),
    }
}
