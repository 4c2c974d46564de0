//! Attention in which a position sees itself and what stands before it.

use candle_core::{Device, Result, Tensor};

use super::path::fused;

/// Scores that are held at one time; bounds the memory of an attention over a long prompt (64 MiB in f32).
const MAX_SCORES: usize = 16 * 1024 * 1024;

/// Attention of the newest `n` of `m` positions: `q (b, n, heads, d)` over `k, v (b, m, kv_heads, d)`, where query head `j` reads
/// key head `j / (heads / kv_heads)` and query `i` sees the keys up to `m - n + i`. Of row `r`, only the first `lengths[r]` keys count,
/// the rest is padding; `None`: there is none. Result: `(b, n, heads * d)`.
pub fn causal_attention(q: &Tensor, k: &Tensor, v: &Tensor, lengths: Option<&[usize]>) -> Result<Tensor> {
    if fused(q) {
        return easel_kernels::causal_attention(q, k, v, lengths);
    }
    let (batch, positions, heads, dim) = q.dims4()?;
    let (_, keys, kv_heads, _) = k.dims4()?;
    let group = heads / kv_heads;
    let scale = 1.0 / (dim as f64).sqrt();
    // (b, n, kv*g, d) -> (b*kv, n*g, d)
    let q = q.reshape((batch, positions, kv_heads, group, dim))?.transpose(1, 2)?.contiguous()?;
    let q = (q.reshape((batch * kv_heads, positions * group, dim))? * scale)?;
    let k = k.transpose(1, 2)?.contiguous()?.reshape((batch * kv_heads, keys, dim))?;
    let v = v.transpose(1, 2)?.contiguous()?.reshape((batch * kv_heads, keys, dim))?;
    let at_once = (MAX_SCORES / (keys * batch * heads).max(1)).clamp(1, positions);
    let past = keys - positions;
    let mut parts = Vec::with_capacity(positions.div_ceil(at_once));
    for start in (0..positions).step_by(at_once) {
        let count = at_once.min(positions - start);
        let seen = past + start + count;
        let part = q.narrow(1, start * group, count * group)?.contiguous()?;
        let scores = part.matmul(&k.narrow(1, 0, seen)?.contiguous()?.transpose(1, 2)?)?;
        let mask = Mask { first: past + start, count, group, keys: seen };
        let scores = scores.broadcast_add(&mask.bias(lengths, kv_heads, scores.device())?)?;
        parts.push(candle_nn::ops::softmax_last_dim(&scores)?.matmul(&v.narrow(1, 0, seen)?.contiguous()?)?);
    }
    let out = if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(&parts, 1)? };
    // (b*kv, n*g, d) -> (b, n, kv*g*d)
    let out = out.reshape((batch, kv_heads, positions, group, dim))?.transpose(1, 2)?.contiguous()?;
    out.reshape((batch, positions, heads * dim))
}

/// Which keys some of the queries see.
struct Mask {
    /// Place of the first query among the keys.
    first: usize,
    /// Queries.
    count: usize,
    /// Rows of scores for each query.
    group: usize,
    keys: usize,
}

impl Mask {
    /// What is added to the scores, nothing or minus infinity: `(count * group, keys)`, or `(b * kv, count * group, keys)` with
    /// padding.
    fn bias(&self, lengths: Option<&[usize]>, kv_heads: usize, device: &Device) -> Result<Tensor> {
        let rows = self.count * self.group;
        let Some(lengths) = lengths else {
            let mut values = Vec::with_capacity(rows * self.keys);
            self.extend(&mut values, self.keys);
            return Tensor::from_vec(values, (rows, self.keys), device);
        };
        let mut values = Vec::with_capacity(lengths.len() * kv_heads * rows * self.keys);
        for length in lengths {
            (0..kv_heads).for_each(|_| self.extend(&mut values, *length));
        }
        Tensor::from_vec(values, (lengths.len() * kv_heads, rows, self.keys), device)
    }

    fn extend(&self, values: &mut Vec<f32>, length: usize) {
        for query in 0..self.count {
            let visible = (self.first + query + 1).min(length).min(self.keys);
            for _ in 0..self.group {
                values.resize(values.len() + visible, 0.0);
                values.resize(values.len() + self.keys - visible, f32::NEG_INFINITY);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::DType;

    /// Every query by itself, in f64.
    fn plainly(q: &[f64], k: &[f64], v: &[f64], [n, m, heads, kv, d]: [usize; 5]) -> Vec<f64> {
        let mut out = Vec::new();
        for i in 0..n {
            for h in 0..heads {
                let key_head = h / (heads / kv);
                let at = |x: &[f64], j: usize, c: usize| x[(j * kv + key_head) * d + c];
                let score = |j: usize| {
                    (0..d).map(|c| q[(i * heads + h) * d + c] * at(k, j, c)).sum::<f64>() / (d as f64).sqrt()
                };
                let weights: Vec<f64> = (0..=m - n + i).map(|j| score(j).exp()).collect();
                let total: f64 = weights.iter().sum();
                out.extend(
                    (0..d).map(|c| weights.iter().enumerate().map(|(j, w)| w * at(v, j, c)).sum::<f64>() / total),
                );
            }
        }
        out
    }

    fn values(tensor: &Tensor) -> Result<Vec<f64>> {
        tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()
    }

    #[test]
    fn equals_every_query_by_itself() -> Result<()> {
        for shape @ [n, m, heads, kv, d] in [[5, 5, 4, 2, 8], [3, 9, 6, 1, 4], [1, 7, 2, 2, 6], [4, 4, 3, 3, 2]] {
            let q = Tensor::randn(0f32, 1.0, (1, n, heads, d), &Device::Cpu)?;
            let k = Tensor::randn(0f32, 1.0, (1, m, kv, d), &Device::Cpu)?;
            let v = Tensor::randn(0f32, 1.0, (1, m, kv, d), &Device::Cpu)?;
            let got = values(&causal_attention(&q, &k, &v, None)?)?;
            let want = plainly(&values(&q)?, &values(&k)?, &values(&v)?, shape);
            assert!(got.iter().zip(&want).all(|(g, w)| (g - w).abs() < 1e-5), "{shape:?}");
        }
        Ok(())
    }

    #[test]
    fn padding_is_not_seen() -> Result<()> {
        let q = Tensor::randn(0f32, 1.0, (2, 6, 4, 8), &Device::Cpu)?;
        let k = Tensor::randn(0f32, 1.0, (2, 6, 2, 8), &Device::Cpu)?;
        let v = Tensor::randn(0f32, 1.0, (2, 6, 2, 8), &Device::Cpu)?;
        let both = causal_attention(&q, &k, &v, Some(&[6, 4]))?;
        let alone = |x: &Tensor| x.narrow(0, 1, 1)?.narrow(1, 0, 4)?.contiguous();
        let short = causal_attention(&alone(&q)?, &alone(&k)?, &alone(&v)?, None)?;
        let (got, want) = (values(&both.narrow(0, 1, 1)?.narrow(1, 0, 4)?)?, values(&short)?);
        assert!(got.iter().zip(&want).all(|(g, w)| (g - w).abs() < 1e-6));
        Ok(())
    }
}
