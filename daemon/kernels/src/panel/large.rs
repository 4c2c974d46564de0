//! Products of matrices of any size by panels: the right factor is packed some panels and some depth at a time, the left one is
//! read where it lies.

use super::{COLUMNS, FILL, Lines, Pieces, Place, ZEROS, available, product_into};
use crate::dispatch::Level;
use crate::gemm::{Matrix, Target};
use crate::layout::{TILE, tile};
use crate::onto::Onto;
use crate::op::unwritten;
use crate::share::share;

/// Panels that are packed at one time, and how deep: 512 KiB, which stay in the second cache for all rows.
const PANELS: usize = 8;
const DEPTH: usize = 512;
/// Rows that are multiplied by all packed panels before the next ones, so that they stay in the second cache too.
const ROWS: usize = 48;
/// Most rows of a task, and what their number is a multiple of.
const TASK: usize = 1032;
const STEP: usize = 12;
/// As many tasks as are wanted, so that threads are done at about the same time; but none of fewer panels or rows than these,
/// which would read or pack more than they multiply.
const TASKS: usize = 16;
const LEAST_PANELS: usize = 2;
const LEAST_ROWS: usize = 96;

/// What a task computes with.
struct Scratch {
    /// `[PANELS][DEPTH][COLUMNS]`
    packed: Vec<f32>,
    /// Sums that do not fill whole tiles, or what sums begin with.
    part: Vec<f32>,
    /// Rows that do not fill whole tiles.
    rest: Vec<f32>,
}

/// How a product is cut into tasks.
struct Cut {
    /// Rows and panels of a task.
    rows: usize,
    panels: usize,
    /// Tasks in both directions.
    down: usize,
    across: usize,
}

impl Cut {
    /// Of `m x n` results; as even as they come.
    fn new([m, n]: [usize; 2], parallel: bool) -> Self {
        let all = n.div_ceil(COLUMNS);
        let (mut down, mut across) = (m.div_ceil(TASK), all.div_ceil(PANELS));
        if parallel {
            across = TASKS.div_ceil(down).min(all / LEAST_PANELS).max(across);
            down = TASKS.div_ceil(across).min(m / LEAST_ROWS).max(down);
        }
        let (rows, panels) = (m.div_ceil(down).next_multiple_of(STEP), all.div_ceil(across));
        Self { rows, panels, down: m.div_ceil(rows), across: all.div_ceil(panels) }
    }
}

/// Whether a product is done here.
pub(crate) fn takes(level: Level, a: Matrix<'_>, b: Matrix<'_>, size: [usize; 3]) -> bool {
    available(level) && a.column == 1 && (b.column == 1 || b.row == 1) && size.iter().all(|side| *side > 0)
}

/// `out = onto + a * b`; `size` is `[m, n, k]`. An element is summed in the same order whatever the size.
///
/// # Safety
/// The memory behind `out` is alive, and nobody else reads or writes its first `n` columns of `m` rows meanwhile.
pub(crate) unsafe fn multiply(
    level: Level,
    (out, onto): (Target, Onto<'_>),
    a: Matrix<'_>,
    b: Matrix<'_>,
    [m, n, k]: [usize; 3],
    parallel: bool,
) {
    a.check(m, k);
    b.check(k, n);
    out.check(m, n);
    onto.check(out, [m, n]);
    // What one thread gathered just now for this product alone is near, in lines that do not hinder each other.
    let fits = b.column == 1 && (k - 1) * b.row + n.next_multiple_of(COLUMNS) <= b.values.len();
    let direct = !parallel && fits;
    let cut = Cut::new([m, n], parallel);
    let scratch = || Scratch {
        packed: unwritten(if direct { 0 } else { cut.panels * DEPTH * COLUMNS }),
        part: unwritten(ROWS * COLUMNS),
        rest: vec![0.0; FILL * DEPTH],
    };
    let task = |scratch: &mut Scratch, task: usize| {
        let (first_row, first) = (task / cut.across * cut.rows, task % cut.across * cut.panels * COLUMNS);
        let (rows, columns) = (cut.rows.min(m - first_row), (cut.panels * COLUMNS).min(n - first));
        for start in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - start);
            if !direct {
                pack(level, b, [start, depth], [first, columns], &mut scratch.packed);
            }
            let Scratch { packed, part, rest } = &mut *scratch;
            let onto = if start == 0 { onto } else { Onto::ITSELF };
            for row in (first_row..first_row + rows).step_by(ROWS) {
                let rows = ROWS.min(first_row + rows - row);
                let a = Matrix { values: &a.values[row * a.row + start..], ..a };
                for column in (0..columns).step_by(COLUMNS) {
                    let panel = match direct {
                        true => {
                            Pieces { values: &b.values[start * b.row + first + column..], starts: &[0], line: b.row }
                        }
                        false => Pieces { values: &packed[column * DEPTH..], starts: &[0], line: COLUMNS },
                    };
                    let block = Block {
                        out: (out, [row, first + column]),
                        onto,
                        extents: [rows, COLUMNS.min(columns - column), depth],
                    };
                    // SAFETY: the caller's promise; each task has rows and columns of its own.
                    unsafe { block.multiply(level, (a, panel), (part, rest)) };
                }
            }
        }
    };
    if parallel {
        share(cut.across * cut.down, scratch, task);
    } else {
        let mut scratch = scratch();
        (0..cut.across * cut.down).for_each(|number| task(&mut scratch, number));
    }
}

/// Some rows times one panel.
struct Block<'a> {
    /// All results, and the first row and column of these.
    out: (Target, [usize; 2]),
    onto: Onto<'a>,
    /// Rows, columns, depth.
    extents: [usize; 3],
}

impl Block<'_> {
    /// Whole tiles are written where they belong; what is narrower or lower goes by way of `part`, so that nothing is written that
    /// is not ours: a row has other owners beside us.
    ///
    /// # Safety
    /// As [`multiply`].
    unsafe fn multiply(
        self,
        level: Level,
        (a, panel): (Matrix<'_>, Pieces<'_>),
        (part, rest): (&mut [f32], &mut [f32]),
    ) {
        let [rows, columns, depth] = self.extents;
        let (out, place) = self.out;
        let whole = rows / FILL * FILL;
        let fits = columns == COLUMNS;
        if fits && whole > 0 {
            let start = self.start(0, whole, part);
            let here = |first: *const f32| Lines {
                first: first.wrapping_add(place[0] * out.row() + place[1]),
                line: out.row(),
            };
            let first = out.first();
            let add = match (self.onto.residual, self.onto.itself) {
                (Some(residual), _) => Some(here(residual.as_ptr())),
                (None, true) => Some(here(first)),
                (None, false) => None,
            };
            let out = here(first).first.cast_mut();
            let place = Place { start, add, out, line: here(first).line };
            // SAFETY: these are whole tiles of the result, ours by the caller's promise, and of what is added, which is as large; what
            // the sums begin with lies in `part`, in the bias or in a line of zeros.
            unsafe { product_into(level, a, panel, [whole, depth], place) };
        } else if whole > 0 {
            // SAFETY: the caller's promise.
            unsafe { self.aside(level, (a, panel), [0, whole], part) };
        }
        if whole < rows {
            for (row, line) in rest.chunks_exact_mut(DEPTH).enumerate().take(rows - whole) {
                line[..depth].copy_from_slice(&a.values[(whole + row) * a.row..][..depth]);
            }
            // SAFETY: the caller's promise.
            unsafe { self.aside(level, (Matrix::rows(rest, DEPTH), panel), [whole, rows], part) };
        }
    }

    /// Rows `from..to` of the block, `a` being those rows, by way of `part`.
    ///
    /// # Safety
    /// As [`multiply`].
    unsafe fn aside(
        &self,
        level: Level,
        (a, panel): (Matrix<'_>, Pieces<'_>),
        [from, to]: [usize; 2],
        part: &mut [f32],
    ) {
        let ([_, columns, depth], (out, place)) = (self.extents, self.out);
        let part = &mut part[..(to - from).next_multiple_of(FILL) * COLUMNS];
        self.fill(from, part);
        let lines = Lines { first: part.as_ptr(), line: COLUMNS };
        let inside = Place { start: lines, add: None, out: part.as_mut_ptr(), line: COLUMNS };
        // SAFETY: all within `part`, which is ours.
        unsafe { product_into(level, a, panel, [to - from, depth], inside) };
        for (row, part) in part.as_chunks::<COLUMNS>().0.iter().enumerate().take(to - from) {
            let row = place[0] + from + row;
            // SAFETY: the caller's promise.
            let out = unsafe { out.at(place[1]).slice(row, columns) };
            match (self.onto.residual, self.onto.itself) {
                (Some(residual), _) => {
                    let residual = &residual[row * self.out.0.row() + place[1]..];
                    out.iter_mut().zip(part).zip(residual).for_each(|((out, part), residual)| *out = part + residual);
                }
                (None, true) => out.iter_mut().zip(part).for_each(|(out, part)| *out += part),
                (None, false) => out.copy_from_slice(&part[..columns]),
            }
        }
    }

    /// What the sums of `rows` rows begin with, for whole lines: laid out in `part` where every row has its own.
    fn start(&self, from: usize, rows: usize, part: &mut [f32]) -> Lines {
        if self.onto.per_row.is_some() {
            let part = &mut part[..rows * COLUMNS];
            self.fill(from, part);
            return Lines { first: part.as_ptr(), line: COLUMNS };
        }
        let bias = self.onto.per_column.and_then(|bias| bias[self.out.1[1]..].first_chunk());
        Lines::all(bias.unwrap_or(&ZEROS))
    }

    /// Fills lines with what the sums of the rows from `from` on begin with.
    fn fill(&self, from: usize, lines: &mut [f32]) {
        let (Onto { per_row, per_column, .. }, [row, column]) = (self.onto, self.out.1);
        for (at, line) in lines.as_chunks_mut::<COLUMNS>().0.iter_mut().enumerate() {
            let start = per_row.and_then(|bias| bias.get(row + from + at)).copied().unwrap_or(0.0);
            line.fill(start);
            if let Some(bias) = per_column {
                line.iter_mut().zip(&bias[column..]).for_each(|(value, bias)| *value = start + bias);
            }
        }
    }
}

/// Packs `columns` columns over some depth into panels, the last filled up with zeros.
fn pack(level: Level, b: Matrix<'_>, [start, depth]: [usize; 2], [first, columns]: [usize; 2], packed: &mut [f32]) {
    let values = &b.values[start * b.row + first * b.column..];
    let panels = columns.div_ceil(COLUMNS);
    if b.column == 1 {
        // All columns of a line at once: lines may be pages apart.
        for at in 0..depth {
            let line = &values[at * b.row..][..columns];
            for (panel, values) in line.chunks(COLUMNS).enumerate() {
                let packed = &mut packed[(panel * DEPTH + at) * COLUMNS..][..COLUMNS];
                match values.first_chunk::<COLUMNS>() {
                    Some(values) => packed.copy_from_slice(values),
                    None => {
                        packed[..values.len()].copy_from_slice(values);
                        packed[values.len()..].fill(0.0);
                    }
                }
            }
        }
        return;
    }
    for (panel, packed) in packed.chunks_exact_mut(DEPTH * COLUMNS).enumerate().take(panels) {
        let (values, wide) = (&values[panel * COLUMNS * b.column..], COLUMNS.min(columns - panel * COLUMNS));
        // Columns lie in memory: turned around in squares.
        for column in (0..COLUMNS).step_by(TILE) {
            for at in (0..depth).step_by(TILE) {
                let (high, deep) = (TILE.min(wide.saturating_sub(column)), TILE.min(depth - at));
                if high == TILE && deep == TILE {
                    let out = &mut packed[at * COLUMNS + column..];
                    tile(level, &values[column * b.column + at..], b.column, out, COLUMNS);
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
