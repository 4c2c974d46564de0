//! The inner sums: rows of signed bytes times a panel of unsigned ones, in exact integers, by ways that agree.

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
        Kind::Avx512 if std::is_x86_feature_detected!("avx512vnni") => {
            // SAFETY: the level says that AVX-512 F and BW are there, VNNI was looked for just now, and the extents were
            // compared with the memory above.
            unsafe { x86::vnni(panel, rows, [count, depth], sums) }
        }
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 | Kind::Avx2 => {
            // SAFETY: both levels say that AVX2 is there; the extents as above.
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

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{COLUMNS, Panel, Rows, Sums};
    use std::arch::x86_64::{
        __m256i, _mm_cvtepi8_epi16, _mm_cvtsi32_si128, _mm_loadu_si128, _mm256_add_epi32, _mm256_broadcastq_epi64,
        _mm256_cvtepu8_epi16, _mm256_madd_epi16, _mm256_setzero_si256, _mm256_storeu_si256, _mm512_dpbusd_epi32,
        _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_storeu_si512,
    };

    /// Four products and their sum in one instruction for each of 16 columns. Twelve rows with two registers of sums each
    /// are 24 of the 32 registers.
    ///
    /// # Safety
    /// The extents lie within the memory, rows filled up to [`FILL`](super::FILL).
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) unsafe fn vnni(panel: Panel<'_>, rows: Rows<'_>, [count, depth]: [usize; 2], sums: &mut Sums) {
        let mut first = 0;
        while first < count {
            // SAFETY: the caller's promise; what is read and written beyond `count` ends before the next multiple of four.
            unsafe {
                match count - first {
                    0..=4 => vnni_tile::<4>(panel, rows, first, depth, sums),
                    5..=8 => vnni_tile::<8>(panel, rows, first, depth, sums),
                    _ => vnni_tile::<12>(panel, rows, first, depth, sums),
                }
            }
            first += 12;
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn vnni_tile<const HEIGHT: usize>(
        panel: Panel<'_>,
        rows: Rows<'_>,
        first: usize,
        depth: usize,
        out: &mut Sums,
    ) {
        let (weights, tokens) = (panel.quads.as_ptr().cast::<u8>(), rows.quads.as_ptr());
        let mut sums = [[_mm512_setzero_si512(); 2]; HEIGHT];
        for at in 0..depth {
            // SAFETY: a line begins with 32 groups, 128 bytes, of which these read the first and the second 64.
            let weights = unsafe {
                let line = weights.add(at * panel.line * 4);
                [_mm512_loadu_si512(line.cast()), _mm512_loadu_si512(line.add(64).cast())]
            };
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the row is below the filled count and `at` below the depth.
                let token = unsafe { tokens.add((first + row) * rows.line + at).cast::<i32>().read_unaligned() };
                let token = _mm512_set1_epi32(token);
                sums[0] = _mm512_dpbusd_epi32(sums[0], weights[0], token);
                sums[1] = _mm512_dpbusd_epi32(sums[1], weights[1], token);
            }
        }
        for (out, sums) in out[first..first + HEIGHT].iter_mut().zip(&sums) {
            let out = out.as_mut_ptr();
            // SAFETY: 32 sums are twice the 16 that one of these writes.
            unsafe {
                _mm512_storeu_si512(out.cast(), sums[0]);
                _mm512_storeu_si512(out.add(16).cast(), sums[1]);
            }
        }
    }

    /// Widened to 16 bits, in which no sum of two products is too large for its 32. (The instruction that multiplies bytes
    /// keeps 16 bits of the sum and saturates.)
    ///
    /// # Safety
    /// As [`vnni`].
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn avx2(panel: Panel<'_>, rows: Rows<'_>, [count, depth]: [usize; 2], out: &mut Sums) {
        /// Rows and groups of four columns that are summed at one time.
        const AT_ONCE: usize = 2;
        const GROUPS: usize = 4;
        for first in (0..count).step_by(AT_ONCE) {
            for group in (0..COLUMNS / 4).step_by(GROUPS) {
                let mut sums = [[_mm256_setzero_si256(); GROUPS]; AT_ONCE];
                for at in 0..depth {
                    let weights = &panel.quads[at * panel.line..][..COLUMNS];
                    let mut wide = [_mm256_setzero_si256(); GROUPS];
                    for (place, wide) in wide.iter_mut().enumerate() {
                        let four = &weights[(group + place) * 4..][..4];
                        // SAFETY: four columns are 16 bytes.
                        *wide = _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(four.as_ptr().cast()) });
                    }
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let token = rows.quads[(first + row) * rows.line + at].map(|byte| byte as u8);
                        let token = _mm_cvtepi8_epi16(_mm_cvtsi32_si128(i32::from_ne_bytes(token)));
                        let token = _mm256_broadcastq_epi64(token);
                        for (sum, wide) in sums.iter_mut().zip(&wide) {
                            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(*wide, token));
                        }
                    }
                }
                for (row, sums) in sums.iter().enumerate() {
                    for (place, sum) in sums.iter().enumerate() {
                        out[first + row][(group + place) * 4..][..4].copy_from_slice(&pairs(*sum));
                    }
                }
            }
        }
    }

    /// Neighbours added: the two halves of the sum of each column.
    #[target_feature(enable = "avx2")]
    fn pairs(sum: __m256i) -> [i32; 4] {
        let mut halves = [0i32; 8];
        // SAFETY: eight numbers are what it writes.
        unsafe { _mm256_storeu_si256(halves.as_mut_ptr().cast(), sum) };
        [0, 2, 4, 6].map(|at| halves[at] + halves[at + 1])
    }
}
