//! Talks to a service manager by its own program, and to log files.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::exit::{Exit, Failure};
use crate::output::Output;

/// How a program of the manager ended.
pub(super) struct Answer {
    pub(super) ok: bool,
    pub(super) out: String,
    pub(super) err: String,
}

/// Runs a program of the manager to its end. A failure is an answer; that it is missing is a failure.
pub(super) fn ask(program: &str, arguments: &[&str]) -> Result<Answer, Failure> {
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let done = done.map_err(|error| missing(program, &error))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Answer { ok: done.status.success(), out: text(done.stdout), err: text(done.stderr) })
}

/// As [`ask`], and fails with what the program said when it does not succeed.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<String, Failure> {
    let answer = ask(program, arguments)?;
    match answer.ok {
        true => Ok(answer.out),
        false => {
            let said = [answer.err.trim(), answer.out.trim()].join(" ");
            Err(Failure::fault(format_args!("`{program} {}` failed", arguments.join(" ")), said.trim()))
        }
    }
}

/// Runs a program that shows something by itself.
pub(super) fn show(program: &str, arguments: &[&str]) -> Result<(), Failure> {
    let status = Command::new(program).args(arguments).status().map_err(|error| missing(program, &error))?;
    match status.code() {
        // Ctrl-C is how one leaves a log.
        Some(0 | 130) | None => Ok(()),
        Some(code) => Err(Failure::new(Exit::Fault, format!("`{program}` ended with {code}"))),
    }
}

fn missing(program: &str, error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::NotFound => {
            let what = format!("{program} is not on this machine: keep `easel serve` running in the way that it has");
            Failure::new(Exit::Usage, what)
        }
        _ => Failure::fault(format_args!("{program} cannot be started"), error),
    }
}

/// How often a file that is followed is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Shows the last lines of a log file; with `follow` also those that come, in the file that takes its place when it is rotated.
pub(super) fn follow_file(output: &Output, path: &Path, lines: usize, follow: bool) -> Result<(), Failure> {
    let mut file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::new(Exit::NotFound, format!("{} is not there: it has not run", path.display())),
        _ => Failure::fault(path.display(), error),
    })?;
    let failed = |error: std::io::Error| Failure::fault(path.display(), error);
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().for_each(|line| output.line(line));
    if !follow {
        return Ok(());
    }
    let mut begun = String::new();
    loop {
        std::thread::sleep(LOOK);
        let mut more = String::new();
        let read = file.read_to_string(&mut more).map_err(failed)?;
        begun.push_str(&more);
        while let Some(end) = begun.find('\n') {
            output.line(&begun[..end]);
            begun.drain(..=end);
        }
        let is_shorter = |at: u64| path.metadata().is_ok_and(|now| now.len() < at);
        if read == 0 && is_shorter(file.stream_position().map_err(failed)?) {
            file = File::open(path).map_err(failed)?;
        }
    }
}
