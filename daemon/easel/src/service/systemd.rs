//! A unit of systemd: of one user, or of the machine.

use std::path::{Path, PathBuf};

use super::manager::{ask, run, show};
use super::{Installation, Manager, ServiceStatus, unit};
use crate::exit::Failure;

const SERVICE: &str = "easel.service";
const SOCKET: &str = "easel.socket";
/// Folder of units that an administrator installs.
const SYSTEM_FOLDER: &str = "/etc/systemd/system";
const SYSUSERS_FILE: &str = "/etc/sysusers.d/easel.conf";

/// systemd as one user has it, or as the machine has it.
#[derive(Clone, Debug)]
pub(crate) struct Systemd {
    is_system: bool,
    folder: PathBuf,
    sysusers: PathBuf,
}

impl Systemd {
    /// The manager of this user, whose configuration is in `config_home`.
    pub(crate) fn of_user(config_home: &Path) -> Self {
        Self { is_system: false, folder: config_home.join("systemd/user"), sysusers: PathBuf::new() }
    }

    /// The manager of the machine, with its files below `root`.
    pub(crate) fn of_machine(root: &Path) -> Self {
        let below = |path: &str| root.join(path.trim_start_matches('/'));
        Self { is_system: true, folder: below(SYSTEM_FOLDER), sysusers: below(SYSUSERS_FILE) }
    }

    fn drop_in(&self) -> PathBuf {
        self.folder.join("easel.service.d/relaxed.conf")
    }

    fn scope(&self) -> &'static str {
        if self.is_system { "--system" } else { "--user" }
    }

    fn systemctl(&self, arguments: &[&str]) -> Result<String, Failure> {
        run("systemctl", &[&[self.scope()], arguments].concat())
    }

    /// The units that are installed.
    fn units(&self) -> Vec<&'static str> {
        [SOCKET, SERVICE].into_iter().filter(|unit| self.folder.join(unit).exists()).collect()
    }
}

impl Manager for Systemd {
    fn name(&self) -> &'static str {
        if self.is_system { "systemd" } else { "systemd, for this user" }
    }

    fn files(&self, installation: &Installation) -> Result<Vec<(PathBuf, String)>, Failure> {
        let template = if self.is_system { unit::SYSTEM } else { unit::USER };
        let mut files = vec![(self.folder.join(SERVICE), unit::service(template, installation)?)];
        if installation.on_demand {
            files.push((self.folder.join(SOCKET), unit::socket(installation)?));
        }
        if installation.relaxed {
            files.push((self.drop_in(), unit::RELAXED.to_owned()));
        }
        if self.is_system {
            files.push((self.sysusers.clone(), unit::SYSUSERS.to_owned()));
        }
        Ok(files)
    }

    fn known_files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.folder.join(SERVICE), self.folder.join(SOCKET), self.drop_in()];
        if self.is_system {
            files.push(self.sysusers.clone());
        }
        files
    }

    fn folders(&self, installation: &Installation) -> Vec<PathBuf> {
        match (self.is_system, installation.socket.parent()) {
            (true, _) => Vec::new(),
            (false, Some(folder)) => vec![installation.state_dir.clone(), folder.to_owned()],
            (false, None) => vec![installation.state_dir.clone()],
        }
    }

    fn enable(&self, installation: &Installation, start: bool) -> Result<(), Failure> {
        if self.is_system {
            run("systemd-sysusers", &["easel.conf"])?;
        }
        self.systemctl(&["daemon-reload"])?;
        let (unit, other) = if installation.on_demand { (SOCKET, SERVICE) } else { (SERVICE, SOCKET) };
        if self.folder.join(other).exists() {
            // An earlier installation may have started in the other way.
            self.systemctl(&["disable", "--now", other])?;
        }
        match start {
            true => self.systemctl(&["enable", "--now", unit]).map(drop),
            false => self.systemctl(&["enable", unit]).map(drop),
        }
    }

    fn disable(&self) -> Result<(), Failure> {
        match self.units() {
            units if units.is_empty() => Ok(()),
            units => self.systemctl(&[&["disable", "--now"][..], &units].concat()).map(drop),
        }
    }

    fn forget(&self) -> Result<(), Failure> {
        self.systemctl(&["daemon-reload"]).map(drop)
    }

    fn start(&self) -> Result<(), Failure> {
        self.systemctl(&["start", SERVICE]).map(drop)
    }

    fn stop(&self) -> Result<(), Failure> {
        // The socket first, or the next connection starts the daemon again.
        let units = self.units();
        let units = if units.is_empty() { vec![SERVICE] } else { units };
        self.systemctl(&[&["stop"][..], &units].concat()).map(drop)
    }

    fn status(&self) -> Result<ServiceStatus, Failure> {
        const WANTED: &str =
            "LoadState,ActiveState,SubState,MainPID,NRestarts,ExecMainStatus,ExecMainExitTimestampMonotonic";
        let told = self.systemctl(&["show", SERVICE, "--property", WANTED])?;
        let value = |key: &str| told.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or("");
        let number = |key: &str| value(key).parse::<u64>().ok();
        let unit = if self.units().contains(&SOCKET) { SOCKET } else { SERVICE };
        let has_ended = number("ExecMainExitTimestampMonotonic").is_some_and(|at| at > 0);
        Ok(ServiceStatus {
            installed: value("LoadState") == "loaded",
            enabled: ask("systemctl", &[self.scope(), "is-enabled", "--quiet", unit])?.ok,
            state: format!("{} ({})", value("ActiveState"), value("SubState")),
            pid: number("MainPID").and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0),
            restarts: number("NRestarts").and_then(|count| u32::try_from(count).ok()),
            last_exit: value("ExecMainStatus").parse().ok().filter(|_| has_ended),
        })
    }

    fn logs(&self, lines: usize, follow: bool) -> Result<(), Failure> {
        let lines = lines.to_string();
        let unit = if self.is_system { "--unit" } else { "--user-unit" };
        let mut arguments = vec!["--quiet", "--lines", &lines, unit, SERVICE];
        match follow {
            true => arguments.push("--follow"),
            false => arguments.push("--no-pager"),
        }
        show("journalctl", &arguments)
    }

    fn remarks(&self) -> Vec<String> {
        match self.is_system {
            true => vec![
                "people of this machine reach it over TCP: `sudo -u easel easel --state-dir /var/lib/easel pair CODE` \
                 gives one a token"
                    .to_owned(),
            ],
            false => {
                vec!["it runs while you are logged in; `loginctl enable-linger` keeps it running after that".to_owned()]
            }
        }
    }
}
