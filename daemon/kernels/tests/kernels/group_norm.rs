//! Group normalisation.

use easel_kernels::{Level, Norm, group_norm, group_norm_silu, group_norm_slice};
use proptest::prelude::*;

use crate::common::{self, alone_as_in_a_batch, at_every_level, tensor, values, whatever_the_threads};

proptest! {
    #![proptest_config(common::cases(24))]

    #[test]
    fn is_exact(
        batch in 1usize..3, groups in 1usize..9, members in 1usize..6, pixels in 2usize..1500,
        mean in -20f32..20.0, silu: bool, seed: u64,
    ) {
        let channels = groups * members;
        let x: Vec<f32> = values(seed, batch * channels * pixels).iter().map(|x| x + mean).collect();
        let (weight, bias) = (values(seed ^ 1, channels), values(seed ^ 2, channels));
        let mut want = common::group_norm(&x, &weight, &bias, [batch, groups, pixels], 1e-5);
        if silu {
            want.iter_mut().for_each(|x| *x = common::silu(*x));
        }
        let norm = Norm { weight: &weight, bias: &bias, groups, eps: 1e-5 };
        // A mean of 20 spreads costs as many roundings of the input.
        at_every_level(&want, 2e-5, |level, out| group_norm_slice(level, &x, batch, norm, silu, out));
    }
}

#[test]
fn a_large_mean_does_not_cancel() {
    // Variance by the difference of two sums would lose every digit here.
    let x: Vec<f32> = values(5, 20_000).iter().map(|x| x + 4000.0).collect();
    let norm = Norm { weight: &[1.0, 1.0], bias: &[0.0, 0.0], groups: 1, eps: 1e-6 };
    let want = common::group_norm(&x, norm.weight, norm.bias, [1, 1, 10_000], 1e-6);
    at_every_level(&want, 5e-4, |level, out| group_norm_slice(level, &x, 1, norm, false, out));
}

#[test]
fn batches_and_threads_change_nothing() {
    let (weight, bias) = (values(1, 12), values(2, 12));
    let x = values(3, 3 * 12 * 35);
    let [w, b] = [tensor(&weight, &[12]), tensor(&bias, &[12])];
    alone_as_in_a_batch(&[&tensor(&x, &[3, 12, 5, 7])], |x| group_norm(&x[0], &w, &b, 4, 1e-5));
    alone_as_in_a_batch(&[&tensor(&x, &[3, 12, 5, 7])], |x| group_norm_silu(&x[0], &w, &b, 4, 1e-5));
    let norm = Norm { weight: &weight, bias: &bias, groups: 4, eps: 1e-5 };
    whatever_the_threads(x.len(), |out| group_norm_slice(Level::best(), &x, 3, norm, true, out));
}

#[test]
fn wrong_shapes_are_named() {
    let x = tensor(&values(3, 24), &[1, 6, 2, 2]);
    let [w, b] = [tensor(&[1.0; 6], &[6]), tensor(&[1.0; 5], &[5])];
    let error = group_norm(&x, &w, &b, 3, 1e-5).unwrap_err().to_string();
    assert!(error.contains("[5]"), "{error}");
    let error = group_norm(&x, &w, &w, 4, 1e-5).unwrap_err().to_string();
    assert!(error.contains("multiple of 4") && error.contains("[1, 6, 2, 2]"), "{error}");
}
