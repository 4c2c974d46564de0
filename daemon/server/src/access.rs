//! Who may call beside the daemon's own user: plugins that the user has paired, and browsers that the user has signed in.
//! This file joins the parts behind one lock that nobody holds while waiting; [`pairing`] has what waits for the user,
//! [`tokens`] what was given, [`browser`] the codes of `easel open`, [`scope`] what each call asks for.

mod browser;
mod file;
mod pairing;
pub(crate) mod scope;
mod secret;
mod tokens;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use easel_domain::limits::MAX_POLL_WAIT;
use easel_domain::{Error, Reason};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use browser::Codes;
pub(crate) use pairing::{Begun, Pending, Wish};
use pairing::{Pairings, Told};
pub(crate) use scope::Scope;
pub(crate) use tokens::{Entry, Shown};
use tokens::{Tokens, new_token};

/// Who calls, once the guard has looked. Stands in the extensions of every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The daemon's own user: over the Unix socket, or with the token of the token file.
    Owner,
    /// A client with a token of its own.
    Token(Arc<Known>),
    /// Nobody who has said so.
    Nobody,
}

/// A client with a token of its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// Name of the token.
    pub(crate) id: String,
    /// What it is good for.
    pub(crate) scopes: Vec<Scope>,
}

/// The page that a call comes from, as the browser says it: empty without a browser. Stands in the extensions of every
/// request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallOrigin(pub(crate) String);

/// What a browser gets for a code: both halves are needed, the cookie that no script can read and the key that no other server
/// on this machine is sent, since cookies know no ports.
pub(crate) struct SignedIn {
    /// The half for the cookie.
    pub(crate) cookie: String,
    /// The half for the page.
    pub(crate) key: String,
}

/// How a poll is answered.
pub(crate) enum Polled {
    /// The user has not answered.
    Pending,
    /// The user said yes: the token, and what is remembered of it.
    Confirmed(String, Box<Entry>),
    /// The user said no.
    Rejected,
}

/// Pairings and tokens of one daemon.
pub(crate) struct Access {
    state: Mutex<State>,
    /// Where the tokens are kept; `None`: they end with the process.
    path: Option<PathBuf>,
    /// Held while the file is written, so that an older state never replaces a newer one.
    saving: Mutex<()>,
    /// Changes with every answer of the user.
    answers: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    pairings: Pairings,
    tokens: Tokens,
    codes: Codes,
}

impl Access {
    /// With the tokens of a file, which is made when the first is given; without one tokens end with the process. Fails when
    /// the file cannot be used.
    pub(crate) fn open(path: Option<PathBuf>) -> std::io::Result<Self> {
        let entries = path.as_deref().map(file::read).transpose()?.unwrap_or_default();
        let state = State { tokens: Tokens::of(entries), ..State::default() };
        Ok(Self { state: Mutex::new(state), path, saving: Mutex::new(()), answers: watch::Sender::new(0) })
    }

    /// Begins a pairing.
    pub(crate) fn begin(&self, wish: Wish) -> Result<Begun, Error> {
        self.lock().pairings.begin(wish, Instant::now().into_std(), SystemTime::now())
    }

    /// Waits up to `wait` for the user's answer to a pairing that was begun from `origin`. A token is given once.
    pub(crate) async fn poll(&self, secret: &str, origin: &str, wait: Duration) -> Result<Polled, Error> {
        let end = Instant::now() + wait.min(MAX_POLL_WAIT);
        let mut answers = self.answers.subscribe();
        loop {
            let told = self.lock().pairings.poll(secret, origin, Instant::now().into_std())?;
            match told {
                Told::Pending => {}
                Told::Rejected => return Ok(Polled::Rejected),
                Told::Confirmed(wish) => {
                    let (token, entry) = self.lock().tokens.give(wish, SystemTime::now())?;
                    self.save()?;
                    return Ok(Polled::Confirmed(token, Box::new(entry)));
                }
            }
            if timeout_at(end, answers.changed()).await.is_err() {
                return Ok(Polled::Pending);
            }
        }
    }

    /// What waits for the user.
    pub(crate) fn pending(&self) -> Vec<Pending> {
        self.lock().pairings.pending(Instant::now().into_std())
    }

    /// The user's answer to a code.
    pub(crate) fn answer(&self, code: &str, yes: bool) -> Result<Pending, Error> {
        let mut state = self.lock();
        if yes {
            state.tokens.check_room()?;
        }
        let pending = state.pairings.answer(code, yes, Instant::now().into_std())?;
        drop(state);
        self.answers.send_modify(|count| *count += 1);
        Ok(pending)
    }

    /// The tokens that were given.
    pub(crate) fn tokens(&self) -> Vec<Entry> {
        self.lock().tokens.all().to_vec()
    }

    /// Makes a token worthless.
    pub(crate) fn revoke(&self, id: &str) -> Result<Entry, Error> {
        let revoked = self.lock().tokens.revoke(id);
        let revoked = revoked.ok_or_else(|| {
            let message = format!("there is no token {id}: `easel tokens` lists them");
            Error::new(Reason::TokenNotFound, message).about("token", id)
        })?;
        self.save()?;
        Ok(revoked)
    }

    /// A code that signs one browser in, and when it expires.
    pub(crate) fn browser_code(&self) -> Result<(String, SystemTime), Error> {
        self.lock().codes.make(Instant::now().into_std(), SystemTime::now())
    }

    /// Signs the browser of a page of `origin` in. A code that comes a second time was seen by somebody else: whoever came
    /// first is signed out again.
    pub(crate) fn sign_in(&self, code: &str, origin: &str) -> Result<SignedIn, Error> {
        let mut state = self.lock();
        let signed = match state.codes.redeem(code, Instant::now().into_std()) {
            Ok(()) => {
                let (cookie, _) = new_token()?;
                let (key, entry) = state.tokens.sign_in(origin, &cookie, SystemTime::now())?;
                state.codes.redeemed_by(code, entry.id);
                Ok(SignedIn { cookie, key })
            }
            Err(first) => {
                let revoked = first.and_then(|id| state.tokens.revoke(&id));
                if revoked.is_some() {
                    tracing::warn!("a code for a browser came twice, the browser that came first is signed out");
                }
                let message = "the code was used already or has expired: run `easel open` again";
                Err(Error::new(Reason::PairingNotFound, message))
            }
        };
        drop(state);
        self.save()?;
        signed
    }

    /// Whose token it is.
    pub(crate) fn identify(&self, shown: &Shown<'_>) -> Result<Option<Arc<Known>>, Error> {
        let found = self.lock().tokens.find(shown, SystemTime::now())?;
        let Some((known, is_news)) = found else { return Ok(None) };
        if is_news && let Err(error) = self.save() {
            tracing::warn!(%error, "the last use of a token is not remembered");
        }
        Ok(Some(Arc::new(known)))
    }

    /// Writes the tokens, which happens for each that is given or revoked and at most once a minute for each that is used.
    fn save(&self) -> Result<(), Error> {
        let Some(path) = &self.path else { return Ok(()) };
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = self.tokens();
        file::write(path, &entries).map_err(|error| {
            tracing::error!(%error, "the tokens cannot be written");
            Error::new(Reason::StoreReadOnly, format!("the tokens cannot be written: {error}"))
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing below panics; what a panic elsewhere left is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Access")
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
