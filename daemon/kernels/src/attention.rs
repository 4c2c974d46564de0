//! Scaled dot-product attention in blocks, with fewer key/value heads than query heads, which are never repeated in memory.
//!
//! The softmax is taken online: for each row the largest score so far and the sum of exponentials are kept, and what was
//! summed is scaled when a larger score turns up. Source: Milakov and Gimelshein, "Online normalizer calculation for
//! softmax" (2018); Dao et al., "FlashAttention" (2022).

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::dispatch::{Level, multiversion};
use crate::gemm::{Matrix, Target, multiply};
use crate::math::{self, fma};
use crate::op::{Operand, apply, ensure};
use crate::share::share;

/// Query rows of a task and keys of a block: the scores of one block (384 KiB) stay in the second cache.
const ROWS: usize = 192;
const KEYS: usize = 512;

/// The sizes of an attention.
#[derive(Clone, Copy, Debug)]
pub struct Extents {
    /// Samples.
    pub batch: usize,
    /// Positions that ask.
    pub positions: usize,
    /// Positions that answer.
    pub keys: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Numbers of one head.
    pub dim: usize,
}

/// Which keys a query sees, and how gladly.
#[derive(Clone, Copy, Debug)]
pub enum Sight<'a> {
    /// All of them; `(batch, keys)` is added to the scores.
    All(Option<&'a [f32]>),
    /// Query `i` sees the keys up to `keys - positions + i`, and of sample `b` no more than the first `lengths[b]`.
    Causal(Option<&'a [usize]>),
}

/// Keys of a line of scores are filled up to a multiple of this, and the rows of a block to a multiple of [`FILL`], where
/// products are done by panels.
const LINE: usize = 32;
const FILL: usize = 4;

/// The keys with their numbers along the lines, so that they can be multiplied by panels: `(batch * kv_heads, dim, keys filled
/// up)`. Empty where the processor or the width of a head does not allow it.
struct Turned {
    values: Vec<f32>,
    line: usize,
    dim: usize,
}

impl Turned {
    #[cfg(not(target_arch = "x86_64"))]
    fn new(_level: Level, _k: &[f32], extents: Extents) -> Self {
        Self { values: Vec::new(), line: 0, dim: extents.dim }
    }

    #[cfg(target_arch = "x86_64")]
    fn new(level: Level, k: &[f32], extents: Extents) -> Self {
        let Extents { keys, kv_heads, dim, .. } = extents;
        let line = keys.next_multiple_of(LINE);
        let mut values = Vec::new();
        if crate::panel::available(level) && dim.is_multiple_of(LINE) {
            values.resize(extents.batch * kv_heads * dim * line, 0.0);
            values.par_chunks_mut(dim * line).enumerate().for_each(|(at, out)| {
                let k = &k[(at / kv_heads * keys * kv_heads + at % kv_heads) * dim..];
                // Some keys at a time, whose lines stay in the nearest cache.
                for first in (0..keys).step_by(LINE) {
                    for place in 0..dim {
                        let out = &mut out[place * line + first..][..LINE.min(keys - first)];
                        let k = k[first * kv_heads * dim + place..].iter().step_by(kv_heads * dim);
                        out.iter_mut().zip(k).for_each(|(out, k)| *out = *k);
                    }
                }
            });
        }
        Self { values, line, dim }
    }

    /// The keys from `first` on, of one head of one sample, and how far their lines are apart.
    fn part(&self, head: usize, first: usize) -> Option<(&[f32], usize)> {
        (!self.values.is_empty()).then(|| (&self.values[head * self.dim * self.line + first..], self.line))
    }
}

/// `scores (count, keys)` of `queries (count, dim)`; by panels when the keys are `turned`, with lines that are filled up.
fn score(
    level: Level,
    queries: &[f32],
    (k, width): (&[f32], usize),
    turned: Option<(&[f32], usize)>,
    [count, keys, dim]: [usize; 3],
    scores: &mut [f32],
) {
    let queries = Matrix::rows(queries, dim);
    #[cfg(target_arch = "x86_64")]
    if let Some((values, line)) = turned {
        let wide = keys.next_multiple_of(LINE);
        for first in (0..keys).step_by(LINE) {
            let panel = crate::panel::Panel { values: &values[first..], line };
            let out = (&mut scores[first..], wide, false);
            crate::panel::product(level, queries, panel, [count, dim], out);
        }
        return;
    }
    let _ = (level, turned);
    multiply(&mut scores[..count * keys], keys, false, queries, Matrix::transposed(k, width), [count, keys, dim]);
}

/// Adds `weights (count, keys)`, with lines of `line`, times the values to `sums (count, dim)`.
fn sum(
    level: Level,
    (weights, line): (&[f32], usize),
    (v, width): (&[f32], usize),
    by_panels: bool,
    [count, keys, dim]: [usize; 3],
    sums: &mut [f32],
) {
    let weights = Matrix::rows(weights, line);
    #[cfg(target_arch = "x86_64")]
    if by_panels {
        for first in (0..dim).step_by(LINE) {
            let panel = crate::panel::Panel { values: &v[first..], line: width };
            crate::panel::product(level, weights, panel, [count, keys], (&mut sums[first..], dim, true));
        }
        return;
    }
    let _ = (level, by_panels);
    multiply(&mut sums[..count * dim], dim, true, weights, Matrix::rows(v, width), [count, dim, keys]);
}

/// The state of some rows between blocks.
struct Rows<'a> {
    /// How many keys of this block and those after it each row sees.
    visible: &'a [usize],
    /// The largest score of each row so far.
    largest: &'a mut [f32],
    /// The sum of its exponentials.
    total: &'a mut [f32],
    /// `(rows, dim)`: the values, summed with these as weights.
    sums: &'a mut [f32],
}

/// A block of scores `(rows, keys)` becomes weights, and what was summed before is brought to their scale.
#[inline(always)]
fn softmax_body<const FMA: bool>(scores: &mut [f32], keys: usize, bias: Option<&[f32]>, rows: Rows<'_>, dim: usize) {
    for (at, row) in scores.chunks_exact_mut(keys).enumerate() {
        let (seen, unseen) = row.split_at_mut(rows.visible[at].min(keys));
        unseen.fill(0.0);
        if seen.is_empty() {
            continue;
        }
        if let Some(bias) = bias {
            seen.iter_mut().zip(bias).for_each(|(score, bias)| *score += bias);
        }
        let new = rows.largest[at].max(math::max(seen));
        let correction = math::exp::<FMA>(rows.largest[at] - new);
        rows.largest[at] = new;
        for score in seen.iter_mut() {
            *score = math::exp::<FMA>(*score - new);
        }
        rows.total[at] = fma::<FMA>(rows.total[at], correction, math::sum(seen));
        if correction != 1.0 {
            rows.sums[at * dim..][..dim].iter_mut().for_each(|sum| *sum *= correction);
        }
    }
}
multiversion!(
    fn softmax(scores: &mut [f32], keys: usize, bias: Option<&[f32]>, rows: Rows<'_>, dim: usize) = softmax_body
);

/// What one thread needs, used again from task to task.
struct Scratch {
    queries: Vec<f32>,
    scores: Vec<f32>,
    sums: Vec<f32>,
    largest: Vec<f32>,
    total: Vec<f32>,
    visible: Vec<usize>,
}

impl Scratch {
    fn new(dim: usize) -> Self {
        Self {
            queries: vec![0.0; ROWS * dim],
            scores: vec![0.0; ROWS * KEYS],
            sums: vec![0.0; ROWS * dim],
            largest: vec![0.0; ROWS],
            total: vec![0.0; ROWS],
            visible: vec![0; ROWS],
        }
    }
}

/// Attention of `q (batch, positions, heads, dim)` over `k` and `v (batch, keys, kv_heads, dim)` into
/// `out (batch, positions, heads, dim)`. Query head `j` reads key head `j / (heads / kv_heads)`; scores are divided by
/// `sqrt(dim)`. A row that sees no key at all becomes NaN.
pub fn attention_slice(
    level: Level,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    sight: Sight<'_>,
    extents: Extents,
    out: &mut [f32],
) {
    let Extents { batch, positions, keys, heads, kv_heads, dim } = extents;
    assert!(kv_heads > 0 && heads.is_multiple_of(kv_heads));
    assert!(q.len() == batch * positions * heads * dim && out.len() == q.len());
    assert!(k.len() == batch * keys * kv_heads * dim && v.len() == k.len());
    match sight {
        Sight::All(bias) => assert!(bias.is_none_or(|bias| bias.len() == batch * keys)),
        Sight::Causal(lengths) => {
            assert!(positions <= keys && lengths.is_none_or(|lengths| lengths.len() == batch));
        }
    }
    if out.is_empty() {
        return;
    }
    let group = heads / kv_heads;
    let rows = positions * group;
    let tasks = rows.div_ceil(ROWS);
    let target = Target::new(out, heads * dim);
    let turned = Turned::new(level, k, extents);
    share(
        batch * kv_heads * tasks,
        || Scratch::new(dim),
        |scratch, task| {
            let (sample, kv_head, start) = (task / tasks / kv_heads, task / tasks % kv_heads, task % tasks * ROWS);
            let count = ROWS.min(rows - start);
            let scale = 1.0 / (dim as f32).sqrt();
            // Row r of this key head is query head `r % group` of position `r / group`.
            let place = |row: usize| {
                let (position, head) = (row / group, kv_head * group + row % group);
                ((sample * positions + position) * heads + head) * dim
            };
            let limit = match sight {
                Sight::Causal(Some(lengths)) => lengths[sample].min(keys),
                _ => keys,
            };
            let mut last = 0;
            for row in 0..count {
                let from = &q[place(start + row)..][..dim];
                let to = &mut scratch.queries[row * dim..][..dim];
                to.iter_mut().zip(from).for_each(|(to, from)| *to = from * scale);
                scratch.visible[row] = match sight {
                    Sight::All(_) => keys,
                    Sight::Causal(_) => (keys - positions + (start + row) / group + 1).min(limit),
                };
                last = last.max(scratch.visible[row]);
            }
            let Scratch { queries, scores, sums, largest, total, visible } = scratch;
            sums[..count * dim].fill(0.0);
            largest.fill(-1e30);
            total.fill(0.0);
            let width = kv_heads * dim;
            for block in (0..last).step_by(KEYS) {
                let seen = KEYS.min(last - block);
                let first = (sample * keys + block) * width + kv_head * dim;
                let turned = turned.part(sample * kv_heads + kv_head, block);
                let line = turned.map_or(seen, |_| seen.next_multiple_of(LINE));
                let extents = [count, seen, dim];
                score(level, queries, (&k[first..], width), turned, extents, scores);
                let scores = &mut scores[..count.next_multiple_of(FILL) * line];
                let bias = match sight {
                    Sight::All(Some(bias)) => Some(&bias[sample * keys + block..][..seen]),
                    _ => None,
                };
                let weights = &mut scores[..count * line];
                softmax(level, weights, line, bias, Rows { visible, largest, total, sums }, dim);
                sum(level, (scores, line), (&v[first..], width), turned.is_some(), extents, sums);
                visible.iter_mut().for_each(|visible| *visible = visible.saturating_sub(seen));
            }
            for row in 0..count {
                // SAFETY: `out` is borrowed mutably for the whole call, and each row of each head belongs to one task.
                let to = unsafe { target.at(place(start + row)).slice(0, dim) };
                let share = 1.0 / total[row];
                to.iter_mut().zip(&sums[row * dim..]).for_each(|(to, sum)| *to = sum * share);
            }
        },
    );
}

/// Attention of `q (b, n, heads, d)` over `k, v (b, m, kv_heads, d)`, where query head `j` reads key head
/// `j / (heads / kv_heads)`. `bias (b, m)` is added to the scores of each position. Result: `(b, n, heads * d)`.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    const NAME: &str = "attention";
    let extents = extents(NAME, q, k, v)?;
    let bias = match bias {
        Some(bias) => {
            let wanted = format!("a bias ({}, {})", extents.batch, extents.keys);
            ensure(bias.dims() == [extents.batch, extents.keys], NAME, &wanted, bias.shape())?;
            Some(Operand::new(NAME, bias)?)
        }
        None => None,
    };
    run(NAME, [q, k, v], extents, |q, k, v, out| {
        Operand::read_optional(bias.as_ref(), |bias| {
            attention_slice(Level::best(), q, k, v, Sight::All(bias), extents, out);
            Ok(())
        })
    })
}

/// Attention of the newest `n` of `m` positions: `q (b, n, heads, d)` over `k, v (b, m, kv_heads, d)`, where query `i` sees
/// the keys up to `m - n + i`. Of sample `r`, only the first `lengths[r]` keys count (at least 1), the rest is padding;
/// `None`: there is none. Result: `(b, n, heads * d)`.
pub fn causal_attention(q: &Tensor, k: &Tensor, v: &Tensor, lengths: Option<&[usize]>) -> Result<Tensor> {
    const NAME: &str = "causal_attention";
    let extents = extents(NAME, q, k, v)?;
    let wanted = format!("at least {} keys", extents.positions);
    ensure(extents.positions <= extents.keys, NAME, &wanted, k.shape())?;
    let fits = lengths.is_none_or(|lengths| lengths.len() == extents.batch);
    ensure(fits, NAME, "as many lengths as samples", q.shape())?;
    run(NAME, [q, k, v], extents, |q, k, v, out| {
        attention_slice(Level::best(), q, k, v, Sight::Causal(lengths), extents, out);
        Ok(())
    })
}

fn extents(name: &str, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Extents> {
    let (batch, positions, heads, dim) = q.dims4()?;
    let (_, keys, kv_heads, _) = k.dims4()?;
    let wanted = format!("keys ({batch}, m, kv_heads, {dim})");
    ensure(k.dims() == [batch, keys, kv_heads, dim], name, &wanted, k.shape())?;
    ensure(v.dims() == k.dims(), name, &format!("values as large as the keys, {:?}", k.dims()), v.shape())?;
    let whole = kv_heads > 0 && heads.is_multiple_of(kv_heads);
    ensure(whole, name, &format!("a multiple of {kv_heads} heads"), q.shape())?;
    ensure(keys > 0 && dim > 0, name, "at least one key of one number", k.shape())?;
    Ok(Extents { batch, positions, keys, heads, kv_heads, dim })
}

fn run(
    name: &'static str,
    [q, k, v]: [&Tensor; 3],
    extents: Extents,
    kernel: impl Fn(&[f32], &[f32], &[f32], &mut [f32]) -> Result<()>,
) -> Result<Tensor> {
    let (k, v) = (Operand::new(name, k)?, Operand::new(name, v)?);
    let shape = (extents.batch, extents.positions, extents.heads * extents.dim);
    apply(name, q, shape, |q, out| k.read(|k| v.read(|v| kernel(q, k, v, out))))
}
