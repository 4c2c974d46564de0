//! Settings: defaults < configuration file < environment (`EASEL_…`) < flags, each value with the place it came from.

pub(crate) mod env;
mod keys;
mod layers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{Config, Value, ValueKind};
use easel_domain::{Network, Precision, limits};
use easel_runtime::Keep;
use easel_runtime::drill::DrillConfig;
use easel_sdk::discovery::Places;
use serde::Deserialize;

use env::Environment;
pub(crate) use keys::KEYS;
use layers::Layer;

/// What a value is when nobody says otherwise comes from here.
pub(crate) const DEFAULT_ORIGIN: &str = "default";

/// The effective settings.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Settings {
    /// First TCP port of the block of [`PORT_BLOCK`]; 0: any free one.
    pub(crate) port: u16,
    /// Whether to listen on TCP at all.
    pub(crate) tcp: bool,
    /// Whether to listen on ::1 beside 127.0.0.1.
    pub(crate) ipv6: bool,
    /// Unix socket.
    pub(crate) socket: PathBuf,
    /// Folder of token, lock and added models.
    pub(crate) state_dir: PathBuf,
    /// File of the bearer token.
    pub(crate) token_file: PathBuf,
    /// Host names that requests may carry beside the loopback ones.
    pub(crate) allowed_hosts: Vec<String>,
    /// Origins of web pages that may call.
    pub(crate) allowed_origins: Vec<String>,
    /// Model of requests that name none; empty: the embedded one.
    pub(crate) default_model: String,
    /// Checkpoint folders by name.
    pub(crate) models: BTreeMap<String, PathBuf>,
    /// Folder of LoRAs that requests can name.
    pub(crate) lora_folder: PathBuf,
    /// Edge at which the encoder sees the source picture, in pixels.
    pub(crate) condition_size: usize,
    /// Precision of the encoder; `auto`: by its size.
    pub(crate) encoder_precision: String,
    /// Precision of the denoiser.
    pub(crate) unet_precision: String,
    /// Precision of the VAE.
    pub(crate) vae_precision: String,
    /// Most capable instructions that are used.
    pub(crate) instructions: String,
    /// Threads that compute; 0: one for each core.
    pub(crate) threads: usize,
    /// Stages on the CPU that compute at one time.
    pub(crate) cpu_slots: usize,
    /// Generations that wait or run.
    pub(crate) max_queue: usize,
    /// MiB that models and generations may take together; 0: as much as there is.
    pub(crate) memory_limit_mb: u64,
    /// Generations of one client that wait or run.
    pub(crate) max_client_queue: usize,
    /// Whether the files of results say how they were made.
    pub(crate) provenance: bool,
    /// How long sessions and ended generations are kept.
    pub(crate) store_keep: StoreKeep,
    /// MiB of pictures in the state folder.
    pub(crate) store_quota_mb: u64,
    /// Filter of the log.
    pub(crate) log: String,
    /// How log lines look.
    pub(crate) log_format: LogFormat,
    /// Folder of rotated log files; empty: standard error.
    pub(crate) log_dir: PathBuf,
    /// How long running generations may go on when the daemon is told to stop, in seconds.
    pub(crate) drain_timeout_s: u64,
    /// How long a daemon that is told to stop goes on accepting, in seconds.
    pub(crate) lame_duck_s: u64,
    /// What computes.
    pub(crate) engine: EngineKind,
    /// Timings and faults of the drill engine.
    pub(crate) drill: Drill,
}

/// TCP ports of the block; plugin manifests must list them.
pub(crate) const PORT_BLOCK: u16 = 4;
/// First port of the block when none is configured.
const DEFAULT_PORT: u16 = 7461;
/// Longest drain that makes sense: service managers kill long before.
const MAX_DRAIN_TIMEOUT_S: u64 = 60 * 60;
/// Longest lame duck: health checks come far more often.
const MAX_LAME_DUCK_S: u64 = 60;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum LogFormat {
    /// For persons.
    Text,
    /// One JSON object a line.
    Json,
}

impl TryFrom<String> for LogFormat {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.as_str() {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("{name:?} is unknown, there are text and json")),
        }
    }
}

/// Timings and faults of the drill engine.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Drill(pub(crate) DrillConfig);

impl TryFrom<String> for Drill {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        DrillConfig::parse(&text).map(Self)
    }
}

/// How long sessions and ended generations are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct StoreKeep(pub(crate) Keep);

impl TryFrom<String> for StoreKeep {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.trim() {
            "none" => Ok(Self(Keep::None)),
            "forever" => Ok(Self(Keep::Forever)),
            days => match days.trim_end_matches(" days").parse() {
                Ok(days) if days > 0 => Ok(Self(Keep::Days(days))),
                _ => Err(format!("{text:?} is unknown: give none, a number of days, or forever")),
            },
        }
    }
}

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum EngineKind {
    /// DreamLite.
    Dreamlite,
    /// The engine without weights, for trying clients.
    Drill,
}

impl TryFrom<String> for EngineKind {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.as_str() {
            "dreamlite" => Ok(Self::Dreamlite),
            "drill" => Ok(Self::Drill),
            _ => Err(format!("{name:?} is unknown, there are dreamlite and drill")),
        }
    }
}

/// One effective value for `easel config`.
pub(crate) struct Shown {
    pub(crate) key: String,
    pub(crate) value: serde_json::Value,
    pub(crate) origin: String,
    pub(crate) help: &'static str,
}

/// Settings with where they came from.
pub(crate) struct Effective {
    pub(crate) settings: Settings,
    pub(crate) places: Places,
    pub(crate) shown: Vec<Shown>,
    /// What looks like a mistake and is none for certain.
    pub(crate) warnings: Vec<String>,
}

impl Effective {
    /// The folder in which programs of this user have their configuration.
    pub(crate) fn user_config_home(&self) -> &Path {
        self.places.config_dir.parent().unwrap_or(&self.places.config_dir)
    }

    /// Whether nobody has set `key`.
    pub(crate) fn is_default(&self, key: &str) -> bool {
        self.shown.iter().any(|shown| shown.key == key && shown.origin == DEFAULT_ORIGIN)
    }
}

/// Values from flags: key and text as a user wrote it.
pub(crate) type Flags = Vec<(&'static str, String)>;

/// Reads all layers. `file` is the configuration file when one is named, which then must exist. Errors are sentences that
/// name the key and the place.
pub(crate) fn load(file: Option<&Path>, env: &Environment, flags: Flags) -> Result<Effective, String> {
    let user = Places::of_this_user().map_err(|error| error.to_string())?;
    let (env_layer, warnings) = Layer::of_environment(env)?;
    let mut upper = vec![env_layer, Layer::of_flags(flags)?];
    let named = file.map(Path::to_owned).or_else(|| env.path("EASEL_CONFIG"));
    let path = named.clone().unwrap_or_else(|| user.config_dir.join("config.toml"));
    if let Some(layer) = Layer::of_file(&path, named.is_some())? {
        upper.insert(0, layer);
    }
    // The other paths follow the state folder, which therefore has to be known before their defaults are.
    let state_dir = upper.iter().rev().find_map(|layer| layer.path("state_dir"));
    let places = state_dir.map_or_else(|| user.clone(), |folder| user.clone().with_state_dir(folder));
    let merged = merge(Layer::of_defaults(&places), upper)?;
    let shown = show(&merged.cache);
    let settings: Settings = merged.try_deserialize().map_err(|error| error.to_string())?;
    check(&settings, &shown)?;
    Ok(Effective { settings, places, shown, warnings })
}

fn merge(defaults: Layer, upper: Vec<Layer>) -> Result<Config, String> {
    let builder =
        upper.into_iter().fold(Config::builder().add_source(defaults), |builder, layer| builder.add_source(layer));
    builder.build().map_err(|error| error.to_string())
}

/// What types do not say: ranges, with the key and where its value came from.
fn check(settings: &Settings, shown: &[Shown]) -> Result<(), String> {
    let last_port = u32::from(settings.port) + u32::from(PORT_BLOCK) - 1;
    let most_queued = limits::MAX_QUEUED_GENERATIONS;
    let rules = [
        ("port", last_port <= u32::from(u16::MAX), format!("leave room for the {PORT_BLOCK} ports of the block")),
        ("condition_size", [256, 512].contains(&settings.condition_size), "must be 256 or 512".to_owned()),
        ("cpu_slots", (1..=64).contains(&settings.cpu_slots), "must be 1 to 64".to_owned()),
        ("threads", settings.threads <= 1024, "must be 0 (one for each core) to 1024".to_owned()),
        ("max_queue", (1..=most_queued).contains(&settings.max_queue), format!("must be 1 to {most_queued}")),
        (
            "drain_timeout_s",
            settings.drain_timeout_s <= MAX_DRAIN_TIMEOUT_S,
            format!("must be 0 to {MAX_DRAIN_TIMEOUT_S}"),
        ),
        (
            "max_client_queue",
            (1..=most_queued).contains(&settings.max_client_queue),
            format!("must be 1 to {most_queued}"),
        ),
        (
            "store_quota_mb",
            (limits::MIN_STORE_QUOTA_BYTES >> 20..=u64::MAX >> 20).contains(&settings.store_quota_mb),
            format!("must be at least {}", limits::MIN_STORE_QUOTA_BYTES >> 20),
        ),
        ("lame_duck_s", settings.lame_duck_s <= MAX_LAME_DUCK_S, format!("must be 0 to {MAX_LAME_DUCK_S}")),
    ];
    let origin = |key: &str| shown.iter().find(|s| s.key == key).map_or(DEFAULT_ORIGIN, |s| s.origin.as_str());
    for (key, holds, sentence) in rules {
        if !holds {
            return Err(format!("{key}: {sentence} (from {})", origin(key)));
        }
    }
    for key in ["encoder_precision", "unet_precision", "vae_precision"] {
        if let Err(sentence) = settings.precision(key) {
            return Err(format!("{key}: {sentence} (from {})", origin(key)));
        }
    }
    if !INSTRUCTIONS.contains(&settings.instructions.as_str()) {
        let (name, names) = (&settings.instructions, INSTRUCTIONS.join(", "));
        return Err(format!("instructions: {name:?} is unknown, there are {names} (from {})", origin("instructions")));
    }
    Ok(())
}

/// Names of instruction sets, and `auto` for the best that the processor has.
const INSTRUCTIONS: [&str; 5] = [AUTO, "amx", "avx512", "avx2", "portable"];
/// Leaves a choice to the program.
pub(crate) const AUTO: &str = "auto";

impl Settings {
    /// The precision that one of the settings names; `None`: chosen by size.
    pub(crate) fn precision(&self, key: &str) -> Result<Option<Precision>, String> {
        let (network, name) = match key {
            "unet_precision" => (Network::Unet, &self.unet_precision),
            "vae_precision" => (Network::Vae, &self.vae_precision),
            _ => (Network::Encoder, &self.encoder_precision),
        };
        if network == Network::Encoder && name == AUTO {
            return Ok(None);
        }
        let or_auto = if network == Network::Encoder { ", and auto" } else { "" };
        network.precision(name).map(Some).map_err(|error| format!("{error}{or_auto}"))
    }
}

fn show(root: &Value) -> Vec<Shown> {
    let ValueKind::Table(table) = &root.kind else { return Vec::new() };
    let mut rows = Vec::new();
    for key in &KEYS {
        let Some(value) = table.get(key.name) else { continue };
        let entry = |name: String, value: &Value| Shown {
            key: name,
            value: json(value),
            origin: value.origin().unwrap_or(DEFAULT_ORIGIN).to_owned(),
            help: key.help,
        };
        match &value.kind {
            ValueKind::Table(entries) if !entries.is_empty() => {
                let mut sorted: Vec<_> = entries.iter().collect();
                sorted.sort_by_key(|(name, _)| *name);
                rows.extend(sorted.into_iter().map(|(name, value)| entry(format!("{}.{name}", key.name), value)));
            }
            _ => rows.push(entry(key.name.to_owned(), value)),
        }
    }
    rows
}

fn json(value: &Value) -> serde_json::Value {
    match &value.kind {
        ValueKind::Nil => serde_json::Value::Null,
        ValueKind::Boolean(value) => (*value).into(),
        ValueKind::I64(value) => (*value).into(),
        ValueKind::U64(value) => (*value).into(),
        ValueKind::Float(value) => (*value).into(),
        ValueKind::Array(values) => values.iter().map(json).collect(),
        ValueKind::Table(entries) => entries.iter().map(|(key, value)| (key.clone(), json(value))).collect(),
        other => other.to_string().into(),
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
