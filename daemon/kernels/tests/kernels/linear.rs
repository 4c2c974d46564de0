//! Fully connected layers.

use easel_kernels::{linear, linear_slice};
use proptest::prelude::*;

use crate::common::{self, alone_as_in_a_batch, close, tensor, values, whatever_the_threads};

proptest! {
    #![proptest_config(common::cases(24))]

    #[test]
    fn is_exact(
        rows in 1usize..70, input in 1usize..600, output in 1usize..40, bias: bool, residual: bool, seed: u64,
    ) {
        let x = values(seed, rows * input);
        let weight = common::weights(seed ^ 1, input * output, input);
        let (shift, before) = (values(seed ^ 2, output), values(seed ^ 3, rows * output));
        let (shift, before) = (bias.then_some(&shift[..]), residual.then_some(&before[..]));
        let want: Vec<f64> = (0..rows * output)
            .map(|at| {
                let (row, column) = (at / output, at % output);
                let (x, w) = (&x[row * input..][..input], &weight[column * input..][..input]);
                let sum: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                sum + shift.map_or(0.0, |b| f64::from(b[column])) + before.map_or(0.0, |r| f64::from(r[at]))
            })
            .collect();
        let mut got = vec![f32::NAN; want.len()];
        linear_slice(&x, &weight, shift, before, [input, output], &mut got);
        close(&got, &want, 5e-6, "linear");
    }
}

#[test]
fn batches_and_threads_change_nothing() {
    // Large enough that the product is shared out.
    let (x, weight, before) = (values(1, 2 * 400 * 600), values(2, 600 * 70), values(4, 2 * 400 * 70));
    let (w, b) = (tensor(&weight, &[70, 600]), tensor(&values(3, 70), &[70]));
    let (all, residual) = (tensor(&x, &[2, 400, 600]), tensor(&before, &[2, 400, 70]));
    alone_as_in_a_batch(&[&all, &residual], |x| linear(&x[0], &w, Some(&b), Some(&x[1])));
    whatever_the_threads(800 * 70, |out| linear_slice(&x, &weight, None, Some(&before), [600, 70], out));
}

#[test]
fn wrong_shapes_are_named() {
    let (x, w) = (tensor(&values(3, 24), &[4, 6]), tensor(&values(3, 35), &[7, 5]));
    let error = linear(&x, &w, None, None).unwrap_err().to_string();
    assert!(error.contains("(..., 5)") && error.contains("[4, 6]"), "{error}");
    let w = tensor(&values(3, 42), &[7, 6]);
    let error = linear(&x, &w, Some(&tensor(&[0.0; 6], &[6])), None).unwrap_err().to_string();
    assert!(error.contains("(7)") && error.contains("[6]"), "{error}");
    let error = linear(&x, &w, None, Some(&x)).unwrap_err().to_string();
    assert!(error.contains("[4, 7]") && error.contains("[4, 6]"), "{error}");
}

#[test]
fn few_rows_come_out_alone_as_in_a_batch() {
    // Down to one row, for which a library of matrix products likes to sum in another order.
    for (rows, output) in [(1, 896), (3, 64), (20, 12), (1, 1)] {
        let (x, weight) =
            (tensor(&values(1, 2 * rows * 700), &[2, rows, 700]), tensor(&values(2, output * 700), &[output, 700]));
        alone_as_in_a_batch(&[&x], |x| linear(&x[0], &weight, None, None));
    }
}
