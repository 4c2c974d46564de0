//! The property list of launchd with the paths of this machine in it.

use std::path::Path;

use super::{Installation, text_of};
use crate::exit::Failure;

/// Name of the agent.
pub(super) const LABEL: &str = "dev.easel.daemon";
const AGENT: &str = include_str!("../../../../deploy/launchd/dev.easel.daemon.plist");
const ON_DEMAND: &str = include_str!("../../../../deploy/launchd/dev.easel.daemon.on-demand.plist");

/// The door that is left out when no port is fixed.
const TCP: &str = "        <key>tcp</key>
        <dict>
            <key>SockNodeName</key>
            <string>127.0.0.1</string>
            <key>SockServiceName</key>
            <string>7461</string>
        </dict>
";

/// The agent of an installation whose log goes to `logs`.
pub(super) fn agent(installation: &Installation, logs: &Path) -> Result<String, Failure> {
    let template = if installation.on_demand { ON_DEMAND } else { AGENT };
    let arguments =
        installation.arguments.iter().map(|argument| format!("<string>{}</string>\n        ", escaped(argument)));
    let arguments: String = arguments.collect();
    let variable = |(name, value): &(String, String)| {
        format!("        <key>{}</key>\n        <string>{}</string>\n", escaped(name), escaped(value))
    };
    let variables: String = installation.environment.iter().map(variable).collect();
    let text = template
        .replace("@EXE@", &escaped(text_of(&installation.exe)?))
        .replace("@LOGS@", &escaped(text_of(logs)?))
        .replace("@SOCKET@", &escaped(text_of(&installation.socket)?))
        .replace(TCP, &installation.port.map_or_else(String::new, |port| TCP.replace("7461", &port.to_string())))
        .replace("<string>serve</string>", &format!("{arguments}<string>serve</string>"));
    Ok(match variables.is_empty() {
        true => text,
        false => text.replace("<dict/>", &format!("<dict>\n{variables}    </dict>")),
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
