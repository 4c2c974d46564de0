//! The runner of this SDK for the scenario corpus (`tests/conformance/README.md`): plays scenarios that come as JSON on the
//! standard input and prints what it saw in the normal form.

mod normal;
mod player;
mod spec;

use std::io::{self, BufRead, Write};

use easel_sdk::Target;
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    say(&json!({"client": "rust", "capabilities": ["streams", "resume", "sessions", "admin"]}))?;
    while let Some(told) = hear()? {
        let target = target(&told["target"]);
        let mut player = player::Player::new(target, spec::text(&told["target"]["client"]));
        for step in told["steps"].as_array().into_iter().flatten() {
            player.step(step).await?;
        }
        say(&json!({"done": true}))?;
    }
    Ok(())
}

fn target(told: &Value) -> Target {
    match told["socket"].as_str() {
        Some(socket) => Target::unix(socket),
        None => Target::tcp(spec::text(&told["address"]), told["token"].as_str().map(str::to_owned)),
    }
}

/// Prints one line.
pub(crate) fn say(line: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// The next line of the driver; `None` at the end.
pub(crate) fn hear() -> Result<Option<Value>, Box<dyn std::error::Error>> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&line)?))
}
