//! The mailbox of an actor: a control lane, read first, and a work lane, both bounded. Sending never waits.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use easel_domain::limits;
use tokio::sync::Notify;

/// What is read before any work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// Drop the network of a model.
    Unload(String),
}

/// What the actor takes out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Letter<W> {
    Control(Control),
    Work(W),
    /// Nobody sends any more and the lanes are empty.
    Closed,
}

/// See the module. Shared by the dispatcher, which sends, and one actor.
#[derive(Debug)]
pub(crate) struct Mailbox<W> {
    lanes: Mutex<Lanes<W>>,
    arrived: Condvar,
    /// The same for a task that waits.
    told: Notify,
}

#[derive(Debug)]
struct Lanes<W> {
    control: VecDeque<Control>,
    work: VecDeque<W>,
    closed: bool,
}

impl<W> Lanes<W> {
    fn next(&mut self) -> Option<Letter<W>> {
        let control = self.control.pop_front().map(Letter::Control);
        let next = control.or_else(|| self.work.pop_front().map(Letter::Work));
        next.or_else(|| self.closed.then_some(Letter::Closed))
    }
}

impl<W> Default for Mailbox<W> {
    fn default() -> Self {
        let lanes = Lanes { control: VecDeque::new(), work: VecDeque::new(), closed: false };
        Self { lanes: Mutex::new(lanes), arrived: Condvar::new(), told: Notify::new() }
    }
}

impl<W> Mailbox<W> {
    /// Puts a control message in; gives it back when the lane is full or closed.
    pub(crate) fn control(&self, control: Control) -> Result<(), Control> {
        let mut lanes = self.lock();
        if lanes.closed || lanes.control.len() >= limits::ACTOR_MAILBOX {
            return Err(control);
        }
        lanes.control.push_back(control);
        self.tell(lanes);
        Ok(())
    }

    /// Puts work in; gives it back when the lane is full or closed.
    pub(crate) fn work(&self, work: W) -> Result<(), W> {
        let mut lanes = self.lock();
        if lanes.closed || lanes.work.len() >= limits::ACTOR_MAILBOX {
            return Err(work);
        }
        lanes.work.push_back(work);
        self.tell(lanes);
        Ok(())
    }

    /// Nothing more is taken in; what is there is still read.
    pub(crate) fn close(&self) {
        let mut lanes = self.lock();
        lanes.closed = true;
        self.tell(lanes);
    }

    /// There is one reader, which waits one way or the other.
    fn tell(&self, lanes: MutexGuard<'_, Lanes<W>>) {
        drop(lanes);
        self.arrived.notify_one();
        self.told.notify_one();
    }

    /// Waits for the next letter.
    pub(crate) fn receive(&self) -> Letter<W> {
        let mut lanes = self.lock();
        loop {
            if let Some(letter) = lanes.next() {
                return letter;
            }
            lanes = self.arrived.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for the next letter without a thread. Safe to drop while it waits.
    pub(crate) async fn arrival(&self) -> Letter<W> {
        loop {
            if let Some(letter) = self.lock().next() {
                return letter;
            }
            self.told.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lanes<W>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_is_read_first_and_both_lanes_are_bounded() {
        let mailbox = Mailbox::default();
        let unload = || Control::Unload("a".to_owned());
        for number in 0..limits::ACTOR_MAILBOX {
            assert_eq!(mailbox.work(number), Ok(()));
            assert_eq!(mailbox.control(unload()), Ok(()));
        }
        assert_eq!(mailbox.work(7), Err(7));
        assert_eq!(mailbox.control(unload()), Err(unload()));
        for _ in 0..limits::ACTOR_MAILBOX {
            assert_eq!(mailbox.receive(), Letter::Control(unload()));
        }
        assert_eq!(mailbox.receive(), Letter::Work(0));
        mailbox.close();
        assert_eq!(mailbox.work(7), Err(7));
        for number in 1..limits::ACTOR_MAILBOX {
            assert_eq!(mailbox.receive(), Letter::Work(number));
        }
        assert_eq!(mailbox.receive(), Letter::Closed);
    }
}
