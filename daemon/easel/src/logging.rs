//! Where log lines go: standard error, filtered, as text or JSON. Prompts and paths are never above debug.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Effective, LogFormat};
use crate::exit::{Exit, Failure};

/// What the daemon inside of a client command tells when nobody has asked for more.
const QUIET: &str = "warn";

/// The log of `easel serve`.
pub(crate) fn of_daemon(effective: &Effective) -> Result<(), Failure> {
    let settings = &effective.settings;
    let builder = fmt().with_env_filter(filter(&settings.log)?).with_writer(std::io::stderr);
    let started = match settings.log_format {
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
        LogFormat::Text => builder.with_ansi(false).finish().try_init(),
    };
    started.map_err(|error| Failure::fault("the log cannot be started", error))
}

/// The log of a daemon inside of a client command: warnings, in the way in which commands speak.
pub(crate) fn of_command(effective: &Effective) -> Result<(), Failure> {
    let wanted = if effective.is_default("log") { QUIET } else { &effective.settings.log };
    let builder = fmt().with_env_filter(filter(wanted)?).with_writer(std::io::stderr);
    let started = builder.with_ansi(false).without_time().with_target(false).finish().try_init();
    started.map_err(|error| Failure::fault("the log cannot be started", error))
}

fn filter(text: &str) -> Result<EnvFilter, Failure> {
    EnvFilter::try_new(text)
        .map_err(|error| Failure::new(Exit::Usage, format!("log: {text:?} is not a filter: {error}")))
}
