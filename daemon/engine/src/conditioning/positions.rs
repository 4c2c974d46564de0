//! Where tokens stand in time, row and column, and the rotary tables that follow from it.
//! Source: transformers `modeling_qwen3_vl.py` (`get_rope_index`, interleaved M-RoPE, the two-dimensional rope of the picture tower).

use std::ops::Range;

use candle_core::{Device, Result, Tensor};

use super::config::{TextConfig, VisionConfig};

/// A picture among the tokens: `rows * columns` of them from `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSpan {
    /// The first token.
    pub start: usize,
    /// Rows of merged tokens.
    pub rows: usize,
    /// Columns of merged tokens.
    pub columns: usize,
}

impl ImageSpan {
    /// Its tokens.
    pub fn tokens(&self) -> Range<usize> {
        self.start..self.start + self.rows * self.columns
    }
}

/// The place of each token on the three axes of M-RoPE: time, row, column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positions([Vec<u32>; 3]);

impl Positions {
    /// Places of `tokens` tokens. Text counts on on all three axes; a picture stays in time and spreads over rows and columns;
    /// the text after it goes on behind its longer edge.
    pub fn new(tokens: usize, image: Option<ImageSpan>) -> Self {
        let mut axes = [Vec::with_capacity(tokens), Vec::with_capacity(tokens), Vec::with_capacity(tokens)];
        let picture = image.map_or(tokens..tokens, |image| image.tokens());
        let mut next = 0;
        for token in 0..tokens {
            let place = match image {
                Some(image) if picture.contains(&token) => {
                    let (row, column) = ((token - image.start) / image.columns, (token - image.start) % image.columns);
                    [image.start, image.start + row, image.start + column]
                }
                _ => [next; 3],
            };
            next = match image {
                Some(image) if picture.contains(&token) => image.start + image.rows.max(image.columns),
                _ => next + 1,
            };
            for (axis, value) in axes.iter_mut().zip(place) {
                axis.push(value as u32);
            }
        }
        Self(axes)
    }

    /// Places given one by one: time, row and column of each token; all three of one length.
    pub fn from_axes(axes: [Vec<u32>; 3]) -> Self {
        Self(axes)
    }

    /// Time, row and column of each token.
    pub fn axes(&self) -> &[Vec<u32>; 3] {
        &self.0
    }

    /// The places of some of the tokens.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let cut = |axis: usize| self.0[axis][range.clone()].to_vec();
        Self([cut(0), cut(1), cut(2)])
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.0[0].len()
    }

    /// True without tokens.
    pub fn is_empty(&self) -> bool {
        self.0[0].is_empty()
    }
}

/// Cosines and sines by which heads are turned, each `(positions, head_dim / 2)` or `(b, positions, head_dim / 2)`.
#[derive(Clone, Debug)]
pub struct Rope {
    /// Cosines.
    pub cos: Tensor,
    /// Sines.
    pub sin: Tensor,
}

impl Rope {
    /// The tables of the language model for a batch of equally long rows. Frequency `j` turns with the row when `j % 3 == 1`
    /// and `j < 3 * section[1]`, with the column when `j % 3 == 2` and `j < 3 * section[2]`, else with time.
    pub fn text(config: &TextConfig, batch: &[Positions], device: &Device) -> Result<Self> {
        let frequencies = frequencies(config.rope_theta, config.head_dim / 2);
        let axes: Vec<usize> = (0..frequencies.len()).map(|j| axis_of(j, config.mrope_section)).collect();
        let tokens = batch.first().map_or(0, Positions::len);
        let mut angles = Vec::with_capacity(batch.len() * tokens * frequencies.len());
        for positions in batch {
            for token in 0..tokens {
                let turned = axes.iter().zip(&frequencies).map(|(&axis, f)| positions.0[axis][token] as f32 * f);
                angles.extend(turned);
            }
        }
        Self::of_angles(angles, &[batch.len(), tokens, frequencies.len()], device)
    }

    /// The tables of the picture tower: half of the frequencies turn with the row and half with the column of each patch.
    pub fn vision(config: &VisionConfig, patches: &[(usize, usize)], device: &Device) -> Result<Self> {
        let frequencies = frequencies(config.rope_theta, config.head_dim() / 4);
        let mut angles = Vec::with_capacity(patches.len() * frequencies.len() * 2);
        for &(row, column) in patches {
            angles.extend(frequencies.iter().map(|f| row as f32 * f));
            angles.extend(frequencies.iter().map(|f| column as f32 * f));
        }
        Self::of_angles(angles, &[patches.len(), frequencies.len() * 2], device)
    }

    /// Turns `(b, positions, heads, head_dim)`: the first half of each head against the second.
    pub fn turn(&self, heads: &Tensor) -> Result<Tensor> {
        candle_nn::rotary_emb::rope_thd(&heads.contiguous()?, &self.cos, &self.sin)
    }

    /// Angles are rounded to f32 as in the reference; cosine and sine are then taken exactly.
    fn of_angles(angles: Vec<f32>, shape: &[usize], device: &Device) -> Result<Self> {
        let (sin, cos): (Vec<f32>, Vec<f32>) =
            angles.iter().map(|&a| (f64::from(a).sin() as f32, f64::from(a).cos() as f32)).unzip();
        Ok(Self { cos: Tensor::from_vec(cos, shape, device)?, sin: Tensor::from_vec(sin, shape, device)? })
    }
}

fn axis_of(frequency: usize, section: [usize; 3]) -> usize {
    match frequency % 3 {
        axis @ (1 | 2) if frequency / 3 < section[axis] => axis,
        _ => 0,
    }
}

/// `theta^(-j / count)` for `j` below `count`, rounded to f32 after each step as in the reference.
fn frequencies(theta: f64, count: usize) -> Vec<f32> {
    let exponent = |j: usize| (2 * j) as f32 / (2 * count) as f32;
    (0..count).map(|j| 1.0 / theta.powf(f64::from(exponent(j))) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_on_behind_the_longer_edge_of_a_picture() {
        let image = ImageSpan { start: 2, rows: 2, columns: 3 };
        let positions = Positions::new(10, Some(image));
        assert_eq!(positions.axes()[0], [0, 1, 2, 2, 2, 2, 2, 2, 5, 6]);
        assert_eq!(positions.axes()[1], [0, 1, 2, 2, 2, 3, 3, 3, 5, 6]);
        assert_eq!(positions.axes()[2], [0, 1, 2, 3, 4, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn text_alone_counts_on_all_axes() {
        let positions = Positions::new(4, None);
        assert!(positions.axes().iter().all(|axis| axis == &[0, 1, 2, 3]));
    }

    #[test]
    fn axes_interleave_and_fall_back_to_time() {
        let axes: Vec<_> = (0..12).map(|j| axis_of(j, [6, 4, 2])).collect();
        assert_eq!(axes, [0, 1, 2, 0, 1, 2, 0, 1, 0, 0, 1, 0]);
    }
}
