//! Products of f32 with panels of 32 columns, for AVX-512: what `gemm` does, for factors that lie as they have to and need no
//! packing. Each element is summed along the depth in order, whatever stands around it.

mod large;
mod tile;

use crate::dispatch::{Kind, Level};
use crate::gemm::Matrix;
pub(crate) use large::{multiply, takes};
use tile::{Tile, four, twelve};

/// Columns of a panel.
pub(crate) const COLUMNS: usize = 32;
/// Memory of the rows and of the results is filled up to a multiple of so many rows.
pub(crate) const FILL: usize = 4;

/// What sums begin with where there is nothing to begin with.
static ZEROS: [f32; COLUMNS] = [0.0; COLUMNS];

/// The right factor: lines that begin with [`COLUMNS`] numbers.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'a> {
    pub(crate) values: &'a [f32],
    /// Numbers from one line to the next.
    pub(crate) line: usize,
}

/// The right factor in several pieces of one depth, that the rows meet one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Pieces<'a> {
    pub(crate) values: &'a [f32],
    /// Where in `values` each piece begins.
    pub(crate) starts: &'a [usize],
    /// Numbers from one line to the next.
    pub(crate) line: usize,
}

/// Lines of [`COLUMNS`] numbers, `line` numbers apart.
#[derive(Clone, Copy)]
struct Lines {
    first: *const f32,
    line: usize,
}

impl Lines {
    /// The same for every row.
    fn all(values: &[f32; COLUMNS]) -> Self {
        Self { first: values.as_ptr(), line: 0 }
    }
}

/// Where the sums of some rows come from and go to.
#[derive(Clone, Copy)]
struct Place {
    /// What they begin with.
    start: Lines,
    /// What is added to them in the end.
    add: Option<Lines>,
    out: *mut f32,
    /// Numbers from one row of the result to the next.
    line: usize,
}

/// Whether products by panels are to be had.
pub(crate) fn available(level: Level) -> bool {
    matches!(level.0, Kind::Avx512 | Kind::Amx)
}

/// `out = rows * panel` for `count` rows over `depth`, or `out +=` with `add`; rows of `out` are `line` apart. What lies behind
/// `count` up to the next multiple of [`FILL`] rows is written too. Only where it is [`available`].
pub(crate) fn product(
    level: Level,
    rows: Matrix<'_>,
    panel: Panel<'_>,
    extents: [usize; 2],
    (out, line, add): (&mut [f32], usize, bool),
) {
    let pieces = Pieces { values: panel.values, starts: &[0], line: panel.line };
    product_of_pieces(level, rows, pieces, extents, (out, line, add));
}

/// The same with several pieces: numbers `depth * i..` of a row meet piece `i`.
pub(crate) fn product_of_pieces(
    level: Level,
    rows: Matrix<'_>,
    pieces: Pieces<'_>,
    [count, depth]: [usize; 2],
    (out, line, add): (&mut [f32], usize, bool),
) {
    let filled = count.next_multiple_of(FILL);
    assert!(count > 0 && (filled - 1) * line + COLUMNS <= out.len());
    let out = out.as_mut_ptr();
    let add = add.then_some(Lines { first: out, line });
    let place = Place { start: Lines::all(&ZEROS), add, out, line };
    // SAFETY: the result and what is added to it are borrowed mutably and long enough by the assertion; the start is one line.
    unsafe { product_into(level, rows, pieces, [count, depth], place) }
}

/// The same to a place that others may write to at the same time.
///
/// # Safety
/// [`COLUMNS`] numbers of each line of `place`, for `count` rows filled up to a multiple of [`FILL`], are within living memory; those
/// of the result belong to the caller.
unsafe fn product_into(level: Level, rows: Matrix<'_>, pieces: Pieces<'_>, [count, depth]: [usize; 2], place: Place) {
    assert!(available(level) && rows.column == 1 && count > 0 && depth > 0);
    let filled = count.next_multiple_of(FILL);
    let Pieces { values, starts, line } = pieces;
    assert!((filled - 1) * rows.row + depth * starts.len() <= rows.values.len());
    let reach = (depth - 1) * line + COLUMNS;
    assert!(!starts.is_empty() && starts.iter().all(|start| start.saturating_add(reach) <= values.len()));
    let mut first = 0;
    while first < count {
        let step = if count - first > 8 { 12 } else { 4 };
        let from = |lines: Lines| (lines.first.wrapping_add(first * lines.line), lines.line * 4);
        let ((start, start_stride), (add, add_stride)) =
            (from(place.start), place.add.map_or((std::ptr::null(), 0), from));
        let tile = Tile {
            start,
            start_stride,
            add,
            add_stride,
            out: place.out.wrapping_add(first * place.line),
            out_stride: place.line * 4,
            starts: starts.as_ptr(),
            pieces: starts.len(),
            panels: values.as_ptr(),
            depth,
        };
        let rows = (rows.values[first * rows.row..].as_ptr().cast(), rows.row * 4);
        // SAFETY: the level says that AVX-512 F is there; the extents of the factors were compared with their memory above, those of
        // the place are promised by the caller.
        unsafe {
            if step == 12 {
                twelve(rows, line * 4, &tile);
            } else {
                four(rows, line * 4, &tile);
            }
        }
        first += step;
    }
}
