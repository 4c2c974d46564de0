//! Attention, of everything and causal.

use easel_kernels::{Extents, Level, Sight, attention, attention_slice, causal_attention};
use proptest::prelude::*;

use crate::common::{self, alone_as_in_a_batch, at_every_level, bits, read, tensor, values, whatever_the_threads};

/// Every query by itself, in f64.
fn plainly(q: &[f32], k: &[f32], v: &[f32], sight: Sight<'_>, extents: Extents) -> Vec<f64> {
    let Extents { batch, positions, keys, heads, kv_heads, dim } = extents;
    let mut out = Vec::with_capacity(q.len());
    for row in 0..batch * positions * heads {
        let (sample, position, head) = (row / heads / positions, row / heads % positions, row % heads);
        let at = |x: &[f32], key: usize, place: usize| {
            f64::from(x[((sample * keys + key) * kv_heads + head / (heads / kv_heads)) * dim + place])
        };
        let visible = match sight {
            Sight::All(_) => keys,
            Sight::Causal(lengths) => {
                (keys - positions + position + 1).min(lengths.map_or(keys, |lengths| lengths[sample]))
            }
        };
        let scores: Vec<f64> = (0..visible)
            .map(|key| {
                let product: f64 = (0..dim).map(|c| f64::from(q[row * dim + c]) * at(k, key, c)).sum();
                let bias = match sight {
                    Sight::All(Some(bias)) => f64::from(bias[sample * keys + key]),
                    _ => 0.0,
                };
                product / (dim as f64).sqrt() + bias
            })
            .collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
        let total: f64 = weights.iter().sum();
        for c in 0..dim {
            out.push(weights.iter().enumerate().map(|(key, weight)| weight * at(v, key, c)).sum::<f64>() / total);
        }
    }
    out
}

fn inputs(seed: u64, extents: Extents) -> [Vec<f32>; 3] {
    let Extents { batch, positions, keys, heads, kv_heads, dim } = extents;
    let other = batch * keys * kv_heads * dim;
    [values(seed, batch * positions * heads * dim), values(seed ^ 1, other), values(seed ^ 2, other)]
}

proptest! {
    #![proptest_config(common::cases(20))]

    #[test]
    fn is_exact(
        batch in 1usize..3, positions in 1usize..90, keys in 1usize..1200, kv_heads in 1usize..4, group in 1usize..6,
        dim in 1usize..20, masked: bool, spread in 0.2f32..4.0, seed: u64,
    ) {
        let extents = Extents { batch, positions, keys, heads: kv_heads * group, kv_heads, dim };
        let [mut q, k, v] = inputs(seed, extents);
        q.iter_mut().for_each(|q| *q *= spread);
        // As a mask over padding: most keys count, some do not, and the first one of each sample does.
        let mut bias = values(seed ^ 3, batch * keys);
        bias.iter_mut().for_each(|bias| *bias = if *bias > 1.0 { f32::NEG_INFINITY } else { *bias });
        bias.chunks_mut(keys).for_each(|bias| bias[0] = 0.0);
        let sight = Sight::All(masked.then_some(&bias[..]));
        let want = plainly(&q, &k, &v, sight, extents);
        at_every_level(&want, 1e-5, |level, out| attention_slice(level, &q, &k, &v, sight, extents, out));
    }

    #[test]
    fn causal_is_exact(
        batch in 1usize..3, positions in 1usize..120, past in 0usize..700, kv_heads in 1usize..4, group in 1usize..5,
        dim in 1usize..20, padded: bool, seed: u64,
    ) {
        let keys = past + positions;
        let extents = Extents { batch, positions, keys, heads: kv_heads * group, kv_heads, dim };
        let [q, k, v] = inputs(seed, extents);
        let lengths: Vec<usize> = (0..batch).map(|sample| (seed as usize >> (8 * sample)) % keys + 1).collect();
        let sight = Sight::Causal(padded.then_some(&lengths[..]));
        let want = plainly(&q, &k, &v, sight, extents);
        at_every_level(&want, 1e-5, |level, out| attention_slice(level, &q, &k, &v, sight, extents, out));
    }
}

#[test]
fn batches_and_threads_change_nothing() {
    let extents = Extents { batch: 3, positions: 150, keys: 530, heads: 6, kv_heads: 2, dim: 16 };
    let [q, k, v] = inputs(9, extents);
    let [a, b, c] = [(&q, 150, 6), (&k, 530, 2), (&v, 530, 2)].map(|(x, n, heads)| tensor(x, &[3, n, heads, 16]));
    alone_as_in_a_batch(&[&a, &b, &c], |x| attention(&x[0], &x[1], &x[2], None));
    alone_as_in_a_batch(&[&a, &b, &c], |x| causal_attention(&x[0], &x[1], &x[2], None));
    for sight in [Sight::All(None), Sight::Causal(None)] {
        whatever_the_threads(q.len(), |out| attention_slice(Level::best(), &q, &k, &v, sight, extents, out));
    }
}

#[test]
fn padding_is_not_seen() {
    let extents = Extents { batch: 1, positions: 30, keys: 40, heads: 4, kv_heads: 1, dim: 8 };
    let [q, mut k, mut v] = inputs(11, extents);
    let mut first = vec![0f32; q.len()];
    attention_slice(Level::best(), &q, &k, &v, Sight::Causal(Some(&[25])), extents, &mut first);
    k[25 * 8..].fill(f32::NAN);
    v[25 * 8..].fill(f32::NAN);
    let mut second = vec![0f32; q.len()];
    attention_slice(Level::best(), &q, &k, &v, Sight::Causal(Some(&[25])), extents, &mut second);
    assert_eq!(bits(&first), bits(&second));
}

#[test]
fn parts_of_a_joint_projection_are_taken() {
    let joint = tensor(&values(5, 2 * 7 * 3 * 4 * 8), &[2, 7, 3, 4, 8]);
    let part = |at| joint.narrow(2, at, 1).unwrap().squeeze(2).unwrap();
    let got = attention(&part(0), &part(1), &part(2), None).unwrap();
    assert_eq!(got.dims(), [2, 7, 32]);
    let whole = |at| part(at).contiguous().unwrap();
    assert_eq!(bits(&read(&got)), bits(&read(&attention(&whole(0), &whole(1), &whole(2), None).unwrap())));
}

#[test]
fn wrong_shapes_are_named() {
    let [q, k] = [tensor(&values(1, 96), &[1, 2, 6, 8]), tensor(&values(1, 96), &[1, 3, 4, 8])];
    let error = attention(&q, &k, &k, None).unwrap_err().to_string();
    assert!(error.contains("multiple of 4 heads") && error.contains("[1, 2, 6, 8]"), "{error}");
    let k = tensor(&values(1, 16), &[1, 1, 2, 8]);
    let error = causal_attention(&q, &k, &k, None).unwrap_err().to_string();
    assert!(error.contains("at least 2 keys"), "{error}");
}
