//! Who begins next: three classes, in which those who wait too long rise, so that none starves; within a class sessions and
//! clients take turns; and what one of them may have at one time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use easel_domain::event::{EventKind, State};
use easel_domain::{Error, Priority, Reason, limits};

use super::Core;
use super::command::{Effect, JobKey, Now};
use super::generation::{Generation, Group};

/// The class of something that has waited for so long: one higher for each [`limits::AGING`].
pub(super) fn aged(priority: Priority, waited: Duration) -> Priority {
    let risen = waited.as_millis() / limits::AGING.as_millis();
    match (priority, risen) {
        (priority, 0) => priority,
        (Priority::Batch, 1) => Priority::Interactive,
        _ => Priority::Live,
    }
}

impl Core {
    /// The waiting generations in the order in which they would begin if none came: by class, then by turns, then by age.
    pub(super) fn order(&self, now: Now) -> Vec<JobKey> {
        let mut rounds: HashMap<(Priority, &Group), u32> = HashMap::new();
        let mut order = Vec::with_capacity(self.waiting.len());
        for key in &self.waiting {
            let Some(generation) = self.active.get(key) else { continue };
            let class = aged(generation.policy.priority, waited(generation, now));
            let round = rounds.entry((class, &generation.group)).or_default();
            let turn = self.turn_of(class, &generation.group);
            order.push((Reverse(class), *round, turn, *key));
            *round += 1;
        }
        order.sort_unstable();
        order.into_iter().map(|(.., key)| key).collect()
    }

    /// The place of a generation that is about to be among the waiting; it is in `waiting` and not yet in `active`.
    pub(super) fn place_of(&self, new: &Generation, now: Now) -> u32 {
        let class = aged(new.policy.priority, Duration::ZERO);
        let turn = |group: &Group| self.turn_of(class, group);
        let class_of = |other: &Generation| aged(other.policy.priority, waited(other, now));
        let others = || self.waiting.iter().filter_map(|key| self.active.get(key));
        let own = others().filter(|other| class_of(other) == class && other.group == new.group).count();
        let mut rounds: HashMap<&Group, usize> = HashMap::new();
        let mut before = 0;
        for other in others() {
            before += match class_of(other).cmp(&class) {
                std::cmp::Ordering::Greater => 1,
                std::cmp::Ordering::Less => 0,
                std::cmp::Ordering::Equal => {
                    let round = rounds.entry(&other.group).or_default();
                    let first = (*round, turn(&other.group), other.key) < (own, turn(&new.group), new.key);
                    *round += 1;
                    u32::from(first)
                }
            };
        }
        before + 1
    }

    /// The first of the queue that may begin: there is room among the begun ones of its class or higher, memory for its peak and its
    /// model, and nobody wants that model dropped. More urgent ones find room even when less urgent ones have taken theirs. For one
    /// that lacks memory, models go that nobody uses; it waits for that, and when it has waited for long, others wait for it.
    pub(super) fn next_to_begin(&mut self, now: Now) -> Option<JobKey> {
        for key in self.order(now) {
            let Some(generation) = self.active.get(&key) else { continue };
            let class = aged(generation.policy.priority, waited(generation, now));
            let begun = self.begun().filter(|generation| generation.policy.priority >= class).count();
            if begun >= limits::MAX_BEGUN_GENERATIONS || self.models.is_unloading(&generation.plan.model) {
                continue;
            }
            let excess = self.excess_with(generation);
            let impatient = waited(generation, now) >= limits::AGING;
            if excess == 0 || (!self.make_room_for(key, excess) && self.begun().next().is_none()) {
                return Some(key);
            }
            if impatient {
                return None;
            }
        }
        None
    }

    /// Bytes beyond the limit, if this one began as well.
    fn excess_with(&self, next: &Generation) -> u64 {
        let Some(most) = self.config.max_memory_bytes else { return 0 };
        let peaks: u64 = self.begun().map(|generation| generation.peak_bytes).sum();
        let all = self.models.bytes_with(&next.plan.model).saturating_add(peaks).saturating_add(next.peak_bytes);
        all.saturating_sub(most)
    }

    /// Lets models go that no begun generation uses, nor this one. Says whether any goes or is on its way.
    fn make_room_for(&mut self, key: JobKey, excess: u64) -> bool {
        let used = |name: &str| {
            let uses = |generation: &Generation| generation.state == State::Running || generation.key == key;
            self.active.values().any(|generation| uses(generation) && generation.plan.model == name)
        };
        self.models.any_leaves() || self.models.make_room(excess, used)
    }

    fn begun(&self) -> impl Iterator<Item = &Generation> {
        self.active.values().filter(|generation| generation.state == State::Running)
    }

    /// Notes that a generation had its turn.
    pub(super) fn had_turn(&mut self, key: JobKey, now: Now) {
        let Some(generation) = self.active.get(&key) else { return };
        let class = aged(generation.policy.priority, waited(generation, now));
        self.turns.insert((class, generation.group.clone()), self.next_turn);
        self.next_turn += 1;
    }

    fn turn_of(&self, class: Priority, group: &Group) -> u64 {
        self.turns.get(&(class, group.clone())).copied().unwrap_or(0)
    }

    /// Turns are remembered for those who have something under way.
    pub(super) fn forget_turn(&mut self, group: &Group) {
        if !self.active.values().any(|generation| generation.group == *group) {
            self.turns.retain(|(_, other), _| other != group);
        }
    }

    /// Tells every waiting generation whose place has changed.
    pub(super) fn tell_positions(&mut self, now: Now, fx: &mut Vec<Effect>) {
        for (position, key) in (1..).zip(self.order(now)) {
            let Some(generation) = self.active.get_mut(&key) else { continue };
            if generation.position != position {
                generation.position = position;
                Self::emit(generation, EventKind::Queued { position }, now, fx);
            }
        }
    }

    /// One client must leave room for others.
    pub(super) fn admit_client(&self, client: &str, leaving: usize, retry: Duration) -> Result<(), Error> {
        if client.is_empty() {
            return Ok(());
        }
        let has = self.active.values().filter(|generation| generation.origin.client == client).count();
        if has.saturating_sub(leaving) < self.config.max_client {
            return Ok(());
        }
        let message = format!("this client has {has} generations under way, more are not taken: wait for one to end");
        Err(Error::new(Reason::QuotaExceeded, message).retry_after(retry))
    }

    /// A generation that cannot run even alone is not taken; others wait until there is memory for them.
    pub(super) fn admit_memory(&self, peak: u64, retry: Duration) -> Result<(), Error> {
        let Some(most) = self.config.max_memory_bytes.filter(|most| peak > *most) else { return Ok(()) };
        let (peak, most) = (peak >> 20, most >> 20);
        let message =
            format!("the generation needs about {peak} MiB of the {most} MiB that are allowed: ask for a smaller size");
        Err(Error::new(Reason::MemoryExhausted, message).retry_after(retry))
    }
}

/// Something under way or waiting needs the model.
pub(super) fn needs(active: &BTreeMap<JobKey, Generation>, model: &str) -> bool {
    active.values().any(|generation| generation.plan.model == model)
}

fn waited(generation: &Generation, now: Now) -> Duration {
    now.instant.saturating_duration_since(generation.created.instant)
}
