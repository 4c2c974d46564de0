//! The noise that a seed means: the numbers of `torch.randn(..., generator=torch.Generator("cpu").manual_seed(seed))` in
//! f32. Sources: Matsumoto and Nishimura, "Mersenne Twister" (1998), for the generator; aten/src/ATen/native/cpu/
//! DistributionTemplates.h and c10's TransformationHelper.h for the order in which torch turns its words into normals.

use std::f64::consts::PI;

const WORDS: usize = 624;
const MIDDLE: usize = 397;
/// Draws of at least this many numbers take torch's vectorised path.
const VECTOR_MIN: usize = 16;

/// torch's generator on the processor.
pub struct TorchGenerator {
    state: [u32; WORDS],
    next: usize,
    /// The second half of the last Box-Muller pair of the scalar path.
    spare: Option<f64>,
}

impl TorchGenerator {
    /// `torch.Generator("cpu").manual_seed(seed)`; like torch's, only the low 32 bits count.
    pub fn new(seed: u64) -> Self {
        let mut state = [0u32; WORDS];
        state[0] = seed as u32;
        for i in 1..WORDS {
            let previous = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(previous ^ (previous >> 30)).wrapping_add(i as u32);
        }
        Self { state, next: WORDS, spare: None }
    }

    /// The next `count` normal numbers, as one call of `torch.randn` for a contiguous f32 tensor draws them.
    pub fn randn(&mut self, count: usize) -> Vec<f32> {
        if count < VECTOR_MIN {
            return (0..count).map(|_| self.normal() as f32).collect();
        }
        let mut values: Vec<f32> = (0..count).map(|_| self.uniform_f32()).collect();
        for block in values.chunks_exact_mut(VECTOR_MIN) {
            box_muller(block);
        }
        if !count.is_multiple_of(VECTOR_MIN) {
            // torch draws the last 16 numbers anew, so that they overlap with the blocks before.
            let tail = &mut values[count - VECTOR_MIN..];
            tail.iter_mut().for_each(|value| *value = self.uniform_f32());
            box_muller(tail);
        }
        values
    }

    /// 24 random bits as a number in [0, 1).
    fn uniform_f32(&mut self) -> f32 {
        (self.word() & 0x00ff_ffff) as f32 / 16_777_216.0
    }

    /// 53 random bits as a number in [0, 1).
    fn uniform_f64(&mut self) -> f64 {
        let (high, low) = (u64::from(self.word()), u64::from(self.word()));
        (((high << 32) | low) & ((1 << 53) - 1)) as f64 / 9_007_199_254_740_992.0
    }

    fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (u1, u2) = (self.uniform_f64(), self.uniform_f64());
        let radius = (-2.0 * (-u2).ln_1p()).sqrt();
        let theta = 2.0 * PI * u1;
        self.spare = Some(radius * theta.sin());
        radius * theta.cos()
    }

    fn word(&mut self) -> u32 {
        if self.next == WORDS {
            self.refill();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn refill(&mut self) {
        for i in 0..WORDS {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % WORDS] & 0x7fff_ffff);
            let twist = if y & 1 == 0 { 0 } else { 0x9908_b0df };
            self.state[i] = self.state[(i + MIDDLE) % WORDS] ^ (y >> 1) ^ twist;
        }
        self.next = 0;
    }
}

/// Turns 16 uniform numbers into normals: the first eight are radii, the last eight angles. The angle is rounded to f32 as
/// torch's vector code does; the functions themselves are exact, so that the result is within an ulp or two of torch's.
fn box_muller(block: &mut [f32]) {
    let (radii, angles) = block.split_at_mut(VECTOR_MIN / 2);
    for (first, second) in radii.iter_mut().zip(angles) {
        let radius = (-2.0 * f64::from(1.0 - *first).ln()).sqrt();
        let theta = f64::from((2.0 * PI) as f32 * *second);
        *first = (radius * theta.cos()) as f32;
        *second = (radius * theta.sin()) as f32;
    }
}
