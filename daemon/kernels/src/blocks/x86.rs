//! The sums of blocks with AVX-512 VNNI.

use std::arch::asm;

use super::format::Unpacked;
use super::sums::Totals;
use super::tokens::Tile;
use super::{COLUMNS, QUADS, ROWS};

/// Six rows with two registers of integers and two of numbers each are 24 of the 32 registers. Written in assembly for the
/// reason of the other integer sums.
///
/// # Safety
/// The extents lie within the memory.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn vnni(panel: &Unpacked<'_>, tile: Tile<'_>, [line, blocks]: [usize; 2], totals: &mut Totals) {
    /// Where the integers begin when there is no offset.
    static ZEROS: [i32; ROWS] = [0; ROWS];
    let stride = line * 4;
    let tokens = tile.quads.as_ptr().cast::<u8>();
    let rows_step = ROWS * 4;
    let (offsets, offsets_step) =
        if panel.minima.is_some() { (ZEROS.as_ptr(), 0) } else { (tile.offsets.as_ptr(), rows_step) };
    // SAFETY: each of `blocks` turns reads 8 lines of 128 bytes of the panel, 32 bytes of each of six rows, six offsets, six
    // scales of tokens and 32 of channels, all within the memory by the caller's promise; six rows of totals are read and
    // written. The registers are named.
    unsafe {
        asm!(
            "vmovups zmm0, [{totals} + 0]",
            "vmovups zmm1, [{totals} + 64]",
            "vmovups zmm2, [{totals} + 128]",
            "vmovups zmm3, [{totals} + 192]",
            "vmovups zmm4, [{totals} + 256]",
            "vmovups zmm5, [{totals} + 320]",
            "vmovups zmm6, [{totals} + 384]",
            "vmovups zmm7, [{totals} + 448]",
            "vmovups zmm8, [{totals} + 512]",
            "vmovups zmm9, [{totals} + 576]",
            "vmovups zmm10, [{totals} + 640]",
            "vmovups zmm11, [{totals} + 704]",
            "2:",
            "vpbroadcastd zmm12, dword ptr [{offsets} + 0]",
            "vmovdqa64 zmm13, zmm12",
            "vpbroadcastd zmm14, dword ptr [{offsets} + 4]",
            "vmovdqa64 zmm15, zmm14",
            "vpbroadcastd zmm16, dword ptr [{offsets} + 8]",
            "vmovdqa64 zmm17, zmm16",
            "vpbroadcastd zmm18, dword ptr [{offsets} + 12]",
            "vmovdqa64 zmm19, zmm18",
            "vpbroadcastd zmm20, dword ptr [{offsets} + 16]",
            "vmovdqa64 zmm21, zmm20",
            "vpbroadcastd zmm22, dword ptr [{offsets} + 20]",
            "vmovdqa64 zmm23, zmm22",
            ".rept 8",
            "vmovdqu64 zmm24, [{bytes}]",
            "vmovdqu64 zmm25, [{bytes} + 64]",
            "vpbroadcastd zmm26, dword ptr [{p0}]",
            "vpbroadcastd zmm27, dword ptr [{p0} + {s}]",
            "vpbroadcastd zmm28, dword ptr [{p0} + 2 * {s}]",
            "vpbroadcastd zmm29, dword ptr [{p1}]",
            "vpbroadcastd zmm30, dword ptr [{p1} + {s}]",
            "vpbroadcastd zmm31, dword ptr [{p1} + 2 * {s}]",
            "vpdpbusd zmm12, zmm24, zmm26",
            "vpdpbusd zmm13, zmm25, zmm26",
            "vpdpbusd zmm14, zmm24, zmm27",
            "vpdpbusd zmm15, zmm25, zmm27",
            "vpdpbusd zmm16, zmm24, zmm28",
            "vpdpbusd zmm17, zmm25, zmm28",
            "vpdpbusd zmm18, zmm24, zmm29",
            "vpdpbusd zmm19, zmm25, zmm29",
            "vpdpbusd zmm20, zmm24, zmm30",
            "vpdpbusd zmm21, zmm25, zmm30",
            "vpdpbusd zmm22, zmm24, zmm31",
            "vpdpbusd zmm23, zmm25, zmm31",
            "add {p0}, 4",
            "add {p1}, 4",
            "add {bytes}, 128",
            ".endr",
            "vmovups zmm24, [{scales}]",
            "vmovups zmm25, [{scales} + 64]",
            "vcvtdq2ps zmm12, zmm12",
            "vmulps zmm12, zmm12, dword ptr [{rows} + 0]{{1to16}}",
            "vfmadd231ps zmm0, zmm12, zmm24",
            "vcvtdq2ps zmm13, zmm13",
            "vmulps zmm13, zmm13, dword ptr [{rows} + 0]{{1to16}}",
            "vfmadd231ps zmm1, zmm13, zmm25",
            "vcvtdq2ps zmm14, zmm14",
            "vmulps zmm14, zmm14, dword ptr [{rows} + 4]{{1to16}}",
            "vfmadd231ps zmm2, zmm14, zmm24",
            "vcvtdq2ps zmm15, zmm15",
            "vmulps zmm15, zmm15, dword ptr [{rows} + 4]{{1to16}}",
            "vfmadd231ps zmm3, zmm15, zmm25",
            "vcvtdq2ps zmm16, zmm16",
            "vmulps zmm16, zmm16, dword ptr [{rows} + 8]{{1to16}}",
            "vfmadd231ps zmm4, zmm16, zmm24",
            "vcvtdq2ps zmm17, zmm17",
            "vmulps zmm17, zmm17, dword ptr [{rows} + 8]{{1to16}}",
            "vfmadd231ps zmm5, zmm17, zmm25",
            "vcvtdq2ps zmm18, zmm18",
            "vmulps zmm18, zmm18, dword ptr [{rows} + 12]{{1to16}}",
            "vfmadd231ps zmm6, zmm18, zmm24",
            "vcvtdq2ps zmm19, zmm19",
            "vmulps zmm19, zmm19, dword ptr [{rows} + 12]{{1to16}}",
            "vfmadd231ps zmm7, zmm19, zmm25",
            "vcvtdq2ps zmm20, zmm20",
            "vmulps zmm20, zmm20, dword ptr [{rows} + 16]{{1to16}}",
            "vfmadd231ps zmm8, zmm20, zmm24",
            "vcvtdq2ps zmm21, zmm21",
            "vmulps zmm21, zmm21, dword ptr [{rows} + 16]{{1to16}}",
            "vfmadd231ps zmm9, zmm21, zmm25",
            "vcvtdq2ps zmm22, zmm22",
            "vmulps zmm22, zmm22, dword ptr [{rows} + 20]{{1to16}}",
            "vfmadd231ps zmm10, zmm22, zmm24",
            "vcvtdq2ps zmm23, zmm23",
            "vmulps zmm23, zmm23, dword ptr [{rows} + 20]{{1to16}}",
            "vfmadd231ps zmm11, zmm23, zmm25",
            "add {offsets}, {offsets_step}",
            "add {rows}, 24",
            "add {scales}, 128",
            "add {bytes}, {rest}",
            "dec {n}",
            "jnz 2b",
            "vmovups [{totals} + 0], zmm0",
            "vmovups [{totals} + 64], zmm1",
            "vmovups [{totals} + 128], zmm2",
            "vmovups [{totals} + 192], zmm3",
            "vmovups [{totals} + 256], zmm4",
            "vmovups [{totals} + 320], zmm5",
            "vmovups [{totals} + 384], zmm6",
            "vmovups [{totals} + 448], zmm7",
            "vmovups [{totals} + 512], zmm8",
            "vmovups [{totals} + 576], zmm9",
            "vmovups [{totals} + 640], zmm10",
            "vmovups [{totals} + 704], zmm11",
            totals = in(reg) totals.as_mut_ptr(),
            offsets = inout(reg) offsets => _,
            offsets_step = in(reg) offsets_step,
            bytes = inout(reg) panel.bytes.as_ptr() => _,
            rest = in(reg) panel.step - QUADS * COLUMNS * 4,
            p0 = inout(reg) tokens => _,
            p1 = inout(reg) tokens.wrapping_add(3 * stride) => _,
            s = in(reg) stride,
            scales = inout(reg) panel.scales.as_ptr() => _,
            rows = inout(reg) tile.scales.as_ptr() => _,
            n = inout(reg) blocks => _,
            out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _, out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _, out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
            options(nostack),
        )
    }
}

const _: () = assert!(ROWS == 6 && QUADS == 8 && COLUMNS == 32);
