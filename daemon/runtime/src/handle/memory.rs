//! Looks at the memory of the machine: when it runs short, the largest networks that nobody uses go, and come back when it does not.

use std::sync::Weak;

use easel_domain::limits;

use super::{Runtime, Shared};
use crate::scheduler::Command;

/// Looks until the runtime has gone. Does nothing where the system does not tell.
pub(super) async fn run(shared: Weak<Shared>) {
    let mut ticks = tokio::time::interval(limits::MEMORY_TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut short = false;
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        let Some(available) = std::fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(available_bytes) else {
            return;
        };
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

/// What programs can have without swapping, in bytes, from the text of `/proc/meminfo`.
fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
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

    #[test]
    fn the_system_tells_what_is_available() {
        let text = "MemTotal:       24000000 kB\nMemFree: 1 kB\nMemAvailable:    1234 kB\n";
        assert_eq!(available_bytes(text), Some(1234 * 1024));
        assert_eq!(available_bytes("MemTotal: 1 kB\n"), None);
        assert_eq!(available_bytes("MemAvailable: much\n"), None);
    }
}
