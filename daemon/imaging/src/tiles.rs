//! Joins the tiles of a canvas into one patch. The weights of every pixel are integers that sum to the same number, and so do their
//! products with the samples: the order of the tiles cannot show.

use easel_domain::crop::TilePlan;
use easel_domain::{Error, Reason, Rect, RgbImage};

use crate::patch::Patch;
use crate::resample;

/// What the weights along one axis sum to at every place.
const WHOLE: u32 = 1 << 12;

/// Blends what a model has drawn for each tile of a plan, in the plan's order, each scaled to its tile. In an overlap the weight of a
/// tile falls linearly towards its edge. Fails with `Internal` when the number of pictures is not that of the tiles.
pub fn blend_tiles(plan: &TilePlan, pictures: &[RgbImage]) -> Result<Patch, Error> {
    if pictures.len() != plan.len() {
        let text = format!("{} pictures are given for {} tiles", pictures.len(), plan.len());
        return Err(Error::new(Reason::Internal, text));
    }
    let canvas = plan.canvas;
    let across = weights(&plan.columns, plan.tile.width, canvas.width);
    let down = weights(&plan.rows, plan.tile.height, canvas.height);
    let stride = canvas.width as usize * 3;
    let mut rgb = vec![0_u16; stride * canvas.height as usize];
    let whole = u64::from(WHOLE) * u64::from(WHOLE);
    // Tiles are scaled when their first line comes and dropped after their last; sums are held for one line.
    let mut fine: Vec<Option<Vec<u16>>> = vec![None; pictures.len()];
    let mut sums = vec![0_u64; stride];
    for (y, out) in rgb.chunks_exact_mut(stride).enumerate() {
        sums.fill(0);
        for (index, picture) in pictures.iter().enumerate() {
            let (column, row) = (index % plan.columns.len(), index / plan.columns.len());
            let line = match y.checked_sub(plan.rows[row] as usize) {
                Some(line) if line < plan.tile.height as usize => line,
                _ => {
                    fine[index] = None;
                    continue;
                }
            };
            let tile = fine[index].get_or_insert_with(|| resample::fine(picture, plan.tile));
            let length = plan.tile.width as usize * 3;
            let left = plan.columns[column] as usize * 3;
            let vertical = u64::from(down[row][line]);
            let values = tile[line * length..(line + 1) * length].chunks_exact(3);
            let pixels = sums[left..left + length].chunks_exact_mut(3).zip(values);
            for ((sums, values), &horizontal) in pixels.zip(&across[column]) {
                let weight = vertical * u64::from(horizontal);
                sums.iter_mut().zip(values).for_each(|(sum, &v)| *sum += weight * u64::from(v));
            }
        }
        out.iter_mut().zip(&sums).for_each(|(value, &sum)| *value = ((sum + whole / 2) / whole) as u16);
    }
    Ok(Patch::from_parts(Rect::of(canvas), rgb))
}

/// For each piece its weights along the axis; over all pieces they sum to [`WHOLE`] at every place.
fn weights(starts: &[u32], length: u32, whole: u32) -> Vec<Vec<u32>> {
    let raw = |start: u32, place: u32| (place - start + 1).min(start + length - place);
    let mut made = vec![vec![0; length as usize]; starts.len()];
    for place in 0..whole {
        let covers = |&(_, &start): &(usize, &u32)| start <= place && place < start + length;
        let sum: u64 = starts.iter().enumerate().filter(covers).map(|(_, &start)| u64::from(raw(start, place))).sum();
        let mut left = WHOLE;
        let mut last = None;
        for (i, &start) in starts.iter().enumerate().filter(covers) {
            let weight = (u64::from(raw(start, place)) * u64::from(WHOLE) / sum) as u32;
            made[i][(place - start) as usize] = weight;
            left -= weight;
            last = Some((i, (place - start) as usize));
        }
        // What rounding down has left over.
        if let Some((i, at)) = last {
            made[i][at] += left;
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_everywhere() {
        for (starts, length, whole) in
            [(vec![0], 7, 7), (vec![0, 3, 6], 10, 16), (vec![0, 90], 100, 190), (vec![0, 1], 5, 6)]
        {
            let made = weights(&starts, length, whole);
            for place in 0..whole {
                let at = |(i, &start): (usize, &u32)| {
                    place.checked_sub(start).and_then(|at| made[i].get(at as usize)).copied().unwrap_or(0)
                };
                assert_eq!(starts.iter().enumerate().map(at).sum::<u32>(), WHOLE, "{starts:?} at {place}");
            }
        }
    }
}
