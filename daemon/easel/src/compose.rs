//! Puts the rooms together: the engine that the settings name, the runtime around it, and what the server is told.

mod models_file;
mod remembering;

use std::sync::Arc;
use std::time::Duration;

use easel_domain::Reason;
use easel_domain::engine::Engine;
use easel_runtime::drill::{DrillConfig, DrillEngine};
use easel_runtime::{Runtime, RuntimeConfig};
use easel_server::{ServerConfig, TcpConfig};

use crate::config::{Effective, EngineKind, PORT_BLOCK, Settings};
use crate::exit::{Exit, Failure};
use models_file::ModelsFile;
use remembering::Remembering;

/// Starts the runtime with the engine of the settings and all models that are configured or were added.
pub(crate) fn runtime(effective: &Effective) -> Result<Runtime, Failure> {
    let settings = &effective.settings;
    match settings.engine {
        EngineKind::Drill => start(DrillEngine::new(DrillConfig::default()), settings),
        EngineKind::Dreamlite => Err(Failure::new(Exit::Fault, "the DreamLite engine is not part of this build")),
    }
}

fn start<E: Engine>(engine: E, settings: &Settings) -> Result<Runtime, Failure> {
    let file = ModelsFile::of_state_dir(&settings.state_dir);
    let remembered = file.load()?;
    // What is configured wins over what was added under the same name.
    let added = remembered.iter().filter(|(name, _)| !settings.models.contains_key(*name));
    for (name, folder) in settings.models.iter().chain(added) {
        // One broken folder must not keep the daemon from serving the other models.
        if let Err(error) = engine.add_model(folder, name) {
            tracing::warn!(model = %name, %error, "a model is left out");
        }
    }
    let config = RuntimeConfig {
        max_queued_generations: settings.max_queue,
        default_model: Some(settings.default_model.clone()).filter(|name| !name.is_empty()),
        cpu_slots: settings.cpu_slots,
        drain_timeout: Duration::from_secs(settings.drain_timeout_s),
        ..RuntimeConfig::default()
    };
    let engine = Arc::new(Remembering::new(engine, file));
    Runtime::start(engine, config).map_err(|error| match error.reason {
        Reason::ModelNotFound => Failure::new(Exit::Usage, format!("default_model: {error}")),
        _ => Failure::fault("the runtime cannot be started", error),
    })
}

/// What the server of `easel serve` is told: TCP with the token, and the socket.
pub(crate) fn server_of_daemon(settings: &Settings, token: String) -> ServerConfig {
    let ports = if settings.port == 0 { vec![0] } else { (settings.port..settings.port + PORT_BLOCK).collect() };
    ServerConfig {
        tcp: settings.tcp.then_some(TcpConfig { ports }),
        // The lock of the instance is held: a socket that is there has no owner.
        replace_stale_socket: true,
        token: Some(token),
        allowed_hosts: settings.allowed_hosts.clone(),
        allowed_origins: settings.allowed_origins.clone(),
        lame_duck: Duration::from_secs(settings.lame_duck_s),
        ..server_of_command(settings, &settings.socket)
    }
}

/// What the server inside of a client command is told: the socket alone.
pub(crate) fn server_of_command(settings: &Settings, socket: &std::path::Path) -> ServerConfig {
    ServerConfig {
        unix: Some(socket.to_owned()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        max_queued_generations: settings.max_queue,
        lame_duck: Duration::ZERO,
        ..ServerConfig::default()
    }
}
