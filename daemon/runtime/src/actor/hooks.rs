//! The runtime's side of a `StageControl`: stop flag, heartbeat, turns on the CPU, progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use easel_domain::engine::{Interrupt, StageHooks};

use crate::scheduler::Urgency;
use crate::slots::ComputeSlots;
use crate::stop::StopToken;

/// The heartbeat of an actor: when it last passed a checkpoint, or that it rests. Written by the actor's thread, read by the
/// watch over stalls.
#[derive(Debug)]
pub(crate) struct Pulse {
    start: Instant,
    /// Milliseconds from `start` to the newest beat; [`RESTING`] when nothing is expected of the actor.
    beat: AtomicU64,
}

const RESTING: u64 = u64::MAX;

impl Pulse {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), beat: AtomicU64::new(RESTING) }
    }

    pub(crate) fn beat(&self) {
        self.beat.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Nothing is expected until the next beat.
    pub(crate) fn rest(&self) {
        self.beat.store(RESTING, Ordering::Relaxed);
    }

    /// How long ago the newest beat was; `None` at rest.
    pub(crate) fn silent_for(&self) -> Option<Duration> {
        let beat = self.beat.load(Ordering::Relaxed);
        (beat != RESTING).then(|| self.start.elapsed().saturating_sub(Duration::from_millis(beat)))
    }
}

/// Where the parts of a stage are told: done and total.
pub(crate) type Tell = Box<dyn Fn(u32, u32) + Send + Sync>;

/// What the hooks of one piece of work are made of.
pub(crate) struct HookParts {
    pub(crate) stop: StopToken,
    pub(crate) pulse: Arc<Pulse>,
    /// `None`: the stage does not compute on the CPU.
    pub(crate) slots: Option<Arc<ComputeSlots>>,
    pub(crate) urgency: Urgency,
    pub(crate) tell: Tell,
}

/// See the module. Lives as long as one piece of work.
pub(crate) struct Hooks {
    parts: HookParts,
    holds_slot: AtomicBool,
    waited_ns: AtomicU64,
    /// Quarters of the stage that were told.
    quarter: AtomicU32,
}

impl Hooks {
    /// Waits for the first turn.
    pub(crate) fn begin(parts: HookParts) -> Result<Self, Interrupt> {
        let hooks = Self {
            parts,
            holds_slot: AtomicBool::new(false),
            waited_ns: AtomicU64::new(0),
            quarter: AtomicU32::new(0),
        };
        if let Some(slots) = &hooks.parts.slots {
            hooks.waiting(|| slots.acquire(hooks.parts.urgency, &hooks.parts.stop))?;
            hooks.holds_slot.store(true, Ordering::Relaxed);
        }
        hooks.parts.pulse.beat();
        Ok(hooks)
    }

    /// Time waited for turns so far.
    pub(crate) fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited_ns.load(Ordering::Relaxed))
    }

    /// Gives the turn back; also happens on drop.
    pub(crate) fn end(&self) {
        if self.holds_slot.swap(false, Ordering::Relaxed)
            && let Some(slots) = &self.parts.slots
        {
            slots.release();
        }
    }

    /// Waits without a heartbeat being expected, and counts the time.
    fn waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.parts.pulse.rest();
        let start = Instant::now();
        let result = wait();
        self.waited_ns.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        self.parts.pulse.beat();
        result
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        self.end();
    }
}

impl StageHooks for Hooks {
    fn checkpoint(&self) -> Result<(), Interrupt> {
        self.parts.pulse.beat();
        self.parts.stop.check()?;
        let Some(slots) = &self.parts.slots else { return Ok(()) };
        if !self.holds_slot.load(Ordering::Relaxed) {
            return Ok(());
        }
        let start = Instant::now();
        self.parts.pulse.rest();
        let gave_way = slots.give_way(self.parts.urgency, &self.parts.stop);
        self.parts.pulse.beat();
        match gave_way {
            Ok(false) => return Ok(()),
            Ok(true) => {}
            Err(_) => self.holds_slot.store(false, Ordering::Relaxed),
        }
        self.waited_ns.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        gave_way.map(|_| ())
    }

    fn progress(&self, done: u32, total: u32) {
        // Watchers hear of a stage four times at most, so that the events of a generation stay within their bound.
        let quarter = (u64::from(done) * 4 / u64::from(total.max(1))) as u32;
        if done < total && self.quarter.fetch_max(quarter, Ordering::Relaxed) < quarter {
            (self.parts.tell)(done, total);
        }
    }
}
