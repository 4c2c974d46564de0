//! Convolutions in 8-bit integers, and the feed-forward layer in one.

use easel_kernels::{Int8Chain, Int8Conv3x3, Int8FeedForward, Int8Linear, Int8Pointwise, Int8Tokens, Level};
use proptest::prelude::*;

use crate::common::{self, alone_as_in_a_batch, bits, close, conv, tensor, values, weights, whatever_the_threads};

/// The largest number of a pixel's channels or a channel's weights as 127 steps: the step, and the numbers rounded to it.
fn rounded(x: impl Iterator<Item = f32> + Clone) -> (f64, Vec<f64>) {
    let step = x.clone().fold(0f32, |largest, x| largest.max(x.abs())) / 127.0;
    let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
    (f64::from(step), x.map(|x| f64::from((x * inverse).round_ties_even())).collect())
}

/// `x (channels, pixels)` as it is after rounding each pixel.
fn rounded_pixels(x: &[f32], channels: usize) -> Vec<f32> {
    let pixels = x.len() / channels;
    let mut out = vec![0f32; x.len()];
    for pixel in 0..pixels {
        let (step, steps) = rounded((0..channels).map(|channel| x[channel * pixels + pixel]));
        steps.iter().enumerate().for_each(|(channel, value)| out[channel * pixels + pixel] = (value * step) as f32);
    }
    out
}

/// `weight (output, ...)` as it is after rounding each output channel.
fn rounded_weights(weight: &[f32], output: usize) -> Vec<f32> {
    let rows = weight.chunks(weight.len() / output).map(|row| rounded(row.iter().copied()));
    rows.flat_map(|(step, row)| row.into_iter().map(move |value| (value * step) as f32)).collect()
}

fn equal_at_every_level(len: usize, kernel: impl Fn(Level, &mut [f32])) -> Vec<f32> {
    let results: Vec<Vec<f32>> = Level::available()
        .into_iter()
        .map(|level| {
            let mut out = vec![f32::NAN; len];
            kernel(level, &mut out);
            out
        })
        .collect();
    results[1..].iter().for_each(|result| assert_eq!(bits(result), bits(&results[0])));
    results.into_iter().next().unwrap()
}

fn relu(x: &[f64]) -> Vec<f32> {
    x.iter().map(|x| x.max(0.0) as f32).collect()
}

proptest! {
    #![proptest_config(common::cases(48))]

    #[test]
    fn pointwise_equals_the_rounded_one_at_every_level(
        pixels in 1usize..300, input in 1usize..150, output in 1usize..130, extras: bool, seed: u64,
    ) {
        let (x, weight) = (values(seed, 2 * input * pixels), weights(seed ^ 1, output * input, input));
        let (bias, shift) = (values(seed ^ 2, output), values(seed ^ 3, 2 * output));
        let residual = values(seed ^ 4, 2 * output * pixels);
        let layer = Int8Pointwise::from_slices(&weight, extras.then_some(&bias[..]), [output, input]);
        let extra = if extras { [Some(&shift[..]), Some(&residual[..])] } else { [None, None] };
        let got = equal_at_every_level(2 * output * pixels, |level, out| {
            layer.forward_slice(level, &x, extra, pixels, out);
        });
        let weight = rounded_weights(&weight, output);
        let mut want = Vec::new();
        for sample in 0..2 {
            let x = rounded_pixels(&x[sample * input * pixels..][..input * pixels], input);
            for channel in 0..output {
                for pixel in 0..pixels {
                    let sum: f64 = (0..input)
                        .map(|i| f64::from(weight[channel * input + i]) * f64::from(x[i * pixels + pixel]))
                        .sum();
                    let at = (sample * output + channel) * pixels + pixel;
                    let added = |x: f32| if extras { f64::from(x) } else { 0.0 };
                    want.push(sum + added(bias[channel]) + added(shift[sample * output + channel]) + added(residual[at]));
                }
            }
        }
        close(&got, &want, 2e-5, "pointwise");
    }

    #[test]
    fn conv_equals_the_rounded_one_at_every_level(
        height in 1usize..12, width in 1usize..70, input in 1usize..70, output in 1usize..110, seed: u64,
    ) {
        let (x, weight) = (values(seed, input * height * width), weights(seed ^ 1, output * input * 9, input * 9));
        let bias = values(seed ^ 2, output);
        let layer = Int8Conv3x3::from_slices(&weight, Some(&bias), [output, input], false);
        let chain = Int8Chain::new(&[&layer], false, false).unwrap();
        let got = equal_at_every_level(output * height * width, |level, out| {
            chain.forward_slice(level, &x, [height, width], out);
        });
        let (x, weight) = (rounded_pixels(&x, input), rounded_weights(&weight, output));
        let want = conv(&x, &weight, Some(&bias), [input, height, width], [output, 3], [1, 1]);
        close(&got, &want, 2e-5, "conv");
    }

    #[test]
    fn doubling_equals_the_doubled_picture(height in 1usize..8, width in 1usize..40, seed: u64) {
        let (input, output) = (20, 24);
        let (x, weight) = (values(seed, input * height * width), weights(seed ^ 1, output * input * 9, input * 9));
        let layer = Int8Conv3x3::from_slices(&weight, None, [output, input], true);
        let chain = Int8Chain::new(&[&layer], false, false).unwrap();
        let got = equal_at_every_level(output * 4 * height * width, |level, out| {
            chain.forward_slice(level, &x, [height, width], out);
        });
        let x = rounded_pixels(&x, input);
        let mut doubled = Vec::new();
        for line in x.chunks(width).flat_map(|line| [line, line]) {
            doubled.extend(line.iter().flat_map(|x| [*x, *x]));
        }
        let want = conv(&doubled, &weight, None, [input, 2 * height, 2 * width], [output, 3], [1, 1]);
        // The weights are rounded after their taps are summed: half a step of each of four times twenty products.
        let largest = weight.iter().fold(0f32, |l, w| l.max(w.abs()));
        let off = got.iter().zip(&want).map(|(g, w)| (f64::from(*g) - w).abs()).fold(0.0, f64::max);
        let bound = f64::from(largest) * 4.0 / 254.0 * 80.0 * 4.0;
        prop_assert!(off < bound, "{off} {bound}");
        let square = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>();
        let error = square(&mut got.iter().zip(&want).map(|(g, w)| f64::from(*g) - w));
        prop_assert!(error <= 0.012f64.powi(2) * square(&mut want.iter().copied()), "{error}");
    }

    #[test]
    fn a_chain_equals_its_parts(height in 1usize..150, width in 1usize..40, seed: u64) {
        let (outer, inner) = (12, 20);
        let shapes = [[inner, outer], [inner, inner], [outer, inner]];
        let layers: Vec<_> = shapes.iter().enumerate().map(|(at, shape)| {
            let weight = weights(seed ^ at as u64, shape[0] * shape[1] * 9, shape[1] * 9);
            (Int8Conv3x3::from_slices(&weight, Some(&values(seed ^ 9, shape[0])), *shape, false), weight)
        }).collect();
        let x = values(seed ^ 7, outer * height * width);
        let all: Vec<&Int8Conv3x3> = layers.iter().map(|(layer, _)| layer).collect();
        let chain = Int8Chain::new(&all, true, true).unwrap();
        let got = equal_at_every_level(outer * height * width, |level, out| {
            chain.forward_slice(level, &x, [height, width], out);
        });
        let mut part = x.clone();
        for (at, layer) in all.iter().enumerate() {
            let single = Int8Chain::new(&[layer], false, false).unwrap();
            let mut out = vec![f32::NAN; shapes[at][0] * height * width];
            single.forward_slice(Level::best(), &part, [height, width], &mut out);
            if at + 1 == all.len() {
                out.iter_mut().zip(&x).for_each(|(out, x)| *out += x);
            }
            part = relu(&out.iter().map(|x| f64::from(*x)).collect::<Vec<_>>());
        }
        prop_assert_eq!(bits(&got), bits(&part));
    }

    #[test]
    fn feed_forward_equals_its_parts(rows in 1usize..200, quarter in 1usize..6, seed: u64) {
        let (width, inner) = (quarter * 20, quarter * 32);
        let (first, second) = (weights(seed, 2 * inner * width, width), weights(seed ^ 1, width * inner, inner));
        let proj = Int8Linear::from_slices(&first, Some(&values(seed ^ 2, 2 * inner)), [2 * inner, width]);
        let out = Int8Linear::from_slices(&second, Some(&values(seed ^ 3, width)), [width, inner]);
        let (x, residual) = (values(seed ^ 4, rows * width), values(seed ^ 5, rows * width));
        let layer = Int8FeedForward::new(&proj, &out).unwrap();
        for level in Level::available() {
            let tokens = Int8Tokens::from_slice(level, &x, width);
            let mut got = vec![f32::NAN; rows * width];
            layer.forward_tokens(level, &tokens, Some(&residual), &mut got);
            let (mut wide, mut gated) = (vec![f32::NAN; rows * 2 * inner], vec![f32::NAN; rows * inner]);
            proj.forward_slice(level, &x, &mut wide);
            easel_kernels::geglu_slice(level, &wide, inner, &mut gated);
            let mut want = vec![f32::NAN; rows * width];
            out.forward_tokens(level, &Int8Tokens::from_slice(level, &gated, inner), Some(&residual), &mut want);
            prop_assert_eq!(bits(&got), bits(&want));
        }
    }
}

#[test]
fn batches_and_threads_change_nothing() {
    let (weight, shape) = (weights(2, 30 * 20 * 9, 180), [30, 20]);
    let x = values(1, 2 * 20 * 70 * 33);
    let batch = tensor(&x, &[2, 20, 70, 33]);
    for doubles in [false, true] {
        let layer = Int8Conv3x3::from_slices(&weight, None, shape, doubles);
        alone_as_in_a_batch(&[&batch], |x| layer.forward(&x[0]));
        let scale = if doubles { 4 } else { 1 };
        let chain = Int8Chain::new(&[&layer], false, false).unwrap();
        whatever_the_threads(2 * 30 * 70 * 33 * scale, |out| chain.forward_slice(Level::best(), &x, [70, 33], out));
    }
    let layer = Int8Pointwise::from_slices(&weight[..600], None, shape);
    let shift = tensor(&values(5, 60), &[2, 30]);
    alone_as_in_a_batch(&[&batch, &shift], |x| layer.forward(&x[0], Some(&x[1]), None));
    let error = layer.forward(&batch, Some(&batch), None).unwrap_err().to_string();
    assert!(error.contains("[2, 30]"), "{error}");
}

#[test]
fn what_is_not_finite_stays_visible() {
    let layer = Int8Conv3x3::from_slices(&weights(2, 4 * 4 * 9, 36), None, [4, 4], false);
    for level in Level::available() {
        let mut x = values(1, 4 * 9 * 9);
        x[4 * 9 + 4] = f32::INFINITY;
        let mut out = vec![0f32; 4 * 9 * 9];
        Int8Chain::new(&[&layer, &layer], false, true).unwrap().forward_slice(level, &x, [9, 9], &mut out);
        assert!(out[4 * 9 + 4].is_nan() && out[2 * 9 + 2].is_nan() && out[0].is_finite());
    }
}

#[test]
fn packed_weights_of_another_length_are_refused() {
    use easel_kernels::Bytes;
    let packed: Bytes = Int8Linear::pack(&weights(1, 40 * 70, 70), [40, 70]).into();
    assert_eq!(packed.len(), Int8Linear::packed_len([40, 70]));
    assert!(Int8Linear::from_packed(&packed, None, [40, 70]).is_some());
    assert!(Int8Linear::from_packed(&packed, None, [80, 70]).is_none());
    assert!(Int8Linear::from_packed(&packed, Some(&[0.0; 3]), [40, 70]).is_none());
    let packed: Bytes = Int8Pointwise::pack(&weights(1, 40 * 70, 70), [40, 70]).into();
    assert_eq!(packed.len(), Int8Pointwise::packed_len([40, 70]));
    assert!(Int8Pointwise::from_packed(&packed, None, [40, 700]).is_none());
    let packed: Bytes = Int8Conv3x3::pack_doubling(&weights(1, 40 * 70 * 9, 70), [40, 70]).into();
    assert_eq!(packed.len(), Int8Conv3x3::packed_len([40, 70], true));
    assert!(Int8Conv3x3::from_packed(&packed, None, [40, 70], true).is_some());
    assert!(Int8Conv3x3::from_packed(&packed, None, [40, 70], false).is_none());
}
