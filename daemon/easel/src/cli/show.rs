//! `easel config` and `easel token`: what this machine has, without a daemon.

use serde_json::{Value, json};

use super::Context;
use crate::exit::Failure;
use crate::token;

/// Prints the effective settings and where each came from.
pub(crate) fn config(context: &Context) {
    let (shown, output) = (&context.effective.shown, &context.output);
    for warning in &context.effective.warnings {
        output.hint(warning);
    }
    if output.is_json() {
        for row in shown {
            output.json(&json!({"key": row.key, "value": row.value, "origin": row.origin, "help": row.help}));
        }
        return;
    }
    let plain = |value: &Value| match value {
        Value::String(text) if !text.is_empty() => text.clone(),
        other => other.to_string(),
    };
    let rows = shown.iter().map(|row| vec![row.key.clone(), plain(&row.value), row.origin.clone()]).collect();
    output.table(&["key", "value", "from"], rows);
}

/// Prints the token, making it when there is none.
pub(crate) fn token(context: &Context) -> Result<(), Failure> {
    let token = token::ensure(&context.effective.settings.token_file)?;
    match context.output.is_json() {
        true => context.output.json(&json!({"token": token})),
        false => context.output.line(&token),
    }
    Ok(())
}
