//! The daemon that a client command brings along when none runs: the same rooms behind a socket in a folder that only
//! this user may enter, gone with the command. Added models are remembered for later all the same.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use easel_sdk::{Easel, Target};
use easel_server::{ServeError, Server};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::config::Effective;
use crate::exit::Failure;
use crate::platform::check_socket_path;
use crate::{compose, logging};

/// A daemon inside of this process.
pub(crate) struct PrivateDaemon {
    target: Target,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServeError>>,
    /// Holds the socket; removed when this is dropped.
    _folder: TempDir,
}

impl PrivateDaemon {
    /// Starts it. It listens when this returns.
    pub(crate) async fn start(effective: &Effective) -> Result<Self, Failure> {
        logging::of_command(effective)?;
        let failed = |error| Failure::fault("no folder can be made for the socket", error);
        let mode = Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix("easel-").permissions(mode).tempdir().map_err(failed)?;
        let socket = folder.path().join("easel.sock");
        check_socket_path(&socket)?;
        let config = compose::server_of_command(&effective.settings, &socket);
        let bound = Server::bind(config).map_err(|error| Failure::fault("the daemon cannot listen", error))?;
        let runtime = compose::runtime(effective, compose::State::Passing)?;
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(bound.serve(runtime, async {
            // A dropped sender stops the daemon as well.
            let _ = stopped.await;
        }));
        Ok(Self { target: Target::unix(socket), stop, serving, _folder: folder })
    }

    /// A client of it.
    pub(crate) async fn client(&self) -> Result<Easel, Failure> {
        Ok(Easel::connect(&self.target).await?)
    }

    /// Ends it; nothing that runs is worth waiting for, since its only client has gone.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        self.serving.abort();
        // Aborted or ended: both are the end.
        let _ = self.serving.await;
    }
}
