//! One layer of settings: values by key, all from one place.

use std::path::{Path, PathBuf};

use config::{ConfigError, File, FileFormat, Map, Source, Value, ValueKind};
use easel_sdk::discovery::Places;

use super::env::Environment;
use super::keys::{self, Key, Kind};
use super::{DEFAULT_ORIGIN, DEFAULT_PORT, Flags};

/// Values from one place each; their origin is said by each value.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    values: Map<String, Value>,
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.values.clone())
    }
}

/// Variables with the prefix of the settings that mean something else.
const OTHER_VARIABLES: [&str; 2] = ["EASEL_CONFIG", "EASEL_ADDRESS"];

impl Layer {
    /// What holds when nobody says otherwise.
    pub(super) fn of_defaults(places: &Places) -> Self {
        let path = |path: PathBuf| ValueKind::from(path.to_string_lossy().into_owned());
        let none = || ValueKind::Array(Vec::new());
        let values: [(&str, ValueKind); 31] = [
            ("state_dir", path(places.state_dir.clone())),
            ("socket", path(places.socket())),
            ("tcp", true.into()),
            ("port", DEFAULT_PORT.into()),
            ("ipv6", true.into()),
            ("token_file", path(places.token_file())),
            ("allowed_hosts", none()),
            ("allowed_origins", none()),
            ("models", ValueKind::Table(Map::new())),
            ("lora_folder", path(places.state_dir.join("loras"))),
            ("default_model", "".into()),
            ("engine", "dreamlite".into()),
            ("drill", "".into()),
            ("condition_size", 512_u32.into()),
            ("encoder_precision", "auto".into()),
            ("unet_precision", "f32".into()),
            ("vae_precision", "f32".into()),
            ("instructions", "auto".into()),
            ("threads", 0_u32.into()),
            ("cpu_slots", 1_u32.into()),
            ("max_queue", (easel_domain::limits::MAX_QUEUED_GENERATIONS as u64).into()),
            ("memory_limit_mb", 0_u32.into()),
            ("max_client_queue", (easel_domain::limits::MAX_CLIENT_GENERATIONS as u64).into()),
            ("provenance", true.into()),
            ("store_keep", easel_domain::limits::DEFAULT_KEEP_DAYS.to_string().into()),
            ("store_quota_mb", (easel_domain::limits::DEFAULT_STORE_QUOTA_BYTES >> 20).into()),
            ("drain_timeout_s", easel_domain::limits::DRAIN_TIMEOUT.as_secs().into()),
            ("lame_duck_s", easel_domain::limits::LAME_DUCK.as_secs().into()),
            ("log", "info".into()),
            ("log_format", "text".into()),
            ("log_dir", "".into()),
        ];
        let origin = DEFAULT_ORIGIN.to_owned();
        let owned = values.into_iter().map(|(key, kind)| (key.to_owned(), Value::new(Some(&origin), kind)));
        Self { values: owned.collect() }
    }

    /// A configuration file; `None` when there is none and none is `required`. Unknown keys are errors: a setting that
    /// is silently not applied is worse.
    pub(super) fn of_file(path: &Path, required: bool) -> Result<Option<Self>, String> {
        let shown = path.display();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => return Ok(None),
            Err(error) => return Err(format!("the configuration file {shown} cannot be read: {error}")),
        };
        let parsed = File::from_str(&text, FileFormat::Toml).collect();
        let parsed = parsed.map_err(|error| format!("{shown} is not valid TOML: {error}"))?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let mut values = Map::new();
        for (name, value) in parsed {
            let Some(key) = keys::find(&name) else {
                let nearest = keys::nearest(&name);
                return Err(format!("{shown} has the unknown key {name}: did you mean {nearest}?"));
            };
            values.insert(name, from_file(value, key, &folder, &shown.to_string()));
        }
        Ok(Some(Self { values }))
    }

    /// `EASEL_…` variables, and a warning for each that looks like a slip. Others are left alone: they may belong to
    /// another program of the same name.
    pub(super) fn of_environment(env: &Environment) -> Result<(Self, Vec<String>), String> {
        let mut layer = Self::default();
        let mut warnings = Vec::new();
        for (variable, text) in env.ours() {
            let Some(name) = variable.strip_prefix("EASEL_").map(str::to_lowercase) else { continue };
            if OTHER_VARIABLES.contains(&variable) || text.is_empty() {
                continue;
            }
            match keys::find(&name) {
                Some(key) => layer.put(key, text, &format!("environment {variable}"))?,
                None if keys::is_slip(&name) => {
                    let nearest = keys::nearest(&name).to_uppercase();
                    warnings.push(format!("{variable} is no setting: did you mean EASEL_{nearest}?"));
                }
                None => {}
            }
        }
        Ok((layer, warnings))
    }

    /// Flags of the command line.
    pub(super) fn of_flags(flags: Flags) -> Result<Self, String> {
        let mut layer = Self::default();
        for (name, text) in flags {
            let key = keys::find(name).ok_or_else(|| format!("{name} is no setting"))?;
            layer.put(key, &text, &format!("flag --{}", name.replace('_', "-")))?;
        }
        Ok(layer)
    }

    /// The path that this layer gives for a key.
    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        self.values.get(key).map(|value| PathBuf::from(value.kind.to_string()))
    }

    fn put(&mut self, key: &Key, text: &str, origin: &str) -> Result<(), String> {
        let kind = parse(key, text, origin)?;
        self.values.insert(key.name.to_owned(), Value::new(Some(&origin.to_owned()), kind));
        Ok(())
    }
}

/// The text of a variable or a flag as a value of the key's kind.
fn parse(key: &Key, text: &str, origin: &str) -> Result<ValueKind, String> {
    let here = Path::new("");
    let wrong = |what: &str| format!("{}: {text:?} is not {what} (from {origin})", key.name);
    Ok(match key.kind {
        Kind::Flag => match text.to_lowercase().as_str() {
            "true" | "1" | "on" | "yes" => true.into(),
            "false" | "0" | "off" | "no" => false.into(),
            _ => return Err(wrong("true or false")),
        },
        Kind::Number => text.parse::<u64>().map_err(|_| wrong("a whole number"))?.into(),
        Kind::Text => text.into(),
        Kind::Path => absolute(text, here).into(),
        Kind::List => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            ValueKind::Array(parts.map(|part| Value::new(Some(&origin.to_owned()), part)).collect())
        }
        Kind::Table => {
            let mut table = Map::new();
            for part in text.split(',').filter(|part| !part.trim().is_empty()) {
                let (name, folder) = part.split_once('=').ok_or_else(|| wrong("NAME=FOLDER,NAME=FOLDER"))?;
                let value = Value::new(Some(&origin.to_owned()), absolute(folder.trim(), here));
                table.insert(name.trim().to_owned(), value);
            }
            ValueKind::Table(table)
        }
    })
}

/// The same value with its file as its origin, and with paths that are relative to the file's folder made absolute. A
/// value of a wrong type stays as it is: deserialization names it.
fn from_file(value: Value, key: &Key, folder: &Path, origin: &str) -> Value {
    let is_path = matches!(key.kind, Kind::Path | Kind::Table);
    let kind = match value.kind {
        ValueKind::String(text) if is_path => absolute(&text, folder).into(),
        ValueKind::Array(parts) => {
            ValueKind::Array(parts.into_iter().map(|part| from_file(part, key, folder, origin)).collect())
        }
        ValueKind::Table(parts) => {
            ValueKind::Table(parts.into_iter().map(|(n, part)| (n, from_file(part, key, folder, origin))).collect())
        }
        other => other,
    };
    Value::new(Some(&origin.to_owned()), kind)
}

fn absolute(text: &str, folder: &Path) -> String {
    let path = match text.strip_prefix("~/") {
        Some(rest) => etcetera::home_dir().map_or_else(|_| PathBuf::from(text), |home| home.join(rest)),
        None => folder.join(text),
    };
    std::path::absolute(&path).unwrap_or(path).to_string_lossy().into_owned()
}
