//! The linear layer in 8-bit integers.

use easel_kernels::{Int8Linear, Level};
use proptest::prelude::*;

use crate::common::{self, alone_as_in_a_batch, bits, close, read, tensor, values, weights, whatever_the_threads};

/// Steps of the largest number of a row, and the row in these steps.
fn rounded(row: &[f32]) -> (f64, Vec<i64>) {
    let step = row.iter().fold(0f32, |largest, x| largest.max(x.abs())) / 127.0;
    let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
    (f64::from(step), row.iter().map(|x| i64::from((x * inverse).round_ties_even() as i32)).collect())
}

/// The same layer with 64-bit integers.
fn plainly(x: &[f32], weight: &[f32], bias: Option<&[f32]>, input: usize) -> Vec<f64> {
    let channels: Vec<_> = weight.chunks(input).map(rounded).collect();
    let one = |x: &[f32]| {
        let (step, x) = rounded(x);
        let channel = |(at, (scale, weight)): (usize, &(f64, Vec<i64>))| {
            let sum: i64 = x.iter().zip(weight).map(|(x, weight)| x * weight).sum();
            sum as f64 * step * scale + bias.map_or(0.0, |bias| f64::from(bias[at]))
        };
        channels.iter().enumerate().map(channel).collect::<Vec<_>>()
    };
    x.chunks(input).flat_map(one).collect()
}

proptest! {
    #![proptest_config(common::cases(96))]

    #[test]
    fn equals_itself_in_wide_integers_at_every_level(
        rows in 1usize..60, input in 1usize..400, output in 1usize..90, bias: bool, seed: u64,
    ) {
        let (x, weight) = (values(seed, rows * input), weights(seed ^ 1, output * input, input));
        let shift = values(seed ^ 2, output);
        let shift = bias.then_some(&shift[..]);
        let want = plainly(&x, &weight, shift, input);
        let layer = Int8Linear::from_slices(&weight, shift, [output, input]);
        let results: Vec<Vec<f32>> = Level::available().into_iter().map(|level| {
            let mut out = vec![f32::NAN; rows * output];
            layer.forward_slice(level, &x, &mut out);
            out
        }).collect();
        close(&results[0], &want, 1e-6, "portable");
        for result in &results[1..] {
            prop_assert_eq!(bits(result), bits(&results[0]));
        }
    }
}

#[test]
fn the_largest_sums_do_not_overflow() {
    let input = 65536;
    let (x, weight) = (vec![-1f32; input], vec![1f32; 2 * input]);
    let layer = Int8Linear::from_slices(&weight, None, [2, input]);
    for level in Level::available() {
        let mut out = [f32::NAN; 2];
        layer.forward_slice(level, &x, &mut out);
        assert!(out.iter().all(|y| (y / -65536.0 - 1.0).abs() < 1e-6), "{} {out:?}", level.name());
    }
}

#[test]
fn comes_close_to_the_layer_in_f32() {
    let (rows, input, output) = (50, 896, 70);
    let (x, weight) = (values(1, rows * input), weights(2, output * input, input));
    let mut got = vec![f32::NAN; rows * output];
    Int8Linear::from_slices(&weight, None, [output, input]).forward_slice(Level::best(), &x, &mut got);
    let mut squares = [0f64; 2];
    for (row, x) in x.chunks(input).enumerate() {
        for (channel, weight) in weight.chunks(input).enumerate() {
            let want: f64 = x.iter().zip(weight).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
            squares[0] += (f64::from(got[row * output + channel]) - want).powi(2);
            squares[1] += want.powi(2);
        }
    }
    // Two roundings to a 254th of the range, which is about seven spreads wide.
    let relative = (squares[0] / squares[1]).sqrt();
    assert!(relative < 0.015, "{relative}");
}

#[test]
fn zeros_and_numbers_that_are_not_finite() {
    let layer = Int8Linear::from_slices(&weights(2, 5 * 70, 70), Some(&[0.5; 5]), [5, 70]);
    for level in Level::available() {
        let mut x = vec![0f32; 3 * 70];
        (x[70 + 3], x[2 * 70 + 69]) = (f32::NAN, f32::INFINITY);
        let mut out = vec![0f32; 15];
        layer.forward_slice(level, &x, &mut out);
        assert_eq!(out[..5], [0.5; 5]);
        assert!(out[5..].iter().all(|y| y.is_nan()), "{} {out:?}", level.name());
    }
}

#[test]
fn batches_and_threads_change_nothing() {
    let (x, weight) = (values(1, 3 * 250 * 70), weights(2, 300 * 70, 70));
    let layer = Int8Linear::new(&tensor(&weight, &[300, 70]), Some(&tensor(&values(3, 300), &[300]))).unwrap();
    let batch = tensor(&x, &[3, 250, 70]);
    alone_as_in_a_batch(&[&batch], |x| layer.forward(&x[0]));
    whatever_the_threads(3 * 250 * 300, |out| layer.forward_slice(Level::best(), &x, out));
    assert_eq!(layer.forward(&batch).unwrap().dims(), [3, 250, 300]);
    assert!(read(&layer.forward(&batch).unwrap()).iter().all(|y| y.is_finite()));
    let error = layer.forward(&tensor(&x[..600], &[6, 100])).unwrap_err().to_string();
    assert!(error.contains("(..., 70)") && error.contains("[6, 100]"), "{error}");
}
