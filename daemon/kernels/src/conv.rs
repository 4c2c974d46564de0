//! Full convolution by tiles of output rows, without a copy of the whole input or output.

#[cfg(target_arch = "x86_64")]
mod taps;

use candle_core::{Result, Tensor};

use crate::columns::{Window, line_length};
use crate::gemm::{Matrix, Target, multiply};
use crate::op::{Operand, apply, ensure};
use crate::share::share;

/// Columns of a tile: one block of the input then takes 1 MiB.
const COLUMNS: usize = 512;

/// The sizes of a convolution of one sample.
#[derive(Clone, Copy, Debug)]
pub struct Convolution {
    /// Input channels.
    pub input: usize,
    /// Output channels.
    pub output: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Steps between two outputs.
    pub stride: usize,
    /// Rows and columns of zeros around the input.
    pub padding: usize,
    /// Input `[height, width]`.
    pub size: [usize; 2],
}

impl Convolution {
    /// Output `[height, width]`; `None` when the kernel is larger than the padded input.
    pub fn output_size(&self) -> Option<[usize; 2]> {
        let side = |extent: usize| Some((extent + 2 * self.padding).checked_sub(self.kernel)? / self.stride + 1);
        Some([side(self.size[0])?, side(self.size[1])?])
    }
}

/// What is done to sums before they are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct After<'a> {
    /// Added to each channel: `(output)`.
    pub bias: Option<&'a [f32]>,
    /// Added to each element: of the shape of the result.
    pub residual: Option<&'a [f32]>,
    /// What is below zero then becomes zero.
    pub relu: bool,
}

impl After<'_> {
    /// Writes some sums of a channel to `out`, which begins with element `first` of the result.
    fn write(&self, sums: &[f32], channel: usize, first: usize, out: &mut [f32]) {
        let bias = self.bias.map_or(0.0, |bias| bias[channel]);
        // Not `max`, which would make a number of NaN.
        let relu = |value: f32| if self.relu && value < 0.0 { 0.0 } else { value };
        let sums = sums.iter().map(|sum| sum + bias);
        match self.residual {
            Some(residual) => {
                let all = out.iter_mut().zip(sums).zip(&residual[first..]);
                all.for_each(|((out, sum), residual)| *out = relu(sum + residual));
            }
            None => out.iter_mut().zip(sums).for_each(|(out, sum)| *out = relu(sum)),
        }
    }
}

/// `x (batch, input, height, width)`, `weight (output, input, kernel, kernel)`, `bias (output)`,
/// `out (batch, output, height', width')`.
pub fn conv2d_slice(x: &[f32], weight: &[f32], bias: Option<&[f32]>, sizes: Convolution, out: &mut [f32]) {
    conv2d_then_slice(x, weight, sizes, After { bias, ..After::default() }, out);
}

/// The same with more to be done to the result.
pub fn conv2d_then_slice(x: &[f32], weight: &[f32], sizes: Convolution, after: After<'_>, out: &mut [f32]) {
    let Convolution { input, output, kernel, stride, padding, size } = sizes;
    let depth = input * kernel * kernel;
    assert!(stride > 0 && kernel > 0 && weight.len() == output * depth);
    assert!(after.bias.is_none_or(|bias| bias.len() == output));
    assert!(after.residual.is_none_or(|residual| residual.len() == out.len()));
    let Some(out_size) = sizes.output_size() else {
        panic!("a kernel of {kernel} does not fit {size:?} with {padding} around");
    };
    let (pixels, out_pixels) = (size[0] * size[1], out_size[0] * out_size[1]);
    assert!(out.len().is_multiple_of((output * out_pixels).max(1)));
    if out.is_empty() {
        return;
    }
    let batch = out.len() / (output * out_pixels);
    assert_eq!(x.len(), batch * input * pixels);
    #[cfg(target_arch = "x86_64")]
    if [kernel, stride, padding] == [3, 1, 1] && taps::suits(crate::dispatch::Level::best(), input) {
        return taps::convolve(crate::dispatch::Level::best(), x, (weight, [input, output]), (size, after), out);
    }
    let window = Window { kernel, stride, top: padding, left: padding, input: size, output: out_size };
    let (block, rows) = (window.channels_of_a_block(input), window.rows_of_a_tile(COLUMNS));
    let tiles = out_size[0].div_ceil(rows);
    let target = Target::new(out, out_pixels);
    share(
        batch * tiles,
        || {
            let line = line_length(rows * out_size[1]);
            (vec![0f32; block * kernel * kernel * line], vec![0f32; output * line])
        },
        |(columns, sums), task| {
            let (sample, first) = (task / tiles, task % tiles * rows);
            let rows = rows.min(out_size[0] - first);
            let width = rows * out_size[1];
            let place = sample * output * out_pixels + first * out_size[1];
            let target = target.at(place);
            // Summed here and not in `out`, whose channels may be a power of two apart (see `line_length`).
            let line = line_length(width);
            let sums = &mut sums[..output * line];
            for start in (0..input).step_by(block) {
                let taps = block.min(input - start) * kernel * kernel;
                let columns = &mut columns[..taps * line];
                window.gather(&x[(sample * input + start) * pixels..], first, rows, columns);
                let a = Matrix::rows(&weight[start * kernel * kernel..], depth);
                let b = Matrix::rows(columns, line);
                multiply(sums, line, start > 0, a, b, [output, width, taps]);
            }
            for (channel, sums) in sums.chunks_exact(line).enumerate() {
                // SAFETY: `out` is borrowed mutably for the whole call, and each row of each sample belongs to one task.
                let row = unsafe { target.slice(channel, width) };
                after.write(&sums[..width], channel, place + channel * out_pixels, row);
            }
        },
    );
}

/// 2-d convolution of `x (b, in, h, w)` with `weight (out, in, k, k)` and `bias (out)`, `padding` zeros on all sides:
/// `(b, out, (h + 2 * padding - k) / stride + 1, ...)`.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, padding: usize, stride: usize) -> Result<Tensor> {
    conv2d_then(x, weight, bias, Then { padding, stride, residual: None, relu: false })
}

/// How a kernel moves, and what is done to the result.
#[derive(Clone, Copy, Debug)]
pub struct Then<'a> {
    /// Zeros on all sides.
    pub padding: usize,
    /// Steps between two outputs.
    pub stride: usize,
    /// Added to the result; of its shape.
    pub residual: Option<&'a Tensor>,
    /// What is below zero then becomes zero.
    pub relu: bool,
}

/// [`conv2d`] with more to be done to the result before it is written.
pub fn conv2d_then(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, then: Then<'_>) -> Result<Tensor> {
    let Then { padding, stride, residual, relu } = then;
    const NAME: &str = "conv2d";
    let (batch, input, height, width) = x.dims4()?;
    let (output, _, kernel, _) = weight.dims4()?;
    let wanted = format!("a weight (out, {input}, k, k)");
    ensure(weight.dims() == [output, input, kernel, kernel] && kernel > 0, NAME, &wanted, weight.shape())?;
    ensure(stride > 0, NAME, "a stride of at least 1", x.shape())?;
    let sizes = Convolution { input, output, kernel, stride, padding, size: [height, width] };
    let Some([out_height, out_width]) = sizes.output_size() else {
        return crate::op::refuse(NAME, &format!("an input that a kernel of {kernel} fits"), x.shape());
    };
    let weight = Operand::new(NAME, weight)?;
    let bias = Operand::bias(NAME, bias, output)?;
    let shape = [batch, output, out_height, out_width];
    let residual = Operand::optional(NAME, "a residual", residual, &shape)?;
    apply(NAME, x, &shape[..], |x, out| {
        weight.read(|weight| {
            Operand::read_optional(bias.as_ref(), |bias| {
                Operand::read_optional(residual.as_ref(), |residual| {
                    conv2d_then_slice(x, weight, sizes, After { bias, residual, relu }, out);
                    Ok(())
                })
            })
        })
    })
}
