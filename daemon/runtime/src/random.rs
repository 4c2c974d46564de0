//! Choices from a seed, for histories that can be lived again. Not for anything that has to be hard to guess.

/// A generator: splitmix64 (Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same choices.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `most` - 1, for a `most` of 1 at least.
    pub fn below(&mut self, most: u64) -> u64 {
        self.bits() % most
    }

    /// True once in `count` times, for a `count` of 1 at least.
    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// 0 to 1, without 1.
    pub fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
