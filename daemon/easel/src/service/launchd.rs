//! An agent of launchd, for one user of a Mac.

use std::path::{Path, PathBuf};

use super::manager::{ask, follow_file, run};
use super::plist::{LABEL, agent};
use super::{Installation, Manager, ServiceStatus};
use crate::exit::Failure;
use crate::logging;
use crate::output::Output;
use crate::platform::uid;

/// launchd in the session of this user.
#[derive(Clone, Debug)]
pub(crate) struct Launchd {
    plist: PathBuf,
    logs: PathBuf,
    domain: String,
    output: Output,
}

impl Launchd {
    /// launchd of the user whose home is `home`.
    pub(crate) fn of_user(home: &Path, output: Output) -> Self {
        Self {
            plist: home.join("Library/LaunchAgents").join(format!("{LABEL}.plist")),
            logs: home.join("Library/Logs/easel"),
            domain: format!("gui/{}", uid()),
            output,
        }
    }

    fn target(&self) -> String {
        format!("{}/{LABEL}", self.domain)
    }

    fn is_loaded(&self) -> Result<bool, Failure> {
        Ok(ask("launchctl", &["print", &self.target()])?.ok)
    }

    /// launchd starts at once what says RunAtLoad.
    fn load(&self) -> Result<(), Failure> {
        run("launchctl", &["bootstrap", &self.domain, super::text_of(&self.plist)?]).map(drop)
    }
}

impl Manager for Launchd {
    fn name(&self) -> &'static str {
        "launchd"
    }

    fn files(&self, installation: &Installation) -> Result<Vec<(PathBuf, String)>, Failure> {
        Ok(vec![(self.plist.clone(), agent(installation, &self.logs)?)])
    }

    fn known_files(&self) -> Vec<PathBuf> {
        vec![self.plist.clone()]
    }

    fn folders(&self, installation: &Installation) -> Vec<PathBuf> {
        let doors = installation.socket.parent().map(Path::to_owned);
        [self.logs.clone(), installation.state_dir.clone()].into_iter().chain(doors).collect()
    }

    fn enable(&self, _installation: &Installation, start: bool) -> Result<(), Failure> {
        if self.is_loaded()? {
            run("launchctl", &["bootout", &self.target()])?;
        }
        run("launchctl", &["enable", &self.target()])?;
        if start { self.load() } else { Ok(()) }
    }

    fn disable(&self) -> Result<(), Failure> {
        if self.is_loaded()? {
            run("launchctl", &["bootout", &self.target()])?;
        }
        Ok(())
    }

    fn forget(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn start(&self) -> Result<(), Failure> {
        match self.is_loaded()? {
            true => run("launchctl", &["kickstart", &self.target()]).map(drop),
            false => self.load(),
        }
    }

    fn stop(&self) -> Result<(), Failure> {
        // The daemon ends with 0, after which launchd lets it be.
        run("launchctl", &["kill", "SIGTERM", &self.target()]).map(drop)
    }

    fn status(&self) -> Result<ServiceStatus, Failure> {
        let told = ask("launchctl", &["print", &self.target()])?;
        let value = |key: &str| told.out.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(" = "));
        let number = |key: &str| value(key).and_then(|text| text.split(':').next()?.trim().parse::<i64>().ok());
        Ok(ServiceStatus {
            installed: self.plist.exists(),
            enabled: told.ok,
            state: value("state").unwrap_or("not loaded").to_owned(),
            pid: number("pid").and_then(|pid| u32::try_from(pid).ok()),
            restarts: None,
            last_exit: number("last exit code").and_then(|code| i32::try_from(code).ok()),
        })
    }

    fn logs(&self, lines: usize, follow: bool) -> Result<(), Failure> {
        follow_file(&self.output, &self.logs.join(logging::CURRENT), lines, follow)
    }

    fn remarks(&self) -> Vec<String> {
        vec![format!("its log is in {}", self.logs.display())]
    }
}
