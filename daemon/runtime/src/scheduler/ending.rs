//! How generations end, exactly once, and how long they are remembered.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use easel_domain::engine::Interrupt;
use easel_domain::event::{Event, EventKind, ResultImage, State};
use easel_domain::{Error, GenerationId, Reason, RestartPolicy, limits};

use super::command::{Effect, JobKey, Now};
use super::queue::needs;
use super::{Core, Ended};

impl Core {
    /// Tells a generation to stop. One without work under way ends at once, the others when that has come back.
    pub(super) fn stop(&mut self, key: JobKey, interrupt: Interrupt, now: Now, fx: &mut Vec<Effect>) {
        let Some(generation) = self.active.get_mut(&key) else { return };
        if generation.stop.is_none() {
            generation.stop = Some(interrupt);
            fx.push(Effect::Interrupt { key, interrupt });
        }
        self.settle(key, now, fx);
    }

    /// Ends a generation if it is time to.
    pub(super) fn settle(&mut self, key: JobKey, now: Now, fx: &mut Vec<Effect>) {
        let Some(generation) = self.active.get(&key) else { return };
        if generation.stopping() {
            if generation.in_flight == 0 {
                let goes_on = generation.stop == Some(Interrupt::ShuttingDown)
                    && self.config.durable
                    && generation.policy.on_restart == RestartPolicy::Rerun;
                match goes_on {
                    true => self.suspend(key, now, fx),
                    false => self.end_without_result(key, now, fx),
                }
            }
        } else if generation.finished() {
            if generation.in_flight > 0 {
                // A preview is still under way, and nobody needs it any more.
                fx.push(Effect::Interrupt { key, interrupt: Interrupt::Cancelled });
            }
            self.succeed(key, now, fx);
        }
    }

    /// Deadlines, the end of draining, the end of retention.
    pub(super) fn keep_time(&mut self, now: Now, fx: &mut Vec<Effect>) {
        let late = |key: &JobKey| {
            self.active.get(key).is_some_and(|g| !g.stopping() && g.deadline.is_some_and(|at| at <= now.instant))
        };
        let overdue: Vec<_> = self.active.keys().copied().filter(late).collect();
        overdue.into_iter().for_each(|key| self.stop(key, Interrupt::DeadlineExceeded, now, fx));
        if self.draining.is_some_and(|at| at <= now.instant) {
            let rest: Vec<_> = self.active.values().filter(|g| g.stop.is_none()).map(|g| g.key).collect();
            rest.into_iter().for_each(|key| self.stop(key, Interrupt::ShuttingDown, now, fx));
        }
        for actor in &mut self.actors {
            if actor.until.is_some_and(|at| at <= now.instant) {
                (actor.until, actor.health) = (None, crate::StageHealth::Ready);
            }
        }
        self.keep_leases(now, fx);
        self.models.unload_idle(now.instant, |name| needs(&self.active, name));
        self.forget(now, fx);
    }

    /// Drops the oldest ended generations when there are too many, when their results are too large, or when they are too old.
    fn forget(&mut self, now: Now, fx: &mut Vec<Effect>) {
        while let Some(oldest) = self.ended.front() {
            let old = now.instant.saturating_duration_since(oldest.at) >= limits::GENERATION_RETENTION;
            // The newest one stays even when it is larger than all the room: its client is about to fetch it.
            let large = self.ended_bytes > self.config.max_kept_bytes && self.ended.len() > 1;
            if !old && !large && self.ended.len() <= limits::MAX_KEPT_GENERATIONS {
                return;
            }
            let Some(gone) = self.ended.pop_front() else { return };
            self.ended_bytes -= gone.bytes;
            self.ended_ids.remove(&gone.id);
            self.live_forgotten(&gone.id);
            if let Some(request_id) = gone.request_id {
                self.requests.remove(&request_id);
            }
            fx.push(Effect::Forget { id: gone.id });
        }
    }

    /// Drops ended generations that were removed from the store.
    pub(super) fn forget_all(&mut self, ids: &[GenerationId], fx: &mut Vec<Effect>) {
        let gone: HashSet<_> = ids.iter().filter(|id| self.ended_ids.remove(*id)).collect();
        let (drop, keep): (VecDeque<Ended>, _) =
            std::mem::take(&mut self.ended).into_iter().partition(|ended| gone.contains(&ended.id));
        self.ended = keep;
        for ended in drop {
            self.live_forgotten(&ended.id);
            self.ended_bytes -= ended.bytes;
            if let Some(request_id) = ended.request_id {
                self.requests.remove(&request_id);
            }
            fx.push(Effect::Forget { id: ended.id });
        }
    }

    fn succeed(&mut self, key: JobKey, now: Now, fx: &mut Vec<Effect>) {
        let Some(generation) = self.active.get(&key) else { return };
        let total = now.instant.saturating_duration_since(generation.created.instant);
        if !generation.plan.is_preparation() {
            self.usual = (self.usual * 3 + total) / 4;
            self.counts.succeeded += 1;
        }
        let images: Vec<_> = generation.results.iter().flatten().cloned().collect();
        let kind = EventKind::Succeeded { images, timings: generation.timings(), total };
        self.end(key, (State::Succeeded, None, kind), now, fx);
    }

    fn end_without_result(&mut self, key: JobKey, now: Now, fx: &mut Vec<Effect>) {
        let Some(generation) = self.active.get(&key) else { return };
        // A cancellation was answered already, so that it counts more than a failure that came with it.
        let (state, error) = match (generation.stop, &generation.failure) {
            (Some(interrupt), _) => (State::Cancelled, stopped(interrupt)),
            (None, Some(error)) => (State::Failed, error.clone()),
            (None, None) => return,
        };
        match state {
            _ if generation.plan.is_preparation() => {}
            State::Failed => self.counts.failed += 1,
            _ => self.counts.cancelled += 1,
        }
        let kind = EventKind::Ended { state, error: error.clone(), timings: generation.timings() };
        self.end(key, (state, Some(error), kind), now, fx);
    }

    fn end(
        &mut self,
        key: JobKey,
        (state, error, kind): (State, Option<Error>, EventKind),
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        let Some(mut generation) = self.active.remove(&key) else { return };
        let was_waiting = self.waiting.remove(&key);
        self.active_ids.remove(&generation.id);
        self.forget_turn(&generation.group);
        self.live_ended(&generation.id, generation.origin.session.as_ref(), state == State::Succeeded);
        let keep = generation.policy.keep_alive.or(self.config.keep_alive);
        self.models.used(&generation.plan.model, now.instant, keep);
        generation.state = state;
        generation.position = 0;
        generation.sequence += 1;
        let event = Arc::new(Event { sequence: generation.sequence, time: now.wall, kind });
        let snapshot = Box::new(generation.snapshot(error, Some(now.wall)));
        let bytes = snapshot.images.iter().flat_map(ResultImage::files).map(|file| file.size_bytes).sum();
        fx.push(Effect::Publish { key, event, snapshot });
        fx.push(Effect::Close { key });
        if was_waiting {
            self.tell_positions(now, fx);
        }
        if generation.plan.is_preparation() {
            // It has no result that anybody could ask for.
            return fx.push(Effect::Forget { id: generation.id });
        }
        self.ended_ids.insert(generation.id.clone());
        self.ended_bytes += bytes;
        self.ended.push_back(Ended {
            id: generation.id,
            request_id: generation.policy.request_id,
            at: now.instant,
            bytes,
        });
        self.forget(now, fx);
    }
}

/// The error of a generation that was told to stop.
fn stopped(interrupt: Interrupt) -> Error {
    match interrupt {
        Interrupt::Cancelled => Error::new(Reason::Cancelled, "the generation was cancelled"),
        Interrupt::DeadlineExceeded => {
            Error::new(Reason::DeadlineExceeded, "the generation was not done in the time that it was given")
        }
        Interrupt::WatcherGone => {
            Error::new(Reason::WatcherGone, "the last watcher has gone and the generation was to end with it")
        }
        Interrupt::ShuttingDown => Error::new(Reason::Draining, "the daemon stopped before the generation was done"),
        Interrupt::Superseded => Error::new(Reason::Superseded, "a newer live edit of the session took its place"),
        Interrupt::LeaseExpired => {
            Error::new(Reason::LeaseExpired, "nobody has viewed the live session or asked for it for too long")
        }
    }
}
