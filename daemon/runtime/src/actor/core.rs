//! The decisions of an actor: when to read a network, when to refuse, what a fault costs. Without thread, clock or network.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use easel_domain::limits::{MAX_RESTARTS, RESTART_WINDOW};

/// What an actor's core is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input<'a> {
    /// Work with a model, or a load of it, is to be done.
    Wanted { model: &'a str },
    /// The network of a model was read, or could not be.
    Loaded { model: &'a str, ok: bool },
    /// Working with a model, or reading it, panicked or gave values that are not finite.
    Fault { model: &'a str },
    /// A model is to be dropped.
    Unload { model: &'a str },
}

/// What the actor has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Go on: the network is there.
    Run,
    /// Read the network first.
    Load,
    /// The restarts are used up: refuse for so long.
    Refuse(Duration),
    /// Drop the network and build it again.
    Rebuild,
    /// Drop the network; the restarts are used up until then.
    GiveUp(Instant),
    /// Drop the network.
    Drop,
    /// Nothing.
    Rest,
}

/// See the module. Owned by the actor's thread.
#[derive(Debug, Default)]
pub(crate) struct ActorCore {
    present: HashSet<String>,
    /// When it was rebuilt within the last window, oldest first.
    recent: VecDeque<Instant>,
    gave_up_until: Option<Instant>,
    restarts: u32,
}

impl ActorCore {
    pub(crate) fn handle(&mut self, input: Input<'_>, now: Instant) -> Decision {
        match input {
            Input::Wanted { model } => {
                if let Some(until) = self.gave_up_until {
                    if now < until {
                        return Decision::Refuse(until - now);
                    }
                    self.gave_up_until = None;
                }
                if self.present.contains(model) { Decision::Run } else { Decision::Load }
            }
            Input::Loaded { model, ok } => {
                if ok {
                    self.present.insert(model.to_owned());
                }
                Decision::Rest
            }
            Input::Fault { model } => {
                self.present.remove(model);
                self.restart(now)
            }
            Input::Unload { model } => {
                self.present.remove(model);
                Decision::Drop
            }
        }
    }

    /// Times that a network was rebuilt, since start.
    pub(crate) fn restarts(&self) -> u32 {
        self.restarts
    }

    fn restart(&mut self, now: Instant) -> Decision {
        while self.recent.front().is_some_and(|at| now.saturating_duration_since(*at) >= RESTART_WINDOW) {
            self.recent.pop_front();
        }
        if self.recent.len() >= MAX_RESTARTS {
            // The oldest restart leaves the window then, and one more is allowed.
            let until = self.recent.front().map_or(now, |oldest| *oldest + RESTART_WINDOW);
            self.gave_up_until = Some(until);
            return Decision::GiveUp(until);
        }
        self.recent.push_back(now);
        self.restarts += 1;
        Decision::Rebuild
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_read_once_and_again_after_it_was_dropped() {
        let (mut core, now) = (ActorCore::default(), Instant::now());
        assert_eq!(core.handle(Input::Wanted { model: "a" }, now), Decision::Load);
        core.handle(Input::Loaded { model: "a", ok: false }, now);
        assert_eq!(core.handle(Input::Wanted { model: "a" }, now), Decision::Load);
        core.handle(Input::Loaded { model: "a", ok: true }, now);
        assert_eq!(core.handle(Input::Wanted { model: "a" }, now), Decision::Run);
        assert_eq!(core.handle(Input::Wanted { model: "b" }, now), Decision::Load);
        assert_eq!(core.handle(Input::Unload { model: "a" }, now), Decision::Drop);
        assert_eq!(core.handle(Input::Wanted { model: "a" }, now), Decision::Load);
    }

    #[test]
    fn restarts_have_a_budget_that_comes_back_with_time() {
        let (mut core, start) = (ActorCore::default(), Instant::now());
        let second = Duration::from_secs(1);
        for restart in 0..MAX_RESTARTS as u32 {
            assert_eq!(core.handle(Input::Fault { model: "a" }, start + second * restart), Decision::Rebuild);
        }
        let late = start + second * 10;
        let until = start + RESTART_WINDOW;
        assert_eq!(core.handle(Input::Fault { model: "a" }, late), Decision::GiveUp(until));
        assert_eq!(core.handle(Input::Wanted { model: "a" }, late), Decision::Refuse(until - late));
        assert_eq!(core.handle(Input::Wanted { model: "a" }, until), Decision::Load);
        assert_eq!(core.handle(Input::Fault { model: "a" }, until), Decision::Rebuild);
        assert_eq!(core.restarts(), MAX_RESTARTS as u32 + 1);
    }
}
