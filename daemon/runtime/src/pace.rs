//! How long things take in virtual time.

use std::time::Duration;

/// Draws, from a seed, the time that each piece of work and each write to the disk takes, for
/// [`Runtime::start_in_virtual_time`](crate::Runtime::start_in_virtual_time).
#[derive(Clone, Debug)]
pub struct Pace {
    random: u64,
    longest_work: Duration,
    longest_write: Duration,
}

impl Pace {
    /// Work takes up to `longest_work`, evenly spread, writes up to `longest_write`.
    pub fn new(seed: u64, longest_work: Duration, longest_write: Duration) -> Self {
        Self { random: seed, longest_work, longest_write }
    }

    /// One of its own for the `number`th of those who share a seed.
    pub(crate) fn of(&self, number: u64) -> Self {
        Self { random: self.random.wrapping_mul(31).wrapping_add(number), ..self.clone() }
    }

    pub(crate) fn work(&mut self) -> Duration {
        self.longest_work.mul_f64(self.share())
    }

    pub(crate) fn write(&mut self) -> Duration {
        self.longest_write.mul_f64(self.share())
    }

    /// 0 to 1; splitmix64.
    fn share(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
