//! Looks at the memory of the machine: when it runs short, the largest networks that nobody uses go, and come back when it does not.

use std::sync::Weak;

use easel_domain::limits;

use super::{Runtime, Shared};
use crate::proc::proc_bytes;
use crate::scheduler::Command;

/// Looks until the runtime has gone. Does nothing where the system does not tell.
pub(super) async fn run(shared: Weak<Shared>) {
    let mut ticks = tokio::time::interval(limits::MEMORY_TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut short = false;
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        // What programs can have without swapping.
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let Some(available) = proc_bytes(&text, "MemAvailable") else { return };
        let now = is_short(available, short);
        if now != short {
            short = now;
            tracing::info!(available_mb = available >> 20, short, "memory of the machine");
            // Fails only when the runtime ends.
            let _ = Runtime(shared).tell(Command::MemoryShort(short), None).await;
        }
    }
}

/// Whether memory is short, which it stays until there is twice as much as when it began.
fn is_short(available: u64, short: bool) -> bool {
    available < limits::LOW_MEMORY_BYTES * if short { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_short_until_there_is_twice_as_much() {
        let low = limits::LOW_MEMORY_BYTES;
        let steps = [(low, false), (low - 1, true), (low * 2 - 1, true), (low * 2, false), (low, false)];
        let mut short = false;
        for (available, wanted) in steps {
            short = is_short(available, short);
            assert_eq!(short, wanted, "{available}");
        }
    }
}
