//! Channels-first to tokens and back, in tiles that stay in the nearest cache.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use crate::dispatch::Kind;
use crate::dispatch::Level;
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
    let (level, target) = (Level::best(), Target::new(out, rows));
    (0..x.len() / (rows * columns) * tasks).into_par_iter().for_each(|task| {
        let (sample, first) = (task / tasks, task % tasks * wide);
        let wide = wide.min(columns - first);
        let x = &x[sample * rows * columns..][..rows * columns];
        // SAFETY: `out` is borrowed mutably for the whole call, and each of its rows belongs to one task.
        let out = unsafe { target.at((sample * columns + first) * rows).slice(0, wide * rows) };
        for column in (0..wide).step_by(TILE) {
            for row in (0..rows).step_by(TILE) {
                if wide - column >= TILE && rows - row >= TILE {
                    tile(level, &x[row * columns + first + column..], columns, &mut out[column * rows + row..], rows);
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

/// One whole tile: 16 lines of `x`, `columns` apart, become 16 lines of `out`, `rows` apart.
#[inline]
pub(crate) fn tile(level: Level, x: &[f32], columns: usize, out: &mut [f32], rows: usize) {
    assert!((TILE - 1) * columns + TILE <= x.len() && (TILE - 1) * rows + TILE <= out.len());
    #[cfg(target_arch = "x86_64")]
    if matches!(level.0, Kind::Avx512 | Kind::Amx) {
        // SAFETY: the level says that the instructions are there; the extents were compared above.
        return unsafe { in_registers(x.as_ptr(), columns, out.as_mut_ptr(), rows) };
    }
    let _ = level;
    let mut square = [[0f32; TILE]; TILE];
    for (r, line) in square.iter_mut().enumerate() {
        line.copy_from_slice(&x[r * columns..][..TILE]);
    }
    for c in 0..TILE {
        let out = &mut out[c * rows..][..TILE];
        out.iter_mut().zip(&square).for_each(|(out, line)| *out = line[c]);
    }
}

/// The same in sixteen registers, that trade halves of halves.
///
/// # Safety
/// 16 numbers are readable or writable from every line on.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn in_registers(x: *const f32, columns: usize, out: *mut f32, rows: usize) {
    use std::arch::x86_64::*;
    // SAFETY: the caller's promise.
    let lines: [__m512; TILE] = std::array::from_fn(|r| unsafe { _mm512_loadu_ps(x.add(r * columns)) });
    let mut pairs = [_mm512_setzero_ps(); TILE];
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_ps(lines[2 * i], lines[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_ps(lines[2 * i], lines[2 * i + 1]);
    }
    // Register `4 * i + j`: of every quarter q, column `4 * q + j` of the lines `4 * i..4 * i + 4`.
    let mut fours = [_mm512_setzero_ps(); TILE];
    for i in 0..4 {
        for half in 0..2 {
            let (a, b) = (_mm512_castps_pd(pairs[4 * i + half]), _mm512_castps_pd(pairs[4 * i + 2 + half]));
            fours[4 * i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            fours[4 * i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    }
    for j in 0..4 {
        let [a, b, c, d] = [fours[j], fours[4 + j], fours[8 + j], fours[12 + j]];
        // Even quarters and odd quarters of two, then of all four.
        let (low, high) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(c, d));
        let (low_odd, high_odd) = (_mm512_shuffle_f32x4::<0xdd>(a, b), _mm512_shuffle_f32x4::<0xdd>(c, d));
        let columns = [
            _mm512_shuffle_f32x4::<0x88>(low, high),
            _mm512_shuffle_f32x4::<0x88>(low_odd, high_odd),
            _mm512_shuffle_f32x4::<0xdd>(low, high),
            _mm512_shuffle_f32x4::<0xdd>(low_odd, high_odd),
        ];
        for (quarter, column) in columns.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_ps(out.add((4 * quarter + j) * rows), column) };
        }
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
