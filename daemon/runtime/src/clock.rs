//! What time it is: tokio's clock, which stands still in tests that say so, also for who asks outside of a tokio runtime.

use std::time::Instant;

/// Now, by the clock that timers of this thread go by.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
