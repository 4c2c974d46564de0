//! Channels-first to tokens and back, in tiles that stay in the nearest cache.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::gemm::Target;
use crate::op::{apply, ensure};

/// Rows and columns of a tile: a cache line in both directions.
pub(crate) const TILE: usize = 16;
/// Elements of one task.
const TASK: usize = 64 * 1024;

/// `x (batch, rows, columns)` -> `out (batch, columns, rows)`; `size` is `[rows, columns]`.
pub fn transpose_slice(x: &[f32], [rows, columns]: [usize; 2], out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    if x.is_empty() {
        return;
    }
    assert!(x.len().is_multiple_of(rows * columns));
    // A task writes whole rows of the result: some columns of the input.
    let wide = (TASK / rows).next_multiple_of(TILE).min(columns);
    let tasks = columns.div_ceil(wide);
    let target = Target::new(out, rows);
    (0..x.len() / (rows * columns) * tasks).into_par_iter().for_each(|task| {
        let (sample, first) = (task / tasks, task % tasks * wide);
        let wide = wide.min(columns - first);
        let x = &x[sample * rows * columns..][..rows * columns];
        // SAFETY: `out` is borrowed mutably for the whole call, and each of its rows belongs to one task.
        let out = unsafe { target.at((sample * columns + first) * rows).slice(0, wide * rows) };
        for column in (0..wide).step_by(TILE) {
            for row in (0..rows).step_by(TILE) {
                if wide - column >= TILE && rows - row >= TILE {
                    tile(&x[row * columns + first + column..], columns, &mut out[column * rows + row..], rows);
                } else {
                    for c in column..wide.min(column + TILE) {
                        for r in row..rows.min(row + TILE) {
                            out[c * rows + r] = x[r * columns + first + c];
                        }
                    }
                }
            }
        }
    });
}

/// One whole tile, by way of a square in registers or the nearest cache.
#[inline]
pub(crate) fn tile(x: &[f32], columns: usize, out: &mut [f32], rows: usize) {
    let mut square = [[0f32; TILE]; TILE];
    for (r, line) in square.iter_mut().enumerate() {
        line.copy_from_slice(&x[r * columns..][..TILE]);
    }
    for c in 0..TILE {
        let out = &mut out[c * rows..][..TILE];
        out.iter_mut().zip(&square).for_each(|(out, line)| *out = line[c]);
    }
}

/// Channels-first to tokens: `(b, c, h, w) -> (b, h*w, c)`.
pub fn to_tokens(x: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let pixels = height * width;
    apply("to_tokens", x, (batch, pixels, channels), |x, out| {
        transpose_slice(x, [channels, pixels], out);
        Ok(())
    })
}

/// Tokens to channels-first: `(b, h*w, c) -> (b, c, h, w)`.
pub fn to_channels(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (batch, pixels, channels) = x.dims3()?;
    ensure(pixels == height * width, "to_channels", &format!("{height} x {width} tokens"), x.shape())?;
    apply("to_channels", x, (batch, channels, height, width), |x, out| {
        transpose_slice(x, [pixels, channels], out);
        Ok(())
    })
}
