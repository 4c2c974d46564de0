//! The innermost loops of the products by panels: twelve or four rows, whose sums stay in registers over all pieces.

use std::arch::asm;

/// What the assembly below reads of its surroundings, by offsets of eight bytes; strides in bytes.
#[repr(C)]
pub(super) struct Tile {
    pub(super) start: *const f32,
    pub(super) start_stride: usize,
    /// Null: nothing is added.
    pub(super) add: *const f32,
    pub(super) add_stride: usize,
    pub(super) out: *mut f32,
    pub(super) out_stride: usize,
    pub(super) starts: *const usize,
    pub(super) pieces: usize,
    pub(super) panels: *const f32,
    pub(super) depth: usize,
}

/// Two registers from a line of what sums begin with.
macro_rules! begin {
    ($a:literal, $b:literal) => {
        concat!("vmovups zmm", $a, ", [{t}]\nvmovups zmm", $b, ", [{t} + 64]\nadd {t}, {n}")
    };
}
/// Asks for the line that two registers will be written to.
macro_rules! ask {
    () => {
        "prefetcht0 [{t}]\nprefetcht0 [{t} + 64]\nadd {t}, {n}"
    };
}
/// A line is added to two registers.
macro_rules! join {
    ($a:literal, $b:literal) => {
        concat!("vaddps zmm", $a, ", zmm", $a, ", [{t}]\nvaddps zmm", $b, ", zmm", $b, ", [{t} + 64]\nadd {t}, {n}")
    };
}
/// Two registers into a line of the result.
macro_rules! end {
    ($a:literal, $b:literal) => {
        concat!("vmovups [{t}], zmm", $a, "\nvmovups [{t} + 64], zmm", $b, "\nadd {t}, {n}")
    };
}
/// One number of three rows, behind each other from `p` on, into registers.
macro_rules! spread {
    ($p:literal, $a:literal, $b:literal, $c:literal) => {
        concat!(
            "vbroadcastss zmm",
            $a,
            ", dword ptr [{",
            $p,
            "}]\n",
            "vbroadcastss zmm",
            $b,
            ", dword ptr [{",
            $p,
            "} + {s}]\n",
            "vbroadcastss zmm",
            $c,
            ", dword ptr [{",
            $p,
            "} + 2 * {s}]"
        )
    };
}
/// The products of a line of the panel and a number of a row.
macro_rules! sum {
    ($a:literal, $b:literal, $row:literal) => {
        concat!("vfmadd231ps zmm", $a, ", zmm24, zmm", $row, "\nvfmadd231ps zmm", $b, ", zmm25, zmm", $row)
    };
}

/// Twelve rows. Written in assembly: compilers turn the order of the loads around and run out of registers.
///
/// # Safety
/// The memory reaches as far as the extents say; `stride` is that of the rows and `line` that of the panels, in bytes.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn twelve((rows, stride): (*const u8, usize), line: usize, tile: &Tile) {
    // SAFETY: for each piece, each of `depth` turns reads the 128 bytes that a line of the panel begins with and four bytes of each
    // row; 128 bytes of each line of the start, of what is added and of the result are read or written. All lie within the
    // memory by the caller's promise. The registers are named.
    unsafe {
        asm!(
        "mov {t}, [{tile} + 16]",
        "test {t}, {t}",
        "jz 6f",
        "mov {n}, [{tile} + 24]",
        ask!(),
        ask!(),
        ask!(),
        ask!(),
        ask!(),
        ask!(),
        ask!(),
        ask!(),
        ask!(),
        ask!(),
        ask!(),
        ask!(),
        "6:",
        "mov {t}, [{tile}]",
        "mov {n}, [{tile} + 8]",
        begin!(0, 1),
        begin!(2, 3),
        begin!(4, 5),
        begin!(6, 7),
        begin!(8, 9),
        begin!(10, 11),
        begin!(12, 13),
        begin!(14, 15),
        begin!(16, 17),
        begin!(18, 19),
        begin!(20, 21),
        begin!(22, 23),
        "mov {list}, [{tile} + 48]",
        "mov {left}, [{tile} + 56]",
        "2:",
        "mov {n}, [{tile} + 64]",
        "mov {t}, [{list}]",
        "lea {t}, [{n} + 4 * {t}]",
        "add {list}, 8",
        "mov {n}, [{tile} + 72]",
        "3:",
        "vmovups zmm24, [{t}]",
        "vmovups zmm25, [{t} + 64]",
        spread!("p0", 26, 27, 28),
        sum!(0, 1, 26),
        sum!(2, 3, 27),
        sum!(4, 5, 28),
        spread!("p1", 29, 30, 31),
        sum!(6, 7, 29),
        sum!(8, 9, 30),
        sum!(10, 11, 31),
        spread!("p2", 26, 27, 28),
        sum!(12, 13, 26),
        sum!(14, 15, 27),
        sum!(16, 17, 28),
        spread!("p3", 29, 30, 31),
        sum!(18, 19, 29),
        sum!(20, 21, 30),
        sum!(22, 23, 31),
        "add {p0}, 4",
        "add {p1}, 4",
        "add {p2}, 4",
        "add {p3}, 4",
        "add {t}, {line}",
        "dec {n}",
        "jnz 3b",
        "dec {left}",
        "jnz 2b",
        "mov {t}, [{tile} + 16]",
        "test {t}, {t}",
        "jz 4f",
        "mov {n}, [{tile} + 24]",
        join!(0, 1),
        join!(2, 3),
        join!(4, 5),
        join!(6, 7),
        join!(8, 9),
        join!(10, 11),
        join!(12, 13),
        join!(14, 15),
        join!(16, 17),
        join!(18, 19),
        join!(20, 21),
        join!(22, 23),
        "4:",
        "mov {t}, [{tile} + 32]",
        "mov {n}, [{tile} + 40]",
        end!(0, 1),
        end!(2, 3),
        end!(4, 5),
        end!(6, 7),
        end!(8, 9),
        end!(10, 11),
        end!(12, 13),
        end!(14, 15),
        end!(16, 17),
        end!(18, 19),
        end!(20, 21),
        end!(22, 23),
        p0 = inout(reg) rows => _,
        p1 = inout(reg) rows.wrapping_add(3 * stride) => _,
        p2 = inout(reg) rows.wrapping_add(6 * stride) => _,
        p3 = inout(reg) rows.wrapping_add(9 * stride) => _,
        s = in(reg) stride,
        line = in(reg) line,
        tile = in(reg) std::ptr::from_ref(tile),
        list = out(reg) _,
        left = out(reg) _,
        t = out(reg) _,
        n = out(reg) _,
        out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _, out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _, out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
        options(nostack),
        )
    }
}

/// Four rows. Written in assembly: compilers turn the order of the loads around and run out of registers.
///
/// # Safety
/// The memory reaches as far as the extents say; `stride` is that of the rows and `line` that of the panels, in bytes.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn four((rows, stride): (*const u8, usize), line: usize, tile: &Tile) {
    // SAFETY: for each piece, each of `depth` turns reads the 128 bytes that a line of the panel begins with and four bytes of each
    // row; 128 bytes of each line of the start, of what is added and of the result are read or written. All lie within the
    // memory by the caller's promise. The registers are named.
    unsafe {
        asm!(
        "mov {t}, [{tile} + 16]",
        "test {t}, {t}",
        "jz 6f",
        "mov {n}, [{tile} + 24]",
        ask!(),
        ask!(),
        ask!(),
        ask!(),
        "6:",
        "mov {t}, [{tile}]",
        "mov {n}, [{tile} + 8]",
        begin!(0, 1),
        begin!(2, 3),
        begin!(4, 5),
        begin!(6, 7),
        "mov {list}, [{tile} + 48]",
        "mov {left}, [{tile} + 56]",
        "2:",
        "mov {n}, [{tile} + 64]",
        "mov {t}, [{list}]",
        "lea {t}, [{n} + 4 * {t}]",
        "add {list}, 8",
        "mov {n}, [{tile} + 72]",
        "3:",
        "vmovups zmm24, [{t}]",
        "vmovups zmm25, [{t} + 64]",
        spread!("p0", 26, 27, 28),
        sum!(0, 1, 26),
        sum!(2, 3, 27),
        sum!(4, 5, 28),
        "vbroadcastss zmm29, dword ptr [{p1}]",
        sum!(6, 7, 29),
        "add {p0}, 4",
        "add {p1}, 4",
        "add {t}, {line}",
        "dec {n}",
        "jnz 3b",
        "dec {left}",
        "jnz 2b",
        "mov {t}, [{tile} + 16]",
        "test {t}, {t}",
        "jz 4f",
        "mov {n}, [{tile} + 24]",
        join!(0, 1),
        join!(2, 3),
        join!(4, 5),
        join!(6, 7),
        "4:",
        "mov {t}, [{tile} + 32]",
        "mov {n}, [{tile} + 40]",
        end!(0, 1),
        end!(2, 3),
        end!(4, 5),
        end!(6, 7),
        p0 = inout(reg) rows => _,
        p1 = inout(reg) rows.wrapping_add(3 * stride) => _,
        s = in(reg) stride,
        line = in(reg) line,
        tile = in(reg) std::ptr::from_ref(tile),
        list = out(reg) _,
        left = out(reg) _,
        t = out(reg) _,
        n = out(reg) _,
        out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _, out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _, out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
        options(nostack),
        )
    }
}
