//! A view of a session: as it stands, its changes, and the events of its generations.

use std::time::Duration;

use easel_domain::event::Watched;
use easel_domain::session::Session;
use easel_domain::{Error, GenerationId, Reason, SessionId, limits};
use futures_util::future::select_all;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};

use super::Runtime;
use crate::Watch;
use crate::store::News;

/// What a viewer of a session is given next.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionNews {
    /// The session as it stands: first of all, and after each change; the newest wins.
    Session(Box<Session>),
    /// An event or a preview of one of its generations.
    Generation(GenerationId, Watched),
    /// It was deleted; nothing more comes.
    Deleted,
}

/// See the module. As long as somebody asks for what comes next, the live work of the session goes on.
pub struct SessionWatch {
    runtime: Runtime,
    id: SessionId,
    news: watch::Receiver<News>,
    /// The session has to be read anew.
    stale: bool,
    /// Generations that were accepted, as far as they are watched.
    accepted: u64,
    watches: Vec<Watch>,
    renewal: Interval,
    over: bool,
}

impl Runtime {
    /// Views a session. A viewer who comes back says with `seen` which state event of which generations it had last; what
    /// ended in the meantime is told then as well, and ids that are not of this session are passed over. Fails with
    /// `SessionNotFound`, or `QuotaExceeded` when it has as many viewers as it may.
    pub async fn watch_session(&self, id: &SessionId, seen: &[(GenerationId, u64)]) -> Result<SessionWatch, Error> {
        // From here on nothing is missed.
        let news = self.0.store.board().follow(id);
        let mut renewal = tokio::time::interval(RENEWAL);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let accepted = news.borrow().accepted;
        let mut view = SessionWatch {
            runtime: self.clone(),
            id: id.clone(),
            news,
            stale: true,
            accepted,
            watches: Vec::new(),
            renewal,
            over: false,
        };
        if self.0.store.board().viewers(id) > limits::MAX_SESSION_VIEWERS {
            let message =
                format!("{} streams view the session already, more are not taken", limits::MAX_SESSION_VIEWERS);
            return Err(Error::new(Reason::QuotaExceeded, message).retry_after(Duration::from_secs(5)));
        }
        let active = self.session(id).await?.active;
        for (generation, sequence) in seen.iter().take(limits::MAX_SEEN_GENERATIONS) {
            if active.contains(generation) || self.belongs(generation, id).await? {
                view.attach(generation, *sequence).await?;
            }
        }
        for generation in active {
            view.attach(&generation, 0).await?;
        }
        Ok(view)
    }

    /// Whether a generation was asked for in a session.
    pub(super) async fn belongs(&self, generation: &GenerationId, session: &SessionId) -> Result<bool, Error> {
        let (generation, session) = (generation.clone(), session.clone());
        self.0.store.ask(move |store| Ok(store.session_of(&generation)?.is_some_and(|found| found == session))).await
    }
}

/// Well within the lease, so that one that comes late still counts.
const RENEWAL: Duration = limits::LIVE_LEASE.checked_div(3).expect("three is not zero");

impl SessionWatch {
    /// The session that is viewed.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Waits for what comes next; `None` after the end. Fails with `StreamLagged` when the reader is too far behind the events of a
    /// generation, and with `Draining` when the daemon stops; nothing more comes then. Safe to drop while it waits.
    pub async fn next(&mut self) -> Option<Result<SessionNews, Error>> {
        if self.over {
            return None;
        }
        let next = self.wait().await;
        self.over = !matches!(next, Ok(SessionNews::Session(_) | SessionNews::Generation(..)));
        Some(next)
    }

    async fn wait(&mut self) -> Result<SessionNews, Error> {
        loop {
            if self.stale {
                return self.read().await;
            }
            let next = tokio::select! {
                changed = self.news.changed() => {
                    // The board outlives its viewers.
                    self.stale = changed.is_ok();
                    self.attach_new().await?;
                    continue;
                }
                next = next_of(&mut self.watches) => next,
                _ = self.renewal.tick() => {
                    self.runtime.renew(&self.id).await?;
                    continue;
                }
            };
            match next {
                (at, Some(watched)) => {
                    let watched = watched?;
                    return Ok(SessionNews::Generation(self.watches[at].id().clone(), watched));
                }
                (at, None) => drop(self.watches.remove(at)),
            }
        }
    }

    async fn read(&mut self) -> Result<SessionNews, Error> {
        let id = self.id.clone();
        let read = self.runtime.0.store.ask(move |store| store.session(&id)).await;
        self.stale = false;
        match read {
            Ok(session) => Ok(SessionNews::Session(Box::new(session))),
            Err(error) if error.reason == Reason::SessionNotFound => Ok(SessionNews::Deleted),
            Err(error) => Err(error),
        }
    }

    async fn attach_new(&mut self) -> Result<(), Error> {
        let news = self.news.borrow().clone();
        let count = usize::try_from(news.accepted - self.accepted).unwrap_or(usize::MAX);
        let skipped = news.newest.len().saturating_sub(count);
        for generation in news.newest.iter().skip(skipped) {
            self.attach(generation, 0).await?;
        }
        self.accepted = news.accepted;
        Ok(())
    }

    async fn attach(&mut self, generation: &GenerationId, after_sequence: u64) -> Result<(), Error> {
        if self.watches.iter().any(|watch| watch.id() == generation) {
            return Ok(());
        }
        match self.runtime.watch(generation, after_sequence).await {
            Ok(watch) => self.watches.push(watch),
            // It was removed in the meantime.
            Err(error) if error.reason == Reason::GenerationNotFound => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Drop for SessionWatch {
    fn drop(&mut self) {
        // The receiver must be gone for the board to see that it was the last one.
        self.news = watch::Sender::new(News::default()).subscribe();
        self.runtime.0.store.board().left(&self.id);
    }
}

async fn next_of(watches: &mut [Watch]) -> (usize, Option<Result<Watched, Error>>) {
    if watches.is_empty() {
        return std::future::pending().await;
    }
    let (next, at, _) = select_all(watches.iter_mut().map(|watch| Box::pin(watch.next()))).await;
    (at, next)
}
