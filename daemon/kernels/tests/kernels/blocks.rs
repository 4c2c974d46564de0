//! Linear layers with weights in blocks.

use candle_core::Device;
use candle_core::quantized::{GgmlDType, QTensor};
use easel_kernels::{BlockFormat, BlockLinear, BlockTokens, Level};
use proptest::prelude::*;

use crate::common::{self, alone_as_in_a_batch, bits, close, tensor, values, weights, whatever_the_threads};

const FORMATS: [BlockFormat; 2] = [BlockFormat::Q8_0, BlockFormat::Q4K];

fn layer(format: BlockFormat, weight: &[f32], bias: Option<&[f32]>, shape: [usize; 2]) -> BlockLinear {
    BlockLinear::from_packed(format, &format.pack(weight, shape).into(), bias, shape).expect("packed just now")
}

/// `x` as it is after rounding blocks of 32.
fn rounded(x: &[f32]) -> Vec<f64> {
    let round = |block: &[f32]| {
        let step = block.iter().fold(0f32, |largest, x| largest.max(x.abs())) / 127.0;
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        block.iter().map(|x| f64::from((x * inverse).round_ties_even()) * f64::from(step)).collect::<Vec<_>>()
    };
    x.chunks(32).flat_map(round).collect()
}

fn relative(got: &[f32], want: &[f32]) -> f64 {
    let square = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>();
    let apart = square(&mut got.iter().zip(want).map(|(g, w)| f64::from(*g) - f64::from(*w)));
    (apart / square(&mut want.iter().map(|w| f64::from(*w)))).sqrt()
}

proptest! {
    #![proptest_config(common::cases(32))]

    #[test]
    fn equals_the_rounded_layer_at_every_level(
        rows in 1usize..40, groups in 1usize..10, output in 1usize..80, extras: bool, seed: u64,
    ) {
        for format in FORMATS {
            let input = groups * format.multiple();
            let (x, weight) = (values(seed, rows * input), weights(seed ^ 1, output * input, input));
            let (bias, residual) = (values(seed ^ 2, output), values(seed ^ 3, rows * output));
            let layer = layer(format, &weight, extras.then_some(&bias[..]), [output, input]);
            let residual = extras.then_some(&residual[..]);
            let results: Vec<Vec<f32>> = Level::available().into_iter().map(|level| {
                let mut out = vec![f32::NAN; rows * output];
                layer.forward_tokens(level, &BlockTokens::from_slice(level, &x, input), residual, &mut out);
                out
            }).collect();
            let (x, weight) = (rounded(&x), layer.dequantised());
            let mut want = Vec::new();
            for (row, x) in x.chunks(input).enumerate() {
                for (channel, weight) in weight.chunks(input).enumerate() {
                    let sum: f64 = x.iter().zip(weight).map(|(x, w)| x * f64::from(*w)).sum();
                    let added = residual.map_or(0.0, |r| f64::from(r[row * output + channel]) + f64::from(bias[channel]));
                    want.push(sum + added);
                }
            }
            close(&results[0], &want, 5e-6, "portable");
            for result in &results[1..] {
                prop_assert_eq!(bits(result), bits(&results[0]));
            }
        }
    }
}

#[test]
fn rounding_is_at_least_as_close_as_that_of_candle() {
    let (output, input) = (64, 1024);
    let weight = weights(3, output * input, input);
    for (format, theirs, most) in
        [(BlockFormat::Q8_0, GgmlDType::Q8_0, 0.006), (BlockFormat::Q4K, GgmlDType::Q4K, 0.08)]
    {
        let ours = relative(&layer(format, &weight, None, [output, input]).dequantised(), &weight);
        let theirs = QTensor::quantize(&tensor(&weight, &[output, input]), theirs).unwrap();
        let theirs = relative(&common::read(&theirs.dequantize(&Device::Cpu).unwrap()), &weight);
        assert!(ours <= theirs * 1.02 && ours < most, "{format:?}: {ours}, candle {theirs}");
    }
}

#[test]
fn an_outlier_costs_its_block_alone() {
    let (output, input) = (32, 512);
    let weight = weights(3, output * input, input);
    let mut x = values(4, input);
    x[100] = 1000.0;
    let layer = layer(BlockFormat::Q8_0, &weight, None, [output, input]);
    let mut got = vec![f32::NAN; output];
    layer.forward_tokens(Level::best(), &BlockTokens::from_slice(Level::best(), &x, input), None, &mut got);
    for (channel, weight) in layer.dequantised().chunks(input).enumerate() {
        let want: f64 = x.iter().zip(weight).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
        // Half a step of the 31 values beside it, a step of which is worth 1000 / 127, at weights of about 0.04.
        assert!((f64::from(got[channel]) - want).abs() < 1000.0 / 254.0 * 0.06 * 31f64.sqrt() * 3.0);
    }
}

#[test]
fn batches_threads_and_numbers_that_are_not_finite() {
    let (rows, input, output) = (700, 256, 70);
    let mut x = values(1, 2 * rows * input);
    for format in FORMATS {
        let layer = layer(format, &weights(2, output * input, input), None, [output, input]);
        let batch = tensor(&x, &[2, rows, input]);
        alone_as_in_a_batch(&[&batch], |x| layer.forward(&x[0]));
        whatever_the_threads(2 * rows * output, |out| {
            let tokens = BlockTokens::from_slice(Level::best(), &x, input);
            layer.forward_tokens(Level::best(), &tokens, None, out);
        });
    }
    x.truncate(3 * input);
    (x[5], x[input + 255]) = (f32::NAN, f32::INFINITY);
    for (format, level) in FORMATS.into_iter().flat_map(|f| Level::available().into_iter().map(move |l| (f, l))) {
        let layer = layer(format, &weights(2, output * input, input), None, [output, input]);
        let mut out = vec![0f32; 3 * output];
        layer.forward_tokens(level, &BlockTokens::from_slice(level, &x, input), None, &mut out);
        assert!(out[..2 * output].iter().all(|y| y.is_nan()) && out[2 * output..].iter().all(|y| y.is_finite()));
    }
}
