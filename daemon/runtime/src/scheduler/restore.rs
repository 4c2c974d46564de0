//! Generations from an earlier run of the daemon, and those that the next run takes up.

use std::sync::Arc;

use easel_domain::engine::Interrupt;
use easel_domain::event::EventKind;

use super::Core;
use super::command::{Effect, JobKey, Now, Restored, Run};
use super::generation::Generation;

impl Core {
    /// Takes a generation up again: it waits for its turn and begins from its seed. Its events go on where they ended.
    pub(super) fn restore(&mut self, restored: Restored, now: Now, fx: &mut Vec<Effect>) {
        let Restored { mut new, sequence, create_time, run, interrupted, failure } = restored;
        if self.draining.is_some() || self.active_ids.contains_key(&new.id) {
            return;
        }
        let key = self.next_key;
        self.next_key += 1;
        self.restored += 1;
        if let Some(request_id) = &new.policy.request_id {
            self.requests.insert(request_id.clone(), (new.id.clone(), new.request.clone()));
        }
        let loras = std::mem::take(&mut new.loras);
        let mut generation = Generation::new(key, new, now);
        generation.sequence = sequence;
        generation.created.wall = create_time;
        // The time that it was given ran on while the daemon was away.
        let age = now.wall.duration_since(create_time).unwrap_or_default();
        generation.deadline =
            generation.policy.timeout.and_then(|timeout| now.instant.checked_add(timeout.saturating_sub(age)));
        let (id, policy) = (generation.id.clone(), Box::new(generation.policy.clone()));
        let (plan, snapshot) = (Arc::clone(&generation.plan), Box::new(generation.snapshot(None, None)));
        fx.push(Effect::Open {
            key,
            id: id.clone(),
            policy,
            plan,
            loras,
            run: Run { number: run, after_fault: interrupted },
            snapshot,
        });
        self.active_ids.insert(id, key);
        if let Some(error) = failure {
            generation.failure = Some(error);
            self.active.insert(key, generation);
            return self.settle(key, now, fx);
        }
        self.waiting.insert(key);
        generation.position = self.place_of(&generation, now);
        let kind = EventKind::Queued { position: generation.position };
        Self::emit(&mut generation, kind, now, fx);
        self.active.insert(key, generation);
        self.tell_positions(now, fx);
    }

    /// Nobody has heard of the generation: it ends without being remembered by its request.
    pub(super) fn unstored(&mut self, key: JobKey, now: Now, fx: &mut Vec<Effect>) {
        let Some(generation) = self.active.get_mut(&key) else { return };
        if let Some(request_id) = generation.policy.request_id.take() {
            self.requests.remove(&request_id);
        }
        self.stop(key, Interrupt::Cancelled, now, fx);
    }

    /// Lets a generation go without an end: the store has it, and the next run of the daemon takes it up.
    pub(super) fn suspend(&mut self, key: JobKey, now: Now, fx: &mut Vec<Effect>) {
        let Some(generation) = self.active.remove(&key) else { return };
        self.waiting.remove(&key);
        self.active_ids.remove(&generation.id);
        self.forget_turn(&generation.group);
        self.live_ended(&generation.id, generation.origin.session.as_ref(), false);
        fx.push(Effect::Suspend { key });
        self.tell_positions(now, fx);
    }
}
