//! Rounding of activations to 8 bits, one step size for each token or pixel. No multiplication is fused with an addition,
//! which would round differently on other processors.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use super::sums::{COLUMNS, FILL, Rows, depth_of};
use crate::dispatch::{Level, multiversion};
use crate::op::Operand;

/// 1.5 * 2^23: adding it rounds to an integer and leaves that integer in the low bits of the sum.
const MAGIC: f32 = 12_582_912.0;

/// The nearest integer of a number of steps, at most 127 in size; halves go to the even one.
#[inline(always)]
pub(super) fn round(steps: f32) -> i8 {
    (steps + MAGIC).to_bits() as i8
}

/// How a token was rounded.
#[derive(Clone, Copy, Default)]
pub(super) struct Step {
    /// What one step is worth.
    pub(super) size: f32,
    /// 128 times the sum of the integers: what the offset of the weights adds to each of its sums.
    pub(super) offset: i32,
}

/// Tokens rounded to 8 bits, once for all layers that read them.
pub struct Int8Tokens {
    quads: Vec<[i8; 4]>,
    steps: Vec<Step>,
    rows: usize,
    input: usize,
}

impl Int8Tokens {
    /// Rounds `x (rows, input)`. A row with a number that is not finite makes results that are not numbers.
    pub fn from_slice(level: Level, x: &[f32], input: usize) -> Self {
        assert!(input > 0 && x.len().is_multiple_of(input));
        let (rows, depth) = (x.len() / input, depth_of(input));
        let filled = rows.next_multiple_of(FILL);
        let (mut quads, mut steps) = (vec![[0i8; 4]; filled * depth], vec![Step::default(); filled]);
        let each = quads.par_chunks_mut(depth).zip(&mut steps).zip(x.par_chunks(input)).with_min_len(FILL);
        each.for_each(|((quads, step), x)| quantise(level, x, quads.as_flattened_mut(), step));
        Self { quads, steps, rows, input }
    }

    /// Rounds `x (..., input)`.
    pub fn new(x: &Tensor) -> Result<Self> {
        let input = x.dim(D::Minus1)?;
        Operand::new("int8_tokens", x)?.read(|x| Ok(Self::from_slice(Level::best(), x, input)))
    }

    /// Number of tokens.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Width of a token.
    pub fn input(&self) -> usize {
        self.input
    }

    /// The tokens from number `first` on, and how they were rounded.
    pub(super) fn from(&self, first: usize) -> (Rows<'_>, &[Step]) {
        let line = depth_of(self.input);
        (Rows { quads: &self.quads[first * line..], line }, &self.steps[first..])
    }
}

/// Rounds a token to 255 steps.
#[inline(always)]
fn quantise_body<const FMA: bool>(x: &[f32], out: &mut [i8], step: &mut Step) {
    let (chunks, rest) = x.as_chunks::<64>();
    let (mut largest, mut poison) = ([0f32; 64], [0f32; 64]);
    for chunk in chunks {
        for i in 0..64 {
            let value = chunk[i].abs();
            largest[i] = if value > largest[i] { value } else { largest[i] };
            // 0, or NaN for ever after a number that is not finite.
            poison[i] += chunk[i] * 0.0;
        }
    }
    for (i, x) in rest.iter().enumerate() {
        largest[i] = if x.abs() > largest[i] { x.abs() } else { largest[i] };
        poison[i] += x * 0.0;
    }
    // Halves onto each other until one is left: one number after the other would take as long as all that was before.
    for half in [32, 16, 8, 4, 2, 1] {
        for i in 0..half {
            largest[i] = if largest[i + half] > largest[i] { largest[i + half] } else { largest[i] };
            poison[i] += poison[i + half];
        }
    }
    let (size, poison) = (largest[0] / 127.0, poison[0]);
    let inverse = inverse(size);
    let mut sum = 0i32;
    for (out, x) in out.iter_mut().zip(x) {
        *out = round(x * inverse);
        sum = sum.wrapping_add(i32::from(*out));
    }
    *step = Step { size: size + poison, offset: sum.wrapping_mul(128) };
}
multiversion!(pub(super) fn quantise(x: &[f32], out: &mut [i8], step: &mut Step) = quantise_body);

/// A token so small that the inverse is infinite is zero.
#[inline(always)]
fn inverse(size: f32) -> f32 {
    if size > f32::MIN_POSITIVE { 1.0 / size } else { 0.0 }
}

/// Pixels of channels-first memory on their way to being rounded.
pub(super) struct Pixels {
    /// `(channels filled up to whole groups, width)`
    values: Vec<f32>,
    /// Channels of what was loaded last; what stands behind them is zeros.
    channels: usize,
    width: usize,
}

impl Pixels {
    /// Room for up to `channels` channels of `width` pixels, a multiple of [`COLUMNS`].
    pub(super) fn new(channels: usize, width: usize) -> Self {
        assert!(width.is_multiple_of(COLUMNS));
        Self { values: vec![0f32; depth_of(channels) * 4 * width], channels: 0, width }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// How far the lines of the channels are apart, and the memory that `channels` of them are to be written into.
    pub(super) fn lines(&mut self, channels: usize) -> (usize, &mut [f32]) {
        self.clear_behind(channels);
        (self.width, &mut self.values[..channels * self.width])
    }

    /// Copies `count` pixels of every channel; channels are `plane` apart, the first pixel is the first of `x`. The rest of
    /// the width is zeros.
    pub(super) fn load(&mut self, channels: usize, x: &[f32], plane: usize, count: usize) {
        self.clear_behind(channels);
        for (channel, line) in self.values.chunks_exact_mut(self.width).enumerate().take(channels) {
            line[..count].copy_from_slice(&x[channel * plane..][..count]);
            line[count..].fill(0.0);
        }
    }

    fn clear_behind(&mut self, channels: usize) {
        if self.channels > channels {
            self.values[channels * self.width..self.channels * self.width].fill(0.0);
        }
        self.channels = channels;
    }

    /// Rounds all pixels to `depth` groups: writes the size of a step of each, and the panels of [`COLUMNS`] pixels into
    /// `out`, one every `next` groups, the lines of each `line` groups apart.
    pub(super) fn round(&self, level: Level, steps: &mut [f32], out: &mut [[u8; 4]], [next, line]: [usize; 2]) {
        assert_eq!(steps.len(), self.width);
        let mut inverses = [0f32; COLUMNS];
        let extent = (depth_of(self.channels) - 1) * line + COLUMNS;
        for (panel, steps) in steps.chunks_exact_mut(COLUMNS).enumerate() {
            let x = &self.values[panel * COLUMNS..];
            sizes(level, x, self.width, self.channels, &mut inverses, steps);
            pack(level, x, self.width, &inverses, &mut out[panel * next..][..extent], line);
        }
    }
}

/// Sizes of the steps of [`COLUMNS`] pixels of `x (channels, width)`, and their inverses.
#[inline(always)]
fn sizes_body<const FMA: bool>(x: &[f32], width: usize, channels: usize, inverses: &mut [f32], sizes: &mut [f32]) {
    let (mut largest, mut poison) = ([0f32; COLUMNS], [0f32; COLUMNS]);
    for channel in 0..channels {
        let x = &x[channel * width..][..COLUMNS];
        for i in 0..COLUMNS {
            let value = x[i].abs();
            largest[i] = if value > largest[i] { value } else { largest[i] };
            poison[i] += x[i] * 0.0;
        }
    }
    let (inverses, sizes) = (&mut inverses[..COLUMNS], &mut sizes[..COLUMNS]);
    for i in 0..COLUMNS {
        let size = largest[i] / 127.0;
        inverses[i] = inverse(size);
        sizes[i] = size + poison[i];
    }
}
multiversion!(
    fn sizes(x: &[f32], width: usize, channels: usize, inverses: &mut [f32], sizes: &mut [f32]) = sizes_body
);

/// One panel of pixels: groups of four channels become four bytes, which are the integers plus 128.
#[inline(always)]
fn pack_body<const FMA: bool>(x: &[f32], width: usize, inverses: &[f32], out: &mut [[u8; 4]], line: usize) {
    let inverses = &inverses[..COLUMNS];
    for (group, out) in out.chunks_mut(line).enumerate() {
        let out = &mut out[..COLUMNS];
        let channel = |place: usize| &x[(group * 4 + place) * width..][..COLUMNS];
        let (a, b, c, d) = (channel(0), channel(1), channel(2), channel(3));
        let mut words = [0u32; COLUMNS];
        for i in 0..COLUMNS {
            let byte = |x: f32| (x * inverses[i] + MAGIC).to_bits() & 0xff;
            words[i] = (byte(a[i]) | byte(b[i]) << 8 | byte(c[i]) << 16 | byte(d[i]) << 24) ^ 0x8080_8080;
        }
        for i in 0..COLUMNS {
            out[i] = words[i].to_le_bytes();
        }
    }
}
multiversion!(fn pack(x: &[f32], width: usize, inverses: &[f32], out: &mut [[u8; 4]], line: usize) = pack_body);
