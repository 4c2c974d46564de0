//! Products of matrices of any size by panels: the right factor is packed some panels and some depth at a time, the left one is
//! read where it lies.

use rayon::prelude::*;

use super::{COLUMNS, FILL, Panel, available, product};
use crate::dispatch::Level;
use crate::gemm::{Matrix, Target};
use crate::layout::{TILE, tile};

/// Panels that are packed at one time, and how deep: 512 KiB, which stay in the second cache for all rows.
const PANELS: usize = 8;
const DEPTH: usize = 512;
/// Rows that are multiplied by all packed panels before the next ones, so that they stay in the second cache too.
const ROWS: usize = 48;
/// Rows of a task.
const TASK: usize = 1008;

/// What a task computes with.
struct Scratch {
    /// `[PANELS][DEPTH][COLUMNS]`
    packed: Vec<f32>,
    /// Results that do not fill whole tiles.
    out: Vec<f32>,
    /// Rows that do not fill whole tiles.
    rows: Vec<f32>,
}

/// Whether a product is done here.
pub(crate) fn takes(level: Level, a: Matrix<'_>, b: Matrix<'_>, size: [usize; 3]) -> bool {
    available(level) && a.column == 1 && (b.column == 1 || b.row == 1) && size.iter().all(|side| *side > 0)
}

/// `out = a * b`, or `out +=` with `add`; `size` is `[m, n, k]`. An element is summed in the same order whatever the size.
///
/// # Safety
/// The memory behind `out` is alive, and nobody else reads or writes its first `n` columns of `m` rows meanwhile.
pub(crate) unsafe fn multiply(
    level: Level,
    (out, add): (Target, bool),
    a: Matrix<'_>,
    b: Matrix<'_>,
    [m, n, k]: [usize; 3],
    parallel: bool,
) {
    a.check(m, k);
    b.check(k, n);
    // What one thread gathered just now for this product alone is near, in lines that do not hinder each other.
    let fits = b.column == 1 && (k - 1) * b.row + n.next_multiple_of(COLUMNS) <= b.values.len();
    let direct = !parallel && fits;
    let scratch = || Scratch {
        packed: if direct { Vec::new() } else { vec![0.0; PANELS * DEPTH * COLUMNS] },
        out: vec![0.0; ROWS * COLUMNS],
        rows: vec![0.0; FILL * DEPTH],
    };
    let (across, down) = (n.div_ceil(PANELS * COLUMNS), m.div_ceil(TASK));
    let task = |scratch: &mut Scratch, task: usize| {
        let (first_row, first) = (task / across * TASK, task % across * PANELS * COLUMNS);
        let (rows, columns) = (TASK.min(m - first_row), (PANELS * COLUMNS).min(n - first));
        for start in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - start);
            if !direct {
                pack(b, [start, depth], [first, columns], &mut scratch.packed);
            }
            let Scratch { packed, out: part, rows: rest } = &mut *scratch;
            for row in (first_row..first_row + rows).step_by(ROWS) {
                let rows = ROWS.min(first_row + rows - row);
                let a = Matrix { values: &a.values[row * a.row + start..], ..a };
                for column in (0..columns).step_by(COLUMNS) {
                    let panel = match direct {
                        true => Panel { values: &b.values[start * b.row + first + column..], line: b.row },
                        false => Panel { values: &packed[column * DEPTH..][..depth * COLUMNS], line: COLUMNS },
                    };
                    let place = out.at(row * out.row() + first + column);
                    let extents = [rows, COLUMNS.min(columns - column), depth];
                    // SAFETY: the caller's promise; each task has rows and columns of its own.
                    unsafe { block(level, (place, add || start > 0), (a, panel), extents, (part, rest)) };
                }
            }
        }
    };
    if parallel {
        (0..across * down).into_par_iter().for_each_init(scratch, task);
    } else {
        let mut scratch = scratch();
        (0..across * down).for_each(|number| task(&mut scratch, number));
    }
}

/// Some rows times one panel.
///
/// # Safety
/// As [`multiply`].
unsafe fn block(
    level: Level,
    (out, add): (Target, bool),
    (a, panel): (Matrix<'_>, Panel<'_>),
    [rows, columns, depth]: [usize; 3],
    (part, rest): (&mut [f32], &mut [f32]),
) {
    // By way of the scratch memory, so that nothing is written that is not ours: a row has other owners beside us.
    let whole = rows / FILL * FILL;
    let part = &mut part[..rows.next_multiple_of(FILL) * COLUMNS];
    if whole > 0 {
        product(level, a, panel, [whole, depth], (&mut part[..whole * COLUMNS], COLUMNS, false));
    }
    if whole < rows {
        for (row, line) in rest.chunks_exact_mut(DEPTH).enumerate().take(rows - whole) {
            line[..depth].copy_from_slice(&a.values[(whole + row) * a.row..][..depth]);
        }
        let behind = (&mut part[whole * COLUMNS..], COLUMNS, false);
        product(level, Matrix::rows(rest, DEPTH), panel, [FILL, depth], behind);
    }
    for (row, part) in part.as_chunks::<COLUMNS>().0.iter().enumerate().take(rows) {
        // SAFETY: the caller's promise.
        let out = unsafe { out.slice(row, columns) };
        match (out.first_chunk_mut::<COLUMNS>(), add) {
            (Some(out), false) => *out = *part,
            (Some(out), true) => {
                for i in 0..COLUMNS {
                    out[i] += part[i];
                }
            }
            (None, false) => out.copy_from_slice(&part[..columns]),
            (None, true) => out.iter_mut().zip(part).for_each(|(out, part)| *out += part),
        }
    }
}

/// Packs `columns` columns over some depth into panels, the last filled up with zeros.
fn pack(b: Matrix<'_>, [start, depth]: [usize; 2], [first, columns]: [usize; 2], packed: &mut [f32]) {
    let values = &b.values[start * b.row + first * b.column..];
    for (panel, packed) in packed.chunks_exact_mut(DEPTH * COLUMNS).enumerate().take(columns.div_ceil(COLUMNS)) {
        let (values, wide) = (&values[panel * COLUMNS * b.column..], COLUMNS.min(columns - panel * COLUMNS));
        let lines = packed.chunks_exact_mut(COLUMNS).take(depth);
        if b.column == 1 {
            for (at, line) in lines.enumerate() {
                line[..wide].copy_from_slice(&values[at * b.row..][..wide]);
                line[wide..].fill(0.0);
            }
            continue;
        }
        // Columns lie in memory: turned around in squares.
        for column in (0..COLUMNS).step_by(TILE) {
            for at in (0..depth).step_by(TILE) {
                let (high, deep) = (TILE.min(wide.saturating_sub(column)), TILE.min(depth - at));
                if high == TILE && deep == TILE {
                    let out = &mut packed[at * COLUMNS + column..];
                    tile(&values[column * b.column + at..], b.column, out, COLUMNS);
                    continue;
                }
                for line in 0..deep {
                    for c in 0..TILE {
                        let value = if c < high { values[(column + c) * b.column + at + line] } else { 0.0 };
                        packed[(at + line) * COLUMNS + column + c] = value;
                    }
                }
            }
        }
    }
}
