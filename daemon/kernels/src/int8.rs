//! A linear layer in 8-bit integers: weights with one scale for each output channel, activations with one for each token,
//! sums in 32-bit integers. The sums are exact, and what comes before and after them is written so that it rounds alike:
//! results are equal to the bit at every level.

mod sums;

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use crate::dispatch::{Level, multiversion};
use crate::gemm::Target;
use crate::op::{Operand, apply, ensure};
use sums::{CHANNELS, Panel, ROWS, sums};

/// Panels of a task.
const PANELS: usize = 8;
/// Tiles of rows of a task.
const TILES: usize = 16;

/// The longest sum that surely fits 32 bits: 255 * 127 * 65536 < 2^31.
const LONGEST: usize = 65536;

/// A linear layer `y = x W^T + b` with 8-bit weights.
#[derive(Debug)]
pub struct Int8Linear {
    /// Panels of [`CHANNELS`] output channels: `[input / 4][CHANNELS][4]` of weight + 128.
    weight: Vec<u8>,
    /// `(output)`, filled up to whole panels.
    scale: Vec<f32>,
    /// `(output)`, filled up to whole panels with zeros.
    bias: Vec<f32>,
    input: usize,
    output: usize,
}

impl Int8Linear {
    /// Rounds `weight (output, input)` to 255 steps for each output channel; `bias (output)` stays as it is.
    pub fn from_slices(weight: &[f32], bias: Option<&[f32]>, [output, input]: [usize; 2]) -> Self {
        assert!(weight.len() == output * input && input > 0 && input <= LONGEST);
        assert!(bias.is_none_or(|bias| bias.len() == output));
        let (quads, panels) = (input.div_ceil(4), output.div_ceil(CHANNELS));
        let mut packed = vec![128u8; panels * quads * CHANNELS * 4];
        let mut scale = vec![0f32; panels * CHANNELS];
        for (channel, row) in weight.chunks_exact(input).enumerate() {
            let step = row.iter().fold(0f32, |largest, weight| largest.max(weight.abs())) / 127.0;
            scale[channel] = step;
            let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
            let first = (channel / CHANNELS * quads * CHANNELS + channel % CHANNELS) * 4;
            for (place, weight) in row.iter().enumerate() {
                let rounded = (weight * inverse).round_ties_even() as i32 + 128;
                packed[first + place / 4 * CHANNELS * 4 + place % 4] = rounded as u8;
            }
        }
        let mut filled = bias.map_or_else(Vec::new, <[f32]>::to_vec);
        filled.resize(panels * CHANNELS, 0.0);
        Self { weight: packed, scale, bias: filled, input, output }
    }

    /// The same from tensors: `weight (out, in)`, `bias (out)`.
    pub fn new(weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        const NAME: &str = "int8_linear";
        let (output, input) = weight.dims2()?;
        ensure((1..=LONGEST).contains(&input), NAME, &format!("1 to {LONGEST} inputs"), weight.shape())?;
        let bias = Operand::bias(NAME, bias, output)?;
        Operand::new(NAME, weight)?.read(|weight| {
            Operand::read_optional(bias.as_ref(), |bias| Ok(Self::from_slices(weight, bias, [output, input])))
        })
    }

    /// Bytes that the layer holds.
    pub fn bytes(&self) -> usize {
        self.weight.len() + 4 * (self.scale.len() + self.bias.len())
    }

    /// `x (rows, input)` -> `out (rows, output)`. A row with a number that is not finite becomes NaN.
    pub fn forward_slice(&self, level: Level, x: &[f32], out: &mut [f32]) {
        assert!(x.len().is_multiple_of(self.input));
        let rows = x.len() / self.input;
        assert_eq!(out.len(), rows * self.output);
        if out.is_empty() {
            return;
        }
        let quads = self.input.div_ceil(4);
        let tiles = rows.div_ceil(ROWS);
        // The last tile is filled up with rows of zeros, which nobody reads the results of.
        let mut tokens = vec![[0i8; 4]; tiles * ROWS * quads];
        let mut steps = vec![Step::default(); tiles * ROWS];
        let each = tokens.par_chunks_mut(quads).zip(&mut steps).zip(x.par_chunks(self.input)).with_min_len(ROWS);
        each.for_each(|((tokens, step), x)| quantise(level, x, tokens.as_flattened_mut(), step));
        let panels = self.scale.len() / CHANNELS;
        let (across, down) = (panels.div_ceil(PANELS), tiles.div_ceil(TILES));
        let target = Target::new(out, self.output);
        (0..across * down).into_par_iter().for_each(|task| {
            let (down, across) = (task / across, task % across);
            for panel in across * PANELS..panels.min((across + 1) * PANELS) {
                let first = panel * CHANNELS;
                let columns = CHANNELS.min(self.output - first);
                let weight = Panel::new(&self.weight[first * quads * 4..][..CHANNELS * quads * 4]);
                for tile in down * TILES..tiles.min((down + 1) * TILES) {
                    let start = tile * ROWS;
                    let sums = sums(level, weight, &tokens[start * quads..][..ROWS * quads]);
                    for (row, sums) in sums.iter().enumerate().take(rows - start) {
                        // SAFETY: `out` is borrowed mutably for the whole call, and each tile belongs to one task.
                        let out = unsafe { target.at(first).slice(start + row, columns) };
                        dequantise(level, sums, &steps[start + row], &self.scale[first..], &self.bias[first..], out);
                    }
                }
            }
        });
    }

    /// `(..., in) -> (..., out)`
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        const NAME: &str = "int8_linear";
        ensure(x.dim(D::Minus1)? == self.input, NAME, &format!("(..., {})", self.input), x.shape())?;
        let mut shape = x.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = self.output;
        }
        apply(NAME, x, shape, |x, out| {
            self.forward_slice(Level::best(), x, out);
            Ok(())
        })
    }
}

/// How a token was rounded.
#[derive(Clone, Copy, Default)]
struct Step {
    /// What one step is worth.
    size: f32,
    /// 128 times the sum of the integers: what the offset of the weights adds to each of its sums.
    offset: i32,
}

/// Rounds a token to 255 steps. No multiplication is fused with an addition, which would round differently.
#[inline(always)]
fn quantise_body<const FMA: bool>(x: &[f32], out: &mut [i8], step: &mut Step) {
    // 1.5 * 2^23: adding it rounds to an integer and leaves that integer in the low bits of the sum.
    const MAGIC: f32 = 12_582_912.0;
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
    let size = largest.iter().copied().chain(rest.iter().map(|x| x.abs())).fold(0f32, f32::max) / 127.0;
    let poison: f32 = poison.iter().sum::<f32>() + rest.iter().map(|x| x * 0.0).sum::<f32>();
    // A token so small that the inverse is infinite is zero.
    let inverse = if size > f32::MIN_POSITIVE { 1.0 / size } else { 0.0 };
    let mut sum = 0i32;
    for (out, x) in out.iter_mut().zip(x) {
        let integer = ((x * inverse + MAGIC).to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32);
        *out = integer as i8;
        sum = sum.wrapping_add(i32::from(integer as i8));
    }
    *step = Step { size: size + poison, offset: 128 * sum };
}
multiversion!(fn quantise(x: &[f32], out: &mut [i8], step: &mut Step) = quantise_body);

/// Sums of integers become numbers again.
#[inline(always)]
fn dequantise_body<const FMA: bool>(sums: &[i32; CHANNELS], step: &Step, scale: &[f32], bias: &[f32], out: &mut [f32]) {
    let (scale, bias) = (&scale[..CHANNELS], &bias[..CHANNELS]);
    let mut values = [0f32; CHANNELS];
    for i in 0..CHANNELS {
        values[i] = (sums[i] - step.offset) as f32 * step.size * scale[i] + bias[i];
    }
    out.copy_from_slice(&values[..out.len()]);
}
multiversion!(
    fn dequantise(sums: &[i32; CHANNELS], step: &Step, scale: &[f32], bias: &[f32], out: &mut [f32]) = dequantise_body
);
