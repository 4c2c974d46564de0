//! Fully connected layers in 8 bits: tokens are rows, panels hold output channels.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use super::bytes::Bytes;
use super::finish::{self, Place};
use super::quantise::round;
use super::quantise::{Int8Tokens, Step};
use super::sums::{COLUMNS, Panel, ROWS, Rows, Sums, depth_of, empty_sums, sums};
use super::{LONGEST, step_of};
use crate::dispatch::Level;
use crate::gemm::Target;
use crate::op::{Operand, Rounded, ensure, over_rounded};

/// Panels of a task.
const PANELS: usize = 8;

/// A linear layer `y = x W^T + b` with 8-bit weights.
#[derive(Debug)]
pub struct Int8Linear {
    /// Panels of [`COLUMNS`] output channels: `[depth][COLUMNS][4]` of weight + 128.
    weight: Bytes,
    /// `(output)`, filled up to whole panels.
    scale: Vec<f32>,
    /// `(output)`, filled up to whole panels with zeros.
    bias: Vec<f32>,
    input: usize,
    output: usize,
}

impl Int8Linear {
    /// Rounds `weight (output, input)` to 255 steps for each output channel: what [`from_packed`](Self::from_packed) reads.
    pub fn pack(weight: &[f32], [output, input]: [usize; 2]) -> Vec<u8> {
        assert!(weight.len() == output * input && input > 0 && input <= LONGEST);
        let panel = depth_of(input) * COLUMNS * 4;
        let panels = output.div_ceil(COLUMNS);
        let mut packed = vec![128u8; panels * panel];
        let mut scale = vec![0f32; panels * COLUMNS];
        let each =
            packed.par_chunks_mut(panel).zip(scale.par_chunks_mut(COLUMNS)).zip(weight.par_chunks(COLUMNS * input));
        each.for_each(|((packed, scale), weight)| {
            for ((channel, row), scale) in weight.chunks_exact(input).enumerate().zip(scale) {
                let (step, inverse) = step_of(row);
                *scale = step;
                for (place, weight) in row.iter().enumerate() {
                    packed[(place / 4 * COLUMNS + channel) * 4 + place % 4] = round(weight * inverse) as u8 ^ 128;
                }
            }
        });
        scale.iter().for_each(|scale| packed.extend(scale.to_le_bytes()));
        packed
    }

    /// Bytes of a packed layer.
    pub fn packed_len([output, input]: [usize; 2]) -> usize {
        output.div_ceil(COLUMNS) * COLUMNS * 4 * (depth_of(input) + 1)
    }

    /// A layer that reads packed weights where they are; `bias (output)`. `None` when they have another length.
    pub fn from_packed(packed: &Bytes, bias: Option<&[f32]>, [output, input]: [usize; 2]) -> Option<Self> {
        let filled = output.div_ceil(COLUMNS) * COLUMNS;
        let lengths = packed.len() == Self::packed_len([output, input]) && (1..=LONGEST).contains(&input);
        if !lengths || bias.is_some_and(|bias| bias.len() != output) {
            return None;
        }
        let (weight, scale) = packed.split_floats(filled * 4 * depth_of(input))?;
        let mut filled_bias = bias.map_or_else(Vec::new, <[f32]>::to_vec);
        filled_bias.resize(filled, 0.0);
        Some(Self { weight, scale, bias: filled_bias, input, output })
    }

    /// A layer from `weight (output, input)`, rounded, and `bias (output)` as it is.
    pub fn from_slices(weight: &[f32], bias: Option<&[f32]>, shape: [usize; 2]) -> Self {
        let packed = Self::pack(weight, shape).into();
        Self::from_packed(&packed, bias, shape).expect("packed just now")
    }

    /// The same from tensors: `weight (out, in)`, `bias (out)`.
    pub fn new(weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        const NAME: &str = "int8_linear";
        let (output, input) = weight.dims2()?;
        ensure((1..=LONGEST).contains(&input), NAME, &format!("1 to {LONGEST} inputs"), weight.shape())?;
        let bias = Operand::bias(NAME, bias, output)?;
        Operand::new(NAME, weight)?.read(|weight| {
            Operand::read_optional(bias.as_ref(), |bias| Ok(Self::from_slices(weight, bias, [output, input])))
        })
    }

    /// Bytes that the layer holds or reads where they are mapped.
    pub fn bytes(&self) -> usize {
        self.weight.len() + 4 * (self.scale.len() + self.bias.len())
    }

    /// Width of the input.
    pub fn input(&self) -> usize {
        self.input
    }

    /// Width of the output.
    pub fn output(&self) -> usize {
        self.output
    }

    pub(super) fn panels(&self) -> usize {
        self.scale.len() / COLUMNS
    }

    /// A panel with the scales and biases of its channels.
    pub(super) fn panel(&self, panel: usize) -> (Panel<'_>, &[f32], &[f32]) {
        let (quads, _) = self.weight.as_slice().as_chunks::<4>();
        let extent = depth_of(self.input) * COLUMNS;
        let first = panel * COLUMNS;
        (Panel { quads: &quads[panel * extent..][..extent], line: COLUMNS }, &self.scale[first..], &self.bias[first..])
    }

    /// Some rows times one panel, into their place. The memory of the place is the caller's alone.
    pub(super) fn product(
        &self,
        level: Level,
        panel: usize,
        (rows, steps): (Rows<'_>, &[Step]),
        numbers: &mut Sums,
        place: &Place<'_>,
    ) {
        let (quads, scale, bias) = self.panel(panel);
        sums(level, quads, rows, [steps.len(), depth_of(self.input)], numbers);
        finish::tokens(level, &numbers[..steps.len()], steps, scale, bias, place);
    }

    /// `x (rows, input)` -> `out (rows, output)`. A row with a number that is not finite becomes NaN.
    pub fn forward_slice(&self, level: Level, x: &[f32], out: &mut [f32]) {
        self.forward_tokens(level, &Int8Tokens::from_slice(level, x, self.input), None, out);
    }

    /// The same for tokens that are rounded already, with `residual (rows, output)` added.
    pub fn forward_tokens(&self, level: Level, x: &Int8Tokens, residual: Option<&[f32]>, out: &mut [f32]) {
        let (rows, output) = (x.rows(), self.output);
        assert!(x.input() == self.input && out.len() == rows * output);
        assert!(residual.is_none_or(|residual| residual.len() == out.len()));
        let (across, down) = (self.panels().div_ceil(PANELS), rows.div_ceil(ROWS));
        let target = Target::new(out, output);
        (0..across * down).into_par_iter().for_each_init(empty_sums, |numbers, task| {
            let (start, across) = (task / across * ROWS, task % across);
            let (quads, steps) = x.from(start);
            let steps = &steps[..ROWS.min(rows - start)];
            for panel in across * PANELS..self.panels().min((across + 1) * PANELS) {
                let first = start * output + panel * COLUMNS;
                let columns = COLUMNS.min(output - panel * COLUMNS);
                let residual = residual.map(|residual| (&residual[first..], output));
                let place = Place { target: target.at(first), columns, residual, relu: false };
                // `out` is borrowed mutably for the whole call, and each tile belongs to one task.
                self.product(level, panel, (quads, steps), numbers, &place);
            }
        });
    }

    /// `(..., in) -> (..., out)`
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let shape = x.dims().to_vec();
        ensure(x.dim(D::Minus1)? == self.input, "int8_linear", &format!("(..., {})", self.input), x.shape())?;
        self.forward_rounded(&Int8Tokens::new(x)?, &shape, None)
    }

    /// The same for tokens that are rounded already: `shape` is that of what was rounded. `residual (..., out)` is added.
    pub fn forward_rounded(&self, x: &Int8Tokens, shape: &[usize], residual: Option<&Tensor>) -> Result<Tensor> {
        let sizes = Rounded { rows: x.rows(), given: x.input(), input: self.input, output: self.output };
        over_rounded("int8_linear", sizes, shape, residual, |residual, out| {
            self.forward_tokens(Level::best(), x, residual, out);
        })
    }
}
