//! Full convolution, and doubling with convolution.

use candle_core::Tensor;
use easel_kernels::{After, Convolution, Then, UpsampleConv3x3, conv2d, conv2d_slice, conv2d_then, conv2d_then_slice};
use proptest::prelude::*;

use crate::common::{self, alone_as_in_a_batch, close, conv, read, tensor, values, weights, whatever_the_threads};

proptest! {
    #![proptest_config(common::cases(40))]

    #[test]
    fn is_exact(
        batch in 1usize..3, input in 1usize..70, output in 1usize..9, height in 1usize..12, width in 1usize..40,
        kernel in 1usize..4, stride in 1usize..4, padding in 0usize..3, bias: bool, seed: u64,
    ) {
        prop_assume!(height.min(width) + 2 * padding >= kernel);
        let x = values(seed, batch * input * height * width);
        let weight = weights(seed ^ 1, output * input * kernel * kernel, input * kernel * kernel);
        let shift = values(seed ^ 2, output);
        let shift = bias.then_some(&shift[..]);
        let one = |x: &[f32]| conv(x, &weight, shift, [input, height, width], [output, kernel], [stride, padding]);
        let want: Vec<f64> = x.chunks(input * height * width).flat_map(one).collect();
        let mut got = vec![f32::NAN; want.len()];
        let sizes = Convolution { input, output, kernel, stride, padding, size: [height, width] };
        conv2d_slice(&x, &weight, shift, sizes, &mut got);
        close(&got, &want, 5e-6, "conv2d");
    }

    /// Wide and high enough for several tiles that are not equal, with all that may be done to the result.
    #[test]
    fn three_by_three_is_exact(
        batch in 1usize..3, input in 1usize..40, output in 1usize..20, height in 1usize..20, width in 1usize..300,
        bias: bool, adds: bool, relu: bool, seed: u64,
    ) {
        let x = values(seed, batch * input * height * width);
        let weight = weights(seed ^ 1, output * input * 9, input * 9);
        let shift = values(seed ^ 2, output);
        let shift = bias.then_some(&shift[..]);
        let residual = values(seed ^ 3, batch * output * height * width);
        let residual = adds.then_some(&residual[..]);
        let one = |x: &[f32]| conv(x, &weight, shift, [input, height, width], [output, 3], [1, 1]);
        let mut want: Vec<f64> = x.chunks(input * height * width).flat_map(one).collect();
        if let Some(residual) = residual {
            want.iter_mut().zip(residual).for_each(|(want, residual)| *want += f64::from(*residual));
        }
        if relu {
            want.iter_mut().for_each(|want| *want = want.max(0.0));
        }
        let mut got = vec![f32::NAN; want.len()];
        let sizes = Convolution { input, output, kernel: 3, stride: 1, padding: 1, size: [height, width] };
        conv2d_then_slice(&x, &weight, sizes, After { bias: shift, residual, relu }, &mut got);
        close(&got, &want, 5e-6, "conv2d");
    }

    #[test]
    fn doubling_is_exact(
        batch in 1usize..3, input in 1usize..150, output in 1usize..9, height in 1usize..12, width in 1usize..40,
        bias: bool, seed: u64,
    ) {
        let x = values(seed, batch * input * height * width);
        let weight = weights(seed ^ 1, output * input * 9, input * 9);
        let shift = values(seed ^ 2, output);
        let shift = bias.then_some(&shift[..]);
        let row = |row: &[f32]| row.iter().flat_map(|x| [*x; 2]).collect::<Vec<_>>().repeat(2);
        let doubled: Vec<f32> = x.chunks(width).flat_map(row).collect();
        let one = |x: &[f32]| conv(x, &weight, shift, [input, 2 * height, 2 * width], [output, 3], [1, 1]);
        let want: Vec<f64> = doubled.chunks(input * 4 * height * width).flat_map(one).collect();
        let mut got = vec![f32::NAN; want.len()];
        UpsampleConv3x3::from_slices(&weight, shift, [output, input]).forward_slice(&x, [height, width], &mut got);
        close(&got, &want, 5e-6, "upsample");
    }
}

#[test]
fn batches_and_threads_change_nothing() {
    // Several tiles, and a last one that is smaller.
    let (x, weight) = (values(1, 2 * 60 * 37 * 31), values(2, 20 * 60 * 9));
    let (w, b) = (tensor(&weight, &[20, 60, 3, 3]), tensor(&values(3, 20), &[20]));
    let batch = tensor(&x, &[2, 60, 37, 31]);
    for stride in [1, 2] {
        alone_as_in_a_batch(&[&batch], |x| conv2d(&x[0], &w, Some(&b), 1, stride));
    }
    let upsample = UpsampleConv3x3::new(&w, Some(&b)).unwrap();
    alone_as_in_a_batch(&[&batch], |x| upsample.forward(&x[0]));
    let sizes = Convolution { input: 60, output: 20, kernel: 3, stride: 1, padding: 1, size: [37, 31] };
    whatever_the_threads(2 * 20 * 37 * 31, |out| conv2d_slice(&x, &weight, None, sizes, out));
    whatever_the_threads(2 * 20 * 37 * 31 * 4, |out| upsample.forward_slice(&x, [37, 31], out));
}

#[test]
fn equals_the_plain_operations() {
    let x = tensor(&values(1, 40 * 16 * 24), &[1, 40, 16, 24]);
    let w = tensor(&weights(2, 48 * 40 * 9, 40 * 9), &[48, 40, 3, 3]);
    let same = |a: &Tensor, b: &Tensor| {
        assert_eq!(a.dims(), b.dims());
        close(&read(a), &read(b).iter().map(|x| f64::from(*x)).collect::<Vec<_>>(), 5e-6, "plain");
    };
    for (padding, stride) in [(0, 1), (1, 1), (0, 2), (1, 2)] {
        let plain = x.conv2d(&w, padding, stride, 1, 1).unwrap();
        same(&conv2d(&x, &w, None, padding, stride).unwrap(), &plain);
    }
    for stride in [1, 2] {
        let bias = tensor(&values(3, 48), &[48]);
        let plain =
            x.conv2d(&w, 1, stride, 1, 1).unwrap().broadcast_add(&bias.reshape((1, 48, 1, 1)).unwrap()).unwrap();
        let residual = tensor(&values(4, plain.elem_count()), plain.dims());
        let then = Then { padding: 1, stride, residual: Some(&residual), relu: true };
        same(&conv2d_then(&x, &w, Some(&bias), then).unwrap(), &(&plain + &residual).unwrap().relu().unwrap());
        let then = Then { residual: None, ..then };
        same(&conv2d_then(&x, &w, Some(&bias), then).unwrap(), &plain.relu().unwrap());
    }
    let plain = x.upsample_nearest2d(32, 48).unwrap().conv2d(&w, 1, 1, 1, 1).unwrap();
    same(&UpsampleConv3x3::new(&w, None).unwrap().forward(&x).unwrap(), &plain);
}

#[test]
fn wrong_shapes_are_named() {
    let x = tensor(&values(3, 24), &[1, 6, 2, 2]);
    let w = tensor(&values(3, 7 * 5 * 9), &[7, 5, 3, 3]);
    let error = conv2d(&x, &w, None, 1, 1).unwrap_err().to_string();
    assert!(error.contains("(out, 6, k, k)") && error.contains("[7, 5, 3, 3]"), "{error}");
    let error = UpsampleConv3x3::new(&w, None).unwrap().forward(&x).unwrap_err().to_string();
    assert!(error.contains("5 channels") && error.contains("[1, 6, 2, 2]"), "{error}");
    let w = tensor(&values(3, 7 * 6 * 9), &[7, 6, 3, 3]);
    let then = Then { padding: 1, stride: 1, residual: Some(&x), relu: false };
    let error = conv2d_then(&x, &w, None, then).unwrap_err().to_string();
    assert!(error.contains("a residual [1, 7, 2, 2]") && error.contains("[1, 6, 2, 2]"), "{error}");
    let error = conv2d(&x, &w, None, 0, 1).unwrap_err().to_string();
    assert!(error.contains("kernel of 3") && error.contains("[1, 6, 2, 2]"), "{error}");
}
