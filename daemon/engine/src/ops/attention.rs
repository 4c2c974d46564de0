//! Scaled dot-product attention with fewer key/value heads than query heads.

use candle_core::{Result, Tensor};

use super::path::fused;

/// Scores that are held at one time; bounds the memory of an attention over many positions (64 MiB in f32).
const MAX_SCORES: usize = 16 * 1024 * 1024;

/// Attention of `q (b, n, heads, d)` over `k, v (b, m, kv_heads, d)`, where query head `j` reads key head
/// `j / (heads / kv_heads)`. `bias (b, m)` is added to the scores of each position. Result: `(b, n, heads * d)`.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if fused(q) {
        return easel_kernels::attention(q, k, v, bias);
    }
    let (batch, positions, heads, dim) = q.dims4()?;
    let (_, keys, kv_heads, _) = k.dims4()?;
    let group = heads / kv_heads;
    let scale = 1.0 / (dim as f64).sqrt();
    // (b, n, kv*g, d) -> (b*kv, n*g, d): for one key head the natural layout is this already, and nothing is copied.
    let q = q.reshape((batch, positions, kv_heads, group, dim))?.transpose(1, 2)?.contiguous()?;
    let q = (q.reshape((batch * kv_heads, positions * group, dim))? * scale)?;
    let k = k.transpose(1, 2)?.contiguous()?.reshape((batch * kv_heads, keys, dim))?.transpose(1, 2)?;
    let v = v.transpose(1, 2)?.contiguous()?.reshape((batch * kv_heads, keys, dim))?;
    let bias = bias.map(|bias| per_head(bias, batch, kv_heads, keys)).transpose()?;
    let rows = positions * group;
    let at_once = (MAX_SCORES / (keys * batch * kv_heads).max(1)).clamp(1, rows);
    let mut parts = Vec::with_capacity(rows.div_ceil(at_once));
    for start in (0..rows).step_by(at_once) {
        let part = q.narrow(1, start, at_once.min(rows - start))?.contiguous()?;
        let scores = part.matmul(&k)?;
        let scores = match &bias {
            Some(bias) => scores.broadcast_add(bias)?,
            None => scores,
        };
        parts.push(candle_nn::ops::softmax_last_dim(&scores)?.matmul(&v)?);
    }
    let out = if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(&parts, 1)? };
    // (b*kv, n*g, d) -> (b, n, kv*g*d)
    let out = out.reshape((batch, kv_heads, positions, group, dim))?.transpose(1, 2)?.contiguous()?;
    out.reshape((batch, positions, heads * dim))
}

/// `(b, m) -> (b*kv, 1, m)`
fn per_head(bias: &Tensor, batch: usize, kv_heads: usize, keys: usize) -> Result<Tensor> {
    bias.reshape((batch, 1, keys))?.broadcast_as((batch, kv_heads, keys))?.contiguous()?.reshape((
        batch * kv_heads,
        1,
        keys,
    ))
}
