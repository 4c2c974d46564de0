//! How weights lie in memory: panels of 32 output channels, and in each the blocks along the inputs.
//!
//! `Q8_0`, for each block: 32 scales (f16), then the integers plus 128, `[8][32][4]`.
//!
//! `Q4K`, for each 256 inputs: 32 scales and 32 scales of minima (f16), then for each of the 8 blocks 32 scales and for each
//! 32 minima (bytes up to 63), then for each block the integers `[8][32][4]`, those of the last four groups in the upper half
//! of the bytes of the first four. A weight is `scale * integer - minimum`.

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::rounding::{Rounded4, round4, round8};
use super::{BLOCK, COLUMNS, QUADS};

/// Blocks whose scales are rounded together.
const TOGETHER: usize = 8;
/// Bytes of the integers of a block, one each.
const WHOLE: usize = QUADS * COLUMNS * 4;
/// Bytes of a block of `Q8_0`.
const BYTES8: usize = 2 * COLUMNS + WHOLE;
/// Bytes of eight blocks of `Q4K`.
const BYTES4: usize = 4 * COLUMNS + 2 * TOGETHER * COLUMNS + TOGETHER * WHOLE / 2;

/// In which form weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockFormat {
    /// 8.5 bits for each weight.
    Q8_0,
    /// 4.6 bits for each weight.
    Q4K,
}

/// A panel of some blocks, ready to be multiplied.
pub(super) struct Unpacked<'a> {
    /// `[blocks]` of `[QUADS][COLUMNS][4]`, `step` bytes apart.
    pub(super) bytes: &'a [u8],
    pub(super) step: usize,
    /// `[blocks][COLUMNS]`
    pub(super) scales: &'a [f32],
    /// `[blocks][COLUMNS]`, of what is taken off for each unit of the activations; `None`: the integers are plus 128.
    pub(super) minima: Option<&'a [f32]>,
}

/// Memory to unpack into.
#[derive(Default)]
pub(super) struct Room {
    bytes: Vec<u8>,
    halves: Vec<f16>,
    scales: Vec<f32>,
    minima: Vec<f32>,
}

impl BlockFormat {
    /// Inputs have to be a multiple of this.
    pub fn multiple(self) -> usize {
        match self {
            Self::Q8_0 => BLOCK,
            Self::Q4K => TOGETHER * BLOCK,
        }
    }

    /// Bytes of a panel of so many inputs.
    fn panel_len(self, input: usize) -> usize {
        match self {
            Self::Q8_0 => input / BLOCK * BYTES8,
            Self::Q4K => input / BLOCK / TOGETHER * BYTES4,
        }
    }

    /// Bytes of packed weights.
    pub fn packed_len(self, [output, input]: [usize; 2]) -> usize {
        output.div_ceil(COLUMNS) * self.panel_len(input)
    }

    /// Rounds `weight (output, input)`; `input` is a multiple of [`multiple`](Self::multiple).
    pub fn pack(self, weight: &[f32], [output, input]: [usize; 2]) -> Vec<u8> {
        assert!(weight.len() == output * input && input > 0 && input.is_multiple_of(self.multiple()));
        let mut packed = vec![0u8; self.packed_len([output, input])];
        let panels = packed.par_chunks_mut(self.panel_len(input)).zip(weight.par_chunks(COLUMNS * input));
        panels.for_each(|(panel, weight)| match self {
            Self::Q8_0 => pack8(panel, weight, input),
            Self::Q4K => pack4(panel, weight, input),
        });
        packed
    }

    /// Where the blocks `first..first + count` of a panel lie, as far as [`unpack`](Self::unpack) takes them.
    pub(super) fn extent(self, [panel, input]: [usize; 2], [first, count]: [usize; 2]) -> std::ops::Range<usize> {
        let blocks = |blocks: usize| match self {
            Self::Q8_0 => blocks * BYTES8,
            Self::Q4K => blocks / TOGETHER * BYTES4,
        };
        let start = panel * self.panel_len(input) + blocks(first);
        start..start + blocks(count)
    }

    /// Makes ready the blocks `first..first + count` of panel `panel`, within one group of blocks that are rounded together.
    pub(super) fn unpack<'a>(
        self,
        packed: &'a [u8],
        [panel, input]: [usize; 2],
        [first, count]: [usize; 2],
        room: &'a mut Room,
    ) -> Unpacked<'a> {
        let packed = &packed[self.extent([panel, input], [first, count])];
        room.scales.resize(count * COLUMNS, 0.0);
        match self {
            Self::Q8_0 => {
                room.halves.clear();
                for block in packed.chunks_exact(BYTES8) {
                    let halves = block[..2 * COLUMNS].as_chunks::<2>().0;
                    room.halves.extend(halves.iter().map(|bytes| f16::from_le_bytes(*bytes)));
                }
                room.halves.convert_to_f32_slice(&mut room.scales);
                Unpacked { bytes: &packed[2 * COLUMNS..], step: BYTES8, scales: &room.scales, minima: None }
            }
            Self::Q4K => {
                assert!(first.is_multiple_of(TOGETHER) && count.is_multiple_of(TOGETHER));
                room.minima.resize(count * COLUMNS, 0.0);
                room.bytes.resize(count * WHOLE, 0);
                let scales = room.scales.chunks_exact_mut(TOGETHER * COLUMNS);
                let minima = room.minima.chunks_exact_mut(TOGETHER * COLUMNS);
                let bytes = room.bytes.chunks_exact_mut(TOGETHER * WHOLE);
                for (((group, scales), minima), bytes) in packed.chunks_exact(BYTES4).zip(scales).zip(minima).zip(bytes)
                {
                    unpack4(group, scales, minima, bytes);
                }
                Unpacked { bytes: &room.bytes, step: WHOLE, scales: &room.scales, minima: Some(&room.minima) }
            }
        }
    }

    /// The weights of a panel as they are after rounding, `(COLUMNS, input)`.
    pub(super) fn dequantise(self, packed: &[u8], panel: usize, input: usize) -> Vec<f32> {
        let mut room = Room::default();
        let blocks = input / BLOCK;
        let unpacked = self.unpack(packed, [panel, input], [0, blocks], &mut room);
        let mut out = vec![0f32; COLUMNS * input];
        for block in 0..blocks {
            let bytes = &unpacked.bytes[block * unpacked.step..][..WHOLE];
            for (at, byte) in bytes.iter().enumerate() {
                let (quad, column, place) = (at / 4 / COLUMNS, at / 4 % COLUMNS, at % 4);
                let scale = unpacked.scales[block * COLUMNS + column];
                let value = match unpacked.minima {
                    None => (f32::from(*byte) - 128.0) * scale,
                    Some(minima) => f32::from(*byte) * scale - minima[block * COLUMNS + column],
                };
                out[column * input + block * BLOCK + quad * 4 + place] = value;
            }
        }
        out
    }
}

/// Where the four bytes of a group of inputs lie among the bytes of a block.
fn place(quad: usize, column: usize) -> usize {
    (quad * COLUMNS + column) * 4
}

fn pack8(panel: &mut [u8], weight: &[f32], input: usize) {
    for (column, row) in weight.chunks_exact(input).enumerate() {
        for (block, values) in panel.chunks_exact_mut(BYTES8).zip(row.as_chunks::<BLOCK>().0) {
            let (scale, integers) = round8(values);
            block[2 * column..][..2].copy_from_slice(&scale.to_le_bytes());
            for (quad, four) in integers.as_chunks::<4>().0.iter().enumerate() {
                block[2 * COLUMNS + place(quad, column)..][..4].copy_from_slice(&four.map(|i| i as u8 ^ 128));
            }
        }
    }
    // Channels that are not there: the offset alone.
    for column in weight.len() / input..COLUMNS {
        for block in panel.chunks_exact_mut(BYTES8) {
            (0..QUADS).for_each(|quad| block[2 * COLUMNS + place(quad, column)..][..4].fill(128));
        }
    }
}

fn pack4(panel: &mut [u8], weight: &[f32], input: usize) {
    for (column, row) in weight.chunks_exact(input).enumerate() {
        for (group, values) in panel.chunks_exact_mut(BYTES4).zip(row.as_chunks::<{ TOGETHER * BLOCK }>().0) {
            let Rounded4 { scale, minimum, scales, minima, integers } = round4(values);
            group[2 * column..][..2].copy_from_slice(&scale.to_le_bytes());
            group[2 * COLUMNS + 2 * column..][..2].copy_from_slice(&minimum.to_le_bytes());
            let (bytes, integers_of_blocks) = group[4 * COLUMNS..].split_at_mut(2 * TOGETHER * COLUMNS);
            for block in 0..TOGETHER {
                bytes[block * COLUMNS + column] = scales[block];
                bytes[(TOGETHER + block) * COLUMNS + column] = minima[block];
                let out = &mut integers_of_blocks[block * WHOLE / 2..][..WHOLE / 2];
                for at in 0..BLOCK / 2 {
                    let [low, high] = [at, at + BLOCK / 2].map(|at| integers[block * BLOCK + at]);
                    out[place(at / 4, column) + at % 4] = low | high << 4;
                }
            }
        }
    }
}

fn unpack4(group: &[u8], scales: &mut [f32], minima: &mut [f32], bytes: &mut [u8]) {
    let (mut scale, mut minimum) = ([0f32; COLUMNS], [0f32; COLUMNS]);
    floats(&group[..2 * COLUMNS], &mut scale);
    floats(&group[2 * COLUMNS..4 * COLUMNS], &mut minimum);
    let (factors, integers) = group[4 * COLUMNS..].split_at(2 * TOGETHER * COLUMNS);
    let (scale_factors, minimum_factors) = factors.split_at(TOGETHER * COLUMNS);
    for (out, factors) in scales.chunks_exact_mut(COLUMNS).zip(scale_factors.chunks_exact(COLUMNS)) {
        out.iter_mut().zip(factors).zip(&scale).for_each(|((out, factor), scale)| *out = f32::from(*factor) * scale);
    }
    for (out, factors) in minima.chunks_exact_mut(COLUMNS).zip(minimum_factors.chunks_exact(COLUMNS)) {
        out.iter_mut().zip(factors).zip(&minimum).for_each(|((out, factor), scale)| *out = f32::from(*factor) * scale);
    }
    for (out, integers) in bytes.chunks_exact_mut(WHOLE).zip(integers.chunks_exact(WHOLE / 2)) {
        let (low, high) = out.split_at_mut(WHOLE / 2);
        low.iter_mut().zip(integers).for_each(|(low, byte)| *low = byte & 15);
        high.iter_mut().zip(integers).for_each(|(high, byte)| *high = byte >> 4);
    }
}

/// Numbers in half precision, little-endian.
fn floats(bytes: &[u8], out: &mut [f32]) {
    let mut halves = [f16::ZERO; COLUMNS];
    for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *half = f16::from_le_bytes(*bytes);
    }
    halves.convert_to_f32_slice(out);
}
