//! Layer and root-mean-square normalisation.

use easel_kernels::{Level, layer_norm, layer_norm_slice, rms_norm, rms_norm_slice};
use proptest::prelude::*;

use crate::common::{self, alone_as_in_a_batch, at_every_level, tensor, values, whatever_the_threads};

proptest! {
    #![proptest_config(common::cases(24))]

    #[test]
    fn layer_norm_is_exact(rows in 0usize..60, width in 1usize..900, mean in -5f32..5.0, seed: u64) {
        let x: Vec<f32> = values(seed, rows * width).iter().map(|x| x + mean).collect();
        let (weight, bias) = (values(seed ^ 1, width), values(seed ^ 2, width));
        let want: Vec<f64> = x.chunks(width).flat_map(|row| {
            let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / width as f64;
            let variance = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / width as f64;
            let one = |(i, x): (usize, &f32)| {
                (f64::from(*x) - mean) / (variance + 1e-5).sqrt() * f64::from(weight[i]) + f64::from(bias[i])
            };
            row.iter().enumerate().map(one).collect::<Vec<_>>()
        }).collect();
        // Two values that lie close together share their leading digits, which leaves fewer for their distance.
        let tolerance = if width < 8 { 1e-3 } else { 1e-5 };
        at_every_level(&want, tolerance, |level, out| layer_norm_slice(level, &x, &weight, &bias, 1e-5, out));
    }

    #[test]
    fn rms_norm_is_exact(rows in 0usize..60, width in 1usize..900, seed: u64) {
        let (x, weight) = (values(seed, rows * width), values(seed ^ 1, width));
        let want: Vec<f64> = x.chunks(width).flat_map(|row| {
            let square = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / width as f64;
            let one = |(i, x): (usize, &f32)| f64::from(*x) / (square + 1e-6).sqrt() * f64::from(weight[i]);
            row.iter().enumerate().map(one).collect::<Vec<_>>()
        }).collect();
        at_every_level(&want, 2e-6, |level, out| rms_norm_slice(level, &x, &weight, 1e-6, out));
    }
}

#[test]
fn batches_and_threads_change_nothing() {
    let (x, weight, bias) = (values(1, 3 * 400 * 70), values(2, 70), values(3, 70));
    let [w, b] = [tensor(&weight, &[70]), tensor(&bias, &[70])];
    let batch = tensor(&x, &[3, 400, 70]);
    alone_as_in_a_batch(&[&batch], |x| layer_norm(&x[0], &w, &b, 1e-5));
    alone_as_in_a_batch(&[&batch], |x| rms_norm(&x[0], &w, 1e-6));
    whatever_the_threads(x.len(), |out| layer_norm_slice(Level::best(), &x, &weight, &bias, 1e-5, out));
}

#[test]
fn wrong_shapes_are_named() {
    let x = tensor(&values(3, 24), &[4, 6]);
    let error = rms_norm(&x, &tensor(&[1.0; 5], &[5]), 1e-6).unwrap_err().to_string();
    assert!(error.contains("(6)") && error.contains("[5]"), "{error}");
}
