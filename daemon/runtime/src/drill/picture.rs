//! What the drill engine draws: two colours from the prompt, bands from the seed, over the source when there is one.

use easel_domain::{Error, RgbImage, Size};

/// Pixels of a picture for each cell of a grid, in both directions.
const CELL_PX: u32 = 8;

/// A grid of colours, row by row, three values of 0 to 1 for each cell; (rows, columns, 3).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Grid {
    columns: u32,
    rows: u32,
    values: Vec<f32>,
}

/// FNV-1a.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// SplitMix64: the `index`-th number of a sequence.
fn random(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn unit(bits: u64) -> f32 {
    (bits >> 40) as f32 / (1u64 << 24) as f32
}

impl Grid {
    fn build(size: Size, cell: impl Fn(u32, u32, u32) -> f32) -> Self {
        let (columns, rows) = (size.width.div_ceil(CELL_PX), size.height.div_ceil(CELL_PX));
        let mut values = Vec::with_capacity((columns * rows * 3) as usize);
        for row in 0..rows {
            for column in 0..columns {
                values.extend((0..3).map(|channel| cell(row, column, channel)));
            }
        }
        Self { columns, rows, values }
    }

    /// Noise of a seed.
    pub(super) fn noise(size: Size, seed: u64) -> Self {
        let columns = u64::from(size.width.div_ceil(CELL_PX));
        Self::build(size, |row, column, channel| {
            unit(random(seed, (u64::from(row) * columns + u64::from(column)) * 3 + u64::from(channel)))
        })
    }

    /// What a prompt and a seed ask for.
    pub(super) fn target(size: Size, prompt: u64, seed: u64, source: Option<&Self>) -> Self {
        let colour = |end: u64, channel: u32| unit(random(prompt, end * 3 + u64::from(channel)));
        let (bands, phase) = (2 + random(seed, 0) % 6, unit(random(seed, 1)));
        let (columns, rows) = (size.width.div_ceil(CELL_PX) as f32, size.height.div_ceil(CELL_PX) as f32);
        Self::build(size, |row, column, channel| {
            let along = (column as f32 / columns + row as f32 / rows) / 2.0;
            let band = ((along * bands as f32 + phase) * std::f32::consts::TAU).sin() * 0.5 + 0.5;
            let drawn = colour(0, channel) * band + colour(1, channel) * (1.0 - band);
            source.map_or(drawn, |source| 0.6 * source.value(row, column, channel) + 0.4 * drawn)
        })
    }

    /// The colours of a picture, scaled to the grid of `size` by taking the nearest pixel.
    pub(super) fn from_picture(image: &RgbImage, size: Size) -> Self {
        let (columns, rows) = (u64::from(size.width.div_ceil(CELL_PX)), u64::from(size.height.div_ceil(CELL_PX)));
        Self::build(size, |row, column, channel| {
            let x = (2 * u64::from(column) + 1) * u64::from(image.width()) / (2 * columns);
            let y = (2 * u64::from(row) + 1) * u64::from(image.height()) / (2 * rows);
            let at = (y * u64::from(image.width()) + x) * 3 + u64::from(channel);
            f32::from(image.pixels().get(at as usize).copied().unwrap_or(0)) / 255.0
        })
    }

    /// `share` of `other`, the rest of this one.
    pub(super) fn mix(&self, other: &Self, share: f32) -> Self {
        let values = self.values.iter().zip(&other.values).map(|(a, b)| a + (b - a) * share).collect();
        Self { columns: self.columns, rows: self.rows, values }
    }

    /// Of each cell as much of `other` as the middle pixel of the cell says.
    pub(super) fn mix_by(&self, other: &Self, mask: &[f32], size: Size) -> Self {
        Self::build(size, |row, column, channel| {
            let middle = |cell: u32, length: u32| (cell * CELL_PX + CELL_PX / 2).min(length - 1) as usize;
            let at = middle(row, size.height) * size.width as usize + middle(column, size.width);
            let (here, there) = (self.value(row, column, channel), other.value(row, column, channel));
            here + (there - here) * mask.get(at).copied().unwrap_or(1.0)
        })
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.values.len() as u64 * 4
    }

    /// One pixel for each cell.
    pub(super) fn to_small_picture(&self) -> Result<RgbImage, Error> {
        let pixels: Vec<u8> = self.values.iter().map(|value| byte(*value)).collect();
        RgbImage::new(self.columns, self.rows, pixels)
    }

    /// Eight pixels for each cell in both directions, blended along the rows.
    pub(super) fn to_picture(&self) -> Result<RgbImage, Error> {
        let (width, height) = (self.columns * CELL_PX, self.rows * CELL_PX);
        let mut pixels = Vec::with_capacity((width * height * 3) as usize);
        for row in 0..self.rows {
            let begin = pixels.len();
            for x in 0..width {
                let (column, share) = (x / CELL_PX, (x % CELL_PX) as f32 / CELL_PX as f32);
                let next = (column + 1).min(self.columns - 1);
                pixels.extend((0..3).map(|channel| {
                    let (here, there) = (self.value(row, column, channel), self.value(row, next, channel));
                    byte(here + (there - here) * share)
                }));
            }
            let line = begin..pixels.len();
            (1..CELL_PX).for_each(|_| pixels.extend_from_within(line.clone()));
        }
        RgbImage::new(width, height, pixels)
    }

    fn value(&self, row: u32, column: u32, channel: u32) -> f32 {
        self.values[((row * self.columns + column) * 3 + channel) as usize]
    }
}

fn byte(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 64, height: 48 };

    #[test]
    fn prompt_seed_and_source_change_the_picture() {
        let source = Grid::noise(SIZE, 9);
        let draw = |prompt: &str, seed, source| {
            Grid::target(SIZE, hash(prompt.as_bytes()), seed, source).to_picture().expect("a grid is a picture")
        };
        let first = draw("a boat", 1, None);
        assert_eq!(first.size(), SIZE);
        assert_eq!(first, draw("a boat", 1, None));
        assert_ne!(first, draw("a car", 1, None));
        assert_ne!(first, draw("a boat", 2, None));
        assert_ne!(first, draw("a boat", 1, Some(&source)));
        assert!(first.pixels().iter().any(|byte| *byte != first.pixels()[0]), "the picture is not constant");
    }

    #[test]
    fn a_picture_survives_the_grid() {
        let grid = Grid::target(SIZE, 5, 5, None);
        let picture = grid.to_small_picture().expect("a grid is a picture");
        let again = Grid::from_picture(&picture, SIZE).to_small_picture().expect("a grid is a picture");
        assert_eq!(picture, again);
    }
}
