//! Puts the rooms together: the engine that the settings name, the runtime around it, and what the server is told.

mod models_file;
#[cfg(feature = "dreamlite")]
mod precision;
mod remembering;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use easel_domain::engine::Engine;
use easel_domain::{Error, ModelInfo, Reason};
use easel_runtime::drill::DrillEngine;
use easel_runtime::{Runtime, RuntimeConfig};
use easel_server::{ServerConfig, TcpConfig};

#[cfg(feature = "dreamlite")]
use crate::config::AUTO;
use crate::config::{Effective, EngineKind, PORT_BLOCK, Settings};
use crate::exit::{Exit, Failure};
use models_file::ModelsFile;
#[cfg(feature = "dreamlite")]
pub(crate) use precision::{quality, quantise};
use remembering::Remembering;

/// Whether sessions and generations outlive the process. They may for one process at a time, which holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Kept,
    Passing,
}

/// Starts the runtime with the engine of the settings and all models that are configured or were added.
pub(crate) fn runtime(effective: &Effective, state: State) -> Result<Runtime, Failure> {
    let settings = &effective.settings;
    match settings.engine {
        EngineKind::Drill => start(DrillEngine::new(settings.drill.0.clone()), settings, state),
        #[cfg(feature = "dreamlite")]
        EngineKind::Dreamlite => start(dreamlite(settings)?, settings, state),
        #[cfg(not(feature = "dreamlite"))]
        EngineKind::Dreamlite => Err(Failure::new(Exit::Usage, "engine: this build has no dreamlite: use drill")),
    }
}

/// How this process computes: instructions, memory, and the threads of rayon's global pool. To be called once.
#[cfg(feature = "dreamlite")]
fn set_up_computing(settings: &Settings) -> Result<(), Failure> {
    easel_engine::keep_freed_memory();
    if settings.instructions != AUTO && !easel_engine::limit_instructions(&settings.instructions) {
        let what = format!("instructions: this processor has no {}: use auto", settings.instructions);
        return Err(Failure::new(Exit::Usage, what));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(settings.threads);
    let pool = pool.thread_name(|index| format!("easel-cpu-{index}")).build_global();
    pool.map_err(|error| Failure::fault("the threads that compute cannot be started", error))
}

/// DreamLite with the embedded model.
#[cfg(feature = "dreamlite")]
fn dreamlite(settings: &Settings) -> Result<easel_engine::DreamLiteEngine, Failure> {
    set_up_computing(settings)?;
    engine_of(settings)
}

/// The engine, without the threads that compute.
#[cfg(feature = "dreamlite")]
fn engine_of(settings: &Settings) -> Result<easel_engine::DreamLiteEngine, Failure> {
    use easel_domain::Precisions;
    use easel_engine::{DreamLiteEngine, conditioning, engine};

    let conditioning =
        conditioning::Settings { condition_size_px: settings.condition_size, ..conditioning::Settings::default() };
    let precision = |key| settings.precision(key).map_err(|what| Failure::new(Exit::Usage, format!("{key}: {what}")));
    let encoder = precision("encoder_precision")?;
    let precisions = Precisions {
        encoder: encoder.unwrap_or_default(),
        unet: precision("unet_precision")?.unwrap_or_default(),
        vae: precision("vae_precision")?.unwrap_or_default(),
    };
    let packs_large_encoders = encoder.is_none();
    DreamLiteEngine::new(engine::Settings {
        conditioning,
        precisions,
        packs_large_encoders,
        prepared_dir: Some(settings.state_dir.join("prepared")),
        lora_folder: Some(settings.lora_folder.clone()),
        digests_file: Some(settings.state_dir.join("digests.json")),
        ..engine::Settings::default()
    })
    .map_err(|error| Failure::fault("the embedded model cannot be used", error))
}

fn start<E: Engine>(engine: E, settings: &Settings, state: State) -> Result<Runtime, Failure> {
    let file = add_models(&engine, settings)?;
    let config = RuntimeConfig {
        max_queued_generations: settings.max_queue,
        default_model: Some(settings.default_model.clone()).filter(|name| !name.is_empty()),
        cpu_slots: settings.cpu_slots,
        state_dir: (state == State::Kept).then(|| settings.state_dir.clone()),
        max_memory_bytes: (settings.memory_limit_mb > 0).then_some(settings.memory_limit_mb << 20),
        max_client_generations: settings.max_client_queue,
        provenance: settings.provenance,
        keep: settings.store_keep.0,
        store_quota_bytes: settings.store_quota_mb << 20,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        drain_timeout: Duration::from_secs(settings.drain_timeout_s),
        ..RuntimeConfig::default()
    };
    let engine = Arc::new(Remembering::new(engine, file));
    Runtime::start(engine, config).map_err(|error| match error.reason {
        Reason::StoreDamaged | Reason::StoreReadOnly | Reason::DiskFull => Failure::new(Exit::Request, error.message),
        Reason::ModelNotFound => Failure::new(Exit::Usage, format!("default_model: {error}")),
        _ => Failure::fault("the runtime cannot be started", error),
    })
}

/// What is known of one model: its name, its folder, and what its headers say or what is wrong with them.
pub(crate) type Checked = (String, PathBuf, Result<ModelInfo, Error>);

/// Looks at every model that is configured or was added, as the daemon does when it starts. Nothing is remembered.
pub(crate) fn check_models(effective: &Effective) -> Result<Vec<Checked>, Failure> {
    fn check<E: Engine>(engine: &E, settings: &Settings) -> Result<Vec<Checked>, Failure> {
        let mut models = ModelsFile::of_state_dir(&settings.state_dir).load()?;
        models.extend(settings.models.clone());
        Ok(models
            .into_iter()
            .map(|(name, folder)| (name.clone(), folder.clone(), engine.add_model(&folder, &name)))
            .collect())
    }
    let settings = &effective.settings;
    match settings.engine {
        EngineKind::Drill => check(&DrillEngine::new(settings.drill.0.clone()), settings),
        #[cfg(feature = "dreamlite")]
        EngineKind::Dreamlite => check(&engine_of(settings)?, settings),
        #[cfg(not(feature = "dreamlite"))]
        EngineKind::Dreamlite => Err(Failure::new(Exit::Usage, "engine: this build has no dreamlite: use drill")),
    }
}

/// Whether this machine can compute as the settings say; the instructions, for a person. To be called once.
pub(crate) fn check_device(settings: &Settings) -> Result<String, Failure> {
    #[cfg(feature = "dreamlite")]
    set_up_computing(settings)?;
    Ok(format!("instructions {}", settings.instructions))
}

/// Gives an engine the models that are configured or were added.
fn add_models<E: Engine>(engine: &E, settings: &Settings) -> Result<ModelsFile, Failure> {
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
    Ok(file)
}

/// What the server of `easel serve` is told: TCP with the token, and the socket.
pub(crate) fn server_of_daemon(settings: &Settings, token: String) -> ServerConfig {
    let ports = if settings.port == 0 { vec![0] } else { (settings.port..settings.port + PORT_BLOCK).collect() };
    ServerConfig {
        tcp: settings.tcp.then_some(TcpConfig { ports, ipv6: settings.ipv6 }),
        // The lock of the instance is held: a socket that is there has no owner.
        replace_stale_socket: true,
        token: Some(token),
        tokens: Some(settings.state_dir.join("tokens.json")),
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
