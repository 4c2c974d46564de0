//! The inner sums for x86_64.

use std::arch::asm;
use std::arch::x86_64::{
    __m256i, _mm_cvtepi8_epi16, _mm_cvtsi32_si128, _mm_loadu_si128, _mm256_add_epi32, _mm256_broadcastq_epi64,
    _mm256_cvtepu8_epi16, _mm256_madd_epi16, _mm256_setzero_si256, _mm256_storeu_si256,
};

use super::{COLUMNS, Panel, Rows, Sums};

/// Four products and their sum in one instruction for each of 16 columns. Twelve rows with two registers of sums each
/// are 24 of the 32 registers. Written in assembly: compilers turn the order of the loads around and run out of registers.
///
/// # Safety
/// The extents lie within the memory, rows filled up to [`FILL`](super::FILL).
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn vnni(panel: Panel<'_>, rows: Rows<'_>, [count, depth]: [usize; 2], sums: &mut Sums) {
    let mut first = 0;
    while first < count {
        // SAFETY: the caller's promise; what is read and written beyond `count` ends before the next multiple of four.
        unsafe {
            if count - first > 8 {
                vnni_12(panel, rows, first, depth, sums);
                first += 12;
            } else {
                vnni_4(panel, rows, first, depth, sums);
                first += 4;
            }
        }
    }
}

/// # Safety
/// As [`vnni`], for 12 rows from `first` on.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn vnni_12(panel: Panel<'_>, rows: Rows<'_>, first: usize, depth: usize, out: &mut Sums) {
    let stride = rows.line * 4;
    let tokens = rows.quads[first * rows.line..].as_ptr().cast::<u8>();
    let out = &mut out[first..first + 12];
    // SAFETY: each of `depth` turns reads the 128 bytes that a line begins with and four bytes of each row, which lie within
    // the memory by the caller's promise; 12 rows of sums are written, which were sliced above. The registers are named.
    unsafe {
        asm!(
        "vpxord zmm0, zmm0, zmm0",
        "vpxord zmm1, zmm1, zmm1",
        "vpxord zmm2, zmm2, zmm2",
        "vpxord zmm3, zmm3, zmm3",
        "vpxord zmm4, zmm4, zmm4",
        "vpxord zmm5, zmm5, zmm5",
        "vpxord zmm6, zmm6, zmm6",
        "vpxord zmm7, zmm7, zmm7",
        "vpxord zmm8, zmm8, zmm8",
        "vpxord zmm9, zmm9, zmm9",
        "vpxord zmm10, zmm10, zmm10",
        "vpxord zmm11, zmm11, zmm11",
        "vpxord zmm12, zmm12, zmm12",
        "vpxord zmm13, zmm13, zmm13",
        "vpxord zmm14, zmm14, zmm14",
        "vpxord zmm15, zmm15, zmm15",
        "vpxord zmm16, zmm16, zmm16",
        "vpxord zmm17, zmm17, zmm17",
        "vpxord zmm18, zmm18, zmm18",
        "vpxord zmm19, zmm19, zmm19",
        "vpxord zmm20, zmm20, zmm20",
        "vpxord zmm21, zmm21, zmm21",
        "vpxord zmm22, zmm22, zmm22",
        "vpxord zmm23, zmm23, zmm23",
        "2:",
        "vmovdqu64 zmm24, [{w}]",
        "vmovdqu64 zmm25, [{w} + 64]",
        "vpbroadcastd zmm26, dword ptr [{p0}]",
        "vpbroadcastd zmm27, dword ptr [{p0} + {s}]",
        "vpbroadcastd zmm28, dword ptr [{p0} + 2 * {s}]",
        "vpdpbusd zmm0, zmm24, zmm26",
        "vpdpbusd zmm1, zmm25, zmm26",
        "vpdpbusd zmm2, zmm24, zmm27",
        "vpdpbusd zmm3, zmm25, zmm27",
        "vpdpbusd zmm4, zmm24, zmm28",
        "vpdpbusd zmm5, zmm25, zmm28",
        "vpbroadcastd zmm29, dword ptr [{p1}]",
        "vpbroadcastd zmm30, dword ptr [{p1} + {s}]",
        "vpbroadcastd zmm31, dword ptr [{p1} + 2 * {s}]",
        "vpdpbusd zmm6, zmm24, zmm29",
        "vpdpbusd zmm7, zmm25, zmm29",
        "vpdpbusd zmm8, zmm24, zmm30",
        "vpdpbusd zmm9, zmm25, zmm30",
        "vpdpbusd zmm10, zmm24, zmm31",
        "vpdpbusd zmm11, zmm25, zmm31",
        "vpbroadcastd zmm26, dword ptr [{p2}]",
        "vpbroadcastd zmm27, dword ptr [{p2} + {s}]",
        "vpbroadcastd zmm28, dword ptr [{p2} + 2 * {s}]",
        "vpdpbusd zmm12, zmm24, zmm26",
        "vpdpbusd zmm13, zmm25, zmm26",
        "vpdpbusd zmm14, zmm24, zmm27",
        "vpdpbusd zmm15, zmm25, zmm27",
        "vpdpbusd zmm16, zmm24, zmm28",
        "vpdpbusd zmm17, zmm25, zmm28",
        "vpbroadcastd zmm29, dword ptr [{p3}]",
        "vpbroadcastd zmm30, dword ptr [{p3} + {s}]",
        "vpbroadcastd zmm31, dword ptr [{p3} + 2 * {s}]",
        "vpdpbusd zmm18, zmm24, zmm29",
        "vpdpbusd zmm19, zmm25, zmm29",
        "vpdpbusd zmm20, zmm24, zmm30",
        "vpdpbusd zmm21, zmm25, zmm30",
        "vpdpbusd zmm22, zmm24, zmm31",
        "vpdpbusd zmm23, zmm25, zmm31",
        "add {p0}, 4",
        "add {p1}, 4",
        "add {p2}, 4",
        "add {p3}, 4",
        "add {w}, {line}",
        "dec {n}",
        "jnz 2b",
        "vmovdqu64 [{out} + 0], zmm0",
        "vmovdqu64 [{out} + 64], zmm1",
        "vmovdqu64 [{out} + 128], zmm2",
        "vmovdqu64 [{out} + 192], zmm3",
        "vmovdqu64 [{out} + 256], zmm4",
        "vmovdqu64 [{out} + 320], zmm5",
        "vmovdqu64 [{out} + 384], zmm6",
        "vmovdqu64 [{out} + 448], zmm7",
        "vmovdqu64 [{out} + 512], zmm8",
        "vmovdqu64 [{out} + 576], zmm9",
        "vmovdqu64 [{out} + 640], zmm10",
        "vmovdqu64 [{out} + 704], zmm11",
        "vmovdqu64 [{out} + 768], zmm12",
        "vmovdqu64 [{out} + 832], zmm13",
        "vmovdqu64 [{out} + 896], zmm14",
        "vmovdqu64 [{out} + 960], zmm15",
        "vmovdqu64 [{out} + 1024], zmm16",
        "vmovdqu64 [{out} + 1088], zmm17",
        "vmovdqu64 [{out} + 1152], zmm18",
        "vmovdqu64 [{out} + 1216], zmm19",
        "vmovdqu64 [{out} + 1280], zmm20",
        "vmovdqu64 [{out} + 1344], zmm21",
        "vmovdqu64 [{out} + 1408], zmm22",
        "vmovdqu64 [{out} + 1472], zmm23",
        p0 = inout(reg) tokens => _,
        p1 = inout(reg) tokens.wrapping_add(3 * stride) => _,
        p2 = inout(reg) tokens.wrapping_add(6 * stride) => _,
        p3 = inout(reg) tokens.wrapping_add(9 * stride) => _,
        s = in(reg) stride,
        w = inout(reg) panel.quads.as_ptr().cast::<u8>() => _,
        line = in(reg) panel.line * 4,
        n = inout(reg) depth => _,
        out = in(reg) out.as_mut_ptr(),
        out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _, out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _, out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
        options(nostack),
        )
    }
}

/// # Safety
/// As [`vnni`], for 4 rows from `first` on.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn vnni_4(panel: Panel<'_>, rows: Rows<'_>, first: usize, depth: usize, out: &mut Sums) {
    let stride = rows.line * 4;
    let tokens = rows.quads[first * rows.line..].as_ptr().cast::<u8>();
    let out = &mut out[first..first + 4];
    // SAFETY: each of `depth` turns reads the 128 bytes that a line begins with and four bytes of each row, which lie within
    // the memory by the caller's promise; 4 rows of sums are written, which were sliced above. The registers are named.
    unsafe {
        asm!(
        "vpxord zmm0, zmm0, zmm0",
        "vpxord zmm1, zmm1, zmm1",
        "vpxord zmm2, zmm2, zmm2",
        "vpxord zmm3, zmm3, zmm3",
        "vpxord zmm4, zmm4, zmm4",
        "vpxord zmm5, zmm5, zmm5",
        "vpxord zmm6, zmm6, zmm6",
        "vpxord zmm7, zmm7, zmm7",
        "2:",
        "vmovdqu64 zmm24, [{w}]",
        "vmovdqu64 zmm25, [{w} + 64]",
        "vpbroadcastd zmm26, dword ptr [{p0}]",
        "vpbroadcastd zmm27, dword ptr [{p0} + {s}]",
        "vpbroadcastd zmm28, dword ptr [{p0} + 2 * {s}]",
        "vpdpbusd zmm0, zmm24, zmm26",
        "vpdpbusd zmm1, zmm25, zmm26",
        "vpdpbusd zmm2, zmm24, zmm27",
        "vpdpbusd zmm3, zmm25, zmm27",
        "vpdpbusd zmm4, zmm24, zmm28",
        "vpdpbusd zmm5, zmm25, zmm28",
        "vpbroadcastd zmm29, dword ptr [{p1}]",
        "vpdpbusd zmm6, zmm24, zmm29",
        "vpdpbusd zmm7, zmm25, zmm29",
        "add {p0}, 4",
        "add {p1}, 4",
        "add {w}, {line}",
        "dec {n}",
        "jnz 2b",
        "vmovdqu64 [{out} + 0], zmm0",
        "vmovdqu64 [{out} + 64], zmm1",
        "vmovdqu64 [{out} + 128], zmm2",
        "vmovdqu64 [{out} + 192], zmm3",
        "vmovdqu64 [{out} + 256], zmm4",
        "vmovdqu64 [{out} + 320], zmm5",
        "vmovdqu64 [{out} + 384], zmm6",
        "vmovdqu64 [{out} + 448], zmm7",
        p0 = inout(reg) tokens => _,
        p1 = inout(reg) tokens.wrapping_add(3 * stride) => _,
        s = in(reg) stride,
        w = inout(reg) panel.quads.as_ptr().cast::<u8>() => _,
        line = in(reg) panel.line * 4,
        n = inout(reg) depth => _,
        out = in(reg) out.as_mut_ptr(),
        out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _, out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _, out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
        options(nostack),
        )
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
