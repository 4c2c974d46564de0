//! `easel pair` and `easel tokens`: the user says which clients may call, and takes it back.

use std::io::{BufRead as _, IsTerminal as _};
use std::time::{Duration, SystemTime};

use easel_sdk::proto::{Pairing, Scope, Token};
use serde_json::{Value, json};

use super::Context;
use super::args::{PairArgs, TokensAction};
use super::session::Session;
use crate::exit::{Exit, Failure};
use crate::output::words;

const NEED: &str = "`easel serve` starts the daemon that plugins pair with";

/// Lists what waits for the user, or answers a code.
pub(crate) async fn pair(context: &Context, args: &PairArgs) -> Result<(), Failure> {
    let session = Session::open_running(context, NEED).await?;
    let (client, output) = (&session.client, &context.output);
    let waiting = client.pairings().await?;
    let Some(code) = &args.code else {
        if output.is_json() {
            waiting.iter().for_each(|pairing| output.json(&pairing_json(pairing)));
        } else if waiting.is_empty() {
            output.line("no client waits: let the plugin pair, it shows the code");
        } else {
            output.table(&["code", "client", "from", "wants", "expires in"], waiting.iter().map(pairing_row).collect());
        }
        return Ok(());
    };
    if !args.reject && !args.yes && std::io::stdin().is_terminal() {
        let same = |shown: &str| letters(shown) == letters(code);
        if let Some(pairing) = waiting.iter().find(|pairing| same(&pairing.code)) {
            agree(context, pairing)?;
        }
    }
    let pairing = client.answer_pairing(code, !args.reject).await?;
    if output.is_json() {
        let mut object = pairing_json(&pairing);
        object["confirmed"] = (!args.reject).into();
        output.json(&object);
        return Ok(());
    }
    let name = &pairing.client_name;
    match args.reject {
        true => output.line(&format!("{name} may not call")),
        false => {
            let scopes = scopes(pairing.scopes());
            output.line(&format!("{name} may call now, for {scopes}; `easel tokens` shows it and takes it back"));
        }
    }
    Ok(())
}

/// Asks on the terminal: the code alone does not say who is behind it.
fn agree(context: &Context, pairing: &Pairing) -> Result<(), Failure> {
    let (from, scopes) = (from(&pairing.origin), scopes(pairing.scopes()));
    let question =
        format!("\"{}\", {from}, wants to call this daemon for {scopes}. Allow it? [y/N]", pairing.client_name);
    context.output.note(&question);
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Failure::fault("the answer cannot be read", error))?;
    match matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        true => Ok(()),
        false => Err(Failure::new(Exit::Interrupted, "nothing was confirmed; --reject tells the client so")),
    }
}

/// Lists the tokens that were given, or revokes some.
pub(crate) async fn tokens(context: &Context, action: Option<TokensAction>) -> Result<(), Failure> {
    let session = Session::open_running(context, NEED).await?;
    let (client, output) = (&session.client, &context.output);
    if let Some(TokensAction::Revoke { ids, all }) = action {
        let ids = match all {
            true => client.tokens().await?.into_iter().map(|token| token.token_id).collect(),
            false => ids,
        };
        for id in ids {
            let token = client.revoke_token(id).await?;
            match output.is_json() {
                true => output.json(&token_json(&token)),
                false => output.line(&format!("revoked {} ({})", token.token_id, token.client_name)),
            }
        }
        return Ok(());
    }
    let tokens = client.tokens().await?;
    if output.is_json() {
        tokens.iter().for_each(|token| output.json(&token_json(token)));
    } else if tokens.is_empty() {
        output.line("no client has a token of its own");
    } else {
        let rows = tokens.iter().map(token_row).collect();
        output.table(&["token", "client", "from", "good for", "given", "last used"], rows);
    }
    Ok(())
}

fn letters(code: &str) -> String {
    code.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase()).collect()
}

fn pairing_row(pairing: &Pairing) -> Vec<String> {
    let left = pairing.expire_time.and_then(|time| SystemTime::try_from(time).ok());
    let left = left.and_then(|time| time.duration_since(SystemTime::now()).ok()).unwrap_or(Duration::ZERO);
    vec![
        pairing.code.clone(),
        pairing.client_name.clone(),
        from(&pairing.origin),
        scopes(pairing.scopes()),
        words::duration(left),
    ]
}

fn token_row(token: &Token) -> Vec<String> {
    vec![
        token.token_id.clone(),
        token.client_name.clone(),
        from(&token.origin),
        scopes(token.scopes()),
        ago(token.create_time),
        token.last_use_time.map_or_else(|| "never".to_owned(), |time| ago(Some(time))),
    ]
}

fn ago(time: Option<prost_types::Timestamp>) -> String {
    let time = time.and_then(|time| SystemTime::try_from(time).ok()).unwrap_or(SystemTime::UNIX_EPOCH);
    let passed = SystemTime::now().duration_since(time).unwrap_or(Duration::ZERO).as_secs();
    match passed {
        0..120 => "just now".to_owned(),
        120..7200 => format!("{} min ago", passed / 60),
        7200..172_800 => format!("{} h ago", passed / 3600),
        _ => format!("{} days ago", passed / 86_400),
    }
}

fn from(origin: &str) -> String {
    match origin {
        "" => "a program".to_owned(),
        "null" => "a page without an address".to_owned(),
        page => format!("a page of {page}"),
    }
}

fn names(scopes: impl Iterator<Item = Scope>) -> Vec<String> {
    scopes.map(|scope| words::lower(scope.as_str_name(), "SCOPE_")).collect()
}

fn scopes(scopes: impl Iterator<Item = Scope>) -> String {
    names(scopes).join(", ")
}

fn pairing_json(pairing: &Pairing) -> Value {
    json!({
        "code": pairing.code,
        "client_name": pairing.client_name,
        "origin": pairing.origin,
        "scopes": names(pairing.scopes()),
        "expire_time_s": pairing.expire_time.map(|time| time.seconds),
    })
}

fn token_json(token: &Token) -> Value {
    json!({
        "token_id": token.token_id,
        "client_name": token.client_name,
        "origin": token.origin,
        "scopes": names(token.scopes()),
        "browser": token.browser,
        "create_time_s": token.create_time.map(|time| time.seconds),
        "last_use_time_s": token.last_use_time.map(|time| time.seconds),
    })
}
