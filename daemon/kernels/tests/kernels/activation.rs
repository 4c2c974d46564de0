//! SiLU, GELU and GEGLU.

use easel_kernels::{geglu, geglu_slice, gelu_slice, silu, silu_slice, silu_times_slice};
use proptest::prelude::*;

use crate::common::{self, alone_as_in_a_batch, at_every_level, tensor, values, whatever_the_threads};

/// The error function by its series, or by the continued fraction of its complement where that converges faster.
fn erf(x: f64) -> f64 {
    let z = x.abs();
    let value = if z < 3.0 {
        let (mut term, mut sum) = (z, z);
        for n in 1..200 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let fraction = (1..60).rev().fold(z, |f, n| z + f64::from(n) / 2.0 / f);
        1.0 - (-z * z).exp() / (fraction * std::f64::consts::PI.sqrt())
    };
    value.copysign(x)
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / 2f64.sqrt()))
}

proptest! {
    #![proptest_config(common::cases(24))]

    #[test]
    fn silu_is_exact(len in 0usize..40_000, spread in 0.1f32..30.0, seed: u64) {
        let x: Vec<f32> = values(seed, len).iter().map(|x| x * spread).collect();
        let want: Vec<f64> = x.iter().map(|x| common::silu(f64::from(*x))).collect();
        at_every_level(&want, 5e-7, |level, out| silu_slice(level, &x, out));
    }

    #[test]
    fn silu_times_is_exact(len in 0usize..40_000, spread in 0.1f32..10.0, seed: u64) {
        let (gate, x) = (values(seed, len), values(seed ^ 1, len));
        let gate: Vec<f32> = gate.iter().map(|gate| gate * spread).collect();
        let want: Vec<f64> = gate.iter().zip(&x).map(|(g, x)| common::silu(f64::from(*g)) * f64::from(*x)).collect();
        at_every_level(&want, 5e-7, |level, out| silu_times_slice(level, &gate, &x, out));
    }

    #[test]
    fn gelu_is_exact(len in 0usize..40_000, spread in 0.1f32..10.0, seed: u64) {
        let x: Vec<f32> = values(seed, len).iter().map(|x| x * spread).collect();
        let want: Vec<f64> = x.iter().map(|x| gelu(f64::from(*x))).collect();
        // The error function is off by 1.5e-7, half of which x multiplies.
        at_every_level(&want, 2e-6, |level, out| gelu_slice(level, &x, false, out));
        let tanh = |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh());
        let want: Vec<f64> = x.iter().map(|x| tanh(f64::from(*x))).collect();
        at_every_level(&want, 2e-6, |level, out| gelu_slice(level, &x, true, out));
    }

    #[test]
    fn geglu_is_exact(rows in 0usize..40, inner in 1usize..600, spread in 0.1f32..5.0, seed: u64) {
        let x: Vec<f32> = values(seed, rows * 2 * inner).iter().map(|x| x * spread).collect();
        let want: Vec<f64> = x.chunks(2 * inner).flat_map(|row| {
            let (value, gate) = row.split_at(inner);
            value.iter().zip(gate).map(|(value, gate)| f64::from(*value) * gelu(f64::from(*gate))).collect::<Vec<_>>()
        }).collect();
        // The error function is off by 1.5e-7 of the product's size, which is up to 17 * 17 here.
        at_every_level(&want, 2e-5, |level, out| geglu_slice(level, &x, inner, out));
    }
}

#[test]
fn far_out_and_not_a_number() {
    for level in easel_kernels::Level::available() {
        let mut out = [0f32; 5];
        silu_slice(level, &[-200.0, -88.0, 200.0, f32::NAN, 0.0], &mut out);
        assert!(out[0].abs() < 1e-30 && out[1].abs() < 1e-30 && out[2] == 200.0 && out[3].is_nan() && out[4] == 0.0);
        let mut out = [1f32; 2];
        geglu_slice(level, &[1.0, 1.0, -40.0, 40.0], 2, &mut out);
        assert!(out[0].abs() < 1e-30 && out[1] == 40.0, "{out:?}");
    }
}

#[test]
fn batches_and_threads_change_nothing() {
    let x = values(3, 3 * 50 * 602);
    alone_as_in_a_batch(&[&tensor(&x, &[3, 50, 602])], |x| geglu(&x[0]));
    alone_as_in_a_batch(&[&tensor(&x, &[3, 50, 602])], |x| silu(&x[0]));
    whatever_the_threads(x.len() / 2, |out| geglu_slice(easel_kernels::Level::best(), &x, 301, out));
}

#[test]
fn views_are_taken_and_wrong_shapes_named() {
    let x = tensor(&values(4, 60), &[6, 10]);
    let view = x.narrow(0, 2, 3).unwrap().t().unwrap();
    let want = silu(&view.contiguous().unwrap()).unwrap();
    assert_eq!(common::read(&silu(&view).unwrap()), common::read(&want));
    let error = geglu(&x.narrow(1, 0, 7).unwrap()).unwrap_err().to_string();
    assert!(error.contains("[6, 7]"), "{error}");
}
