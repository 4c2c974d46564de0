//! A home of its own for each test: folders, environment, the binary, daemons and clients that end with the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for a state; far longer than it takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Folders and environment of one test.
pub(crate) struct World {
    folder: tempfile::TempDir,
    engine: &'static str,
}

/// How a run of the binary ended.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).expect("text")
    }

    /// Every line of the output as JSON.
    pub(crate) fn json(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_engine("drill")
    }

    pub(crate) fn with_engine(engine: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("tmp")).expect("made");
        Self { folder, engine }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("written");
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        self.path(name).metadata().unwrap_or_else(|error| panic!("{name}: {error}")).permissions().mode() & 0o777
    }

    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(name)).expect("a folder");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }

    /// Files that the binary has left in its temporary folder.
    pub(crate) fn temporary_files(&self) -> usize {
        self.list("tmp").len()
    }

    pub(crate) fn easel(&self, args: &[&str]) -> Run {
        self.easel_with_env(args, &[])
    }

    /// Runs the binary and expects success.
    pub(crate) fn ok(&self, args: &[&str]) -> Run {
        let run = self.easel(args);
        assert_eq!(run.code, 0, "easel {args:?}: {}", run.stderr);
        run
    }

    pub(crate) fn easel_with_env(&self, args: &[&str], env: &[(&str, &str)]) -> Run {
        let mut command = self.command(args);
        command.envs(env.iter().copied()).stdin(Stdio::null());
        finished(command.output().expect("the binary runs"))
    }

    pub(crate) fn easel_with_input(&self, args: &[&str], input: &[u8]) -> Run {
        let mut command = self.command(args);
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().expect("the binary runs");
        child.stdin.take().expect("a pipe").write_all(input).expect("written");
        finished(child.wait_with_output().expect("it ends"))
    }

    /// Starts the binary as a client with pipes.
    pub(crate) fn spawn(&self, args: &[&str]) -> Client {
        let mut command = self.command(args);
        let pipes = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().expect("the binary runs");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Client { child, stdout, seen: String::new() }
    }

    /// Starts a daemon and waits until it listens.
    pub(crate) fn serve(&self, args: &[&str]) -> Daemon {
        let mut command = self.command(&[&["serve"], args].concat());
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut log = String::new();
        while !log.contains(" ready ") {
            let read = stderr.read_line(&mut log).expect("text");
            assert!(read > 0, "the daemon ended: {log}");
        }
        // Somebody has to read on, or the daemon's log would fill the pipe and stop it.
        let reader = std::thread::spawn(move || {
            let _ = stderr.read_to_string(&mut log);
            log
        });
        let discovery: Value = serde_json::from_slice(&self.read("state/run/daemon.json")).expect("JSON");
        Daemon { child, reader: Some(reader), discovery }
    }

    /// Asks for the daemon's status until `holds`.
    pub(crate) fn wait_for_status(&self, holds: impl Fn(&Value) -> bool) {
        let begin = Instant::now();
        loop {
            let status = self.ok(&["status", "--json"]).json().remove(0);
            if holds(&status) {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "the status stays {status}");
        }
    }

    /// Runs another program in this world.
    pub(crate) fn run_in(&self, program: &str, args: &[&str]) -> Run {
        finished(self.command_of(program, args).stdin(Stdio::null()).output().expect("the program runs"))
    }

    fn command(&self, args: &[&str]) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_easel"), args)
    }

    pub(crate) fn command_of(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        let home = self.folder.path();
        command.args(args).current_dir(home).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", home).env("TMPDIR", home.join("tmp"));
        command.env("EASEL_STATE_DIR", home.join("state")).env("EASEL_ENGINE", self.engine);
        command.env("EASEL_PORT", "0").env("EASEL_LAME_DUCK_S", "0");
        command
    }
}

/// A running client.
pub(crate) struct Client {
    child: Child,
    stdout: BufReader<ChildStdout>,
    seen: String,
}

impl Client {
    /// Reads until a line contains `part`, and gives that line.
    pub(crate) fn wait_for_line(&mut self, part: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.stdout.read_line(&mut line).expect("text");
            assert!(read > 0, "{part} did not come, but {}", self.seen);
            self.seen.push_str(&line);
            if line.contains(part) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for its end; the output is all of it.
    pub(crate) fn end(mut self) -> Run {
        self.stdout.read_to_string(&mut self.seen).expect("text");
        let mut stderr = String::new();
        self.child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("text");
        let status = self.child.wait().expect("it ends");
        Run { code: status.code().unwrap_or(-1), stdout: self.seen.into_bytes(), stderr }
    }
}

/// A running daemon; killed with the test when the test has not ended it.
pub(crate) struct Daemon {
    child: Child,
    reader: Option<JoinHandle<String>>,
    discovery: Value,
}

impl Daemon {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first TCP address.
    pub(crate) fn address(&self) -> String {
        self.discovery["addresses"][0].as_str().expect("an address").to_owned()
    }

    /// Asks it to stop and gives its exit code.
    pub(crate) fn terminate(mut self) -> i32 {
        signal(self.child.id(), "TERM");
        self.child.wait().expect("it ends").code().unwrap_or(-1)
    }

    /// Asks it to stop and gives all of its log.
    pub(crate) fn terminate_and_read(mut self) -> String {
        signal(self.child.id(), "TERM");
        self.child.wait().expect("it ends");
        self.reader.take().and_then(|reader| reader.join().ok()).unwrap_or_default()
    }

    /// Ends it without a chance to clean up.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already when the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.reader.take().and_then(|reader| reader.join().ok());
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "log of the daemon:\n{}", log.unwrap_or_default());
        }
    }
}

fn finished(output: std::process::Output) -> Run {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Run { code: output.status.code().unwrap_or(-1), stdout: output.stdout, stderr }
}

pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
    assert!(status.expect("kill runs").success(), "process {pid} is gone");
}

/// Width and height of a PNG file, decoded in full.
pub(crate) fn png_size(bytes: &[u8]) -> (u32, u32) {
    let picture = image::load_from_memory_with_format(bytes, image::ImageFormat::Png).expect("a PNG file");
    (picture.width(), picture.height())
}
