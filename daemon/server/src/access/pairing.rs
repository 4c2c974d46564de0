//! Pairings that wait for the user. Decides only: it is given the time, and waits for nobody.

use std::time::{Duration, Instant, SystemTime};

use easel_domain::limits::{
    MAX_PENDING_PAIRINGS, MAX_PENDING_PAIRINGS_OF_ONE, MAX_WRONG_PAIRING_CODES, PAIRING_BURST, PAIRING_CODE_LETTERS,
    PAIRING_INTERVAL, PAIRING_LIFETIME,
};
use easel_domain::{Error, Reason};

use super::scope::Scope;
use super::secret::{self, Digest};

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// The name that it gives itself.
    pub(crate) name: String,
    /// What it wants to do.
    pub(crate) scopes: Vec<Scope>,
    /// The page that it is; `null` for a page without an origin, empty for a program.
    pub(crate) origin: String,
}

/// What the client is told at once.
#[derive(Debug)]
pub(crate) struct Begun {
    /// For its polls.
    pub(crate) secret: String,
    /// For the user, with its hyphen.
    pub(crate) code: String,
    /// When both are worth nothing any more.
    pub(crate) expire_time: SystemTime,
}

/// What the user is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    /// The code, with its hyphen.
    pub(crate) code: String,
    /// Who asks for what.
    pub(crate) wish: Wish,
    /// When it expires.
    pub(crate) expire_time: SystemTime,
}

/// What a poll finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Pending,
    Confirmed(Wish),
    Rejected,
}

/// All pairings that are under way, the oldest first.
#[derive(Default)]
pub(crate) struct Pairings {
    rows: Vec<Row>,
    /// Codes that were answered and that nobody has, since the last right one.
    wrong: u32,
    /// Pairings that may not be begun at once any more, and when that was counted.
    spent: Option<(u32, Instant)>,
}

struct Row {
    secret: Digest,
    letters: String,
    wish: Wish,
    end: Instant,
    expire_time: SystemTime,
    answer: Option<bool>,
}

impl Pairings {
    /// Begins one. Fails with `QUOTA_EXCEEDED` when too many are begun or pending.
    pub(crate) fn begin(&mut self, wish: Wish, now: Instant, clock: SystemTime) -> Result<Begun, Error> {
        self.forget_old(now);
        self.spend(now)?;
        let of_one = self.rows.iter().filter(|row| row.wish.origin == wish.origin).count();
        if self.rows.len() >= MAX_PENDING_PAIRINGS || of_one >= MAX_PENDING_PAIRINGS_OF_ONE {
            let free = self.rows.iter().map(|row| row.end.saturating_duration_since(now)).min();
            return Err(too_many("wait for the user's answer", free.unwrap_or(PAIRING_INTERVAL)));
        }
        let secret = secret::secret()?;
        let mut letters = secret::letters(PAIRING_CODE_LETTERS)?;
        while self.rows.iter().any(|row| row.letters == letters) {
            letters = secret::letters(PAIRING_CODE_LETTERS)?;
        }
        let expire_time = clock + PAIRING_LIFETIME;
        let code = shown(&letters);
        let digest = Digest::of(&secret);
        self.rows.push(Row { secret: digest, letters, wish, end: now + PAIRING_LIFETIME, expire_time, answer: None });
        Ok(Begun { secret, code, expire_time })
    }

    /// How the pairing with this secret stands, asked from where it was begun. One that is answered is forgotten by this.
    pub(crate) fn poll(&mut self, secret: &str, origin: &str, now: Instant) -> Result<Told, Error> {
        self.forget_old(now);
        let digest = Digest::of(secret);
        let at = self.rows.iter().position(|row| row.secret.matches(&digest) && row.wish.origin == origin);
        let Some(at) = at else {
            let message = "there is no such pairing: it has expired or its answer was told already, begin another";
            return Err(Error::new(Reason::PairingNotFound, message));
        };
        match self.rows[at].answer {
            None => Ok(Told::Pending),
            Some(true) => Ok(Told::Confirmed(self.rows.remove(at).wish)),
            Some(false) => {
                self.rows.remove(at);
                Ok(Told::Rejected)
            }
        }
    }

    /// What waits for the user.
    pub(crate) fn pending(&mut self, now: Instant) -> Vec<Pending> {
        self.forget_old(now);
        self.rows.iter().filter(|row| row.answer.is_none()).map(Row::pending).collect()
    }

    /// The user's answer to a code. Too many wrong ones, and all that waits is forgotten.
    pub(crate) fn answer(&mut self, code: &str, yes: bool, now: Instant) -> Result<Pending, Error> {
        self.forget_old(now);
        let letters: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
        let letters = letters.to_ascii_uppercase();
        if let Some(row) = self.rows.iter_mut().find(|row| row.letters == letters && row.answer.is_none()) {
            row.answer = Some(yes);
            self.wrong = 0;
            return Ok(row.pending());
        }
        self.wrong += 1;
        let mut message = "no client shows this code: it has expired, was answered already or is mistyped".to_owned();
        if self.wrong >= MAX_WRONG_PAIRING_CODES {
            self.wrong = 0;
            self.rows.clear();
            message.push_str("; too many wrong codes came, every client has to begin again");
        }
        Err(Error::new(Reason::PairingNotFound, message))
    }

    fn forget_old(&mut self, now: Instant) {
        self.rows.retain(|row| row.end > now);
    }

    /// A bucket of [`PAIRING_BURST`] that fills by one each [`PAIRING_INTERVAL`].
    fn spend(&mut self, now: Instant) -> Result<(), Error> {
        let (spent, since) = self.spent.unwrap_or((0, now));
        let passed = now.saturating_duration_since(since);
        let back = u32::try_from(passed.as_nanos() / PAIRING_INTERVAL.as_nanos()).unwrap_or(u32::MAX);
        let (spent, since) = if back >= spent { (0, now) } else { (spent - back, since + PAIRING_INTERVAL * back) };
        if spent >= PAIRING_BURST {
            self.spent = Some((spent, since));
            return Err(too_many("were begun", (since + PAIRING_INTERVAL).saturating_duration_since(now)));
        }
        self.spent = Some((spent + 1, since));
        Ok(())
    }
}

impl Row {
    fn pending(&self) -> Pending {
        Pending { code: shown(&self.letters), wish: self.wish.clone(), expire_time: self.expire_time }
    }
}

fn too_many(what: &str, wait: Duration) -> Error {
    Error::new(Reason::QuotaExceeded, format!("too many pairings {what}: try again later")).retry_after(wait)
}

/// The letters of a code in two halves.
fn shown(letters: &str) -> String {
    let (left, right) = letters.split_at(letters.len() / 2);
    format!("{left}-{right}")
}

#[cfg(test)]
#[path = "pairing_tests.rs"]
mod tests;
