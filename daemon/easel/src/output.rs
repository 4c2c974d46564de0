//! What the program says, and where: results on standard output, everything else on standard error, JSON when asked for.

mod reporter;
pub(crate) mod words;

use std::io::{IsTerminal, Write};

use serde_json::{Value, json};

pub(crate) use reporter::Reporter;

use crate::exit::Failure;

/// How to say things.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    /// Standard error is a terminal: a bar can be drawn.
    terminal: bool,
    color: bool,
}

impl Output {
    /// `json`: one object a line on standard output; `no_color`: no colours even on a terminal.
    pub(crate) fn new(json: bool, no_color: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { json, terminal, color: terminal && !no_color }
    }

    /// Whether JSON is wanted.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Tells the progress of a generation in the way that fits.
    pub(crate) fn reporter(&self) -> Reporter {
        Reporter::new(*self)
    }

    /// A line of the result. A reader that has gone away is no error: `easel models | head -1`.
    pub(crate) fn line(&self, text: &str) {
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// A JSON object of the result.
    pub(crate) fn json(&self, value: &Value) {
        self.line(&value.to_string());
    }

    /// A remark beside the result.
    pub(crate) fn note(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// A remark that helps to get on.
    pub(crate) fn hint(&self, text: &str) {
        self.note(&format!("{} {text}", self.painted("hint:", "36")));
    }

    /// Rows under titles, each column as wide as it needs to be.
    pub(crate) fn table(&self, titles: &[&str], rows: Vec<Vec<String>>) {
        let titles = titles.iter().map(|title| (*title).to_owned()).collect();
        let all: Vec<Vec<String>> = std::iter::once(titles).chain(rows).collect();
        let columns = all[0].len();
        let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<_> = (0..columns).map(width).collect();
        for row in &all {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            self.line(cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }

    /// Why the program ends without success.
    pub(crate) fn failure(&self, failure: &Failure) {
        if self.json {
            self.json(&failure_json(failure));
        }
        if failure.message.is_empty() {
            return;
        }
        self.note(&format!("{} {}", self.painted("error:", "31"), failure.message));
        if let Some(wait) = failure.error.as_ref().and_then(|error| error.retry_after) {
            self.note(&format!("try again in {}", words::duration(wait)));
        }
    }

    fn painted(&self, text: &str, color: &str) -> String {
        if self.color { format!("\x1b[{color};1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn failure_json(failure: &Failure) -> Value {
    let mut object = json!({"event": "error", "exit_code": failure.exit as i32, "message": failure.message});
    if let Some(error) = &failure.error {
        let violations: Vec<_> =
            error.violations.iter().map(|v| json!({"field": v.field, "description": v.description})).collect();
        object["code"] = words::code(error.code).into();
        object["reason"] = error.reason.clone().into();
        object["violations"] = violations.into();
        object["retry_after_ms"] = error.retry_after.map(|wait| wait.as_millis() as u64).into();
        object["resource"] = error.resource.as_ref().map(|r| json!({"kind": r.kind, "name": r.name})).into();
    }
    object
}
