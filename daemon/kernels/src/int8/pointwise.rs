//! 1x1 convolution in 8 bits, straight from and into channels-first memory: output channels are rows, panels hold pixels.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::bytes::Bytes;
use super::finish::{self, Channel, Place};
use super::quantise::Pixels;
use super::quantise::round;
use super::sums::{COLUMNS, FILL, Panel, Rows, depth_of, empty_sums, sums};
use super::{LONGEST, step_of};
use crate::dispatch::Level;
use crate::gemm::Target;
use crate::op::{Operand, apply, ensure};

/// Pixels of a task: the weights are read once for so many, and so many are written at one time into the memory of each
/// channel, which may be a power of two away from the next.
const PIXELS: usize = 8 * COLUMNS;
/// Channels that are summed before they are written.
const CHANNELS: usize = 48;

/// A 1x1 convolution with 8-bit weights.
#[derive(Debug)]
pub struct Int8Pointwise {
    /// `[output filled up][depth][4]`
    weight: Bytes,
    channels: Vec<Channel>,
    input: usize,
    output: usize,
}

/// Rounds rows of `input` weights to signed bytes, filled up, and their scales behind them.
pub(super) fn pack_rows(weight: &[f32], input: usize) -> Vec<u8> {
    let depth = depth_of(input) * 4;
    let rows = weight.len() / input;
    let mut packed = vec![0u8; rows.next_multiple_of(FILL) * depth];
    let mut scale = vec![0f32; rows];
    let each = packed.par_chunks_mut(depth).zip(weight.par_chunks(input)).zip(&mut scale);
    each.for_each(|((packed, weight), scale)| {
        let (step, inverse) = step_of(weight);
        *scale = step;
        for (packed, weight) in packed.iter_mut().zip(weight) {
            *packed = round(weight * inverse) as u8;
        }
    });
    scale.iter().for_each(|scale| packed.extend(scale.to_le_bytes()));
    packed
}

/// Signed groups of packed weights.
pub(super) fn signed(bytes: &[u8]) -> &[[i8; 4]] {
    let (quads, _) = bytes.as_chunks::<4>();
    // SAFETY: signed and unsigned bytes have the same size and alignment, and every bit pattern is either.
    unsafe { std::slice::from_raw_parts(quads.as_ptr().cast(), quads.len()) }
}

/// 128 times the sum of a row.
pub(super) fn offset_of(row: &[[i8; 4]]) -> i32 {
    128 * row.as_flattened().iter().map(|byte| i32::from(*byte)).sum::<i32>()
}

impl Int8Pointwise {
    /// Rounds `weight (output, input)` to 255 steps for each output channel: what [`from_packed`](Self::from_packed) reads.
    pub fn pack(weight: &[f32], [output, input]: [usize; 2]) -> Vec<u8> {
        assert!(weight.len() == output * input && input > 0 && input <= LONGEST);
        pack_rows(weight, input)
    }

    /// Bytes of a packed layer.
    pub fn packed_len([output, input]: [usize; 2]) -> usize {
        4 * (output.next_multiple_of(FILL) * depth_of(input) + output)
    }

    /// A layer that reads packed weights where they are; `bias (output)`. `None` when they have another length.
    pub fn from_packed(packed: &Bytes, bias: Option<&[f32]>, [output, input]: [usize; 2]) -> Option<Self> {
        let lengths = packed.len() == Self::packed_len([output, input]) && (1..=LONGEST).contains(&input);
        if !lengths || bias.is_some_and(|bias| bias.len() != output) {
            return None;
        }
        let (weight, scales) = packed.split_floats(packed.len() - 4 * output)?;
        let rows = signed(weight.as_slice()).chunks_exact(depth_of(input));
        let channel = |(at, (row, scale)): (usize, (&[[i8; 4]], &f32))| Channel {
            scale: *scale,
            offset: offset_of(row),
            bias: bias.map_or(0.0, |bias| bias[at]),
        };
        let channels = rows.zip(&scales).enumerate().map(channel).collect();
        Some(Self { weight, channels, input, output })
    }

    /// A layer from `weight (output, input)`, rounded, and `bias (output)` as it is.
    pub fn from_slices(weight: &[f32], bias: Option<&[f32]>, shape: [usize; 2]) -> Self {
        let packed = Self::pack(weight, shape).into();
        Self::from_packed(&packed, bias, shape).expect("packed just now")
    }

    /// Bytes that the layer holds or reads where they are mapped.
    pub fn bytes(&self) -> usize {
        self.weight.len() + size_of_val(&self.channels[..])
    }

    /// `x (batch, input, pixels)` -> `out (batch, output, pixels)`; `shift (batch, output)` is added to each channel and
    /// `residual`, of the shape of `out`, to each value.
    pub fn forward_slice(
        &self,
        level: Level,
        x: &[f32],
        [shift, residual]: [Option<&[f32]>; 2],
        pixels: usize,
        out: &mut [f32],
    ) {
        let (input, output) = (self.input, self.output);
        if out.is_empty() {
            return;
        }
        assert!(out.len().is_multiple_of(output * pixels));
        let batch = out.len() / (output * pixels);
        assert!(x.len() == batch * input * pixels);
        assert!(shift.is_none_or(|shift| shift.len() == batch * output));
        assert!(residual.is_none_or(|residual| residual.len() == out.len()));
        let depth = depth_of(input);
        let tasks = pixels.div_ceil(PIXELS);
        let target = Target::new(out, pixels);
        let scratch = || {
            (
                Pixels::new(input, PIXELS),
                vec![[0u8; 4]; PIXELS * depth],
                [0f32; PIXELS],
                [(); PIXELS / COLUMNS].map(|()| empty_sums()),
            )
        };
        (0..batch * tasks).into_par_iter().for_each_init(scratch, |(values, quads, sizes, numbers), task| {
            let (sample, first) = (task / tasks, task % tasks * PIXELS);
            let count = PIXELS.min(pixels - first);
            values.load(input, &x[sample * input * pixels + first..], pixels, count);
            values.round(level, sizes, quads, [depth * COLUMNS, COLUMNS]);
            for start in (0..output).step_by(CHANNELS) {
                let rows = start..output.min(start + CHANNELS);
                let weight = Rows { quads: &signed(self.weight.as_slice())[start * depth..], line: depth };
                let panels = count.div_ceil(COLUMNS);
                for (panel, numbers) in numbers.iter_mut().enumerate().take(panels) {
                    let quads = &quads[panel * COLUMNS * depth..][..COLUMNS * depth];
                    sums(level, Panel { quads, line: COLUMNS }, weight, [rows.len(), depth], numbers);
                }
                for row in rows {
                    let shift = shift.map_or(0.0, |shift| shift[sample * output + row]);
                    let channel = Channel { bias: self.channels[row].bias + shift, ..self.channels[row] };
                    let place = (sample * output + row) * pixels + first;
                    let residual = residual.map(|residual| (&residual[place..], pixels));
                    // `out` is borrowed mutably for the whole call, and its pixels belong to one task.
                    let place = Place::new(target.at(place), count, residual, false);
                    for (panel, numbers) in numbers.iter().enumerate().take(panels) {
                        let line = panel * COLUMNS;
                        let place = place.part(0, line, COLUMNS.min(count - line));
                        finish::pixels(level, &numbers[row - start], &channel, &sizes[line..], &place);
                    }
                }
            }
        });
    }

    /// `x (b, in, h, w)` -> `(b, out, h, w)`; `shift (b, out)` is added to each channel, `residual` to each value.
    pub fn forward(&self, x: &Tensor, shift: Option<&Tensor>, residual: Option<&Tensor>) -> Result<Tensor> {
        const NAME: &str = "int8_pointwise_conv";
        let (batch, input, height, width) = x.dims4()?;
        ensure(input == self.input, NAME, &format!("{} channels", self.input), x.shape())?;
        let operand = |tensor: Option<&Tensor>, wanted: &[usize]| {
            let check = |tensor: &Tensor| {
                ensure(tensor.dims() == wanted, NAME, &format!("an operand {wanted:?}"), tensor.shape())?;
                Operand::new(NAME, tensor)
            };
            tensor.map(check).transpose()
        };
        let shape = [batch, self.output, height, width];
        let (shift, residual) = (operand(shift, &shape[..2])?, operand(residual, &shape)?);
        apply(NAME, x, shape.to_vec(), |x, out| {
            Operand::read_optional(shift.as_ref(), |shift| {
                Operand::read_optional(residual.as_ref(), |residual| {
                    self.forward_slice(Level::best(), x, [shift, residual], height * width, out);
                    Ok(())
                })
            })
        })
    }
}
