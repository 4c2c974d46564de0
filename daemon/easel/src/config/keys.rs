//! The settings that there are: name, kind and what each is for.

/// What kind of value a setting has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// true or false.
    Flag,
    /// A whole number.
    Number,
    /// Text.
    Text,
    /// A path; `~/` is the home folder.
    Path,
    /// Texts; in the environment and in flags with commas between them.
    List,
    /// Paths by name; in the environment and in flags as `name=folder,name=folder`.
    Table,
}

/// One setting.
pub(crate) struct Key {
    /// Name, as in the file; `EASEL_` and the name in capitals is its variable.
    pub(crate) name: &'static str,
    /// Kind of its value.
    pub(crate) kind: Kind,
    /// What it is for, with unit and range.
    pub(crate) help: &'static str,
}

const fn key(name: &'static str, kind: Kind, help: &'static str) -> Key {
    Key { name, kind, help }
}

/// All settings, in the order in which they are shown.
pub(crate) const KEYS: [Key; 31] = [
    key("state_dir", Kind::Path, "folder of the token, the lock and the list of added models"),
    key("socket", Kind::Path, "Unix socket"),
    key("tcp", Kind::Flag, "listen on TCP, loopback only"),
    key("port", Kind::Number, "first of the block of four TCP ports, the first free one is used; 0: any free port"),
    key("ipv6", Kind::Flag, "listen on ::1 beside 127.0.0.1"),
    key("token_file", Kind::Path, "file of the bearer token that TCP asks for"),
    key("allowed_hosts", Kind::List, "host names that requests may carry beside the loopback ones"),
    key("allowed_origins", Kind::List, "origins of web pages that may call, as https://example.com"),
    key("models", Kind::Table, "checkpoint folders by name"),
    key(
        "lora_folder",
        Kind::Path,
        "folder of LoRAs that requests can name, as .safetensors files; by default below state_dir",
    ),
    key("default_model", Kind::Text, "model of requests that name none; empty: the embedded one"),
    key("engine", Kind::Text, "what computes: dreamlite, or drill (no weights, for trying clients)"),
    key("drill", Kind::Text, "timings and faults of the drill engine, as denoise_step_ms=200 fault=denoise/2/panic/1"),
    key("condition_size", Kind::Number, "edge in pixels at which the encoder sees the source: 512 or 256"),
    key("encoder_precision", Kind::Text, "auto (q8_0 for large encoders, f32 for small ones), f32, q8_0, q4k or int8"),
    key("unet_precision", Kind::Text, "f32, or int8 (faster, pictures differ slightly)"),
    key("vae_precision", Kind::Text, "f32, or int8 (faster, pictures differ slightly)"),
    key("instructions", Kind::Text, "most capable instructions that are used: auto, amx, avx512, avx2 or portable"),
    key("threads", Kind::Number, "threads that compute; 0: one for each core"),
    key("cpu_slots", Kind::Number, "stages on the CPU that compute at one time, 1 to 64"),
    key("max_queue", Kind::Number, "generations that may wait or run, 1 to 64"),
    key("memory_limit_mb", Kind::Number, "MiB that models and generations may take together; 0: as much as there is"),
    key("max_client_queue", Kind::Number, "generations of one client that may wait or run, 1 to 64"),
    key("provenance", Kind::Flag, "pictures say in their files how they were made, with the prompts in plain words"),
    key(
        "store_keep",
        Kind::Text,
        "how long sessions and ended generations are kept: none, a number of days, or forever",
    ),
    key("store_quota_mb", Kind::Number, "MiB of pictures in the state folder, at least 512"),
    key("drain_timeout_s", Kind::Number, "seconds that running generations get when the daemon is told to stop"),
    key("lame_duck_s", Kind::Number, "seconds that a daemon told to stop goes on accepting, for proxies, 0 to 60"),
    key("log", Kind::Text, "filter of the log: error, warn, info, debug, trace, or easel_runtime=debug,info"),
    key("log_format", Kind::Text, "text or json"),
    key("log_dir", Kind::Path, "folder of rotated log files; empty: the journal of systemd, else standard error"),
];

/// The setting of that name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The name nearest to a name that does not exist.
pub(crate) fn nearest(name: &str) -> &'static str {
    let distance = |key: &&Key| strsim::damerau_levenshtein(key.name, name);
    KEYS.iter().min_by_key(distance).map_or("port", |key| key.name)
}

/// True when `name` is so near to a setting that it is probably a slip.
pub(crate) fn is_slip(name: &str) -> bool {
    strsim::damerau_levenshtein(nearest(name), name) <= 2
}
