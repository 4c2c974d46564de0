//! Letters of three by five dots, each dot two pixels wide and high: enough for a seed.

/// Height of a line with the space around it, in pixels.
pub(super) const LINE_PX: u32 = 16;

const DOT_PX: u32 = 2;
const ADVANCE_PX: u32 = 4 * DOT_PX;
const TOP_PX: u32 = 4;

/// The pixels of a text from the top left of its line, as many letters as fit into `width_px`.
pub(super) fn dots(text: &str, width_px: u32) -> impl Iterator<Item = (u32, u32)> {
    let fit = (width_px / ADVANCE_PX) as usize;
    (0_u32..).zip(text.chars().take(fit)).flat_map(|(i, letter)| {
        let rows = rows(letter.to_ascii_uppercase());
        let dots = (0..15_u32).filter(move |dot| rows >> (14 - dot) & 1 == 1);
        dots.flat_map(move |dot| {
            let (left, top) = (i * ADVANCE_PX + dot % 3 * DOT_PX, TOP_PX + dot / 3 * DOT_PX);
            (0..DOT_PX * DOT_PX).map(move |p| (left + p % DOT_PX, top + p / DOT_PX))
        })
    })
}

/// Fifteen bits, row by row from the top left.
fn rows(letter: char) -> u32 {
    match letter {
        '0' => 0b111_101_101_101_111,
        '1' => 0b010_110_010_010_111,
        '2' => 0b111_001_111_100_111,
        '3' => 0b111_001_111_001_111,
        '4' => 0b101_101_111_001_001,
        '5' => 0b111_100_111_001_111,
        '6' => 0b111_100_111_101_111,
        '7' => 0b111_001_010_010_010,
        '8' => 0b111_101_111_101_111,
        '9' => 0b111_101_111_001_111,
        'A' => 0b010_101_111_101_101,
        'B' => 0b110_101_110_101_110,
        'C' => 0b011_100_100_100_011,
        'D' => 0b110_101_101_101_110,
        'E' => 0b111_100_110_100_111,
        'F' => 0b111_100_110_100_100,
        'G' => 0b011_100_101_101_011,
        'H' => 0b101_101_111_101_101,
        'I' => 0b111_010_010_010_111,
        'J' => 0b001_001_001_101_010,
        'K' => 0b101_101_110_101_101,
        'L' => 0b100_100_100_100_111,
        'M' => 0b101_111_111_101_101,
        'N' => 0b110_101_101_101_101,
        'O' => 0b010_101_101_101_010,
        'P' => 0b110_101_110_100_100,
        'Q' => 0b010_101_101_110_011,
        'R' => 0b110_101_110_101_101,
        'S' => 0b011_100_010_001_110,
        'T' => 0b111_010_010_010_010,
        'U' => 0b101_101_101_101_111,
        'V' => 0b101_101_101_101_010,
        'W' => 0b101_101_111_111_101,
        'X' => 0b101_101_010_101_101,
        'Y' => 0b101_101_010_010_010,
        'Z' => 0b111_001_010_100_111,
        '-' => 0b000_000_111_000_000,
        '+' => 0b000_010_111_010_000,
        '.' => 0b000_000_000_000_010,
        ':' => 0b000_010_000_010_000,
        '#' => 0b101_111_101_111_101,
        '=' => 0b000_111_000_111_000,
        _ => 0,
    }
}
