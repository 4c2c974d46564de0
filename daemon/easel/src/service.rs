//! The daemon as a service: what is installed where, and which service manager is asked. The units and property lists stand in
//! `deploy/` and are compiled in.

mod launchd;
mod manager;
mod plist;
mod systemd;
mod unit;

use std::path::{Path, PathBuf};

pub(crate) use launchd::Launchd;
pub(crate) use systemd::Systemd;

use crate::exit::Failure;

/// What an installation is made of.
#[derive(Clone, Debug)]
pub(crate) struct Installation {
    /// The program, absolute.
    pub(crate) exe: PathBuf,
    /// Arguments in front of `serve`.
    pub(crate) arguments: Vec<String>,
    /// Variables that the service is given.
    pub(crate) environment: Vec<(String, String)>,
    /// State folder that the service will have.
    pub(crate) state_dir: PathBuf,
    /// Socket that the service will have.
    pub(crate) socket: PathBuf,
    /// First TCP port of the service; `None`: no fixed one.
    pub(crate) port: Option<u16>,
    /// Started by the first connection instead of with the session.
    pub(crate) on_demand: bool,
    /// Without what needs namespaces.
    pub(crate) relaxed: bool,
}

/// How a service stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceStatus {
    /// Whether the manager knows it.
    pub(crate) installed: bool,
    /// Whether it starts by itself.
    pub(crate) enabled: bool,
    /// As the manager calls it.
    pub(crate) state: String,
    /// Process, when it runs.
    pub(crate) pid: Option<u32>,
    /// Times that the manager started it again.
    pub(crate) restarts: Option<u32>,
    /// Exit code of the last run, when one has ended.
    pub(crate) last_exit: Option<i32>,
}

/// One service manager; `program` calls go through [`manager::run`].
pub(crate) trait Manager {
    /// Name for a person.
    fn name(&self) -> &'static str;
    /// The files of an installation, with their content.
    fn files(&self, installation: &Installation) -> Result<Vec<(PathBuf, String)>, Failure>;
    /// Files that an installation may have left.
    fn known_files(&self) -> Vec<PathBuf>;
    /// Folders that have to be there before the service starts.
    fn folders(&self, installation: &Installation) -> Vec<PathBuf>;
    /// Makes the manager read the files, enables the service and starts it when `start` says so.
    fn enable(&self, installation: &Installation, start: bool) -> Result<(), Failure>;
    /// Stops the service and forgets it.
    fn disable(&self) -> Result<(), Failure>;
    /// Called when the files have gone.
    fn forget(&self) -> Result<(), Failure>;
    /// Starts it.
    fn start(&self) -> Result<(), Failure>;
    /// Stops it, which lets running generations finish.
    fn stop(&self) -> Result<(), Failure>;
    /// How it stands.
    fn status(&self) -> Result<ServiceStatus, Failure>;
    /// Shows the last `lines` of its log, and goes on when `follow` says so.
    fn logs(&self, lines: usize, follow: bool) -> Result<(), Failure>;
    /// What is worth knowing after an installation.
    fn remarks(&self) -> Vec<String>;
}

/// A path as text: units and property lists have no other kind.
fn text_of(path: &Path) -> Result<&str, Failure> {
    use crate::exit::Exit;
    path.to_str().ok_or_else(|| Failure::new(Exit::Usage, format!("{} is not valid UTF-8", path.display())))
}
