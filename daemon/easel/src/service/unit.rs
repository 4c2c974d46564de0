//! The units of systemd with the paths of this machine in them.

use std::fmt::Write as _;

use super::{Installation, text_of};
use crate::exit::{Exit, Failure};

/// The unit of one user.
pub(super) const USER: &str = include_str!("../../../../deploy/systemd/user/easel.service");
/// The doors of one user.
pub(super) const SOCKET: &str = include_str!("../../../../deploy/systemd/user/easel.socket");
/// The unit of a shared machine.
pub(super) const SYSTEM: &str = include_str!("../../../../deploy/systemd/system/easel.service");
/// The user of the unit of a shared machine.
pub(super) const SYSUSERS: &str = include_str!("../../../../deploy/systemd/easel.sysusers");
/// Takes away what needs namespaces.
pub(super) const RELAXED: &str = include_str!("../../../../deploy/systemd/relaxed.conf");

const EXE: &str = "/usr/bin/easel";
const STATE: &str = "ReadWritePaths=-%h/.local/state/easel";

/// A service with the program, its arguments, its variables and its state folder.
pub(super) fn service(template: &str, installation: &Installation) -> Result<String, Failure> {
    let mut command = quoted(text_of(&installation.exe)?, true)?;
    for argument in &installation.arguments {
        let _ = write!(command, " {}", quoted(argument, true)?);
    }
    let mut text = template.replace(&format!("ExecStart={EXE}"), &format!("ExecStart={command}"));
    let mut extra = String::new();
    for (name, value) in &installation.environment {
        let _ = writeln!(extra, "Environment={}", quoted(&format!("{name}={value}"), false)?);
    }
    text = text.replace("\nRestart=on-failure", &format!("\n{extra}Restart=on-failure"));
    let state = quoted(&format!("-{}", text_of(&installation.state_dir)?), false)?;
    Ok(text.replace(STATE, &format!("ReadWritePaths={state}")))
}

/// The doors at the places of the settings.
pub(super) fn socket(installation: &Installation) -> Result<String, Failure> {
    let path = text_of(&installation.socket)?.replace('%', "%%");
    plain(&path)?;
    let text = SOCKET.replace("ListenStream=%t/easel/easel.sock", &format!("ListenStream={path}"));
    let doors = installation.port.map_or_else(String::new, |port| {
        format!(
            "ListenStream=127.0.0.1:{port}
"
        )
    });
    Ok(text.replace(
        "ListenStream=127.0.0.1:7461
",
        &doors,
    ))
}

/// A word of a unit, with everything in it that means something to systemd made plain. A command also replaces variables.
fn quoted(word: &str, is_command: bool) -> Result<String, Failure> {
    plain(word)?;
    let mut text = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    if is_command {
        text = text.replace('$', "$$");
    }
    let is_simple = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-%=:@".contains(&byte));
    Ok(if is_simple { text } else { format!("\"{text}\"") })
}

fn plain(word: &str) -> Result<(), Failure> {
    match word.chars().any(char::is_control) {
        true => Err(Failure::new(Exit::Usage, format!("{word:?} has a control character: rename it"))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation(exe: &str) -> Installation {
        Installation {
            exe: exe.into(),
            arguments: vec!["--config".to_owned(), "/a b/c.toml".to_owned()],
            environment: vec![("EASEL_LOG".to_owned(), "easel_runtime=debug,info".to_owned())],
            state_dir: "/home/a b/100%/easel".into(),
            socket: "/run/100%/easel.sock".into(),
            port: Some(9000),
            on_demand: false,
            relaxed: false,
        }
    }

    #[test]
    fn what_systemd_would_read_in_its_own_way_is_made_plain() {
        let text = service(USER, &installation("/opt/my $\"easel\" 50%/easel")).expect("plain");
        let wanted = r#"ExecStart="/opt/my $$\"easel\" 50%%/easel" --config "/a b/c.toml" serve"#;
        assert!(text.contains(wanted), "{text}");
        assert!(text.contains("Environment=\"EASEL_LOG=easel_runtime=debug,info\"\n"), "{text}");
        assert!(text.contains("ReadWritePaths=\"-/home/a b/100%%/easel\"\n"), "{text}");
        assert!(service(USER, &installation("/opt/a\nExecStartPre=/bin/rm")).is_err());
        let doors = socket(&installation("/x")).expect("plain");
        assert!(doors.contains("ListenStream=/run/100%%/easel.sock\nListenStream=127.0.0.1:9000\n"), "{doors}");
        let without = socket(&Installation { port: None, ..installation("/x") }).expect("plain");
        assert!(!without.contains("127.0.0.1"), "{without}");
    }

    #[test]
    fn every_place_that_is_replaced_is_in_the_templates() {
        for template in [USER, SYSTEM] {
            assert_eq!(template.matches(&format!("ExecStart={EXE}")).count(), 1);
            assert_eq!(template.matches("\nRestart=on-failure").count(), 1);
        }
        assert_eq!(USER.matches(STATE).count(), 1);
        assert!(SOCKET.contains("ListenStream=%t/easel/easel.sock") && SOCKET.contains("127.0.0.1:7461"));
    }
}
