//! Turns on the CPU: stages that compute there share a few slots, the most urgent first, and give theirs up at a checkpoint
//! when a more urgent one waits. Stages on other devices take no part.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use easel_domain::engine::Interrupt;

use crate::scheduler::Urgency;
use crate::stop::StopToken;

/// The slots. Shared by the threads of the actors on the CPU.
#[derive(Debug)]
pub(crate) struct ComputeSlots {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Who waits, the most urgent first; the number makes equals a queue.
    waiting: BTreeSet<(Urgency, u64)>,
    next_number: u64,
}

impl ComputeSlots {
    /// At least one slot.
    pub(crate) fn new(slots: usize) -> Self {
        let state = State { free: slots.max(1), waiting: BTreeSet::new(), next_number: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Waits for a slot until it is this one's turn or `stop` is raised and [`nudge`](Self::nudge) was called.
    pub(crate) fn acquire(&self, urgency: Urgency, stop: &StopToken) -> Result<(), Interrupt> {
        self.wait_for_turn(self.lock(), urgency, stop)
    }

    /// Gives a slot back.
    pub(crate) fn release(&self) {
        self.lock().free += 1;
        self.changed.notify_all();
    }

    /// To be called by who holds a slot: passes it on if a more urgent one waits, and waits for the next turn. On an error the
    /// slot is gone.
    pub(crate) fn give_way(&self, urgency: Urgency, stop: &StopToken) -> Result<bool, Interrupt> {
        let mut state = self.lock();
        if state.waiting.first().is_none_or(|(first, _)| *first >= urgency) {
            return Ok(false);
        }
        state.free += 1;
        self.changed.notify_all();
        self.wait_for_turn(state, urgency, stop)?;
        Ok(true)
    }

    /// Lets everyone who waits look at their stop tokens.
    pub(crate) fn nudge(&self) {
        // The lock orders this after whoever is between looking and waiting.
        drop(self.lock());
        self.changed.notify_all();
    }

    fn wait_for_turn(
        &self,
        mut state: MutexGuard<'_, State>,
        urgency: Urgency,
        stop: &StopToken,
    ) -> Result<(), Interrupt> {
        let me = (urgency, state.next_number);
        state.next_number += 1;
        state.waiting.insert(me);
        loop {
            let stopped = stop.check();
            if stopped.is_err() || (state.free > 0 && state.waiting.first() == Some(&me)) {
                state.waiting.remove(&me);
                state.free -= usize::from(stopped.is_ok());
                // With several slots the next one may have its turn as well.
                self.changed.notify_all();
                return stopped;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;

    use easel_domain::Priority;

    use super::*;

    fn urgency(priority: Priority, order: u64) -> Urgency {
        Urgency::new(priority, order)
    }

    /// Waits until `count` threads wait for a slot.
    fn until_waiting(slots: &ComputeSlots, count: usize) {
        while slots.lock().waiting.len() < count {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_most_urgent_gets_the_slot_first() {
        let slots = Arc::new(ComputeSlots::new(1));
        let stop = StopToken::default();
        slots.acquire(urgency(Priority::Interactive, 1), &stop).expect("nobody stops it");
        let (send, order) = mpsc::channel();
        let waiters: Vec<_> =
            [(Priority::Batch, 2), (Priority::Interactive, 4), (Priority::Interactive, 3), (Priority::Live, 5)]
                .into_iter()
                .map(|(class, number)| {
                    let (slots, stop, send) = (Arc::clone(&slots), stop.clone(), send.clone());
                    std::thread::spawn(move || {
                        slots.acquire(urgency(class, number), &stop).expect("nobody stops it");
                        send.send(number).expect("the test listens");
                        slots.release();
                    })
                })
                .collect();
        until_waiting(&slots, 4);
        slots.release();
        waiters.into_iter().for_each(|waiter| waiter.join().expect("a waiter does not panic"));
        assert_eq!(order.try_iter().collect::<Vec<_>>(), [5, 3, 4, 2]);
    }

    #[test]
    fn a_holder_gives_way_to_a_more_urgent_one_only() {
        let slots = Arc::new(ComputeSlots::new(1));
        let stop = StopToken::default();
        let mine = urgency(Priority::Interactive, 2);
        slots.acquire(mine, &stop).expect("nobody stops it");
        let wait = |class, number| {
            let (slots, stop) = (Arc::clone(&slots), stop.clone());
            std::thread::spawn(move || {
                slots.acquire(urgency(class, number), &stop).expect("nobody stops it");
                slots.release();
            })
        };
        let later = wait(Priority::Interactive, 3);
        until_waiting(&slots, 1);
        assert_eq!(slots.give_way(mine, &stop), Ok(false));
        let urgent = wait(Priority::Live, 4);
        until_waiting(&slots, 2);
        assert_eq!(slots.give_way(mine, &stop), Ok(true));
        urgent.join().expect("the urgent one had its turn");
        slots.release();
        later.join().expect("the later one had its turn");
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let slots = Arc::new(ComputeSlots::new(1));
        let stop = StopToken::default();
        slots.acquire(urgency(Priority::Live, 1), &stop).expect("nobody stops it");
        let other = stop.child();
        let waiter = {
            let (slots, other) = (Arc::clone(&slots), other.clone());
            std::thread::spawn(move || slots.acquire(urgency(Priority::Live, 2), &other))
        };
        until_waiting(&slots, 1);
        other.raise(Interrupt::Cancelled);
        slots.nudge();
        assert_eq!(waiter.join().expect("a waiter does not panic"), Err(Interrupt::Cancelled));
        assert!(slots.lock().waiting.is_empty());
    }
}
