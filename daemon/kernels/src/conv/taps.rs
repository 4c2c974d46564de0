//! 3x3 convolution tap by tap: products that read one tile of the input, laid out once with its border, where a product over
//! gathered columns reads every value nine times. Only where there are products by panels.

use super::After;
use crate::columns::line_length;
use crate::dispatch::Level;
use crate::gemm::{Matrix, Target};
use crate::panel::{COLUMNS, FILL, Pieces, available, product_of_pieces};
use crate::share::share;

/// Most rows and columns of a tile of outputs. With the border, rows of pixels then are about whole panels.
const HIGH: usize = 8;
const WIDE: usize = 126;
/// Most numbers of a tile of inputs: 1 MiB, which stays in the second cache.
const TILE: usize = 256 * 1024;
/// Below so many input channels one product over all taps is deeper and faster.
const LEAST: usize = 16;
/// Taps of a kernel.
const TAPS: usize = 9;

/// Whether a convolution of stride 1 and padding 1 is done here.
pub(super) fn suits(level: Level, input: usize) -> bool {
    available(level) && input >= LEAST
}

/// How a picture is cut.
struct Tiles {
    /// Of the picture: rows, columns.
    size: [usize; 2],
    /// Of a tile of outputs.
    high: usize,
    wide: usize,
    /// From one row of a tile to the next: with the border.
    pitch: usize,
    /// From one channel of a tile to the next.
    line: usize,
    /// From one channel of the sums to the next.
    sum_line: usize,
}

impl Tiles {
    fn new(input: usize, size: [usize; 2]) -> Self {
        let [height, width] = size;
        let wide = width.div_ceil(width.div_ceil(WIDE));
        let pitch = wide + 2;
        let high = (TILE / (input * pitch)).saturating_sub(2).clamp(1, HIGH).min(height);
        let sums = (high * pitch).next_multiple_of(COLUMNS);
        Self { size, high, wide, pitch, line: line_length(2 * pitch + 2 + sums), sum_line: line_length(sums) }
    }

    /// Rows and columns of tiles.
    fn counts(&self) -> [usize; 2] {
        [self.size[0].div_ceil(self.high), self.size[1].div_ceil(self.wide)]
    }

    /// Copies what the outputs of a tile from `[row, column]` on see of `x (input, height, width)`; beyond the edges are zeros.
    fn lay(&self, x: &[f32], [row, column]: [usize; 2], tile: &mut [f32]) {
        let [height, width] = self.size;
        // Of the columns before and behind the tile, those that the picture has.
        let (left, right) = (usize::from(column == 0), (column + self.wide + 1).min(width));
        let seen = column + left - 1..right;
        for (x, tile) in x.chunks_exact(height * width).zip(tile.chunks_exact_mut(self.line)) {
            for (at, tile) in tile.chunks_exact_mut(self.pitch).enumerate().take(self.high + 2) {
                match (row + at).checked_sub(1).filter(|y| *y < height) {
                    Some(y) => {
                        tile[..left].fill(0.0);
                        tile[left..left + seen.len()].copy_from_slice(&x[y * width..][seen.clone()]);
                        tile[left + seen.len()..].fill(0.0);
                    }
                    None => tile.fill(0.0),
                }
            }
        }
    }
}

/// `x (batch, input, height, width)`, `weight (output, input, 3, 3)`, `out (batch, output, height, width)`, not empty.
pub(super) fn convolve(
    level: Level,
    x: &[f32],
    (weight, [input, output]): (&[f32], [usize; 2]),
    (size, after): ([usize; 2], After<'_>),
    out: &mut [f32],
) {
    let pixels = size[0] * size[1];
    let filled = output.next_multiple_of(FILL);
    let weight = by_taps(weight, [input, output]);
    let tiles = Tiles::new(input, size);
    let [down, across] = tiles.counts();
    let batch = out.len() / (output * pixels);
    let target = Target::new(out, pixels);
    let scratch = || (vec![0f32; input * tiles.line], vec![0f32; filled * tiles.sum_line]);
    share(batch * down * across, scratch, |(tile, sums), task| {
        let (sample, place) = (task / across / down, [task / across % down * tiles.high, task % across * tiles.wide]);
        tiles.lay(&x[sample * input * pixels..][..input * pixels], place, tile);
        let rows = tiles.high.min(size[0] - place[0]);
        for first in (0..rows * tiles.pitch - 2).step_by(COLUMNS) {
            let starts: [usize; TAPS] = std::array::from_fn(|tap| first + tap / 3 * tiles.pitch + tap % 3);
            let pieces = Pieces { values: tile, starts: &starts, line: tiles.line };
            let into = (&mut sums[first..], tiles.sum_line, false);
            product_of_pieces(level, Matrix::rows(&weight, TAPS * input), pieces, [output, input], into);
        }
        let columns = tiles.wide.min(size[1] - place[1]);
        for (channel, sums) in sums.chunks_exact(tiles.sum_line).enumerate().take(output) {
            for (y, sums) in sums.chunks(tiles.pitch).enumerate().take(rows) {
                let start = sample * output * pixels + (place[0] + y) * size[1] + place[1];
                // SAFETY: `out` is borrowed mutably for the whole call, and each tile of each sample belongs to one task.
                let row = unsafe { target.at(start).slice(channel, columns) };
                after.write(&sums[..columns], channel, start + channel * pixels, row);
            }
        }
    });
}

/// `(output, input, 9)` to `(output filled up with zeros, 9, input)`.
fn by_taps(weight: &[f32], [input, output]: [usize; 2]) -> Vec<f32> {
    let mut out = vec![0f32; output.next_multiple_of(FILL) * TAPS * input];
    for (place, taps) in weight.as_chunks::<TAPS>().0.iter().enumerate() {
        let first = place / input * TAPS * input + place % input;
        taps.iter().enumerate().for_each(|(tap, value)| out[first + tap * input] = *value);
    }
    out
}
