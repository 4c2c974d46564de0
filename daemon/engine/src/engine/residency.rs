//! How much memory the loaded networks of a model take, counted as they come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The count of one model; owned by the registry, shared with its networks.
#[derive(Clone, Default)]
pub(super) struct Residency(Arc<AtomicU64>);

/// The share of one network; gives it back when it is dropped.
pub(super) struct Resident {
    total: Residency,
    bytes: AtomicU64,
}

impl Residency {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The share of a network that is about to be loaded.
    pub(super) fn enter(&self) -> Resident {
        Resident { total: self.clone(), bytes: AtomicU64::new(0) }
    }
}

impl Resident {
    /// Counts the weights of the network.
    pub(super) fn set_bytes(&self, bytes: u64) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        self.total.0.fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed);
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        self.total.0.fetch_sub(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}
