//! Where viewers of sessions wait for changes.

use std::sync::Arc;

use dashmap::DashMap;
use easel_domain::SessionId;
use tokio::sync::watch;

/// The versions of sessions that somebody views. Written by the store after each commit, read by viewers. An entry goes with
/// its last viewer.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionBoard(Arc<DashMap<SessionId, watch::Sender<u64>>>);

impl SessionBoard {
    /// Follows a session; the receiver sees each change, the newest wins.
    pub(crate) fn follow(&self, id: &SessionId) -> watch::Receiver<u64> {
        self.0.entry(id.clone()).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Wakes the viewers of a session.
    pub(crate) fn changed(&self, id: &SessionId) {
        if let Some(sender) = self.0.get(id) {
            sender.send_modify(|count| *count += 1);
        }
        self.0.remove_if(id, |_, sender| sender.receiver_count() == 0);
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
