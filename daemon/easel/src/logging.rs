//! Where log lines go: rotated files when a folder is named, the journal when systemd listens, else standard error; filtered, as
//! text or JSON. Prompts and paths are never above debug.

mod journal;
mod rotate;

use std::sync::Mutex;

use easel_domain::limits::{KEPT_LOG_FILES, LOG_FILE_BYTES};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::env::Environment;
use crate::config::{Effective, LogFormat};
use crate::exit::{Exit, Failure};
use crate::platform::make_private_dir;
use journal::Journal;
pub(crate) use rotate::CURRENT;
use rotate::Rotating;

/// What the daemon inside of a client command tells when nobody has asked for more.
const QUIET: &str = "warn";

/// The log of `easel serve`.
pub(crate) fn of_daemon(effective: &Effective, env: &Environment) -> Result<(), Failure> {
    let settings = &effective.settings;
    let is_json = settings.log_format == LogFormat::Json;
    let builder = fmt().with_env_filter(filter(&settings.log)?).with_ansi(false);
    let folder = &settings.log_dir;
    let started = if !folder.as_os_str().is_empty() {
        make_private_dir(folder)?;
        let file = Rotating::open(folder, LOG_FILE_BYTES, KEPT_LOG_FILES);
        let file = file.map_err(|error| Failure::fault(format_args!("the log in {}", folder.display()), error))?;
        let builder = builder.with_writer(Mutex::new(file));
        match is_json {
            true => builder.json().flatten_event(true).finish().try_init(),
            false => builder.finish().try_init(),
        }
    } else {
        let builder = builder.with_writer(std::io::stderr);
        match is_json {
            true => builder.json().flatten_event(true).finish().try_init(),
            false if journal::is_standard_error(env.text("JOURNAL_STREAM")) => {
                builder.event_format(Journal::new()).finish().try_init()
            }
            false => builder.finish().try_init(),
        }
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
