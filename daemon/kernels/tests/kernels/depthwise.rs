//! Depthwise 3x3 convolution, plain and fused.

use easel_kernels::{
    Level, Norm, depthwise_conv3x3, depthwise_conv3x3_slice, group_norm_silu_depthwise_conv3x3,
    group_norm_silu_depthwise_conv3x3_slice,
};
use proptest::prelude::*;

use crate::common::{self, alone_as_in_a_batch, at_every_level, tensor, values, whatever_the_threads};

fn plainly(x: &[f32], weight: &[f32], [height, width]: [usize; 2]) -> Vec<f64> {
    let channels = weight.len() / 9;
    let one = |(at, x): (usize, &[f32])| {
        let taps = &weight[at % channels * 9..][..9];
        common::conv(x, taps, None, [1, height, width], [1, 3], [1, 1])
    };
    x.chunks(height * width).enumerate().flat_map(one).collect()
}

proptest! {
    #![proptest_config(common::cases(24))]

    #[test]
    fn is_exact(batch in 1usize..3, channels in 1usize..7, height in 1usize..20, width in 1usize..70, seed: u64) {
        let x = values(seed, batch * channels * height * width);
        let weight = values(seed ^ 1, channels * 9);
        let want = plainly(&x, &weight, [height, width]);
        at_every_level(&want, 4e-6, |level, out| depthwise_conv3x3_slice(level, &x, &weight, [height, width], out));
    }

    #[test]
    fn fused_is_exact(
        batch in 1usize..3, groups in 1usize..5, members in 1usize..4, height in 1usize..20, width in 2usize..70, seed: u64,
    ) {
        let channels = groups * members;
        let x = values(seed, batch * channels * height * width);
        let (weight, bias, taps) = (values(seed ^ 1, channels), values(seed ^ 2, channels), values(seed ^ 3, channels * 9));
        let normal = common::group_norm(&x, &weight, &bias, [batch, groups, height * width], 1e-5);
        let active: Vec<f32> = normal.iter().map(|x| common::silu(*x) as f32).collect();
        let want = plainly(&active, &taps, [height, width]);
        let norm = Norm { weight: &weight, bias: &bias, groups, eps: 1e-5 };
        at_every_level(&want, 2e-5, |level, out| {
            group_norm_silu_depthwise_conv3x3_slice(level, &x, batch, norm, &taps, [height, width], out);
        });
    }
}

#[test]
fn batches_and_threads_change_nothing() {
    let x = values(1, 2 * 6 * 9 * 11);
    let [w, b, taps] =
        [tensor(&values(2, 6), &[6]), tensor(&values(3, 6), &[6]), tensor(&values(4, 54), &[6, 1, 3, 3])];
    let batch = tensor(&x, &[2, 6, 9, 11]);
    alone_as_in_a_batch(&[&batch], |x| depthwise_conv3x3(&x[0], &taps));
    alone_as_in_a_batch(&[&batch], |x| group_norm_silu_depthwise_conv3x3(&x[0], [&w, &b], 3, 1e-5, &taps));
    let taps = values(4, 54);
    whatever_the_threads(x.len(), |out| depthwise_conv3x3_slice(Level::best(), &x, &taps, [9, 11], out));
}

#[test]
fn wrong_shapes_are_named() {
    let x = tensor(&values(3, 24), &[1, 6, 2, 2]);
    let error = depthwise_conv3x3(&x, &tensor(&[1.0; 45], &[5, 1, 3, 3])).unwrap_err().to_string();
    assert!(error.contains("(6, 1, 3, 3)") && error.contains("[5, 1, 3, 3]"), "{error}");
}
