//! Rounding of weights in blocks.

use half::f16;

use super::BLOCK;

/// Blocks whose scales are rounded together, and their inputs.
const TOGETHER: usize = 8;
/// Largest integer of four bits.
const LARGEST: f32 = 15.0;
/// Largest factor of a scale.
const FACTORS: f32 = 63.0;

/// Integers of 255 steps around zero, and what a step is worth.
pub(super) fn round8(values: &[f32; BLOCK]) -> (f16, [i8; BLOCK]) {
    let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let scale = f16::from_f32(largest / 127.0);
    let inverse = inverse(scale.to_f32());
    (scale, values.map(|value| nearest(value * inverse).clamp(-127.0, 127.0) as i8))
}

/// Eight blocks in four bits: `scale * scales[block] * integer - minimum * minima[block]`.
pub(super) struct Rounded4 {
    pub(super) scale: f16,
    pub(super) minimum: f16,
    pub(super) scales: [u8; TOGETHER],
    pub(super) minima: [u8; TOGETHER],
    pub(super) integers: [u8; TOGETHER * BLOCK],
}

pub(super) fn round4(values: &[f32; TOGETHER * BLOCK]) -> Rounded4 {
    let (blocks, _) = values.as_chunks::<BLOCK>();
    let mut lines = [[0f32; 2]; TOGETHER];
    lines.iter_mut().zip(blocks).for_each(|(line, block)| *line = line_of(block));
    let largest = |at: usize| lines.iter().fold(0f32, |largest, line| largest.max(line[at]));
    let [scale, minimum] = [0, 1].map(|at| f16::from_f32(largest(at) / FACTORS));
    let mut out = Rounded4 { scale, minimum, scales: [0; 8], minima: [0; 8], integers: [0; TOGETHER * BLOCK] };
    let (inverse_scale, inverse_minimum) = (inverse(scale.to_f32()), inverse(minimum.to_f32()));
    for (at, (block, [step, off])) in blocks.iter().zip(lines).enumerate() {
        out.scales[at] = nearest(step * inverse_scale).clamp(0.0, FACTORS) as u8;
        out.minima[at] = nearest(off * inverse_minimum).clamp(0.0, FACTORS) as u8;
        let step = scale.to_f32() * f32::from(out.scales[at]);
        let off = minimum.to_f32() * f32::from(out.minima[at]);
        let inverse = inverse(step);
        for (integer, value) in out.integers[at * BLOCK..].iter_mut().zip(block) {
            *integer = nearest((value + off) * inverse).clamp(0.0, LARGEST) as u8;
        }
    }
    out
}

/// Step and minimum (taken off, so at least 0) that come closest to a block: some widths of the steps are tried, and for the
/// integers of each the best line through the values is computed.
fn line_of(block: &[f32; BLOCK]) -> [f32; 2] {
    let least = block.iter().fold(0f32, |least, value| least.min(*value));
    let most = block.iter().fold(least, |most, value| most.max(*value));
    let width = most - least;
    if width <= f32::MIN_POSITIVE {
        return [0.0, -least];
    }
    let mut best = [width / LARGEST, -least];
    let mut error = f32::INFINITY;
    for trial in 0..9 {
        let steps = LARGEST - 0.8 + trial as f32 * 0.2;
        let inverse = steps / width;
        let mut integers = [0f32; BLOCK];
        for (integer, value) in integers.iter_mut().zip(block) {
            *integer = nearest((value - least) * inverse).clamp(0.0, LARGEST);
        }
        let line = fitted(&integers, block);
        let apart = |line: [f32; 2]| {
            integers.iter().zip(block).map(|(i, value)| (i * line[0] - line[1] - value).powi(2)).sum::<f32>()
        };
        let apart = apart(line);
        if apart < error && line[0] > 0.0 {
            (best, error) = (line, apart);
        }
    }
    best
}

/// The least squares of `values = step * integers - minimum`; a minimum below 0 is held at 0.
fn fitted(integers: &[f32; BLOCK], values: &[f32; BLOCK]) -> [f32; 2] {
    let count = BLOCK as f32;
    let (mut i, mut ii, mut v, mut iv) = (0f32, 0f32, 0f32, 0f32);
    for (integer, value) in integers.iter().zip(values) {
        i += integer;
        ii += integer * integer;
        v += value;
        iv += integer * value;
    }
    let determinant = count * ii - i * i;
    if determinant <= 0.0 {
        return [0.0, 0.0];
    }
    let step = (count * iv - i * v) / determinant;
    let minimum = (step * i - v) / count;
    if minimum >= 0.0 { [step, minimum] } else { [if ii > 0.0 { iv / ii } else { 0.0 }, 0.0] }
}

/// The nearest whole number of one that is not large; halves go to the even one. Not the call of the maths library, which is
/// one number at a time.
#[inline(always)]
fn nearest(value: f32) -> f32 {
    /// 1.5 * 2^23: in a sum with it only the whole part has room.
    const MAGIC: f32 = 12_582_912.0;
    (value + MAGIC) - MAGIC
}

fn inverse(step: f32) -> f32 {
    if step > 0.0 { 1.0 / step } else { 0.0 }
}
