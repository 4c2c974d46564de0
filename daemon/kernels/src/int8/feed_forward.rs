//! The gated feed-forward layer in 8 bits, some tokens at a time through both of its products: what lies between them, six
//! times as wide as a token, never goes to memory.

use candle_core::{D, Device, Result, Tensor};
use rayon::prelude::*;

use super::finish::{self, Place};
use super::linear::Int8Linear;
use super::quantise::{Int8Tokens, Step, quantise};
use super::sums::{COLUMNS, FILL, ROWS, Rows, depth_of, empty_sums, sums};
use crate::dispatch::Level;
use crate::gemm::Target;
use crate::op::{Operand, ensure, unwritten};

/// `out(geglu(proj(x)))` with an optional residual; see [`geglu`](crate::geglu).
#[derive(Clone, Copy, Debug)]
pub struct Int8FeedForward<'a> {
    proj: &'a Int8Linear,
    out: &'a Int8Linear,
}

/// What a task computes with.
struct Scratch {
    /// `(ROWS, inner)`
    gated: Vec<f32>,
    quads: Vec<[i8; 4]>,
    steps: Vec<Step>,
}

impl<'a> Int8FeedForward<'a> {
    /// `None` when the layers do not belong together, or are of widths for which the products have to be done one by one.
    pub fn new(proj: &'a Int8Linear, out: &'a Int8Linear) -> Option<Self> {
        let fits = proj.output() == 2 * out.input() && proj.input() == out.output();
        (fits && out.input().is_multiple_of(COLUMNS)).then_some(Self { proj, out })
    }

    /// `x (rows, width)`, rounded, and `residual (rows, width)` -> `out (rows, width)`.
    pub fn forward_tokens(&self, level: Level, x: &Int8Tokens, residual: Option<&[f32]>, out: &mut [f32]) {
        let (rows, width, inner) = (x.rows(), self.out.output(), self.out.input());
        assert!(x.input() == self.proj.input() && out.len() == rows * width);
        assert!(residual.is_none_or(|residual| residual.len() == out.len()));
        let depth = depth_of(inner);
        let target = Target::new(out, width);
        let scratch = || {
            let (quads, steps) = (vec![[0i8; 4]; ROWS * depth], vec![Step::default(); ROWS]);
            (Scratch { gated: vec![0f32; ROWS * inner], quads, steps }, [empty_sums(), empty_sums()])
        };
        (0..rows.div_ceil(ROWS)).into_par_iter().for_each_init(scratch, |(scratch, numbers), task| {
            let start = task * ROWS;
            let count = ROWS.min(rows - start);
            let (quads, steps) = x.from(start);
            self.gate(level, (quads, &steps[..count]), numbers, &mut scratch.gated);
            let tokens = scratch.quads.chunks_exact_mut(depth).zip(&mut scratch.steps);
            for ((quads, step), x) in tokens.zip(scratch.gated.chunks_exact(inner)).take(count) {
                quantise(level, x, quads.as_flattened_mut(), step);
            }
            let rounded = Rows { quads: &scratch.quads, line: depth };
            for panel in 0..self.out.panels() {
                let first = start * width + panel * COLUMNS;
                let columns = COLUMNS.min(width - panel * COLUMNS);
                let residual = residual.map(|residual| (&residual[first..], width));
                let place = Place { target: target.at(first), columns, residual, relu: false };
                // `out` is borrowed mutably for the whole call, and its rows belong to one task.
                self.out.product(level, panel, (rounded, &scratch.steps[..count]), &mut numbers[0], &place);
            }
        });
    }

    /// The first product and its gates: `gated (steps, inner)`.
    fn gate(
        &self,
        level: Level,
        (rows, steps): (Rows<'_>, &[Step]),
        [values, gates]: &mut [Box<super::sums::Sums>; 2],
        gated: &mut [f32],
    ) {
        let (inner, depth) = (self.out.input(), depth_of(self.proj.input()));
        let count = steps.len();
        for panel in 0..inner / COLUMNS {
            let (value, gate) = (self.proj.panel(panel), self.proj.panel(panel + inner / COLUMNS));
            sums(level, value.0, rows, [count, depth], values);
            sums(level, gate.0, rows, [count, depth], gates);
            let numbers = [&values[..count], &gates[..count]];
            let out = &mut gated[panel * COLUMNS..];
            finish::gated(level, numbers, steps, [value.1, gate.1], [value.2, gate.2], out, inner);
        }
    }

    /// `x (..., width)` and `residual (..., width)` -> `(..., width)`.
    pub fn forward(&self, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        const NAME: &str = "int8_feed_forward";
        let width = self.out.output();
        ensure(x.dim(D::Minus1)? == width, NAME, &format!("(..., {width})"), x.shape())?;
        let residual = residual.map(|residual| {
            ensure(residual.dims() == x.dims(), NAME, &format!("a residual {:?}", x.dims()), residual.shape())?;
            Operand::new(NAME, residual)
        });
        let (residual, tokens) = (residual.transpose()?, Int8Tokens::new(x)?);
        let mut out = unwritten(tokens.rows() * width);
        Operand::read_optional(residual.as_ref(), |residual| {
            self.forward_tokens(Level::best(), &tokens, residual, &mut out);
            Ok(())
        })?;
        Tensor::from_vec(out, x.shape(), &Device::Cpu)
    }
}

const _: () = assert!(ROWS.is_multiple_of(FILL));
