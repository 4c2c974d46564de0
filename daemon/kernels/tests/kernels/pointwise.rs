//! 1x1 convolution.

use easel_kernels::{Added, pointwise_conv, pointwise_conv_onto, pointwise_conv_onto_slice, pointwise_conv_slice};
use proptest::prelude::*;

use crate::common::{self, alone_as_in_a_batch, close, conv, tensor, values, whatever_the_threads};

proptest! {
    #![proptest_config(common::cases(24))]

    #[test]
    fn is_exact(
        batch in 1usize..3, input in 1usize..600, output in 1usize..20, pixels in 1usize..70, bias: bool, seed: u64,
    ) {
        let x = values(seed, batch * input * pixels);
        let (weight, shift) = (common::weights(seed ^ 1, input * output, input), values(seed ^ 2, output));
        let shift = bias.then_some(&shift[..]);
        let one = |x: &[f32]| conv(x, &weight, shift, [input, 1, pixels], [output, 1], [1, 0]);
        let want: Vec<f64> = x.chunks(input * pixels).flat_map(one).collect();
        let mut got = vec![f32::NAN; want.len()];
        pointwise_conv_slice(&x, &weight, shift, [input, output, pixels], &mut got);
        close(&got, &want, 5e-6, "pointwise");
    }

    #[test]
    fn what_is_added_is_added(
        batch in 1usize..3, input in 1usize..600, output in 1usize..20, pixels in 1usize..70, bias: bool, seed: u64,
    ) {
        let x = values(seed, batch * input * pixels);
        // Together as large as a bias alone above, for which the bound holds: sums round by what they are begun with.
        let third = |seed: u64, len: usize| values(seed, len).iter().map(|value| value / 3.0).collect::<Vec<f32>>();
        let (weight, each) = (common::weights(seed ^ 1, input * output, input), third(seed ^ 2, output));
        let bias = bias.then_some(&each[..]);
        let (shift, residual) = (third(seed ^ 3, batch * output), third(seed ^ 4, batch * output * pixels));
        let one = |x: &[f32]| conv(x, &weight, bias, [input, 1, pixels], [output, 1], [1, 0]);
        let mut want: Vec<f64> = x.chunks(input * pixels).flat_map(one).collect();
        for (at, want) in want.iter_mut().enumerate() {
            *want += f64::from(shift[at / pixels]) + f64::from(residual[at]);
        }
        let mut got = vec![f32::NAN; want.len()];
        let added = Added { bias, shift: Some(&shift), residual: Some(&residual) };
        pointwise_conv_onto_slice(&x, &weight, added, [input, output, pixels], &mut got);
        close(&got, &want, 5e-6, "pointwise");
    }
}

#[test]
fn batches_and_threads_change_nothing() {
    // Large enough that the product is shared out.
    let (x, weight) = (values(1, 2 * 600 * 960), values(2, 600 * 70));
    let (w, b) = (tensor(&weight, &[70, 600]), tensor(&values(3, 70), &[70]));
    alone_as_in_a_batch(&[&tensor(&x, &[2, 600, 30, 32])], |x| pointwise_conv(&x[0], &w, Some(&b)));
    whatever_the_threads(2 * 70 * 960, |out| pointwise_conv_slice(&x, &weight, None, [600, 70, 960], out));
    let (x, shift) = (tensor(&x, &[2, 600, 30, 32]), tensor(&values(4, 2 * 70), &[2, 70]));
    let residual = tensor(&values(5, 2 * 70 * 960), &[2, 70, 30, 32]);
    alone_as_in_a_batch(&[&x, &shift, &residual], |x| {
        pointwise_conv_onto(&x[0], &w, Some(&b), Some(&x[1]), Some(&x[2]))
    });
}

#[test]
fn wrong_shapes_are_named() {
    let x = tensor(&values(3, 24), &[1, 6, 2, 2]);
    let w = tensor(&values(3, 35), &[7, 5]);
    let error = pointwise_conv(&x, &w, None).unwrap_err().to_string();
    assert!(error.contains("(out, 6)") && error.contains("[7, 5]"), "{error}");
    let w = tensor(&values(3, 42), &[7, 6]);
    let error = pointwise_conv(&x, &w, Some(&tensor(&[0.0; 6], &[6]))).unwrap_err().to_string();
    assert!(error.contains("(7)") && error.contains("[6]"), "{error}");
    let error = pointwise_conv_onto(&x, &w, None, Some(&tensor(&[0.0; 6], &[1, 6])), None).unwrap_err().to_string();
    assert!(error.contains("a shift [1, 7]") && error.contains("[1, 6]"), "{error}");
    let error = pointwise_conv_onto(&x, &w, None, None, Some(&x)).unwrap_err().to_string();
    assert!(error.contains("a residual [1, 7, 2, 2]") && error.contains("[1, 6, 2, 2]"), "{error}");
}
