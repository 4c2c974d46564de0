//! The learned positions of the picture tower, resampled from their square table to the grid of a picture's patches.
//! Source: transformers `fast_pos_embed_interpolate`: bilinear, corners aligned.

use candle_core::{Result, Tensor};

use crate::weights::Table;

/// Positions of `patches` (row, column) of a square grid with `grid` patches on each side, from a table of `side * side` rows:
/// `(patches, hidden)`.
pub(super) fn resample(table: &Table, side: usize, grid: usize, patches: &[(usize, usize)]) -> Result<Tensor> {
    let points: Vec<Point> = (0..grid).map(|i| Point::new(i, grid, side)).collect();
    let mut sum: Option<Tensor> = None;
    for (below, right) in [(false, false), (false, true), (true, false), (true, true)] {
        let corner = |&(row, column): &(usize, usize)| {
            let (y, wy) = points[row].neighbour(below);
            let (x, wx) = points[column].neighbour(right);
            ((y * side + x) as u32, wy * wx)
        };
        let (rows, weights): (Vec<u32>, Vec<f32>) = patches.iter().map(corner).unzip();
        let rows = table.gather(&rows)?;
        let weights = Tensor::from_vec(weights, (patches.len(), 1), rows.device())?;
        let part = rows.broadcast_mul(&weights)?;
        sum = Some(match sum {
            Some(sum) => (sum + part)?,
            None => part,
        });
    }
    sum.ok_or_else(|| candle_core::Error::Msg("a table without corners".into()))
}

/// Where a patch lies between two entries of the table, along one axis.
struct Point {
    low: usize,
    high: usize,
    /// Share of `high`.
    share: f32,
}

impl Point {
    /// Patch `i` of `grid` that span a table of `side` entries from its first to its last, in the f32 arithmetic of
    /// `torch.linspace`, which counts from the nearer end.
    fn new(i: usize, grid: usize, side: usize) -> Self {
        let last = (side - 1) as f32;
        let step = if grid > 1 { last / (grid - 1) as f32 } else { 0.0 };
        let at = if i < grid / 2 || grid == 1 { step * i as f32 } else { last - step * (grid - 1 - i) as f32 };
        let low = (at as usize).min(side - 1);
        Self { low, high: (low + 1).min(side - 1), share: at - low as f32 }
    }

    fn neighbour(&self, high: bool) -> (usize, f32) {
        if high { (self.high, self.share) } else { (self.low, 1.0 - self.share) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_of_the_grid_are_corners_of_the_table() {
        let first = Point::new(0, 32, 48);
        let last = Point::new(31, 32, 48);
        assert_eq!((first.low, first.share), (0, 0.0));
        assert_eq!((last.low, last.high, last.share), (47, 47, 0.0));
    }

    #[test]
    fn a_grid_of_the_table_takes_it_as_it_is() {
        for i in 0..16 {
            let point = Point::new(i, 16, 16);
            assert_eq!((point.low, point.share), (i, 0.0));
        }
    }

    #[test]
    fn a_grid_of_one_reads_the_first_entry() {
        let point = Point::new(0, 1, 1);
        assert_eq!((point.low, point.high, point.share), (0, 0, 0.0));
    }
}
