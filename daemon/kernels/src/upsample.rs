//! Nearest-neighbour doubling followed by a 3x3 convolution, without the doubled picture in between.
//!
//! Each output sees no more than 2x2 different inputs, and which ones depends only on whether its row and column are even or
//! odd. Summing the taps that meet the same input gives four 2x2 kernels: 16 products for four outputs instead of 36.

use candle_core::{Result, Tensor};

use crate::columns::{Window, line_length};
use crate::gemm::{Matrix, Target, multiply};
use crate::op::{Operand, apply, ensure};
use crate::share::share;

/// Columns of a tile: the outputs of two phases wait side by side for being interleaved, so it is half that of `conv`.
const COLUMNS: usize = 256;

/// The weights of the four convolutions, made once from those of the 3x3 convolution.
#[derive(Debug)]
pub struct UpsampleConv3x3 {
    /// `(4, out, in, 2, 2)`: phases (even, even), (even, odd), (odd, even), (odd, odd) in rows, columns.
    phases: Vec<f32>,
    bias: Option<Vec<f32>>,
    input: usize,
    output: usize,
}

impl UpsampleConv3x3 {
    /// Sums the taps of `weight (out, in, 3, 3)`; `bias (out)`.
    pub fn from_slices(weight: &[f32], bias: Option<&[f32]>, [output, input]: [usize; 2]) -> Self {
        assert!(weight.len() == output * input * 9 && bias.is_none_or(|bias| bias.len() == output));
        Self { phases: phases_of(weight), bias: bias.map(<[f32]>::to_vec), input, output }
    }

    /// The same from tensors: `weight (out, in, 3, 3)` in f32 on the processor, `bias (out)`.
    pub fn new(weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        const NAME: &str = "upsample_conv3x3";
        let (output, input, _, _) = weight.dims4()?;
        ensure(weight.dims() == [output, input, 3, 3], NAME, "a weight (out, in, 3, 3)", weight.shape())?;
        let bias = Operand::bias(NAME, bias, output)?;
        Operand::new(NAME, weight)?.read(|weight| {
            Operand::read_optional(bias.as_ref(), |bias| Ok(Self::from_slices(weight, bias, [output, input])))
        })
    }

    /// `x (batch, in, height, width)` -> `out (batch, out, 2 * height, 2 * width)`; `size` is `[height, width]`.
    pub fn forward_slice(&self, x: &[f32], size: [usize; 2], out: &mut [f32]) {
        let Self { input, output, .. } = *self;
        let [height, width] = size;
        let pixels = height * width;
        assert!(out.len().is_multiple_of((output * 4 * pixels).max(1)));
        if out.is_empty() {
            return;
        }
        let batch = out.len() / (output * 4 * pixels);
        assert_eq!(x.len(), batch * input * pixels);
        let window = window(0, size);
        let (block, rows) = (window.channels_of_a_block(input), window.rows_of_a_tile(COLUMNS));
        let tiles = height.div_ceil(rows);
        let target = Target::new(out, 4 * pixels);
        share(
            batch * tiles * 2,
            || (vec![0f32; block * 4 * line_length(rows * width)], [0, 1].map(|_| vec![0f32; output * rows * width])),
            |(columns, sums), task| {
                let (sample, first, odd) = (task / 2 / tiles, task / 2 % tiles * rows, task % 2);
                let rows = rows.min(height - first);
                let x = &x[sample * input * pixels..][..input * pixels];
                for (column, sums) in sums.iter_mut().enumerate() {
                    let sums = &mut sums[..output * rows * width];
                    self.phase(
                        2 * odd + column,
                        x,
                        size,
                        [first, rows],
                        &mut columns[..block * 4 * line_length(rows * width)],
                        sums,
                    );
                }
                for channel in 0..output {
                    for y in 0..rows {
                        let place = sample * output * 4 * pixels + (2 * (first + y) + odd) * 2 * width;
                        // SAFETY: `out` is borrowed mutably for the whole call, and each of its rows belongs to one task.
                        let row = unsafe { target.at(place).slice(channel, 2 * width) };
                        let [even, odd] = [0, 1].map(|at| &sums[at][(channel * rows + y) * width..][..width]);
                        let (pairs, _) = row.as_chunks_mut::<2>();
                        pairs.iter_mut().zip(even).zip(odd).for_each(|((pair, even), odd)| *pair = [*even, *odd]);
                    }
                }
            },
        );
    }

    /// One of the four convolutions of one sample, rows `first..first + rows`: `sums (out, rows * width)`.
    fn phase(
        &self,
        phase: usize,
        x: &[f32],
        size: [usize; 2],
        [first, rows]: [usize; 2],
        columns: &mut [f32],
        sums: &mut [f32],
    ) {
        let (window, width) = (window(phase, size), rows * size[1]);
        let block = columns.len() / (4 * line_length(width));
        let weight = &self.phases[phase * self.output * self.input * 4..][..self.output * self.input * 4];
        for (channel, sums) in sums.chunks_exact_mut(width).enumerate() {
            sums.fill(self.bias.as_ref().map_or(0.0, |bias| bias[channel]));
        }
        for start in (0..self.input).step_by(block) {
            let taps = block.min(self.input - start) * 4;
            let columns = &mut columns[..taps * line_length(width)];
            window.gather(&x[start * size[0] * size[1]..], first, rows, columns);
            let (a, b) =
                (Matrix::rows(&weight[start * 4..], self.input * 4), Matrix::rows(columns, line_length(width)));
            multiply(sums, width, true, a, b, [self.output, width, taps]);
        }
    }

    /// `x (b, in, h, w)` -> `(b, out, 2 * h, 2 * w)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        const NAME: &str = "upsample_conv3x3";
        let (batch, input, height, width) = x.dims4()?;
        ensure(input == self.input, NAME, &format!("{} channels", self.input), x.shape())?;
        apply(NAME, x, (batch, self.output, 2 * height, 2 * width), |x, out| {
            self.forward_slice(x, [height, width], out);
            Ok(())
        })
    }
}

/// The weights of the four phases, `(4, out, in, 2, 2)`, from those of the 3x3 convolution.
pub(crate) fn phases_of(weight: &[f32]) -> Vec<f32> {
    let (kernels, _) = weight.as_chunks::<9>();
    // The taps that meet input 0 and 1 of the two that an even or odd output sees.
    let met = |odd: usize, place: usize| match (odd, place) {
        (0, 0) => 0..1,
        (0, _) => 1..3,
        (_, 0) => 0..2,
        _ => 2..3,
    };
    let mut phases = Vec::with_capacity(4 * kernels.len() * 4);
    for phase in 0..4 {
        for kernel in kernels {
            for tap in 0..4 {
                let columns = met(phase % 2, tap % 2);
                let rows = met(phase / 2, tap / 2);
                let sum: f64 = rows.flat_map(|y| columns.clone().map(move |x| f64::from(kernel[y * 3 + x]))).sum();
                phases.push(sum as f32);
            }
        }
    }
    phases
}

/// The 2x2 window of a phase: an even output sees the input before its own, an odd one the input behind it.
fn window(phase: usize, size: [usize; 2]) -> Window {
    Window { kernel: 2, stride: 1, top: 1 - phase / 2, left: 1 - phase % 2, input: size, output: size }
}
