//! Stop tokens: a tree, daemon → generation, with room for sessions in between. Raising one stops everything below it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use easel_domain::engine::Interrupt;

/// A stop flag with its reason. Clones are the same flag.
#[derive(Clone, Debug, Default)]
pub(crate) struct StopToken(Arc<Node>);

#[derive(Debug, Default)]
struct Node {
    /// 0: not raised; else the reason, see [`code`]. Never falls back.
    raised: AtomicU8,
    parent: Option<StopToken>,
}

impl StopToken {
    /// A token that stops with this one as well.
    pub(crate) fn child(&self) -> Self {
        Self(Arc::new(Node { raised: AtomicU8::new(0), parent: Some(self.clone()) }))
    }

    /// Raises the flag; the first reason stays.
    pub(crate) fn raise(&self, interrupt: Interrupt) {
        // Failure means that it was raised before, which is just as well.
        let _ = self.0.raised.compare_exchange(0, code(interrupt), Ordering::Release, Ordering::Relaxed);
    }

    /// The reason when this flag or one above it is raised.
    pub(crate) fn check(&self) -> Result<(), Interrupt> {
        match reason(self.0.raised.load(Ordering::Acquire)) {
            Some(interrupt) => Err(interrupt),
            None => self.0.parent.as_ref().map_or(Ok(()), Self::check),
        }
    }
}

fn code(interrupt: Interrupt) -> u8 {
    match interrupt {
        Interrupt::Cancelled => 1,
        Interrupt::DeadlineExceeded => 2,
        Interrupt::WatcherGone => 3,
        Interrupt::ShuttingDown => 4,
        Interrupt::Superseded => 5,
        Interrupt::LeaseExpired => 6,
    }
}

fn reason(code: u8) -> Option<Interrupt> {
    match code {
        1 => Some(Interrupt::Cancelled),
        2 => Some(Interrupt::DeadlineExceeded),
        3 => Some(Interrupt::WatcherGone),
        4 => Some(Interrupt::ShuttingDown),
        5 => Some(Interrupt::Superseded),
        6 => Some(Interrupt::LeaseExpired),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stays_and_goes_down_the_tree() {
        let daemon = StopToken::default();
        let (one, other) = (daemon.child(), daemon.child());
        one.raise(Interrupt::WatcherGone);
        one.raise(Interrupt::Cancelled);
        assert_eq!(one.check(), Err(Interrupt::WatcherGone));
        assert_eq!(other.check(), Ok(()));
        daemon.raise(Interrupt::ShuttingDown);
        assert_eq!(other.check(), Err(Interrupt::ShuttingDown));
        assert_eq!(one.check(), Err(Interrupt::WatcherGone));
    }
}
