//! Values, comparison and the plain computations that several kernels share.

use candle_core::{Device, Tensor};
use easel_kernels::Level;

/// Numbers like those of a normal distribution (a sum of uniform ones), the same for the same seed.
pub(crate) fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..len).map(|_| (0..4).map(|_| uniform()).sum::<f32>() * 1.7 - 3.4).collect()
}

/// Fails when a number is further from what it should be than `tolerance`, absolutely for small and relatively for
/// large numbers, or is not a number.
#[track_caller]
pub(crate) fn close(got: &[f32], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let off = (f64::from(*got) - want).abs() / want.abs().max(1.0);
        assert!(off <= tolerance, "{what}: {got} at {at} is {off:e} from {want}");
    }
}

/// Calls `kernel` at every level with an output full of NaN, and compares.
#[track_caller]
pub(crate) fn at_every_level(want: &[f64], tolerance: f64, mut kernel: impl FnMut(Level, &mut [f32])) {
    for level in Level::available() {
        let mut out = vec![f32::NAN; want.len()];
        kernel(level, &mut out);
        close(&out, want, tolerance, level.name());
    }
}

/// Runs `kernel` in pools of one and of three threads and wants equal bits.
#[track_caller]
pub(crate) fn whatever_the_threads(len: usize, kernel: impl Fn(&mut [f32]) + Sync) {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut out = vec![f32::NAN; len];
        pool.install(|| kernel(&mut out));
        bits(&out)
    };
    assert_eq!(run(1), run(3));
}

pub(crate) fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

pub(crate) fn tensor(x: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(x, shape, &Device::Cpu).unwrap()
}

pub(crate) fn read(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// Every sample of the batch by itself gives the same bits as the batch does. `x` has the batch first.
#[track_caller]
pub(crate) fn alone_as_in_a_batch(x: &[&Tensor], op: impl Fn(&[Tensor]) -> candle_core::Result<Tensor>) {
    let all = op(&x.iter().map(|x| (*x).clone()).collect::<Vec<_>>()).unwrap();
    for at in 0..x[0].dim(0).unwrap() {
        let one = op(&x.iter().map(|x| x.narrow(0, at, 1).unwrap()).collect::<Vec<_>>()).unwrap();
        assert_eq!(bits(&read(&one)), bits(&read(&all.narrow(0, at, 1).unwrap())), "sample {at}");
    }
}

pub(crate) fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// Group normalisation of one batch of planes, in f64.
pub(crate) fn group_norm(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    [batch, groups, pixels]: [usize; 3],
    eps: f64,
) -> Vec<f64> {
    let channels = weight.len();
    let group = channels / groups * pixels;
    let mut out = Vec::with_capacity(x.len());
    for at in 0..batch * groups {
        let x = &x[at * group..][..group];
        let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / group as f64;
        let variance = x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / group as f64;
        for (place, x) in x.iter().enumerate() {
            let channel = (at % groups) * (channels / groups) + place / pixels;
            let normal = (f64::from(*x) - mean) / (variance + eps).sqrt();
            out.push(normal * f64::from(weight[channel]) + f64::from(bias[channel]));
        }
    }
    out
}

/// Any 2-d convolution, in f64: `x (in, h, w)`, `weight (out, in, kernel, kernel)`; zeros wherever the input ends.
pub(crate) fn conv(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    [input, height, width]: [usize; 3],
    [output, kernel]: [usize; 2],
    [stride, padding]: [usize; 2],
) -> Vec<f64> {
    let side = |extent: usize| (extent + 2 * padding - kernel) / stride + 1;
    let mut out = Vec::new();
    for o in 0..output {
        for y in 0..side(height) {
            for x_ in 0..side(width) {
                let mut sum = bias.map_or(0.0, |bias| f64::from(bias[o]));
                for i in 0..input {
                    for ky in 0..kernel {
                        for kx in 0..kernel {
                            let (sy, sx) = (y * stride + ky, x_ * stride + kx);
                            if (padding..height + padding).contains(&sy) && (padding..width + padding).contains(&sx) {
                                sum += f64::from(x[(i * height + sy - padding) * width + sx - padding])
                                    * f64::from(weight[((o * input + i) * kernel + ky) * kernel + kx]);
                            }
                        }
                    }
                }
                out.push(sum);
            }
        }
    }
    out
}

/// Weights that keep the spread of a sum over `inputs` products at one, as trained ones do.
pub(crate) fn weights(seed: u64, len: usize, inputs: usize) -> Vec<f32> {
    values(seed, len).iter().map(|x| x / (inputs as f32).sqrt()).collect()
}

/// So many cases, without a file about failures in the tree.
pub(crate) fn cases(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config { failure_persistence: None, ..proptest::test_runner::Config::with_cases(cases) }
}
