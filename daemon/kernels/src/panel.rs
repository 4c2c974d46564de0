//! Products of f32 with a panel of 32 columns, for AVX-512: what `gemm` does, for factors that lie as they have to and need no
//! packing. Each element is summed along the depth in order, whatever stands around it.

mod large;

use std::arch::asm;

use crate::dispatch::{Kind, Level};
use crate::gemm::Matrix;
pub(crate) use large::{multiply, takes};

/// Columns of a panel.
pub(crate) const COLUMNS: usize = 32;
/// Memory of the rows and of the results is filled up to a multiple of so many rows.
pub(crate) const FILL: usize = 4;

/// The right factor: lines that begin with [`COLUMNS`] numbers.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'a> {
    pub(crate) values: &'a [f32],
    /// Numbers from one line to the next.
    pub(crate) line: usize,
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
    [count, depth]: [usize; 2],
    (out, line, add): (&mut [f32], usize, bool),
) {
    assert!(available(level) && rows.column == 1 && count > 0 && depth > 0);
    let filled = count.next_multiple_of(FILL);
    assert!((filled - 1) * rows.row + depth <= rows.values.len());
    assert!((depth - 1) * panel.line + COLUMNS <= panel.values.len() && (filled - 1) * line + COLUMNS <= out.len());
    let mut first = 0;
    while first < count {
        let (from, to) = (rows.values[first * rows.row..].as_ptr().cast(), out[first * line..].as_mut_ptr());
        // SAFETY: the level says that AVX-512 F is there; the extents were compared with the memory above.
        unsafe {
            if count - first > 8 {
                twelve((from, rows.row * 4), panel, depth, (to, line), add);
                first += 12;
            } else {
                four((from, rows.row * 4), panel, depth, (to, line), add);
                first += 4;
            }
        }
    }
}

/// Twelve rows. Written in assembly: compilers turn the order of the loads around and run out of registers.
///
/// # Safety
/// The memory reaches as far as the extents say; `stride` is that of the rows in bytes.
#[target_feature(enable = "avx512f")]
unsafe fn twelve(
    (rows, stride): (*const u8, usize),
    panel: Panel<'_>,
    depth: usize,
    (out, out_line): (*mut f32, usize),
    add: bool,
) {
    // SAFETY: each of `depth` turns reads the 128 bytes that a line of the panel begins with and four bytes of each row; 128
    // bytes of each row of the result are read and written. All lie within the memory by the caller's promise. The registers
    // are named.
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
        "vmovups zmm24, [{panel}]",
        "vmovups zmm25, [{panel} + 64]",
        "vbroadcastss zmm26, dword ptr [{p0}]",
        "vbroadcastss zmm27, dword ptr [{p0} + {s}]",
        "vbroadcastss zmm28, dword ptr [{p0} + 2 * {s}]",
        "vfmadd231ps zmm0, zmm24, zmm26",
        "vfmadd231ps zmm1, zmm25, zmm26",
        "vfmadd231ps zmm2, zmm24, zmm27",
        "vfmadd231ps zmm3, zmm25, zmm27",
        "vfmadd231ps zmm4, zmm24, zmm28",
        "vfmadd231ps zmm5, zmm25, zmm28",
        "vbroadcastss zmm29, dword ptr [{p1}]",
        "vbroadcastss zmm30, dword ptr [{p1} + {s}]",
        "vbroadcastss zmm31, dword ptr [{p1} + 2 * {s}]",
        "vfmadd231ps zmm6, zmm24, zmm29",
        "vfmadd231ps zmm7, zmm25, zmm29",
        "vfmadd231ps zmm8, zmm24, zmm30",
        "vfmadd231ps zmm9, zmm25, zmm30",
        "vfmadd231ps zmm10, zmm24, zmm31",
        "vfmadd231ps zmm11, zmm25, zmm31",
        "vbroadcastss zmm26, dword ptr [{p2}]",
        "vbroadcastss zmm27, dword ptr [{p2} + {s}]",
        "vbroadcastss zmm28, dword ptr [{p2} + 2 * {s}]",
        "vfmadd231ps zmm12, zmm24, zmm26",
        "vfmadd231ps zmm13, zmm25, zmm26",
        "vfmadd231ps zmm14, zmm24, zmm27",
        "vfmadd231ps zmm15, zmm25, zmm27",
        "vfmadd231ps zmm16, zmm24, zmm28",
        "vfmadd231ps zmm17, zmm25, zmm28",
        "vbroadcastss zmm29, dword ptr [{p3}]",
        "vbroadcastss zmm30, dword ptr [{p3} + {s}]",
        "vbroadcastss zmm31, dword ptr [{p3} + 2 * {s}]",
        "vfmadd231ps zmm18, zmm24, zmm29",
        "vfmadd231ps zmm19, zmm25, zmm29",
        "vfmadd231ps zmm20, zmm24, zmm30",
        "vfmadd231ps zmm21, zmm25, zmm30",
        "vfmadd231ps zmm22, zmm24, zmm31",
        "vfmadd231ps zmm23, zmm25, zmm31",
        "add {p0}, 4",
        "add {p1}, 4",
        "add {p2}, 4",
        "add {p3}, 4",
        "add {panel}, {line}",
        "dec {n}",
        "jnz 2b",
        "test {add}, {add}",
        "jz 3f",
        "mov {panel}, {out}",
        "vaddps zmm0, zmm0, [{panel} + 0]",
        "vaddps zmm1, zmm1, [{panel} + 64]",
        "add {panel}, {out_line}",
        "vaddps zmm2, zmm2, [{panel} + 0]",
        "vaddps zmm3, zmm3, [{panel} + 64]",
        "add {panel}, {out_line}",
        "vaddps zmm4, zmm4, [{panel} + 0]",
        "vaddps zmm5, zmm5, [{panel} + 64]",
        "add {panel}, {out_line}",
        "vaddps zmm6, zmm6, [{panel} + 0]",
        "vaddps zmm7, zmm7, [{panel} + 64]",
        "add {panel}, {out_line}",
        "vaddps zmm8, zmm8, [{panel} + 0]",
        "vaddps zmm9, zmm9, [{panel} + 64]",
        "add {panel}, {out_line}",
        "vaddps zmm10, zmm10, [{panel} + 0]",
        "vaddps zmm11, zmm11, [{panel} + 64]",
        "add {panel}, {out_line}",
        "vaddps zmm12, zmm12, [{panel} + 0]",
        "vaddps zmm13, zmm13, [{panel} + 64]",
        "add {panel}, {out_line}",
        "vaddps zmm14, zmm14, [{panel} + 0]",
        "vaddps zmm15, zmm15, [{panel} + 64]",
        "add {panel}, {out_line}",
        "vaddps zmm16, zmm16, [{panel} + 0]",
        "vaddps zmm17, zmm17, [{panel} + 64]",
        "add {panel}, {out_line}",
        "vaddps zmm18, zmm18, [{panel} + 0]",
        "vaddps zmm19, zmm19, [{panel} + 64]",
        "add {panel}, {out_line}",
        "vaddps zmm20, zmm20, [{panel} + 0]",
        "vaddps zmm21, zmm21, [{panel} + 64]",
        "add {panel}, {out_line}",
        "vaddps zmm22, zmm22, [{panel} + 0]",
        "vaddps zmm23, zmm23, [{panel} + 64]",
        "add {panel}, {out_line}",
        "3:",
        "vmovups [{out} + 0], zmm0",
        "vmovups [{out} + 64], zmm1",
        "add {out}, {out_line}",
        "vmovups [{out} + 0], zmm2",
        "vmovups [{out} + 64], zmm3",
        "add {out}, {out_line}",
        "vmovups [{out} + 0], zmm4",
        "vmovups [{out} + 64], zmm5",
        "add {out}, {out_line}",
        "vmovups [{out} + 0], zmm6",
        "vmovups [{out} + 64], zmm7",
        "add {out}, {out_line}",
        "vmovups [{out} + 0], zmm8",
        "vmovups [{out} + 64], zmm9",
        "add {out}, {out_line}",
        "vmovups [{out} + 0], zmm10",
        "vmovups [{out} + 64], zmm11",
        "add {out}, {out_line}",
        "vmovups [{out} + 0], zmm12",
        "vmovups [{out} + 64], zmm13",
        "add {out}, {out_line}",
        "vmovups [{out} + 0], zmm14",
        "vmovups [{out} + 64], zmm15",
        "add {out}, {out_line}",
        "vmovups [{out} + 0], zmm16",
        "vmovups [{out} + 64], zmm17",
        "add {out}, {out_line}",
        "vmovups [{out} + 0], zmm18",
        "vmovups [{out} + 64], zmm19",
        "add {out}, {out_line}",
        "vmovups [{out} + 0], zmm20",
        "vmovups [{out} + 64], zmm21",
        "add {out}, {out_line}",
        "vmovups [{out} + 0], zmm22",
        "vmovups [{out} + 64], zmm23",
        "add {out}, {out_line}",
        p0 = inout(reg) rows => _,
        p1 = inout(reg) rows.wrapping_add(3 * stride) => _,
        p2 = inout(reg) rows.wrapping_add(6 * stride) => _,
        p3 = inout(reg) rows.wrapping_add(9 * stride) => _,
        s = in(reg) stride,
        panel = inout(reg) panel.values.as_ptr() => _,
        line = in(reg) panel.line * 4,
        n = inout(reg) depth => _,
        add = in(reg) usize::from(add),
        out = inout(reg) out => _,
        out_line = in(reg) out_line * 4,
        out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _, out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _, out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
        options(nostack),
        )
    }
}

/// Four rows. Written in assembly: compilers turn the order of the loads around and run out of registers.
///
/// # Safety
/// The memory reaches as far as the extents say; `stride` is that of the rows in bytes.
#[target_feature(enable = "avx512f")]
unsafe fn four(
    (rows, stride): (*const u8, usize),
    panel: Panel<'_>,
    depth: usize,
    (out, out_line): (*mut f32, usize),
    add: bool,
) {
    // SAFETY: each of `depth` turns reads the 128 bytes that a line of the panel begins with and four bytes of each row; 128
    // bytes of each row of the result are read and written. All lie within the memory by the caller's promise. The registers
    // are named.
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
        "vmovups zmm24, [{panel}]",
        "vmovups zmm25, [{panel} + 64]",
        "vbroadcastss zmm26, dword ptr [{p0}]",
        "vbroadcastss zmm27, dword ptr [{p0} + {s}]",
        "vbroadcastss zmm28, dword ptr [{p0} + 2 * {s}]",
        "vfmadd231ps zmm0, zmm24, zmm26",
        "vfmadd231ps zmm1, zmm25, zmm26",
        "vfmadd231ps zmm2, zmm24, zmm27",
        "vfmadd231ps zmm3, zmm25, zmm27",
        "vfmadd231ps zmm4, zmm24, zmm28",
        "vfmadd231ps zmm5, zmm25, zmm28",
        "vbroadcastss zmm29, dword ptr [{p1}]",
        "vfmadd231ps zmm6, zmm24, zmm29",
        "vfmadd231ps zmm7, zmm25, zmm29",
        "add {p0}, 4",
        "add {p1}, 4",
        "add {panel}, {line}",
        "dec {n}",
        "jnz 2b",
        "test {add}, {add}",
        "jz 3f",
        "mov {panel}, {out}",
        "vaddps zmm0, zmm0, [{panel} + 0]",
        "vaddps zmm1, zmm1, [{panel} + 64]",
        "add {panel}, {out_line}",
        "vaddps zmm2, zmm2, [{panel} + 0]",
        "vaddps zmm3, zmm3, [{panel} + 64]",
        "add {panel}, {out_line}",
        "vaddps zmm4, zmm4, [{panel} + 0]",
        "vaddps zmm5, zmm5, [{panel} + 64]",
        "add {panel}, {out_line}",
        "vaddps zmm6, zmm6, [{panel} + 0]",
        "vaddps zmm7, zmm7, [{panel} + 64]",
        "add {panel}, {out_line}",
        "3:",
        "vmovups [{out} + 0], zmm0",
        "vmovups [{out} + 64], zmm1",
        "add {out}, {out_line}",
        "vmovups [{out} + 0], zmm2",
        "vmovups [{out} + 64], zmm3",
        "add {out}, {out_line}",
        "vmovups [{out} + 0], zmm4",
        "vmovups [{out} + 64], zmm5",
        "add {out}, {out_line}",
        "vmovups [{out} + 0], zmm6",
        "vmovups [{out} + 64], zmm7",
        "add {out}, {out_line}",
        p0 = inout(reg) rows => _,
        p1 = inout(reg) rows.wrapping_add(3 * stride) => _,
        s = in(reg) stride,
        panel = inout(reg) panel.values.as_ptr() => _,
        line = in(reg) panel.line * 4,
        n = inout(reg) depth => _,
        add = in(reg) usize::from(add),
        out = inout(reg) out => _,
        out_line = in(reg) out_line * 4,
        out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _, out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _, out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
        options(nostack),
        )
    }
}
