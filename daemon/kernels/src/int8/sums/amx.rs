//! The inner sums with the tiles of AMX: 16 rows of 64 bytes times 64 lines of 16 columns in one instruction. Written in
//! assembly, since the compiler has no stable names for these instructions.

use std::arch::asm;

use super::{DEPTH, FILL, Panel, Rows, Sums};

/// What the registers hold: 16 rows of 64 bytes each. Source: Intel's manual, `LDTILECFG`.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_of_a_row: [u16; 16],
    rows: [u8; 16],
}

static CONFIGURATION: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes_of_a_row: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// # Safety
/// The processor has AMX for bytes and this process may use it; `depth` is a multiple of [`DEPTH`]; the extents lie within the
/// memory, rows filled up to [`FILL`].
pub(super) unsafe fn tiles(panel: Panel<'_>, rows: Rows<'_>, [count, depth]: [usize; 2], sums: &mut Sums) {
    assert!(depth.is_multiple_of(DEPTH));
    // SAFETY: the processor has the instruction by the caller's promise, and reads 64 bytes of a static.
    unsafe { asm!("ldtilecfg [{0}]", in(reg) &raw const CONFIGURATION, options(nostack, readonly)) };
    for first in (0..count).step_by(2 * FILL) {
        // Of rows that are not there the first ones are taken once more; nobody reads those sums.
        let second = if count - first > FILL { FILL } else { 0 };
        // SAFETY: the caller's promise, and 32 rows of sums from `first` on, a multiple of 32, are within the 96.
        unsafe { two(panel, &rows.quads[first * rows.line..], [rows.line, second], depth, &mut sums[first..]) };
    }
    // SAFETY: the processor has the instruction; it gives up what was loaded above.
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}

/// Two tiles of rows, the second so many rows further on, times the two tiles of the panel.
///
/// # Safety
/// As [`tiles`], with the configuration loaded.
unsafe fn two(panel: Panel<'_>, rows: &[[i8; 4]], [line, second]: [usize; 2], depth: usize, sums: &mut [[i32; 32]]) {
    let sums = &mut sums[..2 * FILL];
    let rows = rows.as_ptr().cast::<u8>();
    // SAFETY: each turn reads 64 bytes of each of 16 rows twice and 128 bytes of 16 lines, which lie within the memory by the
    // caller's promise; 32 rows of sums are written, which were sliced above. The registers are named.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{first} + {line} * 1]",
            "tileloadd tmm6, [{panel} + {panel_line} * 1]",
            "tileloadd tmm7, [{panel} + {panel_line} * 1 + 64]",
            "tdpbsud tmm0, tmm4, tmm6",
            "tdpbsud tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{second} + {line} * 1]",
            "tdpbsud tmm2, tmm5, tmm6",
            "tdpbsud tmm3, tmm5, tmm7",
            "add {first}, 64",
            "add {second}, 64",
            "lea {panel}, [{panel} + 8 * {panel_line}]",
            "lea {panel}, [{panel} + 8 * {panel_line}]",
            "dec {n}",
            "jnz 2b",
            "tilestored [{sums} + {sums_line} * 1], tmm0",
            "tilestored [{sums} + {sums_line} * 1 + 64], tmm1",
            "tilestored [{sums} + {sums_line} * 1 + 2048], tmm2",
            "tilestored [{sums} + {sums_line} * 1 + 2112], tmm3",
            first = inout(reg) rows => _,
            second = inout(reg) rows.wrapping_add(second * line * 4) => _,
            line = in(reg) line * 4,
            panel = inout(reg) panel.quads.as_ptr() => _,
            panel_line = in(reg) panel.line * 4,
            n = inout(reg) depth / DEPTH => _,
            sums = in(reg) sums.as_mut_ptr(),
            sums_line = in(reg) 128usize,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

const _: () = assert!(FILL == 16 && DEPTH == 16 && size_of::<Configuration>() == 64);
