//! The inner sums: rows of signed bytes times a panel of unsigned ones, in exact integers, by ways that agree.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::dispatch::{Kind, Level};

/// Columns of a panel.
pub(super) const COLUMNS: usize = 32;
/// Most rows of one call: a multiple of what every way takes at one time.
pub(super) const ROWS: usize = 96;
/// Rows are filled up to a multiple of this many in memory.
pub(super) const FILL: usize = 16;
/// The depth is filled up to a multiple of this many groups of four bytes, a cache line.
pub(super) const DEPTH: usize = 16;

/// `sums[row][column]`.
pub(super) type Sums = [[i32; COLUMNS]; ROWS];

/// Memory for sums.
pub(super) fn empty_sums() -> Box<Sums> {
    Box::new([[0; COLUMNS]; ROWS])
}

/// Groups of four bytes that a depth of `inputs` takes.
pub(super) fn depth_of(inputs: usize) -> usize {
    inputs.div_ceil(4).next_multiple_of(DEPTH)
}

/// The right factor: along the depth, lines that begin with [`COLUMNS`] groups of four unsigned bytes.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    pub(super) quads: &'a [[u8; 4]],
    /// Groups from one line to the next.
    pub(super) line: usize,
}

/// The left factor: rows of groups of four signed bytes.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) quads: &'a [[i8; 4]],
    /// Groups from one row to the next.
    pub(super) line: usize,
}

/// The first `count` rows times the panel, over `depth` groups. More rows than that may be written.
pub(super) fn sums(level: Level, panel: Panel<'_>, rows: Rows<'_>, [count, depth]: [usize; 2], sums: &mut Sums) {
    assert!((1..=ROWS).contains(&count) && depth > 0);
    assert!((depth - 1) * panel.line + COLUMNS <= panel.quads.len());
    assert!((count.next_multiple_of(FILL) - 1) * rows.line + depth <= rows.quads.len());
    match level.0 {
        #[cfg(target_arch = "x86_64")]
        Kind::Amx if depth.is_multiple_of(DEPTH) => {
            // SAFETY: the level says that the processor has AMX and that this process may use it; the extents were compared with
            // the memory above.
            unsafe { amx::tiles(panel, rows, [count, depth], sums) }
        }
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 | Kind::Amx if std::is_x86_feature_detected!("avx512vnni") => {
            // SAFETY: the level says that AVX-512 F and BW are there, VNNI was looked for just now, and the extents were
            // compared with the memory above.
            unsafe { x86::vnni(panel, rows, [count, depth], sums) }
        }
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 | Kind::Amx | Kind::Avx2 => {
            // SAFETY: all of these levels say that AVX2 is there; the extents as above.
            unsafe { x86::avx2(panel, rows, [count, depth], sums) }
        }
        Kind::Portable => portable(panel, rows, [count, depth], sums),
    }
}

fn portable(panel: Panel<'_>, rows: Rows<'_>, [count, depth]: [usize; 2], sums: &mut Sums) {
    for (row, sums) in sums.iter_mut().enumerate().take(count) {
        *sums = [0; COLUMNS];
        for (at, token) in rows.quads[row * rows.line..][..depth].iter().enumerate() {
            let line = &panel.quads[at * panel.line..][..COLUMNS];
            for (sum, weight) in sums.iter_mut().zip(line) {
                let product = |i: usize| i32::from(weight[i]) * i32::from(token[i]);
                *sum += product(0) + product(1) + product(2) + product(3);
            }
        }
    }
}
