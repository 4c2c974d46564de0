//! What time it is: tokio's clock, which stands still in tests that say so, also for who asks outside of a tokio runtime.

use std::time::{Duration, Instant, SystemTime};

/// Now, by the clock that timers of this thread go by.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The time of day, in whole milliseconds, as the store keeps it: so an event is the same after a restart.
pub(crate) fn wall() -> SystemTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_millis(since.as_millis() as u64)
}
