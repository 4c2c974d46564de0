//! What the sums of blocks are worth, added up: `total += (offset + integers) * scale of the token * scale of the channel`,
//! the last multiplication and the addition rounded once.

use super::format::Unpacked;
use super::tokens::Tile;
use super::{COLUMNS, QUADS, ROWS};
#[cfg(target_arch = "x86_64")]
use crate::dispatch::Kind;
use crate::dispatch::{Level, multiversion};

/// Sums of a tile of tokens and a panel of channels.
pub(super) type Totals = [[f32; COLUMNS]; ROWS];

/// Adds the first `blocks` blocks of a tile, whose rows are `line` groups apart, times those of a panel.
pub(super) fn add(level: Level, panel: &Unpacked<'_>, tile: Tile<'_>, [line, blocks]: [usize; 2], totals: &mut Totals) {
    assert!(blocks > 0 && (blocks - 1) * panel.step + QUADS * COLUMNS * 4 <= panel.bytes.len());
    assert!(blocks * COLUMNS <= panel.scales.len() && blocks * ROWS <= tile.scales.len());
    assert!(tile.offsets.len() == tile.scales.len() && (ROWS - 1) * line + blocks * QUADS <= tile.quads.len());
    match level.0 {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 | Kind::Amx if std::is_x86_feature_detected!("avx512vnni") => {
            // SAFETY: the level says that AVX-512 F and BW are there, VNNI was looked for just now, and the extents were
            // compared with the memory above.
            unsafe { super::x86::vnni(panel, tile, [line, blocks], totals) }
        }
        _ => plain(level, panel, tile, line, blocks, totals),
    }
    if let Some(minima) = panel.minima {
        take_off(level, minima, tile.sums, blocks, totals);
    }
}

#[inline(always)]
fn plain_body<const FMA: bool>(panel: &Unpacked<'_>, tile: Tile<'_>, line: usize, blocks: usize, totals: &mut Totals) {
    for block in 0..blocks {
        let (bytes, _) = panel.bytes[block * panel.step..][..QUADS * COLUMNS * 4].as_chunks::<4>();
        let scales = &panel.scales[block * COLUMNS..][..COLUMNS];
        for (row, totals) in totals.iter_mut().enumerate() {
            let quads = &tile.quads[row * line + block * QUADS..][..QUADS];
            let offset = if panel.minima.is_some() { 0 } else { tile.offsets[block * ROWS + row] };
            let mut sums = [offset; COLUMNS];
            for (quad, bytes) in quads.iter().zip(bytes.as_chunks::<COLUMNS>().0) {
                for (sum, bytes) in sums.iter_mut().zip(bytes) {
                    let product = |i: usize| i32::from(bytes[i]) * i32::from(quad[i]);
                    *sum = sum.wrapping_add(product(0) + product(1) + product(2) + product(3));
                }
            }
            let scale = tile.scales[block * ROWS + row];
            for i in 0..COLUMNS {
                totals[i] = (sums[i] as f32 * scale).mul_add(scales[i], totals[i]);
            }
        }
    }
}
multiversion!(
    fn plain(
        panel: &Unpacked<'_>,
        tile: Tile<'_>,
        line: usize,
        blocks: usize,
        totals: &mut Totals,
    ) = plain_body
);

/// What the minima of the weights take off each sum.
#[inline(always)]
fn take_off_body<const FMA: bool>(minima: &[f32], sums: &[f32], blocks: usize, totals: &mut Totals) {
    for (row, totals) in totals.iter_mut().enumerate() {
        let mut values = *totals;
        for block in 0..blocks {
            let (minima, sum) = (&minima[block * COLUMNS..][..COLUMNS], -sums[block * ROWS + row]);
            for i in 0..COLUMNS {
                values[i] = minima[i].mul_add(sum, values[i]);
            }
        }
        *totals = values;
    }
}
multiversion!(fn take_off(minima: &[f32], sums: &[f32], blocks: usize, totals: &mut Totals) = take_off_body);
