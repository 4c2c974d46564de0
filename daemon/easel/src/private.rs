//! The daemon that a client command brings along when none runs: the same rooms behind a socket in a folder that only
//! this user may enter, gone with the command. Added models are remembered for later all the same.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use easel_sdk::{Easel, Target};
use easel_server::{ServeError, Server};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::compose::State;
use crate::config::Effective;
use crate::exit::Failure;
use crate::lock::InstanceLock;
use crate::platform::check_socket_path;
use crate::{compose, logging};

/// A daemon inside of this process.
pub(crate) struct PrivateDaemon {
    target: Target,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServeError>>,
    /// Holds the socket; removed when this is dropped.
    _folder: TempDir,
    /// Held while the state folder is in use.
    _lock: Option<InstanceLock>,
}

impl PrivateDaemon {
    /// Starts it. It listens when this returns.
    pub(crate) async fn start(effective: &Effective) -> Result<Self, Failure> {
        Self::start_as(effective, State::Passing).await
    }

    /// As [`start`](Self::start), with the sessions of the state folder, for which it takes the lock of the daemon.
    pub(crate) async fn start_with_state(effective: &Effective) -> Result<Self, Failure> {
        Self::start_as(effective, State::Kept).await
    }

    async fn start_as(effective: &Effective, state: State) -> Result<Self, Failure> {
        logging::of_command(effective)?;
        let failed = |error| Failure::fault("no folder can be made for the socket", error);
        let mode = Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix("easel-").permissions(mode).tempdir().map_err(failed)?;
        let socket = folder.path().join("easel.sock");
        check_socket_path(&socket)?;
        let lock = match state {
            State::Kept => {
                let discovery = effective.places.discovery_file();
                Some(InstanceLock::acquire(&effective.settings.state_dir, &socket, &discovery)?)
            }
            State::Passing => None,
        };
        let config = compose::server_of_command(&effective.settings, &socket);
        let bound = Server::bind(config).map_err(|error| Failure::fault("the daemon cannot listen", error))?;
        let runtime = compose::runtime(effective, state)?;
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(bound.serve(runtime, async {
            // A dropped sender stops the daemon as well.
            let _ = stopped.await;
        }));
        Ok(Self { target: Target::unix(socket), stop, serving, _folder: folder, _lock: lock })
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
