//! Pairings and tokens.

use std::time::Duration;

use easel_domain::Error;
use easel_domain::limits::{MAX_PAIRING_NAME_BYTES, MAX_POLL_WAIT};
use easel_proto::v1;

use super::{Check, time};
use crate::access::scope::is_name;
use crate::access::{Begun, Entry, Pending, Scope, Wish};

/// More scopes than this are not looked at; there are four.
const MAX_SCOPES: usize = 16;

/// Converts a `BeginPairingRequest` of a client at `origin`.
pub(crate) fn begin(wire: v1::BeginPairingRequest, origin: String) -> Result<Wish, Error> {
    let mut check = Check::default();
    if !is_name(&wire.client_name) {
        let right = format!("must be 1 to {MAX_PAIRING_NAME_BYTES} bytes of text without control characters");
        check.wrong("client_name", right);
    }
    if wire.scopes.len() > MAX_SCOPES {
        check.wrong("scopes", format!("has {} values, there are {}", wire.scopes.len(), Scope::PAIRABLE.len()));
    }
    let mut scopes = Vec::new();
    for (index, value) in wire.scopes.into_iter().take(MAX_SCOPES).enumerate() {
        let field = format!("scopes[{index}]");
        match check.known::<v1::Scope>(&field, value, "Scope").map(scope) {
            Some(Some(scope)) if Scope::PAIRABLE.contains(&scope) => scopes.push(scope),
            Some(_) => check.wrong(field, "cannot be paired: take SCOPE_READ, SCOPE_GENERATE or SCOPE_SESSIONS"),
            None => {}
        }
    }
    if scopes.is_empty() {
        scopes = Scope::PAIRABLE.to_vec();
    }
    scopes.sort_unstable();
    scopes.dedup();
    let name = wire.client_name.trim().to_owned();
    check.finish(Wish { name, scopes, origin })
}

/// Converts a `PollPairingRequest`: the secret and the wait.
pub(crate) fn poll(wire: v1::PollPairingRequest) -> Result<(String, Duration), Error> {
    let mut check = Check::default();
    check.filled("pairing_id", &wire.pairing_id);
    let wait = check.duration("wait", wire.wait, Duration::ZERO, MAX_POLL_WAIT).unwrap_or_default();
    check.finish((wire.pairing_id, wait))
}

/// Converts the code of an answer.
pub(crate) fn code(text: String) -> Result<String, Error> {
    let mut check = Check::default();
    check.filled("code", &text);
    check.finish(text)
}

fn scope(wire: v1::Scope) -> Option<Scope> {
    match wire {
        v1::Scope::Unspecified => None,
        v1::Scope::Read => Some(Scope::Read),
        v1::Scope::Generate => Some(Scope::Generate),
        v1::Scope::Sessions => Some(Scope::Sessions),
        v1::Scope::Models => Some(Scope::Models),
    }
}

/// The scopes as the protocol has them.
pub(crate) fn wire_scopes(scopes: &[Scope]) -> Vec<i32> {
    let wire = |scope: &Scope| match scope {
        Scope::Read => v1::Scope::Read,
        Scope::Generate => v1::Scope::Generate,
        Scope::Sessions => v1::Scope::Sessions,
        Scope::Models => v1::Scope::Models,
    };
    scopes.iter().map(|scope| wire(scope).into()).collect()
}

/// A pairing that was begun.
pub(crate) fn wire_begun(begun: Begun) -> v1::BeginPairingResponse {
    v1::BeginPairingResponse {
        pairing_id: begun.secret,
        command: format!("easel pair {}", begun.code),
        code: begun.code,
        expire_time: Some(time::timestamp(begun.expire_time)),
    }
}

/// A pairing as the user sees it.
pub(crate) fn wire_pairing(pending: Pending) -> v1::Pairing {
    v1::Pairing {
        code: pending.code,
        client_name: pending.wish.name,
        scopes: wire_scopes(&pending.wish.scopes),
        origin: pending.wish.origin,
        expire_time: Some(time::timestamp(pending.expire_time)),
    }
}

/// A token without its secret.
pub(crate) fn wire_token(entry: &Entry) -> v1::Token {
    v1::Token {
        token_id: entry.id.clone(),
        client_name: entry.name.clone(),
        scopes: wire_scopes(&entry.scopes),
        origin: entry.origin.clone(),
        create_time: Some(time::timestamp(entry.create_time())),
        last_use_time: entry.last_use_time().map(time::timestamp),
        browser: entry.is_browser(),
    }
}
