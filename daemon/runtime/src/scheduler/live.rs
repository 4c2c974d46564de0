//! Live edits: one place for each session, in which the newest replaces the others; a lease that ends them when nobody is there
//! any more; and the time until which a generation goes on without watchers.

use std::time::Instant;

use easel_domain::engine::Interrupt;
use easel_domain::{DisconnectPolicy, GenerationId, Priority, SessionId, limits};

use super::Core;
use super::command::{Effect, JobKey, NewGeneration, Now};

impl Core {
    /// The live edit of the session that is the same to the last bit, if it runs or has succeeded.
    pub(super) fn same_live(&self, new: &NewGeneration) -> Option<GenerationId> {
        let session = live_session(new)?;
        let (id, request) = self.live.get(session)?;
        let stops = self.active_ids.get(id).and_then(|key| self.active.get(key)).is_some_and(|live| live.stopping());
        if stops {
            return None;
        }
        // Without a seed each one is another.
        ((new.request.seed.is_some() || !new.request.seeds.is_empty()) && *request == new.request).then(|| id.clone())
    }

    /// The live edits that a new one replaces.
    pub(super) fn superseded_by(&self, new: &NewGeneration) -> Vec<JobKey> {
        let Some(session) = live_session(new) else { return Vec::new() };
        let live = self.active.values().filter(|generation| generation.is_live_of(session) && !generation.stopping());
        live.map(|generation| generation.key).collect()
    }

    /// Remembers a live edit and begins its lease.
    pub(super) fn note_live(&mut self, new: &NewGeneration, now: Now) {
        let Some(session) = live_session(new).cloned() else { return };
        self.live.insert(session.clone(), (new.id.clone(), new.request.clone()));
        self.leases.insert(session, lease(now));
    }

    /// Somebody shows interest in a session.
    pub(super) fn renew(&mut self, session: &SessionId, now: Now) {
        if let Some(until) = self.leases.get_mut(session) {
            *until = lease(now);
        }
    }

    /// Ends the live work of sessions in which nobody shows interest, and looks after times without watchers.
    pub(super) fn keep_leases(&mut self, now: Now, fx: &mut Vec<Effect>) {
        let ended: Vec<_> =
            self.leases.iter().filter(|(_, until)| **until <= now.instant).map(|(id, _)| id.clone()).collect();
        for session in ended {
            self.leases.remove(&session);
            let live = self.active.values().filter(|generation| generation.is_live_of(&session));
            let keys: Vec<_> = live.filter(|generation| !generation.stopping()).map(|g| g.key).collect();
            keys.into_iter().for_each(|key| self.stop(key, Interrupt::LeaseExpired, now, fx));
        }
        for generation in self.active.values_mut() {
            if !generation.lapsed && generation.policy.keep_until.is_some_and(|until| until <= now.wall) {
                generation.lapsed = true;
                fx.push(Effect::Lapse { id: generation.id.clone() });
            }
        }
    }

    /// When the next time without watchers is over, as far as both clocks go alike; a machine that slept is looked after with the
    /// next command.
    pub(super) fn next_lapse(&self) -> Option<Instant> {
        let now = self.clock?;
        let waiting = self.active.values().filter(|generation| !generation.lapsed && !generation.stopping());
        let next = waiting.filter_map(|generation| generation.policy.keep_until).min()?;
        now.instant.checked_add(next.duration_since(now.wall).unwrap_or_default())
    }

    /// The last watcher of a generation has gone.
    pub(super) fn watchers_gone(&mut self, id: &GenerationId, now: Now, fx: &mut Vec<Effect>) {
        // One that has ended in the meantime is not found, and that is fine.
        let Some(generation) = self.active_ids.get(id).and_then(|key| self.active.get(key)) else { return };
        let ends = match generation.policy.keep_until {
            Some(until) => until <= now.wall,
            None => generation.policy.on_disconnect == DisconnectPolicy::Cancel,
        };
        if ends {
            let key = generation.key;
            self.stop(key, Interrupt::WatcherGone, now, fx);
        }
    }

    /// A live edit that did not succeed answers nothing, and the last one takes the lease with it.
    pub(super) fn live_ended(&mut self, id: &GenerationId, session: Option<&SessionId>, succeeded: bool) {
        let Some(session) = session else { return };
        if !succeeded && self.live.get(session).is_some_and(|(last, _)| last == id) {
            self.live.remove(session);
        }
        if !self.active.values().any(|generation| generation.is_live_of(session)) {
            self.leases.remove(session);
        }
    }

    /// A forgotten generation answers nothing any more.
    pub(super) fn live_forgotten(&mut self, id: &GenerationId) {
        self.live.retain(|_, (last, _)| last != id);
    }
}

fn live_session(new: &NewGeneration) -> Option<&SessionId> {
    new.origin.session.as_ref().filter(|_| new.policy.priority == Priority::Live)
}

fn lease(now: Now) -> Instant {
    now.instant.checked_add(limits::LIVE_LEASE).unwrap_or(now.instant)
}
