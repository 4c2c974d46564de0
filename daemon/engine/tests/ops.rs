//! The operations against loops that follow their definitions, on shapes that are not round. Whatever computes them later
//! has to pass the same.

use candle_core::{DType, Device, Tensor};
use easel_engine::ops;

/// Numbers that look random and are the same everywhere, in -1..=1.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn tensor(seed: u64, shape: &[usize]) -> Tensor {
    Tensor::from_vec(numbers(seed, shape.iter().product()), shape, &Device::Cpu).expect("a tensor")
}

fn flat(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).and_then(|x| x.flatten_all()).and_then(|x| x.to_vec1()).expect("values")
}

fn near(got: &Tensor, want: &[f64], what: &str) {
    let got = flat(got);
    assert_eq!(got.len(), want.len(), "{what}");
    let apart = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max);
    assert!(apart < 2e-6, "{what}: {apart:e} apart");
}

#[test]
fn depthwise_convolution_is_its_definition() {
    for (batch, channels, height, width) in [(1, 1, 1, 1), (2, 3, 1, 5), (1, 5, 7, 2), (3, 4, 6, 9)] {
        let (x, weight) = (tensor(1, &[batch, channels, height, width]), tensor(2, &[channels, 1, 3, 3]));
        let (input, taps) = (flat(&x), flat(&weight));
        let at = |plane: usize, y: isize, x: isize| {
            let inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
            if inside { input[(plane * height + y as usize) * width + x as usize] } else { 0.0 }
        };
        let mut want = Vec::new();
        for plane in 0..batch * channels {
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y as isize, x as isize))) {
                let tap = |t: usize| {
                    taps[plane % channels * 9 + t] * at(plane, y + t as isize / 3 - 1, x + t as isize % 3 - 1)
                };
                want.push((0..9).map(tap).sum());
            }
        }
        near(&ops::depthwise_conv3x3(&x, &weight).expect("a convolution"), &want, "depthwise");
    }
}

#[test]
fn pointwise_convolution_is_its_definition() {
    for (batch, input, out, pixels) in [(1, 1, 1, 1), (2, 3, 5, 7), (1, 8, 2, 12)] {
        let (x, weight, bias) = (tensor(3, &[batch, input, pixels, 1]), tensor(4, &[out, input]), tensor(5, &[out]));
        let (values, rows, offsets) = (flat(&x), flat(&weight), flat(&bias));
        let mut want = Vec::new();
        for (b, o, p) in (0..batch).flat_map(|b| (0..out).flat_map(move |o| (0..pixels).map(move |p| (b, o, p)))) {
            let sum: f64 = (0..input).map(|i| rows[o * input + i] * values[(b * input + i) * pixels + p]).sum();
            want.push(sum + offsets[o]);
        }
        near(&ops::pointwise_conv(&x, &weight, Some(&bias)).expect("a convolution"), &want, "pointwise");
    }
}

#[test]
fn attention_is_its_definition() {
    for (batch, n, m, heads, kv_heads, dim) in
        [(1, 1, 1, 1, 1, 4), (2, 5, 3, 4, 2, 8), (1, 7, 7, 6, 1, 3), (2, 3, 4, 3, 3, 5)]
    {
        let q = tensor(6, &[batch, n, heads, dim]);
        let (k, v) = (tensor(7, &[batch, m, kv_heads, dim]), tensor(8, &[batch, m, kv_heads, dim]));
        let bias = tensor(9, &[batch, m]);
        let (qs, ks, vs, bs) = (flat(&q), flat(&k), flat(&v), flat(&bias));
        let mut want = vec![0.0; batch * n * heads * dim];
        for (b, i, h) in (0..batch).flat_map(|b| (0..n).flat_map(move |i| (0..heads).map(move |h| (b, i, h)))) {
            let query = &qs[((b * n + i) * heads + h) * dim..][..dim];
            let row = |j: usize| ((b * m + j) * kv_heads + h / (heads / kv_heads)) * dim;
            let dot = |j: usize| query.iter().zip(&ks[row(j)..][..dim]).map(|(q, k)| q * k).sum::<f64>();
            let scores: Vec<f64> = (0..m).map(|j| (dot(j) / (dim as f64).sqrt() + bs[b * m + j]).exp()).collect();
            let total: f64 = scores.iter().sum();
            for (j, score) in scores.iter().enumerate() {
                for d in 0..dim {
                    want[((b * n + i) * heads + h) * dim + d] += score / total * vs[row(j) + d];
                }
            }
        }
        near(&ops::attention(&q, &k, &v, Some(&bias)).expect("attention"), &want, "attention");
    }
}

#[test]
fn attention_over_many_positions_is_the_same_in_parts() {
    // 5000 x 4096 scores are more than are held at one time.
    let (n, m) = (5000, 4096);
    let (q, k, v) = (tensor(1, &[1, n, 1, 2]), tensor(2, &[1, m, 1, 2]), tensor(3, &[1, m, 1, 2]));
    let whole = flat(&ops::attention(&q, &k, &v, None).expect("attention"));
    let last = q.narrow(1, n - 10, 10).expect("rows");
    near(&ops::attention(&last, &k, &v, None).expect("attention"), &whole[(n - 10) * 2..], "parts");
}

#[test]
fn nearest_resize_takes_the_pixel_that_torch_takes() {
    let x = tensor(4, &[1, 1, 3, 4]);
    let got = flat(&ops::resize_nearest(&x, 5, 7).expect("a resize"));
    let source = flat(&x);
    for (y, x) in (0..5).flat_map(|y| (0..7).map(move |x| (y, x))) {
        assert_eq!(got[y * 7 + x], source[y * 3 / 5 * 4 + x * 4 / 7]);
    }
}

#[test]
fn geglu_is_its_definition() {
    let x = tensor(5, &[2, 3, 10]);
    let values = flat(&(&x * 3.0).expect("values"));
    // Abramowitz and Stegun 7.1.5, summed until nothing changes.
    let erf = |x: f64| {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    };
    let gelu = |x: f64| 0.5 * x * (1.0 + erf(x / 2f64.sqrt()));
    let want: Vec<f64> =
        values.chunks(10).flat_map(|row| (0..5).map(|i| row[i] * gelu(row[i + 5])).collect::<Vec<_>>()).collect();
    near(&ops::geglu(&(&x * 3.0).expect("values")).expect("geglu"), &want, "geglu");
}
