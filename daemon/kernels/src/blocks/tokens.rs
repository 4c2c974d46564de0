//! Activations rounded to 8 bits in blocks of 32.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use super::{BLOCK, QUADS, ROWS};
use crate::dispatch::{Level, multiversion};
use crate::op::Operand;

/// 1.5 * 2^23: adding it rounds to an integer and leaves that integer in the low bits of the sum.
const MAGIC: f32 = 12_582_912.0;

/// Tokens rounded in blocks, once for all layers that read them.
pub struct BlockTokens {
    /// `(rows filled up to whole tiles, input / 4)`
    quads: Vec<[i8; 4]>,
    /// `[tile][block][ROWS]`: what one step is worth.
    scales: Vec<f32>,
    /// `[tile][block][ROWS]`: -128 times the sum of the integers.
    offsets: Vec<i32>,
    /// `[tile][block][ROWS]`: the sum of the block.
    sums: Vec<f32>,
    rows: usize,
    input: usize,
}

/// Some tokens, at most [`ROWS`], of which the sums are made at one time.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    pub(super) quads: &'a [[i8; 4]],
    /// `[block][ROWS]` each.
    pub(super) scales: &'a [f32],
    pub(super) offsets: &'a [i32],
    pub(super) sums: &'a [f32],
}

impl BlockTokens {
    /// Rounds `x (rows, input)`; `input` is a multiple of 32. A row with a number that is not finite makes results that are not
    /// numbers.
    pub fn from_slice(level: Level, x: &[f32], input: usize) -> Self {
        assert!(input > 0 && input.is_multiple_of(BLOCK) && x.len().is_multiple_of(input));
        let (rows, blocks) = (x.len() / input, input / BLOCK);
        let tiles = rows.div_ceil(ROWS);
        let mut quads = vec![[0i8; 4]; tiles * ROWS * input / 4];
        let (mut scales, mut sums) = (vec![0f32; tiles * blocks * ROWS], vec![0f32; tiles * blocks * ROWS]);
        let mut offsets = vec![0i32; tiles * blocks * ROWS];
        let each = quads.par_chunks_mut(ROWS * input / 4).zip(scales.par_chunks_mut(blocks * ROWS));
        let each = each.zip(offsets.par_chunks_mut(blocks * ROWS)).zip(sums.par_chunks_mut(blocks * ROWS));
        each.zip(x.par_chunks(ROWS * input)).for_each(|((((quads, scales), offsets), sums), x)| {
            for (row, (x, quads)) in x.chunks_exact(input).zip(quads.chunks_exact_mut(input / 4)).enumerate() {
                let quads = quads.as_flattened_mut();
                quantise(level, x, quads, &mut scales[row..], &mut offsets[row..], &mut sums[row..]);
            }
        });
        Self { quads, scales, offsets, sums, rows, input }
    }

    /// Rounds `x (..., input)`.
    pub fn new(x: &Tensor) -> Result<Self> {
        let input = x.dim(D::Minus1)?;
        crate::op::ensure(input.is_multiple_of(BLOCK), "block_tokens", "a width that is a multiple of 32", x.shape())?;
        Operand::new("block_tokens", x)?.read(|x| Ok(Self::from_slice(Level::best(), x, input)))
    }

    /// Number of tokens.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Width of a token.
    pub fn input(&self) -> usize {
        self.input
    }

    /// Blocks `first..` of tile `tile`.
    pub(super) fn tile(&self, tile: usize, first: usize) -> Tile<'_> {
        let blocks = self.input / BLOCK;
        let (quads, extent) = (self.input / 4, blocks * ROWS);
        let part = tile * extent + first * ROWS..(tile + 1) * extent;
        Tile {
            quads: &self.quads[tile * ROWS * quads + first * QUADS..(tile + 1) * ROWS * quads],
            scales: &self.scales[part.clone()],
            offsets: &self.offsets[part.clone()],
            sums: &self.sums[part],
        }
    }
}

/// Rounds one token; the results of its blocks go into every [`ROWS`]th place.
#[inline(always)]
fn quantise_body<const FMA: bool>(
    x: &[f32],
    out: &mut [i8],
    scales: &mut [f32],
    offsets: &mut [i32],
    sums: &mut [f32],
) {
    let (blocks, _) = x.as_chunks::<BLOCK>();
    let (out, _) = out.as_chunks_mut::<BLOCK>();
    for (at, (x, out)) in blocks.iter().zip(out).enumerate() {
        let (mut largest, mut poison) = ([0f32; BLOCK], [0f32; BLOCK]);
        for i in 0..BLOCK {
            largest[i] = x[i].abs();
            // 0, or NaN after a number that is not finite.
            poison[i] = x[i] * 0.0;
        }
        for half in [16, 8, 4, 2, 1] {
            for i in 0..half {
                largest[i] = if largest[i + half] > largest[i] { largest[i + half] } else { largest[i] };
                poison[i] += poison[i + half];
            }
        }
        let size = largest[0] / 127.0;
        let inverse = if size > f32::MIN_POSITIVE { 1.0 / size } else { 0.0 };
        let mut integers = [0i32; BLOCK];
        for i in 0..BLOCK {
            integers[i] = i32::from((x[i] * inverse + MAGIC).to_bits() as i8);
            out[i] = integers[i] as i8;
        }
        for half in [16, 8, 4, 2, 1] {
            for i in 0..half {
                integers[i] = integers[i].wrapping_add(integers[i + half]);
            }
        }
        let size = size + poison[0];
        scales[at * ROWS] = size;
        offsets[at * ROWS] = integers[0].wrapping_mul(-128);
        sums[at * ROWS] = size * integers[0] as f32;
    }
}
multiversion!(
    fn quantise(
        x: &[f32],
        out: &mut [i8],
        scales: &mut [f32],
        offsets: &mut [i32],
        sums: &mut [f32],
    ) = quantise_body
);
