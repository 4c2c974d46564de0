//! How long a lost connection is waited for.

use std::time::Duration;

use crate::Error;
use crate::error::reason;

/// A lost connection is taken up again this often in a row, after 0.1, 0.2, 0.4, ... 3.2 s: about 6 s, in which a
/// service manager brings a daemon back.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Counts the losses in a row of one stream.
#[derive(Default)]
pub(crate) struct Patience {
    lost: u32,
}

impl Patience {
    /// Something came: the next loss is the first.
    pub(crate) fn found(&mut self) {
        self.lost = 0;
    }

    /// Notes a loss; gives the error back when it is none that passes, or when there were too many in a row. What the daemon
    /// `knows` already outlives it: then its absence passes as well.
    pub(crate) fn lose(&mut self, error: Error, known: bool) -> Result<(), Error> {
        self.lost += 1;
        // A daemon that stops leaves what it does not finish to its next run; one that is not there yet cannot be reached.
        let comes_back = known && [reason::CANNOT_CONNECT, "DRAINING"].contains(&error.reason.as_str());
        let passes = comes_back || error.reason == reason::CONNECTION_LOST || error.reason == "STREAM_LAGGED";
        if passes && self.lost <= ATTEMPTS { Ok(()) } else { Err(error) }
    }

    /// Waits before the next attempt.
    pub(crate) async fn pause(&self) {
        tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(self.lost.saturating_sub(1).min(5))).await;
    }
}

/// The error of a connection that broke.
pub(crate) fn lost(cause: &str) -> Error {
    Error::new(tonic::Code::Unavailable, reason::CONNECTION_LOST, format!("the connection was lost: {cause}"))
}
