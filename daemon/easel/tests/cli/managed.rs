//! The daemon under a service manager: doors that were opened before it, what it tells the manager, where its log goes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::world::{PATIENCE, World, signal};

/// A manager that listens to what the daemon tells it.
struct Ear(UnixDatagram);

impl Ear {
    fn open(world: &World) -> Self {
        let ear = UnixDatagram::bind(world.path("notify")).expect("bound");
        ear.set_read_timeout(Some(PATIENCE)).expect("set");
        Self(ear)
    }

    /// Waits for a message with `part` and gives it with all that came before.
    fn wait_for(&self, part: &str) -> Vec<String> {
        let mut heard = Vec::new();
        let mut bytes = [0; 4096];
        loop {
            let length = self.0.recv(&mut bytes).unwrap_or_else(|error| panic!("{part}: {error}, heard {heard:?}"));
            heard.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
            if heard.last().is_some_and(|last| last.contains(part)) {
                return heard;
            }
        }
    }
}

fn serve(world: &World, env: &[(&str, &str)]) -> Child {
    let mut command = world.command_of(env!("CARGO_BIN_EXE_easel"), &["serve"]);
    command.env("NOTIFY_SOCKET", world.path("notify")).envs(env.iter().copied());
    command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs")
}

#[test]
fn the_manager_is_told_ready_alive_and_stopping() {
    let world = World::new();
    let ear = Ear::open(&world);
    let mut daemon = serve(&world, &[("WATCHDOG_USEC", "40000"), ("EASEL_DRAIN_TIMEOUT_S", "20")]);
    let first = ear.wait_for("READY=1").remove(0);
    assert!(first.contains("READY=1") && first.contains(&format!("MAINPID={}", daemon.id())), "{first}");
    world.ok(&["status"]);
    ear.wait_for("WATCHDOG=1");
    ear.wait_for("WATCHDOG=1");
    signal(daemon.id(), "TERM");
    let last = ear.wait_for("STOPPING=1").pop().expect("the last");
    assert!(last.contains("EXTEND_TIMEOUT_USEC=30000000"), "lame duck, drain and a margin: {last}");
    assert_eq!(daemon.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_daemon_that_cannot_start_says_why_and_is_not_ready() {
    let world = World::new();
    let _first = world.serve(&[]);
    let ear = Ear::open(&world);
    let mut second = serve(&world, &[]);
    let heard = ear.wait_for("STATUS=a daemon runs already");
    assert!(heard.iter().all(|message| !message.contains("READY=1")), "{heard:?}");
    assert_eq!(second.wait().expect("it ends").code(), Some(8));
}

#[test]
fn a_manager_that_does_not_listen_stops_nobody() {
    let world = World::new();
    let ear = Ear::open(&world);
    let mut daemon = serve(&world, &[("WATCHDOG_USEC", "2000"), ("EASEL_DRILL", "denoise_step_ms=20")]);
    ear.wait_for("READY=1");
    // Hundreds of signs of life come while this runs, more than a socket holds, and nobody reads them.
    for _ in 0..5 {
        world.ok(&["generate", "x", "-o", "o.png", "--force"]);
    }
    signal(daemon.id(), "TERM");
    assert_eq!(daemon.wait().expect("it ends").code(), Some(0));
}

/// systemd's own opener of doors with the real daemon behind it.
struct Activated {
    opener: Child,
    log: BufReader<std::process::ChildStderr>,
}

impl Activated {
    fn start(world: &World, doors: &[&str]) -> Option<Self> {
        if Command::new("systemd-socket-activate").arg("--version").output().is_err() {
            return None;
        }
        let mut args: Vec<&str> = doors.iter().flat_map(|door| ["-l", door]).collect();
        let passed = ["HOME", "TMPDIR", "PATH", "EASEL_STATE_DIR", "EASEL_ENGINE", "EASEL_LAME_DUCK_S", "EASEL_DRILL"];
        args.extend(passed.iter().flat_map(|name| ["-E", name]));
        args.extend([env!("CARGO_BIN_EXE_easel"), "serve"]);
        let mut command = world.command_of("systemd-socket-activate", &args);
        command.env("EASEL_DRILL", "denoise_step_ms=50");
        let mut opener = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
        let mut log = BufReader::new(opener.stderr.take().expect("a pipe"));
        let mut seen = String::new();
        // It says of each door that it listens there, before the daemon exists.
        while seen.matches("Listening on").count() < doors.len() {
            assert!(log.read_line(&mut seen).expect("text") > 0, "{seen}");
        }
        Some(Self { opener, log })
    }

    fn wait_for(&mut self, part: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(part) {
            assert!(self.log.read_line(&mut seen).expect("text") > 0, "{part} is missing in {seen}");
        }
        seen
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        let _ = self.opener.kill();
        let _ = self.opener.wait();
    }
}

#[test]
fn the_first_connection_starts_the_daemon_and_nothing_is_lost() {
    let world = World::new();
    std::fs::create_dir_all(world.path("state/run")).expect("made");
    let socket = world.path("state/run/easel.sock").display().to_string();
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let address = format!("127.0.0.1:{port}");
    let Some(mut activated) = Activated::start(&world, &[&socket, &address]) else {
        let why = "systemd-socket-activate is not on this machine (package systemd)";
        let _ =
            writeln!(std::io::stderr(), "skipped the_first_connection_starts_the_daemon_and_nothing_is_lost: {why}");
        return;
    };
    assert!(!world.exists("state/run/daemon.json"), "no daemon runs yet");
    // The client finds no discovery file, but a socket; the daemon comes up behind it and answers this very call.
    let run = world.ok(&["status", "--json"]);
    assert_eq!(run.json()[0]["draining"], false);
    let seen = activated.wait_for(" ready ");
    assert!(seen.contains(&address) && seen.contains("easel.sock"), "{seen}");
    let found: serde_json::Value = serde_json::from_slice(&world.read("state/run/daemon.json")).expect("JSON");
    assert_eq!(found["port"].as_u64(), Some(u64::from(port)));
    let tcp = world.ok(&["generate", "x", "-o", "tcp.png", "--address", &format!("http://{address}")]);
    assert!(tcp.stderr.contains("wrote tcp.png"), "{}", tcp.stderr);
    let pid = u32::try_from(found["pid"].as_u64().expect("a number")).expect("small");
    assert_eq!(pid, activated.opener.id(), "the opener becomes the daemon, and the doors are its own");
    signal(pid, "TERM");
    assert_eq!(activated.opener.wait().expect("it ends").code(), Some(0));
    assert!(world.exists("state/run/easel.sock"), "the door belongs to the manager");
}

#[test]
fn in_the_journal_lines_have_their_level_in_front_and_no_time() {
    use std::os::unix::fs::MetadataExt as _;
    let world = World::new();
    let file = std::fs::File::create(world.path("journal")).expect("made");
    let metadata = file.metadata().expect("there");
    let stream = format!("{}:{}", metadata.dev(), metadata.ino());
    let ear = Ear::open(&world);
    let mut command = world.command_of(env!("CARGO_BIN_EXE_easel"), &["serve"]);
    command.env("NOTIFY_SOCKET", world.path("notify")).env("JOURNAL_STREAM", stream).stderr(file);
    let mut daemon = command.spawn().expect("the binary runs");
    ear.wait_for("READY=1");
    signal(daemon.id(), "TERM");
    assert_eq!(daemon.wait().expect("it ends").code(), Some(0));
    let text = String::from_utf8(world.read("journal")).expect("text");
    assert!(text.lines().any(|line| line.starts_with("<6>easel::serve: ready ")), "{text}");
}

#[test]
fn a_log_folder_takes_the_log_for_its_owner_alone() {
    let world = World::new();
    let ear = Ear::open(&world);
    let mut daemon = serve(&world, &[("EASEL_LOG_DIR", "logs")]);
    ear.wait_for("READY=1");
    let log = String::from_utf8(world.read("logs/easel.log")).expect("text");
    assert!(log.contains(" ready "), "{log}");
    assert_eq!((world.mode("logs"), world.mode("logs/easel.log")), (0o700, 0o600));
    // The next one cannot start, and its log says why although nobody reads its standard error.
    let begin = Instant::now();
    assert_eq!(serve(&world, &[("EASEL_LOG_DIR", "logs")]).wait().expect("it ends").code(), Some(8));
    assert!(begin.elapsed() < PATIENCE);
    let log = String::from_utf8(world.read("logs/easel.log")).expect("text");
    assert!(log.contains("exit_code=8") && log.contains("a daemon runs already"), "{log}");
    signal(daemon.id(), "TERM");
    assert_eq!(daemon.wait().expect("it ends").code(), Some(0));
}
