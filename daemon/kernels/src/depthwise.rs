//! Depthwise 3x3 convolution, alone or taking group normalisation and SiLU along in the same pass over memory.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::dispatch::{Level, multiversion};
use crate::group_norm::{Affine, Norm, Operands, planes_of_a_task};
use crate::math::{self, fma};
use crate::op::{Operand, apply, ensure};

/// What to do to a value before it is convolved: `silu(x * scale + shift)`.
#[derive(Clone, Copy)]
struct Before {
    scale: f32,
    shift: f32,
}

/// One row of the result from three rows of the input, each with one more value on both sides.
#[inline(always)]
fn row<const FMA: bool>(above: &[f32], middle: &[f32], below: &[f32], taps: &[f32; 9], out: &mut [f32]) {
    let width = out.len();
    let (above, middle, below) = (&above[..width + 2], &middle[..width + 2], &below[..width + 2]);
    for x in 0..width {
        let a = fma::<FMA>(taps[2], above[x + 2], fma::<FMA>(taps[1], above[x + 1], taps[0] * above[x]));
        let b = fma::<FMA>(taps[5], middle[x + 2], fma::<FMA>(taps[4], middle[x + 1], taps[3] * middle[x]));
        let c = fma::<FMA>(taps[8], below[x + 2], fma::<FMA>(taps[7], below[x + 1], taps[6] * below[x]));
        out[x] = a + b + c;
    }
}

/// A row of the input into the inner values of a row of the ring. Not a closure: those are compiled without the
/// instructions of the function around them unless they happen to be inlined.
#[inline(always)]
fn load<const FMA: bool>(row: &mut [f32], x: &[f32], before: Option<Before>) {
    let width = row.len() - 2;
    let (row, x) = (&mut row[1..=width], &x[..width]);
    match before {
        Some(Before { scale, shift }) => {
            for (row, x) in row.iter_mut().zip(x) {
                *row = math::silu::<FMA>(fma::<FMA>(*x, scale, shift));
            }
        }
        None => row.copy_from_slice(x),
    }
}

/// One channel. Three rows go round in `ring` (3 * (width + 2) values), whose outer values are the padding.
#[inline(always)]
fn plane_body<const FMA: bool>(
    x: &[f32],
    taps: &[f32; 9],
    before: Option<Before>,
    width: usize,
    ring: &mut [f32],
    out: &mut [f32],
) {
    let height = x.len() / width;
    ring.fill(0.0);
    let (mut above, rest) = ring.split_at_mut(width + 2);
    let (mut middle, mut below) = rest.split_at_mut(width + 2);
    load::<FMA>(middle, x, before);
    for (y, out) in out.chunks_exact_mut(width).enumerate() {
        if y + 1 < height {
            load::<FMA>(below, &x[(y + 1) * width..], before);
        } else {
            below.fill(0.0);
        }
        row::<FMA>(above, middle, below, taps, out);
        (above, middle, below) = (middle, below, above);
    }
}
multiversion!(
    fn plane(
        x: &[f32],
        taps: &[f32; 9],
        before: Option<Before>,
        width: usize,
        ring: &mut [f32],
        out: &mut [f32],
    ) = plane_body
);

/// All planes of `x (batch, channels, height, width)`; `taps (channels, 9)`.
fn planes(level: Level, x: &[f32], taps: &[f32], affine: Option<&Affine>, size: [usize; 2], out: &mut [f32]) {
    let [height, width] = size;
    let (pixels, (taps, odd)) = (height * width, taps.as_chunks::<9>());
    assert!(x.len() == out.len() && odd.is_empty());
    if x.is_empty() {
        return;
    }
    assert!(x.len().is_multiple_of(pixels * taps.len()));
    let tasks = out.par_chunks_mut(pixels).zip(x.par_chunks(pixels)).with_min_len(planes_of_a_task(pixels));
    tasks.enumerate().for_each_init(
        || vec![0f32; 3 * (width + 2)],
        |ring, (at, (out, x))| {
            let before = affine.map(|affine| Before { scale: affine.scale[at], shift: affine.shift[at] });
            plane(level, x, &taps[at % taps.len()], before, width, ring, out);
        },
    );
}

/// 3x3 convolution of every channel by itself, stride 1, padding 1: `x` and `out (batch, channels, height, width)`,
/// `weight (channels, 9)`; `size` is `[height, width]`.
pub fn depthwise_conv3x3_slice(level: Level, x: &[f32], weight: &[f32], size: [usize; 2], out: &mut [f32]) {
    planes(level, x, weight, None, size, out);
}

/// Group normalisation, SiLU and the convolution above, with two reads of `x` and one write of `out`.
pub fn group_norm_silu_depthwise_conv3x3_slice(
    level: Level,
    x: &[f32],
    batch: usize,
    norm: Norm<'_>,
    weight: &[f32],
    size: [usize; 2],
    out: &mut [f32],
) {
    assert_eq!(weight.len(), 9 * norm.weight.len());
    let affine = Affine::of(level, x, batch, norm);
    planes(level, x, weight, Some(&affine), size, out);
}

/// The weight of a depthwise convolution, `(c, 1, 3, 3)`, for an input `(b, c, h, w)`.
fn taps(name: &'static str, x: &Tensor, weight: &Tensor) -> Result<Operand> {
    let (_, channels, _, _) = x.dims4()?;
    ensure(weight.dims() == [channels, 1, 3, 3], name, &format!("a weight ({channels}, 1, 3, 3)"), weight.shape())?;
    Operand::new(name, weight)
}

/// 3x3 convolution of every channel with a kernel of its own, stride 1, padding 1: `x (b, c, h, w)`,
/// `weight (c, 1, 3, 3)`.
pub fn depthwise_conv3x3(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let taps = taps("depthwise_conv3x3", x, weight)?;
    apply("depthwise_conv3x3", x, x.shape(), |x, out| {
        taps.read(|taps| {
            depthwise_conv3x3_slice(Level::best(), x, taps, [height, width], out);
            Ok(())
        })
    })
}

/// Group normalisation, SiLU and depthwise 3x3 convolution in one: `x (b, c, h, w)`, `norm` = weight and bias `(c)`,
/// `weight (c, 1, 3, 3)`. `groups` must divide `c`.
pub fn group_norm_silu_depthwise_conv3x3(
    x: &Tensor,
    norm: [&Tensor; 2],
    groups: usize,
    eps: f64,
    weight: &Tensor,
) -> Result<Tensor> {
    const NAME: &str = "group_norm_silu_depthwise_conv3x3";
    let (batch, _, height, width) = x.dims4()?;
    let taps = taps(NAME, x, weight)?;
    let operands = Operands::new(NAME, x, norm, groups, eps)?;
    apply(NAME, x, x.shape(), |x, out| {
        operands.read(|norm| {
            taps.read(|taps| {
                let size = [height, width];
                group_norm_silu_depthwise_conv3x3_slice(Level::best(), x, batch, norm, taps, size, out);
                Ok(())
            })
        })
    })
}
