//! `easel service`: what is installed and which manager is called, with managers that write down their calls; the units and
//! property lists themselves, judged by systemd's and Python's own readers.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use crate::world::{Run, World};

/// Programs that write down how they were called, and answer from a file beside them.
struct Managers {
    world: World,
}

impl Managers {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let world = World::new();
        std::fs::create_dir(world.path("bin")).expect("made");
        for program in ["systemctl", "launchctl", "journalctl", "systemd-sysusers"] {
            let script = format!(
                "#!/bin/sh\necho \"{program} $*\" >> '{calls}'\nanswer='{folder}'/answer-$2\n\
                 test ! -e '{folder}/fails' || {{ echo 'no bus' >&2; exit 1; }}\ntest ! -e $answer || cat $answer\n",
                calls = world.path("calls").display(),
                folder = world.path("").display(),
            );
            let path = format!("bin/{program}");
            world.write(&path, script.as_bytes());
            std::fs::set_permissions(world.path(&path), std::fs::Permissions::from_mode(0o755)).expect("set");
        }
        Self { world }
    }

    fn easel(&self, args: &[&str]) -> Run {
        let path = format!("{}:/usr/bin:/bin", self.world.path("bin").display());
        self.world.easel_with_env(args, &[("PATH", &path)])
    }

    fn ok(&self, args: &[&str]) -> Run {
        let run = self.easel(args);
        assert_eq!(run.code, 0, "easel {args:?}: {}", run.stderr);
        run
    }

    /// The calls since the last look.
    fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.world.path("calls")).unwrap_or_default();
        let _ = std::fs::remove_file(self.world.path("calls"));
        text.lines().map(str::to_owned).collect()
    }
}

const UNIT: &str = ".config/systemd/user/easel.service";
const DOORS: &str = ".config/systemd/user/easel.socket";
const AGENT: &str = "Library/LaunchAgents/dev.easel.daemon.plist";

#[test]
fn a_user_unit_is_installed_started_and_taken_away_again() {
    let managers = Managers::new();
    let world = &managers.world;
    assert_eq!(managers.easel(&["service", "status", "--manager", "systemd"]).code, 4, "nothing is installed");
    assert!(managers.calls().is_empty());
    let systemd = |action| managers.ok(&["service", action, "--manager", "systemd"]);
    systemd("install");
    assert_eq!(managers.calls(), ["systemctl --user daemon-reload", "systemctl --user enable --now easel.service"]);
    let unit = String::from_utf8(world.read(UNIT)).expect("text");
    assert!(unit.contains(&format!("ExecStart={} serve\n", env!("CARGO_BIN_EXE_easel"))), "{unit}");
    let state = world.path("state").display().to_string();
    assert!(
        unit.contains(&format!("Environment=EASEL_STATE_DIR={state}\n")),
        "what holds now holds for the service: {unit}"
    );
    assert!(unit.contains(&format!("ReadWritePaths=-{state}\n")), "{unit}");
    assert!(world.exists("state"), "the folder has to be there before it is opened for writing");
    systemd("stop");
    systemd("start");
    assert_eq!(managers.calls(), ["systemctl --user stop easel.service", "systemctl --user start easel.service"]);
    managers.ok(&["service", "logs", "-n", "5", "--manager", "systemd"]);
    assert_eq!(managers.calls(), ["journalctl --quiet --lines 5 --user-unit easel.service --no-pager"]);
    systemd("uninstall");
    assert_eq!(managers.calls(), ["systemctl --user disable --now easel.service", "systemctl --user daemon-reload"]);
    assert!(!world.exists(UNIT) && world.exists("state"));
}

#[test]
fn on_demand_the_doors_are_enabled_and_the_daemon_is_not() {
    let managers = Managers::new();
    managers.ok(&["service", "install", "--on-demand", "--relaxed", "--manager", "systemd"]);
    assert!(managers.world.exists(DOORS));
    assert!(managers.world.exists(".config/systemd/user/easel.service.d/relaxed.conf"));
    let calls = managers.calls();
    assert_eq!(
        calls[1..],
        ["systemctl --user disable --now easel.service", "systemctl --user enable --now easel.socket"]
    );
    managers.ok(&["service", "stop", "--manager", "systemd"]);
    assert_eq!(managers.calls(), ["systemctl --user stop easel.socket easel.service"]);
    // Installed again in the other way, nothing of the first stays.
    managers.ok(&["service", "install", "--no-start", "--manager", "systemd"]);
    assert!(!managers.world.exists(DOORS) && managers.world.exists(UNIT));
    assert!(!managers.world.exists(".config/systemd/user/easel.service.d/relaxed.conf"));
    assert_eq!(managers.calls(), ["systemctl --user daemon-reload", "systemctl --user enable easel.service"]);
}

#[test]
fn the_status_says_what_an_exit_code_means() {
    let managers = Managers::new();
    let show = "LoadState=loaded\nActiveState=failed\nSubState=failed\nMainPID=0\nNRestarts=3\nExecMainStatus=8\n\
                ExecMainExitTimestampMonotonic=17\n";
    managers.ok(&["service", "install", "--manager", "systemd"]);
    managers.world.write("answer-show", show.as_bytes());
    let run = managers.easel(&["service", "status", "--manager", "systemd"]);
    assert_eq!(run.code, 6);
    for expected in ["failed (failed), starts by itself", "started again 3 times", "8: another daemon runs already"] {
        assert!(run.text().contains(expected), "{expected} is missing in {}", run.text());
    }
    let running = show.replace("MainPID=0", "MainPID=77").replace("=failed", "=active");
    managers.world.write("answer-show", running.as_bytes());
    let run = managers.ok(&["service", "status", "--manager", "systemd", "--json"]);
    let status = &run.json()[0];
    assert_eq!((status["pid"].as_u64(), status["last_exit"].as_i64()), (Some(77), Some(8)));
    managers.world.write("fails", b"");
    let run = managers.easel(&["service", "start", "--manager", "systemd"]);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("no bus"), "{}", run.stderr);
}

#[test]
fn a_missing_manager_is_said() {
    let world = World::new();
    let run = world.easel_with_env(&["service", "install", "--manager", "launchd"], &[("PATH", "/nowhere")]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("launchctl is not on this machine"), "{}", run.stderr);
}

#[test]
fn an_agent_is_installed_and_taken_away_again() {
    let managers = Managers::new();
    let world = &managers.world;
    let launchd = |args: &[&str]| managers.ok(&[&["service"], args, &["--manager", "launchd"]].concat());
    launchd(&["install", "--on-demand"]);
    let calls = managers.calls().join("\n");
    for expected in ["bootout gui/", "enable gui/", "bootstrap gui/"] {
        assert!(calls.contains(expected), "{expected} is missing in {calls}");
    }
    let socket = plist(world, AGENT, "agent['Sockets']['unix']['SockPathName']");
    assert_eq!(socket, world.path("state/run/easel.sock").display().to_string());
    assert_eq!(
        plist(world, AGENT, "list(agent['Sockets'])"),
        "['unix']",
        "the port is any, so that there is no fixed one"
    );
    let run = managers.world.easel_with_env(
        &["service", "install", "--on-demand", "--print", "--manager", "launchd"],
        &[("EASEL_PORT", "7470")],
    );
    assert!(run.text().contains("<string>7470</string>"), "{}", run.text());
    assert!(world.exists("state/run"), "launchd does not make the folder of the socket");
    launchd(&["install"]);
    assert_eq!(plist(world, AGENT, "sorted(agent['KeepAlive'].items())"), "[('SuccessfulExit', False)]");
    let program = plist(world, AGENT, "' '.join(agent['ProgramArguments'])");
    let logs = world.path("Library/Logs/easel");
    assert_eq!(program, format!("{} serve --log-dir {}", env!("CARGO_BIN_EXE_easel"), logs.display()));
    assert_eq!(plist(world, AGENT, "agent['EnvironmentVariables']['EASEL_ENGINE']"), "drill");
    for (key, value) in [
        ("Label", "dev.easel.daemon"),
        ("RunAtLoad", "True"),
        ("ProcessType", "Interactive"),
        ("LimitLoadToSessionType", "Aqua"),
        ("ThrottleInterval", "10"),
        ("ExitTimeOut", "60"),
        ("Umask", "63"),
    ] {
        assert_eq!(plist(world, AGENT, &format!("agent['{key}']")), value, "{key}");
    }
    world.write("Library/Logs/easel/easel.log", b"one\ntwo\nthree\n");
    assert_eq!(launchd(&["logs", "-n", "2"]).text(), "two\nthree\n");
    managers.calls();
    launchd(&["uninstall"]);
    assert!(managers.calls().iter().any(|call| call.contains("bootout gui/")), "no server is left behind");
    assert!(!world.exists(AGENT));
}

#[test]
fn the_system_unit_is_installed_below_a_root_without_a_call() {
    let managers = Managers::new();
    let root = managers.world.path("root").display().to_string();
    managers.ok(&["service", "install", "--system", "--root", &root, "--manager", "systemd"]);
    let unit = String::from_utf8(managers.world.read("root/etc/systemd/system/easel.service")).expect("text");
    assert!(unit.contains("User=easel\n") && !unit.contains("EASEL_"), "{unit}");
    assert!(managers.world.exists("root/etc/sysusers.d/easel.conf"));
    managers.ok(&["service", "uninstall", "--system", "--root", &root, "--manager", "systemd"]);
    assert!(!managers.world.exists("root/etc/systemd/system/easel.service"));
    assert!(managers.calls().is_empty());
}

#[test]
fn systemd_accepts_every_key_of_the_units_and_finds_them_closed() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        let why = "systemd-analyze is not on this machine (package systemd)";
        let _ =
            writeln!(std::io::stderr(), "skipped systemd_accepts_every_key_of_the_units_and_finds_them_closed: {why}");
        return;
    }
    let managers = Managers::new();
    let world = &managers.world;
    managers.ok(&["service", "install", "--on-demand", "--relaxed", "--manager", "systemd"]);
    let root = world.path("root").display().to_string();
    managers.ok(&["service", "install", "--system", "--root", &root, "--manager", "systemd"]);
    let user = [UNIT, DOORS].map(|name| world.path(name).display().to_string());
    let system = format!("{root}/etc/systemd/system/easel.service");
    let verify = |scope: &str, units: &[&str]| analyze(world, &[&["verify", "--man=no", scope], units].concat());
    let verified = verify("--user", &[&user[0], &user[1]]) + &verify("--system", &[&system]);
    assert_eq!(verified.trim(), "", "systemd complains");
    let odd = world.path("odd.service").display().to_string();
    world.write("odd.service", b"[Service]\nExecStart=/bin/true\nMemoryHeigh=75%\n");
    assert!(verify("--user", &[&odd]).contains("Unknown key"), "a misspelt key would be noticed");
    // The drop-in takes the sandbox away on purpose: judged is what is installed without it.
    managers.ok(&["service", "install", "--on-demand", "--manager", "systemd"]);
    for (scope, unit, most) in [("--user", &user[0], 3.0), ("--system", &system, 3.0)] {
        let told = analyze(world, &["security", "--offline=true", "--no-pager", scope, unit]);
        let score = told.lines().find_map(|line| line.split_once("Overall exposure level for easel.service: "));
        let score: f32 =
            score.and_then(|(_, rest)| rest.split(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{told}"));
        assert!(score <= most, "{scope} is exposed by {score}");
        let _ = writeln!(std::io::stderr(), "exposure of the unit, {scope}: {score}");
    }
}

/// What systemd-analyze says, on both streams.
fn analyze(world: &World, args: &[&str]) -> String {
    let mut command = world.command_of("systemd-analyze", args);
    let done = command.env("XDG_RUNTIME_DIR", world.path("tmp")).output().expect("it runs");
    assert!(done.status.success() || args[0] == "verify", "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stderr).into_owned() + &String::from_utf8_lossy(&done.stdout)
}

/// An expression over the property list `agent`, as Python's reader sees it.
fn plist(world: &World, name: &str, expression: &str) -> String {
    let path = world.path(name).display().to_string();
    let script = format!("import plistlib; agent = plistlib.load(open({path:?}, 'rb')); print({expression})");
    let run = world.run_in("python3", &["-c", &script]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    run.text().trim_end().to_owned()
}

#[test]
fn paths_with_odd_characters_come_through() {
    let managers = Managers::new();
    let world = &managers.world;
    let odd = world.path("a <b> & \"c\" 100% $d").display().to_string();
    managers.ok(&["--state-dir", &odd, "service", "install", "--manager", "launchd"]);
    assert_eq!(plist(world, AGENT, "agent['ProgramArguments'][2]"), odd);
    managers.ok(&["--state-dir", &odd, "service", "install", "--manager", "systemd"]);
    let unit = String::from_utf8(world.read(UNIT)).expect("text");
    assert!(unit.contains(r#"a <b> & \"c\" 100%% $$d" serve"#), "{unit}");
    if Path::new("/usr/bin/systemd-analyze").exists() {
        assert_eq!(
            analyze(world, &["verify", "--man=no", "--user", world.path(UNIT).to_str().expect("text")]).trim(),
            ""
        );
    }
}
