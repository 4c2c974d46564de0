//! The only place where this crate reads the environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The variables that matter, as they were when the program began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    variables: BTreeMap<String, String>,
}

/// Variables of other programs that mean something here: those of the service manager, and where the user's folders are.
const OTHERS: [&str; 10] = [
    "NO_COLOR",
    "LISTEN_PID",
    "LISTEN_FDS",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "JOURNAL_STREAM",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
    "XDG_DATA_HOME",
];

impl Environment {
    /// Reads `EASEL_…` and the few others that matter.
    pub(crate) fn read() -> Self {
        let all = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let ours = all.filter(|(name, _)| name.starts_with("EASEL_") || OTHERS.contains(&name.as_str()));
        Self { variables: ours.map(|(name, value)| (name, value.to_string_lossy().into_owned())).collect() }
    }

    /// A made-up environment.
    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { variables: owned.collect() }
    }

    /// The variables of this program, name and value.
    pub(crate) fn ours(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A variable that is set and not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A variable as a path.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    /// Whether colours are unwelcome; see <https://no-color.org>.
    pub(crate) fn no_color(&self) -> bool {
        self.text("NO_COLOR").is_some()
    }
}
