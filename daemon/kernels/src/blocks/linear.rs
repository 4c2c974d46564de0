//! A linear layer with weights in blocks.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::format::{BlockFormat, Room};
use super::sums::{Totals, add};
use super::tokens::BlockTokens;
use super::{BLOCK, COLUMNS, QUADS, ROWS};
use crate::dispatch::Level;
use crate::gemm::Target;
use crate::int8::Bytes;
use crate::memory::prefetch;
use crate::op::{Rounded, over_rounded};

/// Blocks that are unpacked at one time: 32 KiB, which stay in the nearest cache for all tokens.
const BLOCKS: usize = 32;
/// Tiles of tokens of a task; panels are unpacked once for so many.
const TILES: usize = 96;

/// A linear layer `y = x W^T + b` with weights in blocks.
#[derive(Debug)]
pub struct BlockLinear {
    format: BlockFormat,
    packed: Bytes,
    /// `(output)`, filled up to whole panels with zeros.
    bias: Vec<f32>,
    input: usize,
    output: usize,
}

impl BlockLinear {
    /// A layer that reads packed weights where they are, see [`BlockFormat::pack`]; `bias (output)`. `None` when the lengths do
    /// not fit.
    pub fn from_packed(
        format: BlockFormat,
        packed: &Bytes,
        bias: Option<&[f32]>,
        [output, input]: [usize; 2],
    ) -> Option<Self> {
        let fits = input > 0 && input.is_multiple_of(format.multiple());
        if !fits || packed.len() != format.packed_len([output, input]) || bias.is_some_and(|b| b.len() != output) {
            return None;
        }
        let mut filled = bias.map_or_else(Vec::new, <[f32]>::to_vec);
        filled.resize(output.next_multiple_of(COLUMNS), 0.0);
        Some(Self { format, packed: packed.clone(), bias: filled, input, output })
    }

    /// The weights as they are after rounding: `(output, input)`.
    pub fn dequantised(&self) -> Vec<f32> {
        let panels = self.bias.len() / COLUMNS;
        let all = (0..panels).flat_map(|panel| self.format.dequantise(self.packed.as_slice(), panel, self.input));
        all.take(self.output * self.input).collect()
    }

    /// `x (rows, input)` and `residual (rows, output)` -> `out (rows, output)`.
    pub fn forward_tokens(&self, level: Level, x: &BlockTokens, residual: Option<&[f32]>, out: &mut [f32]) {
        let (rows, output) = (x.rows(), self.output);
        assert!(x.input() == self.input && out.len() == rows * output);
        assert!(residual.is_none_or(|residual| residual.len() == out.len()));
        let tiles = rows.div_ceil(ROWS);
        let (across, down) = (self.bias.len() / COLUMNS, tiles.div_ceil(TILES));
        let target = Target::new(out, output);
        let scratch = || (Room::default(), vec![[[0f32; COLUMNS]; ROWS]; TILES.min(tiles)]);
        (0..across * down).into_par_iter().for_each_init(scratch, |(room, totals), task| {
            let (panel, first) = (task / down, task % down * TILES);
            let tiles = first..tiles.min(first + TILES);
            self.panel(level, x, (panel, tiles.clone()), room, totals);
            let column = panel * COLUMNS;
            let columns = COLUMNS.min(output - column);
            let bias = &self.bias[column..][..columns];
            for (row, totals) in totals.as_flattened().iter().enumerate().take(rows - first * ROWS) {
                if row >= tiles.len() * ROWS {
                    break;
                }
                let row = first * ROWS + row;
                // SAFETY: `out` is borrowed mutably for the whole call, and each panel of each tile belongs to one task.
                let out = unsafe { target.at(column).slice(row, columns) };
                let residual = residual.map(|residual| &residual[row * output + column..][..columns]);
                match residual {
                    Some(residual) => {
                        let sum = out.iter_mut().zip(totals).zip(bias).zip(residual);
                        sum.for_each(|(((out, total), bias), residual)| *out = total + bias + residual);
                    }
                    None => out.iter_mut().zip(totals).zip(bias).for_each(|((out, total), bias)| *out = total + bias),
                }
            }
        });
    }

    /// One panel times some tiles of tokens.
    fn panel(
        &self,
        level: Level,
        x: &BlockTokens,
        (panel, tiles): (usize, std::ops::Range<usize>),
        room: &mut Room,
        totals: &mut [Totals],
    ) {
        let totals = &mut totals[..tiles.len()];
        totals.as_flattened_mut().fill([0.0; COLUMNS]);
        let blocks = self.input / BLOCK;
        for first in (0..blocks).step_by(BLOCKS) {
            let count = BLOCKS.min(blocks - first);
            let packed = self.packed.as_slice();
            let unpacked = self.format.unpack(packed, [panel, self.input], [first, count], room);
            // Weights are read once for all these tokens, from memory that is far: what comes next is on its way meanwhile.
            let here = self.format.extent([panel, self.input], [first, count]);
            let next = &packed[here.end..packed.len().min(here.end + here.len())];
            let mut parts = next.chunks(next.len().div_ceil(tiles.len()).max(1));
            for (tile, totals) in tiles.clone().zip(&mut *totals) {
                if let Some(part) = parts.next() {
                    prefetch(part);
                }
                add(level, &unpacked, x.tile(tile, first), [self.input / 4, count], totals);
            }
        }
    }

    /// Tokens that are rounded already; `shape` is that of what was rounded. `residual (..., out)` is added.
    pub fn forward_rounded(&self, x: &BlockTokens, shape: &[usize], residual: Option<&Tensor>) -> Result<Tensor> {
        let sizes = Rounded { rows: x.rows(), given: x.input(), input: self.input, output: self.output };
        over_rounded("block_linear", sizes, shape, residual, |residual, out| {
            self.forward_tokens(Level::best(), x, residual, out);
        })
    }

    /// `x (..., in)` -> `(..., out)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_rounded(&BlockTokens::new(x)?, x.dims(), None)
    }
}

const _: () = assert!(BLOCKS.is_multiple_of(8) && QUADS * 4 == BLOCK);
