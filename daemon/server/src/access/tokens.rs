//! The tokens that were given, without their secrets: whose they are, what they are good for, and from where they are taken.

use std::time::{Duration, SystemTime};

use easel_domain::limits::{BROWSER_LIFETIME, LAST_USE_RESOLUTION, MAX_BROWSERS, MAX_PAIRED_TOKENS};
use easel_domain::{Error, Reason};
use serde::{Deserialize, Serialize};

use super::Known;
use super::pairing::Wish;
use super::scope::Scope;
use super::secret::{self, Digest};

/// What is remembered of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Name of the token, `tok_…`.
    pub(crate) id: String,
    /// Name of its client.
    pub(crate) name: String,
    /// What it is good for.
    pub(crate) scopes: Vec<Scope>,
    /// The origin from which alone it is taken; `null` for pages without one, empty for programs.
    pub(crate) origin: String,
    /// Of the token.
    sha256: Digest,
    /// Of the cookie that has to come with it; for browsers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cookie_sha256: Option<Digest>,
    created_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_used_ms: Option<u64>,
}

impl Entry {
    /// When it was given.
    pub(crate) fn create_time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.created_ms)
    }

    /// When it was last used, to the minute.
    pub(crate) fn last_use_time(&self) -> Option<SystemTime> {
        self.last_used_ms.map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms))
    }

    /// Whether it belongs to a browser that was signed in.
    pub(crate) fn is_browser(&self) -> bool {
        self.cookie_sha256.is_some()
    }
}

/// What a caller shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    /// The token.
    pub(crate) token: &'a str,
    /// The cookie, if there is one.
    pub(crate) cookie: Option<&'a str>,
    /// The page that calls; `null` for a page without an origin, empty for a program.
    pub(crate) origin: &'a str,
}

/// All tokens, the oldest first.
#[derive(Default)]
pub(crate) struct Tokens(Vec<Entry>);

impl Tokens {
    /// Those that were written.
    pub(crate) fn of(entries: Vec<Entry>) -> Self {
        Self(entries)
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Entry] {
        &self.0
    }

    /// Fails with `QUOTA_EXCEEDED` when no more can be given.
    pub(crate) fn check_room(&self) -> Result<(), Error> {
        if self.0.len() < MAX_PAIRED_TOKENS {
            return Ok(());
        }
        let message = format!("there are {MAX_PAIRED_TOKENS} tokens already: revoke one with `easel tokens revoke ID`");
        Err(Error::new(Reason::QuotaExceeded, message))
    }

    /// Gives a client what the user has confirmed: the token and what is remembered of it.
    pub(crate) fn give(&mut self, wish: Wish, now: SystemTime) -> Result<(String, Entry), Error> {
        self.check_room()?;
        self.push(wish, None, now)
    }

    /// Gives a browser all that the Studio may do: the key for its pages, and what is remembered. `cookie` has to come with it.
    pub(crate) fn sign_in(&mut self, origin: &str, cookie: &str, now: SystemTime) -> Result<(String, Entry), Error> {
        if self.0.iter().filter(|entry| entry.is_browser()).count() >= MAX_BROWSERS {
            let browsers = self.0.iter().filter(|entry| entry.is_browser());
            let oldest = browsers.min_by_key(|entry| entry.last_used_ms.unwrap_or(entry.created_ms));
            if let Some(id) = oldest.map(|entry| entry.id.clone()) {
                self.revoke(&id);
            }
        }
        self.check_room()?;
        let wish = Wish { name: "Studio in a browser".into(), scopes: Scope::ALL.to_vec(), origin: origin.into() };
        self.push(wish, Some(Digest::of(cookie)), now)
    }

    fn push(&mut self, wish: Wish, cookie_sha256: Option<Digest>, now: SystemTime) -> Result<(String, Entry), Error> {
        let (token, sha256) = new_token()?;
        let id = format!("tok_{}", secret::name()?);
        let Wish { name, scopes, origin } = wish;
        let created_ms = milliseconds(now);
        let entry = Entry { id, name, scopes, origin, sha256, cookie_sha256, created_ms, last_used_ms: None };
        self.0.push(entry.clone());
        Ok((token, entry))
    }

    /// Forgets a token.
    pub(crate) fn revoke(&mut self, id: &str) -> Option<Entry> {
        let at = self.0.iter().position(|entry| entry.id == id)?;
        Some(self.0.remove(at))
    }

    /// Whose token it is, and whether its last use is worth writing; `None`: nobody's. Fails when it is used from somewhere
    /// else than where it was given.
    pub(crate) fn find(&mut self, shown: &Shown<'_>, now: SystemTime) -> Result<Option<(Known, bool)>, Error> {
        let digest = Digest::of(shown.token);
        let mut found = None;
        // All are looked at, so that the time tells nothing.
        for entry in &mut self.0 {
            if entry.sha256.matches(&digest) {
                found = Some(entry);
            }
        }
        let Some(entry) = found else { return Ok(None) };
        let elsewhere = |message: &str| Err(Error::new(Reason::Unauthenticated, message));
        if entry.origin != shown.origin {
            return elsewhere("the token was given to a client elsewhere: pair this one with `easel pair`");
        }
        let age = now.duration_since(entry.create_time()).unwrap_or(Duration::ZERO);
        if entry.is_browser() && age >= BROWSER_LIFETIME {
            return elsewhere("this browser was signed in long ago: run `easel open` again");
        }
        if let Some(cookie) = &entry.cookie_sha256
            && !shown.cookie.is_some_and(|given| cookie.matches(&Digest::of(given)))
        {
            return elsewhere("the cookie of this browser is missing: run `easel open` again");
        }
        let now = milliseconds(now);
        let resolution = u64::try_from(LAST_USE_RESOLUTION.as_millis()).unwrap_or(u64::MAX);
        let is_news = entry.last_used_ms.is_none_or(|last| now.abs_diff(last) >= resolution);
        if is_news {
            entry.last_used_ms = Some(now);
        }
        Ok(Some((Known { id: entry.id.clone(), scopes: entry.scopes.clone() }, is_news)))
    }
}

/// A new secret and what is remembered of it.
pub(crate) fn new_token() -> Result<(String, Digest), Error> {
    let token = secret::secret()?;
    let digest = Digest::of(&token);
    Ok((token, digest))
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
