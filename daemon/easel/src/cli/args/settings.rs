//! The flags that are settings, for `serve` and `config`.

use clap::Args;

use super::PrecisionArgs;

/// Flags of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
}

/// Flags that set settings; what is not given comes from the environment, the file or the defaults.
#[derive(Debug, Args)]
pub(crate) struct SettingsArgs {
    /// First of the block of four TCP ports; 0: any free port
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// Listen on TCP, loopback only
    #[arg(long, value_name = "true|false")]
    tcp: Option<String>,
    /// Listen on ::1 beside 127.0.0.1
    #[arg(long, value_name = "true|false")]
    ipv6: Option<String>,
    /// Host names beside the loopback ones, with commas between them
    #[arg(long, value_name = "HOSTS")]
    allowed_hosts: Option<String>,
    /// Origins of web pages that may call, with commas between them
    #[arg(long, value_name = "ORIGINS")]
    allowed_origins: Option<String>,
    /// Checkpoint folders by name, as name=folder,name=folder
    #[arg(long, value_name = "LIST")]
    models: Option<String>,
    /// Model of requests that name none
    #[arg(long, value_name = "NAME")]
    default_model: Option<String>,
    /// What computes: dreamlite, or drill (no weights, for trying clients)
    #[arg(long, value_name = "NAME")]
    engine: Option<String>,
    /// Edge in pixels at which the encoder sees the source: 512 or 256
    #[arg(long, value_name = "PX")]
    condition_size: Option<String>,
    #[command(flatten)]
    precisions: PrecisionArgs,
    /// Most capable instructions that are used: auto, amx, avx512, avx2 or portable
    #[arg(long, value_name = "NAME")]
    instructions: Option<String>,
    /// Threads that compute; 0: one for each core
    #[arg(long, value_name = "N")]
    threads: Option<String>,
    /// Stages on the CPU that compute at one time
    #[arg(long, value_name = "N")]
    cpu_slots: Option<String>,
    /// Generations that may wait or run
    #[arg(long, value_name = "N")]
    max_queue: Option<String>,
    /// Timings and faults of the drill engine, as "denoise_step_ms=200 fault=denoise/2/panic/1"
    #[arg(long, value_name = "SETTINGS")]
    drill: Option<String>,
    /// Folder of LoRAs that requests can name
    #[arg(long, value_name = "DIR")]
    lora_folder: Option<String>,
    /// MiB that models and generations may take together; 0: as much as there is
    #[arg(long, value_name = "MB")]
    memory_limit_mb: Option<String>,
    /// Generations of one client that may wait or run
    #[arg(long, value_name = "N")]
    max_client_queue: Option<String>,
    /// Pictures say in their files how they were made, with the prompts in plain words
    #[arg(long, value_name = "true|false")]
    provenance: Option<String>,
    /// How long sessions and ended generations are kept: none, a number of days, or forever
    #[arg(long, value_name = "DAYS")]
    store_keep: Option<String>,
    /// MiB of pictures in the state folder
    #[arg(long, value_name = "MB")]
    store_quota_mb: Option<String>,
    /// Seconds that running generations get when the daemon is told to stop
    #[arg(long, value_name = "SECONDS")]
    drain_timeout_s: Option<String>,
    /// Seconds that a daemon told to stop goes on accepting, for proxies
    #[arg(long, value_name = "SECONDS")]
    lame_duck_s: Option<String>,
    /// Filter of the log: error, warn, info, debug, trace
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// How log lines look: text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Folder of rotated log files
    #[arg(long, value_name = "DIR")]
    log_dir: Option<String>,
}

impl SettingsArgs {
    /// The flags that are given, by the names of their settings.
    pub(crate) fn flags(&self) -> impl Iterator<Item = (&'static str, String)> {
        let all = [
            ("port", &self.port),
            ("tcp", &self.tcp),
            ("ipv6", &self.ipv6),
            ("allowed_hosts", &self.allowed_hosts),
            ("allowed_origins", &self.allowed_origins),
            ("models", &self.models),
            ("default_model", &self.default_model),
            ("engine", &self.engine),
            ("condition_size", &self.condition_size),
            ("instructions", &self.instructions),
            ("threads", &self.threads),
            ("cpu_slots", &self.cpu_slots),
            ("max_queue", &self.max_queue),
            ("drill", &self.drill),
            ("lora_folder", &self.lora_folder),
            ("memory_limit_mb", &self.memory_limit_mb),
            ("max_client_queue", &self.max_client_queue),
            ("provenance", &self.provenance),
            ("store_keep", &self.store_keep),
            ("store_quota_mb", &self.store_quota_mb),
            ("drain_timeout_s", &self.drain_timeout_s),
            ("lame_duck_s", &self.lame_duck_s),
            ("log", &self.log),
            ("log_format", &self.log_format),
            ("log_dir", &self.log_dir),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).chain(self.precisions.flags())
    }
}
