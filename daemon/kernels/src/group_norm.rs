//! Group normalisation, alone or followed by SiLU.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::dispatch::{Level, multiversion};
use crate::math::{self, fma};
use crate::op::{Operand, apply, ensure};

/// Values that are looked at twice while they are in the nearest cache.
const BLOCK: usize = 4096;

/// Number, mean and sum of squared distances from the mean, of what has been seen.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Chan, Golub and LeVeque's way to join two sets (1979): nothing cancels, however large the mean.
    #[inline(always)]
    fn join(&mut self, other: Self) {
        let count = self.count + other.count;
        let distance = other.mean - self.mean;
        self.mean += distance * other.count / count;
        self.squares += other.squares + distance * distance * self.count * other.count / count;
        self.count = count;
    }
}

#[inline(always)]
fn moments_body<const FMA: bool>(x: &[f32], out: &mut Moments) {
    for block in x.chunks(BLOCK) {
        let count = block.len() as f64;
        let centre = math::sum(block) / block.len() as f32;
        // What rounding left in `centre`, taken back out.
        let rest = deviations(block, centre) / count;
        let squares = f64::from(math::sum_of_squares::<FMA>(block, centre)) - count * rest * rest;
        out.join(Moments { count, mean: f64::from(centre) + rest, squares: squares.max(0.0) });
    }
}
multiversion!(fn moments(x: &[f32], out: &mut Moments) = moments_body);

/// The sum of the distances from `centre`.
#[inline(always)]
fn deviations(x: &[f32], centre: f32) -> f64 {
    let (chunks, rest) = x.as_chunks::<16>();
    let mut lanes = [0f32; 16];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value - centre;
        }
    }
    lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>()
        + rest.iter().map(|value| f64::from(value - centre)).sum::<f64>()
}

/// What a group normalisation needs besides its input.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// Scale of each channel.
    pub weight: &'a [f32],
    /// Shift of each channel, as many.
    pub bias: &'a [f32],
    /// Groups; divides the number of channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
}

/// The normalisation as one scale and shift for each channel of each sample: `y = x * scale + shift`.
#[derive(Debug)]
pub struct Affine {
    /// `(batch, channels)`
    pub scale: Vec<f32>,
    /// `(batch, channels)`
    pub shift: Vec<f32>,
}

impl Affine {
    /// Looks at `x (batch, channels, ...)`. One task computes one group of one sample, so that neither the number of
    /// threads nor the other samples matter.
    pub fn of(level: Level, x: &[f32], batch: usize, norm: Norm<'_>) -> Self {
        let channels = norm.weight.len();
        assert!(norm.bias.len() == channels && norm.groups > 0 && channels.is_multiple_of(norm.groups));
        let group = x.len() / (batch * norm.groups).max(1);
        assert_eq!(x.len(), group * batch * norm.groups);
        let members = channels / norm.groups;
        let mut seen = vec![Moments::default(); batch * norm.groups];
        if group > 0 {
            seen.par_iter_mut().zip(x.par_chunks(group)).for_each(|(out, x)| moments(level, x, out));
        }
        let of = |at: usize| {
            let Moments { count, mean, squares } = seen[at / members];
            let (weight, bias) = (f64::from(norm.weight[at % channels]), f64::from(norm.bias[at % channels]));
            let factor = weight / (squares / count + norm.eps).sqrt();
            (factor as f32, (bias - mean * factor) as f32)
        };
        let (scale, shift) = (0..batch * channels).map(of).unzip();
        Self { scale, shift }
    }
}

#[inline(always)]
fn affine_body<const FMA: bool>(x: &[f32], scale: f32, shift: f32, out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = fma::<FMA>(*x, scale, shift);
    }
}
multiversion!(fn affine(x: &[f32], scale: f32, shift: f32, out: &mut [f32]) = affine_body);

#[inline(always)]
fn affine_silu_body<const FMA: bool>(x: &[f32], scale: f32, shift: f32, out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = math::silu::<FMA>(fma::<FMA>(*x, scale, shift));
    }
}
multiversion!(fn affine_silu(x: &[f32], scale: f32, shift: f32, out: &mut [f32]) = affine_silu_body);

/// Group normalisation of `x (batch, channels, ...)` into `out` of the same size; `then_silu`: followed by SiLU.
pub fn group_norm_slice(level: Level, x: &[f32], batch: usize, norm: Norm<'_>, then_silu: bool, out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    let Affine { scale, shift } = Affine::of(level, x, batch, norm);
    let plane = x.len() / scale.len().max(1);
    if plane == 0 {
        return;
    }
    let planes = out.par_chunks_mut(plane).zip(x.par_chunks(plane)).with_min_len(planes_of_a_task(plane));
    planes.enumerate().for_each(|(at, (out, x))| {
        if then_silu {
            affine_silu(level, x, scale[at], shift[at], out);
        } else {
            affine(level, x, scale[at], shift[at], out);
        }
    });
}

/// How many planes make a task worth handing to another thread.
pub(crate) fn planes_of_a_task(plane: usize) -> usize {
    (16 * 1024 / plane.max(1)).max(1)
}

/// The parameters of a group normalisation as tensors, checked against the input's channels.
pub(crate) struct Operands {
    weight: Operand,
    bias: Operand,
    groups: usize,
    eps: f64,
}

impl Operands {
    pub(crate) fn new(
        name: &'static str,
        x: &Tensor,
        [weight, bias]: [&Tensor; 2],
        groups: usize,
        eps: f64,
    ) -> Result<Self> {
        let channels = x.dim(1)?;
        ensure(weight.dims() == [channels], name, "a weight for each channel", weight.shape())?;
        ensure(bias.dims() == [channels], name, "a bias for each channel", bias.shape())?;
        let whole = groups > 0 && channels.is_multiple_of(groups);
        ensure(whole, name, &format!("a multiple of {groups} channels"), x.shape())?;
        Ok(Self { weight: Operand::new(name, weight)?, bias: Operand::new(name, bias)?, groups, eps })
    }

    pub(crate) fn read<T>(&self, then: impl FnOnce(Norm<'_>) -> Result<T>) -> Result<T> {
        self.weight
            .read(|weight| self.bias.read(|bias| then(Norm { weight, bias, groups: self.groups, eps: self.eps })))
    }
}

/// Group normalisation of `x (b, c, ...)` with `weight (c)` and `bias (c)`. `groups` must divide `c`.
pub fn group_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, groups: usize, eps: f64) -> Result<Tensor> {
    normalise("group_norm", x, [weight, bias], groups, eps, false)
}

/// The same, followed by SiLU.
pub fn group_norm_silu(x: &Tensor, weight: &Tensor, bias: &Tensor, groups: usize, eps: f64) -> Result<Tensor> {
    normalise("group_norm_silu", x, [weight, bias], groups, eps, true)
}

fn normalise(
    name: &'static str,
    x: &Tensor,
    parameters: [&Tensor; 2],
    groups: usize,
    eps: f64,
    then_silu: bool,
) -> Result<Tensor> {
    let operands = Operands::new(name, x, parameters, groups, eps)?;
    let batch = x.dim(0)?;
    apply(name, x, x.shape(), |x, out| {
        operands.read(|norm| {
            group_norm_slice(Level::best(), x, batch, norm, then_silu, out);
            Ok(())
        })
    })
}
