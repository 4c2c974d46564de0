//! The command line: what can be typed, and what each command does with it.

mod access;
pub(crate) mod args;
mod cache;
mod cancel;
mod complete;
mod follow;
mod generate;
mod inspect;
mod interrupt;
mod loras;
mod models;
mod open;
mod picture_file;
mod pictures;
#[cfg(feature = "dreamlite")]
mod quantise;
mod replay;
mod replay_picture;
mod service;
mod session;
mod sessions;
mod show;
mod status;
mod top;

pub(crate) use access::{pair, tokens};
pub(crate) use args::{Cli, Command};
pub(crate) use cache::cache;
pub(crate) use cancel::cancel;
pub(crate) use complete::{completions, man};
pub(crate) use generate::{edit, generate};
pub(crate) use inspect::inspect;
pub(crate) use interrupt::Interrupt;
pub(crate) use loras::loras;
pub(crate) use models::models;
pub(crate) use open::open;
#[cfg(feature = "dreamlite")]
pub(crate) use quantise::{quantise, selftest};
pub(crate) use replay::replay;
pub(crate) use service::{service, service_status};
pub(crate) use session::Connection;
pub(crate) use sessions::{gc, sessions};
pub(crate) use show::{config, token};
pub(crate) use status::status;
pub(crate) use top::top;

use crate::config::Effective;
use crate::output::Output;

/// What every client command is given.
pub(crate) struct Context {
    /// The settings, for a daemon inside of this process.
    pub(crate) effective: Effective,
    /// Where the user says that the daemon is.
    pub(crate) connection: Connection,
    /// The configuration file, when one was named.
    pub(crate) config_file: Option<std::path::PathBuf>,
    /// Where results and messages go.
    pub(crate) output: Output,
}
