//! Where viewers of sessions wait for changes.

use std::collections::VecDeque;
use std::sync::Arc;

use dashmap::DashMap;
use easel_domain::{GenerationId, SessionId, limits};
use tokio::sync::watch;

/// What viewers of a session are told: that it has changed, and the generations that were accepted for it, since one may begin and
/// end between two looks.
#[derive(Clone, Debug, Default)]
pub(crate) struct News {
    /// Generations that were accepted since somebody views the session.
    pub(crate) accepted: u64,
    /// The newest of them, oldest first.
    pub(crate) newest: VecDeque<GenerationId>,
}

/// The news of sessions that somebody views. Written by the store after each commit, read by viewers. An entry goes with its
/// last viewer.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionBoard(Arc<DashMap<SessionId, watch::Sender<News>>>);

impl SessionBoard {
    /// Follows a session; the receiver sees each change, the newest wins.
    pub(crate) fn follow(&self, id: &SessionId) -> watch::Receiver<News> {
        self.0.entry(id.clone()).or_default().subscribe()
    }

    /// Wakes the viewers of a session.
    pub(crate) fn changed(&self, id: &SessionId) {
        if let Some(sender) = self.0.get(id) {
            sender.send_modify(|_| {});
        }
    }

    /// Tells of a generation.
    pub(crate) fn accepted(&self, id: &SessionId, generation: &GenerationId) {
        if let Some(sender) = self.0.get(id) {
            sender.send_modify(|news| {
                news.accepted += 1;
                news.newest.push_back(generation.clone());
                if news.newest.len() > limits::MAX_QUEUED_GENERATIONS {
                    news.newest.pop_front();
                }
            });
        }
    }

    /// Viewers of a session.
    pub(crate) fn viewers(&self, id: &SessionId) -> usize {
        self.0.get(id).map_or(0, |sender| sender.receiver_count())
    }

    /// Drops the entry of a session that nobody views any more.
    pub(crate) fn left(&self, id: &SessionId) {
        self.0.remove_if(id, |_, sender| sender.receiver_count() == 0);
    }
}
