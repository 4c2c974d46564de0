//! The daemon that a client command talks to: the running one, or one inside of this process.

use easel_sdk::discovery::read_token;
use easel_sdk::{Easel, Target};

use super::Context;
use crate::exit::{Exit, Failure};
use crate::private::PrivateDaemon;

/// Where the user says that the daemon is.
#[derive(Clone, Debug)]
pub(crate) enum Connection {
    /// At this TCP address and nowhere else.
    Tcp(String),
    /// At this socket and nowhere else.
    Unix(std::path::PathBuf),
    /// Wherever the discovery file says, if one runs.
    Discovered,
}

/// A connected client and, when no daemon was running, the daemon itself.
pub(crate) struct Session {
    pub(crate) client: Easel,
    own: Option<PrivateDaemon>,
}

impl Session {
    /// Connects to the running daemon, or starts one inside of this process and says so once.
    pub(crate) async fn open(context: &Context) -> Result<Self, Failure> {
        match Self::running(context).await? {
            Ok(client) => Ok(Self { client, own: None }),
            Err(why) => {
                context.output.hint(&format!("{why}; this command brings its own. `easel serve` keeps one at hand"));
                let own = PrivateDaemon::start(&context.effective).await?;
                Ok(Self { client: own.client().await?, own: Some(own) })
            }
        }
    }

    /// As [`open`](Self::open); a daemon inside of this process then has the sessions of the state folder.
    pub(crate) async fn open_with_state(context: &Context) -> Result<Self, Failure> {
        match Self::running(context).await? {
            Ok(client) => Ok(Self { client, own: None }),
            Err(_) => {
                let own = PrivateDaemon::start_with_state(&context.effective).await?;
                Ok(Self { client: own.client().await?, own: Some(own) })
            }
        }
    }

    /// Connects to the running daemon; fails when there is none, saying why one is needed.
    pub(crate) async fn open_running(context: &Context, need: &str) -> Result<Self, Failure> {
        match Self::running(context).await? {
            Ok(client) => Ok(Self { client, own: None }),
            Err(why) => Err(Failure::new(Exit::Connection, format!("{why}: {need}"))),
        }
    }

    /// Ends the daemon of this process, if there is one.
    pub(crate) async fn close(self) {
        if let Some(own) = self.own {
            own.stop().await;
        }
    }

    /// The running daemon, or why there is none. A daemon that was named must be there.
    async fn running(context: &Context) -> Result<Result<Easel, String>, Failure> {
        let target = match &context.connection {
            Connection::Tcp(address) => {
                let token = read_token(&context.effective.settings.token_file)?;
                Target::tcp(address, Some(token))
            }
            Connection::Unix(path) => Target::unix(path),
            Connection::Discovered => return discovered(context).await,
        };
        Ok(Ok(Easel::connect(&target).await?))
    }
}

async fn discovered(context: &Context) -> Result<Result<Easel, String>, Failure> {
    let file = context.effective.places.discovery_file();
    if !file.exists() {
        // A service manager may keep the socket and start the daemon at the first connection.
        let socket = &context.effective.settings.socket;
        if socket.exists()
            && let Ok(client) = Easel::connect(&Target::unix(socket)).await
        {
            return Ok(Ok(client));
        }
        return Ok(Err("no daemon runs".to_owned()));
    }
    match Easel::connect_discovered(&file).await {
        Ok(client) => Ok(Ok(client)),
        Err(error) if error.is_connection() => Ok(Err("no daemon answers where the last one was".to_owned())),
        Err(error) => Err(error.into()),
    }
}
