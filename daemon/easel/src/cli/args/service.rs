//! What `easel service` is given.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// What `service` does.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceAction {
    /// Install the daemon as a service of this user and start it
    ///
    /// Writes a unit of systemd or an agent of launchd that starts this program, with the settings that hold now where they
    /// come from flags, EASEL_ variables or a named configuration file. Installing again replaces what was there.
    Install(InstallArgs),
    /// Stop the service and remove it; pictures, models and settings stay
    Uninstall(ScopeArgs),
    /// Start the service
    Start(ScopeArgs),
    /// Stop the service when running generations are done
    Stop(ScopeArgs),
    /// Show whether it is installed and how it stands
    ///
    /// Exit code 4 when it is not installed, 6 when it does not run.
    Status(ScopeArgs),
    /// Show its log
    Logs {
        #[command(flatten)]
        scope: ScopeArgs,
        /// Lines to show
        #[arg(short = 'n', long, default_value_t = 100)]
        lines: usize,
        /// Go on with the lines that come
        #[arg(short, long)]
        follow: bool,
    },
}

/// Arguments of `service install`.
#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    /// Start it by the first connection instead of with your session
    #[arg(long, conflicts_with = "system")]
    pub(crate) on_demand: bool,
    /// Enable it without starting it now
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Leave out what needs namespaces, for machines that forbid them to users (systemd)
    #[arg(long)]
    pub(crate) relaxed: bool,
    /// Print the files instead of installing them
    #[arg(long)]
    pub(crate) print: bool,
}

/// Which service is meant.
#[derive(Debug, Args)]
pub(crate) struct ScopeArgs {
    /// The service of a shared machine, with a user of its own; needs root (systemd)
    #[arg(long)]
    pub(crate) system: bool,
    /// With --system: install below this folder and call no service manager, for packages
    #[arg(long, value_name = "DIR", requires = "system")]
    pub(crate) root: Option<PathBuf>,
    /// Service manager [default: that of this system]
    #[arg(long, value_name = "NAME")]
    pub(crate) manager: Option<ManagerName>,
}

/// Service managers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ManagerName {
    /// Linux
    Systemd,
    /// macOS
    Launchd,
}
