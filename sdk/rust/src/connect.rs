//! How a connection is made: TCP with a token, or the Unix socket of the same user.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection on which nothing comes back for this long is lost: pings every 20 s, answered within 20 s.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Where a daemon is and what it asks for.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// A TCP address as `http://127.0.0.1:7461` (or `127.0.0.1:7461`) and the bearer token.
    Tcp {
        /// Scheme, host and port.
        address: String,
        /// Content of the daemon's token file; without it only health, version and reflection answer.
        token: Option<String>,
    },
    /// A Unix socket; the daemon asks for the same user and for no token.
    Unix(PathBuf),
}

impl Target {
    /// A TCP address and its token.
    pub fn tcp(address: impl Into<String>, token: Option<String>) -> Self {
        Self::Tcp { address: address.into(), token }
    }

    /// A Unix socket.
    pub fn unix(path: impl AsRef<Path>) -> Self {
        Self::Unix(path.as_ref().to_owned())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { address, .. } => f.write_str(address),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Debug for Target {
    /// Without the token: targets end up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

/// What carries all calls: a channel that connects again by itself, and the token in front of it.
pub(crate) type Transport = InterceptedService<Channel, Bearer>;

/// Adds the token, and the name that the client gives itself, to every call.
#[derive(Clone)]
pub(crate) struct Bearer {
    token: Option<MetadataValue<Ascii>>,
    pub(crate) name: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.token {
            request.metadata_mut().insert("authorization", value.clone());
        }
        if let Some(value) = &self.name {
            request.metadata_mut().insert("easel-client", value.clone());
        }
        Ok(request)
    }
}

/// Connects once to see that somebody listens; later losses are mended by the channel.
pub(crate) async fn connect(target: &Target) -> Result<(Channel, Bearer), Error> {
    let (channel, token) = match target {
        Target::Tcp { address, token } => (connect_tcp(target, address).await?, token.as_deref()),
        Target::Unix(path) => (connect_unix(target, path.clone()).await?, None),
    };
    let bearer = token.map(|token| MetadataValue::try_from(format!("Bearer {token}"))).transpose();
    let mut bearer = bearer.map_err(|_| Error::setup("the token has characters that a header cannot carry"))?;
    if let Some(value) = &mut bearer {
        value.set_sensitive(true);
    }
    Ok((channel, Bearer { token: bearer, name: None }))
}

async fn connect_tcp(target: &Target, address: &str) -> Result<Channel, Error> {
    let uri = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(uri)
        .map_err(|_| Error::setup(format!("{address} is not an address: give http://HOST:PORT")))?;
    tuned(endpoint).connect().await.map_err(|error| Error::cannot_connect(target, innermost(&error)))
}

async fn connect_unix(target: &Target, path: PathBuf) -> Result<Channel, Error> {
    // The authority must be a host name: HTTP/2 refuses a percent-encoded path in its place.
    let endpoint = tuned(Endpoint::from_static("http://localhost"));
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(tokio::net::UnixStream::connect(path).await?)) }
    });
    let connected = endpoint.connect_with_connector(connector).await;
    connected.map_err(|error| Error::cannot_connect(target, innermost(&error)))
}

fn tuned(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
