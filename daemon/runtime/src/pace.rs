//! How long things take in virtual time.

use std::time::Duration;

use crate::Random;

/// Draws, from a seed, the time that each piece of work and each write to the disk takes, for
/// [`Runtime::start_in_virtual_time`](crate::Runtime::start_in_virtual_time).
#[derive(Clone, Debug)]
pub struct Pace {
    seed: u64,
    random: Random,
    longest_work: Duration,
    longest_write: Duration,
}

impl Pace {
    /// Work takes up to `longest_work`, evenly spread, writes up to `longest_write`.
    pub fn new(seed: u64, longest_work: Duration, longest_write: Duration) -> Self {
        Self { seed, random: Random::new(seed), longest_work, longest_write }
    }

    /// One of its own for the `number`th of those who share a seed.
    pub(crate) fn of(&self, number: u64) -> Self {
        Self::new(self.seed.wrapping_mul(31).wrapping_add(number), self.longest_work, self.longest_write)
    }

    pub(crate) fn work(&mut self) -> Duration {
        self.longest_work.mul_f64(self.random.share())
    }

    pub(crate) fn write(&mut self) -> Duration {
        self.longest_write.mul_f64(self.random.share())
    }
}
