//! `easel serve`, the life of the daemon: lock, token, listeners, discovery file; then it serves until a signal, drains
//! and takes everything away again.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use easel_runtime::Runtime;
use easel_sdk::Discovery;
use easel_server::{BindError, BoundServer, Server};
use tokio::sync::oneshot;

use crate::cli::{Context, Interrupt};
use crate::config::env::Environment;
use crate::config::{Effective, Settings};
use crate::discovery::Published;
use crate::exit::{Exit, Failure};
use crate::lock::InstanceLock;
use crate::notify::{Notifier, watchdog_interval};
use crate::platform::{check_socket_path, inherited};
use crate::{compose, logging, token};

/// Runs the daemon in the foreground until it is told to stop.
pub(crate) async fn serve(context: &Context, env: &Environment) -> Result<(), Failure> {
    let effective = &context.effective;
    logging::of_daemon(effective, env)?;
    let notifier = Notifier::of(env);
    let served = serve_until_told(effective, env, &notifier).await;
    if let Err(failure) = &served {
        // In a file of its own the log is all that is left of this run.
        tracing::error!(exit_code = failure.exit as i32, why = %failure.message, "the daemon ends");
        notifier.failed(&failure.message);
    }
    served
}

async fn serve_until_told(effective: &Effective, env: &Environment, notifier: &Notifier) -> Result<(), Failure> {
    let settings = &effective.settings;
    effective.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    check_socket_path(&settings.socket)?;
    let discovery_file = effective.places.discovery_file();
    // First the signals, then the lock: from here on the end is an orderly one.
    let mut interrupt = Interrupt::take_over()?;
    let _lock = InstanceLock::acquire(&settings.state_dir, &settings.socket, &discovery_file)?;
    let token = token::ensure(&settings.token_file)?;
    let inherited = inherited(env)?;
    let bound = Server::bind_with(compose::server_of_daemon(settings, token), inherited).map_err(cannot_bind)?;
    let runtime = compose::runtime(effective, compose::State::Kept)?;
    let published = Published::write(&discovery_file, &discovery(effective, &bound))?;
    let (addresses, socket) = (bound.tcp_addresses(), bound.unix_path().unwrap_or(&settings.socket));
    tracing::info!(?addresses, ?socket, pid = std::process::id(), "ready");
    notifier.ready(&format!("listens at {}", socket.display()));
    let interval = watchdog_interval(env);

    let (stop, stopped) = oneshot::channel();
    let mut stop = Some(stop);
    let mut serving = pin!(bound.serve(runtime.clone(), async {
        let _ = stopped.await;
    }));
    loop {
        tokio::select! {
            served = &mut serving => {
                served.map_err(|error| Failure::fault("the daemon cannot serve", error))?;
                tracing::info!("stopped");
                return Ok(());
            }
            () = alive(&runtime, interval) => notifier.alive(),
            stage = runtime.wait_stalled() => {
                tracing::error!(stage, "does not answer, the process ends");
                return Err(Failure::new(Exit::Stalled, format!("{stage} does not answer")));
            }
            () = interrupt.wait() => match stop.take() {
                Some(stop) => {
                    tracing::info!("draining, a second signal ends at once");
                    notifier.stopping(time_to_stop(settings));
                    // Clients that come now bring their own or wait for the next daemon.
                    let _ = stop.send(());
                }
                None => {
                    drop(published);
                    return Err(Failure::new(Exit::Interrupted, "stopped without draining"));
                }
            },
        }
    }
}

/// Resolves when it is time for the next sign of life and the dispatcher has just given one; never without a watchdog.
async fn alive(runtime: &Runtime, interval: Option<Duration>) {
    let Some(interval) = interval else { return std::future::pending().await };
    tokio::time::sleep(interval).await;
    runtime.answers().await;
}

/// The longest that an orderly end takes.
fn time_to_stop(settings: &Settings) -> Duration {
    const MARGIN: Duration = Duration::from_secs(10);
    Duration::from_secs(settings.lame_duck_s + settings.drain_timeout_s) + MARGIN
}

fn discovery(effective: &Effective, bound: &BoundServer) -> Discovery {
    let address = |address: &SocketAddr| format!("http://{address}");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Discovery {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol_version: easel_sdk::PROTOCOL_VERSION,
        addresses: bound.tcp_addresses().iter().map(address).collect(),
        port: bound.port(),
        socket: bound.unix_path().unwrap_or(&effective.settings.socket).to_owned(),
        token_file: effective.settings.token_file.clone(),
        start_time_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
    }
}

fn cannot_bind(error: BindError) -> Failure {
    match error {
        BindError::PortsTaken { .. } => Failure::new(Exit::Usage, format!("{error}: set another --port, or 0 for any")),
        BindError::Inherited { .. } => Failure::new(Exit::Usage, error.to_string()),
        error => Failure::fault("the daemon cannot listen", error),
    }
}
