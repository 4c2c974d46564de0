//! Ctrl-C and SIGTERM, noticed from the moment this is made.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// Signals that ask the program to stop.
pub(crate) struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupt {
    /// Takes the signals over: from now on they do not end the process by themselves.
    pub(crate) fn take_over() -> Result<Self, Failure> {
        let take = |kind| signal(kind).map_err(|error| Failure::fault("signals cannot be handled", error));
        Ok(Self { interrupt: take(SignalKind::interrupt())?, terminate: take(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
