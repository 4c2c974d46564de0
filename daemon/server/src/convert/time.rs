//! Times and spans on the wire.

use std::time::{Duration, SystemTime};

/// A span as the protocol writes it; one that it cannot write is its longest.
pub(crate) fn duration(span: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(span).unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 999_999_999 })
}

/// A point in time as the protocol writes it.
pub(crate) fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    prost_types::Timestamp::from(time)
}

/// A span from the wire; `None` when it is negative or not written as the protocol asks.
pub(crate) fn span(wire: prost_types::Duration) -> Option<Duration> {
    let seconds = u64::try_from(wire.seconds).ok()?;
    let nanos = u32::try_from(wire.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(seconds, nanos))
}

/// A span from the wire in seconds, for a person, whatever it holds.
pub(crate) fn seconds(wire: prost_types::Duration) -> f64 {
    wire.seconds as f64 + f64::from(wire.nanos) * 1e-9
}
