//! Each kernel against plain candle operations on the shapes of one U-Net step at 1024 (latent 128 x 256, 64 x 128, 32 x 64)
//! and of the VAE: `cargo run --release -p easel-kernels --example speed [part of a name]`.
//! Both sides take turns; printed are the medians in milliseconds and their ratio.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::time::Instant;

use candle_core::{D, Device, Result, Tensor};
use easel_kernels as kernels;

/// Turns of each side.
const TURNS: usize = 5;

struct Table {
    filter: String,
}

impl Table {
    fn row(
        &self,
        name: &str,
        gflop: f64,
        plain: impl Fn() -> Result<Tensor>,
        kernel: impl Fn() -> Result<Tensor>,
    ) -> Result<()> {
        if !name.contains(&self.filter) {
            return Ok(());
        }
        let timed = |run: &dyn Fn() -> Result<Tensor>| {
            let start = Instant::now();
            run().map(|out| (start.elapsed().as_secs_f64() * 1e3, out))
        };
        let (mut slow, mut fast, mut off) = (Vec::new(), Vec::new(), 0f32);
        for _ in 0..TURNS {
            let (time, want) = timed(&plain)?;
            slow.push(time);
            let (time, got) = timed(&kernel)?;
            fast.push(time);
            off = (got - want)?.abs()?.flatten_all()?.max(0)?.to_scalar()?;
        }
        let median = |times: &mut Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        let (slow, fast) = (median(&mut slow), median(&mut fast));
        let rate = if gflop > 0.0 { format!("{:6.0}", gflop / fast * 1e3) } else { String::new() };
        println!("| {name:40} | {slow:8.1} | {fast:8.1} | {:5.1} | {rate:6} | {off:7.0e} |", slow / fast);
        Ok(())
    }
}

fn random(shape: &[usize]) -> Result<Tensor> {
    Tensor::randn(0f32, 1.0, shape, &Device::Cpu)
}

fn weights(shape: &[usize]) -> Result<Tensor> {
    let inputs: usize = shape[1..].iter().product();
    random(shape)? * (1.0 / (inputs as f64).sqrt())
}

fn per_channel(x: &Tensor) -> Result<Tensor> {
    x.reshape((1, x.elem_count(), 1, 1))
}

fn group_norm(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let x = x.reshape((batch, 32, channels / 32 * height * width))?;
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let x = centred.broadcast_div(&(variance + 1e-5)?.sqrt()?)?.reshape((batch, channels, height, width))?;
    x.broadcast_mul(&per_channel(weight)?)?.broadcast_add(&per_channel(bias)?)
}

fn depthwise(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (_, channels, height, width) = x.dims4()?;
    let padded = x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
    let taps = weight.reshape((1, channels, 9, 1))?;
    let mut sum = x.zeros_like()?;
    for tap in 0..9 {
        let shifted = padded.narrow(2, tap / 3, height)?.narrow(3, tap % 3, width)?;
        sum = (sum + shifted.broadcast_mul(&taps.narrow(2, tap, 1)?)?)?;
    }
    Ok(sum)
}

fn attention(q: &Tensor, k: &Tensor, v: &Tensor, causal: bool) -> Result<Tensor> {
    let (_, n, heads, d) = q.dims4()?;
    let (_, m, kv, _) = k.dims4()?;
    let q = q.reshape((n, kv, heads / kv, d))?.transpose(0, 1)?.contiguous()?.reshape((kv, n * heads / kv, d))?;
    let k = k.squeeze(0)?.transpose(0, 1)?.contiguous()?.transpose(1, 2)?;
    let v = v.squeeze(0)?.transpose(0, 1)?.contiguous()?;
    let mut scores = (q.matmul(&k)? * (1.0 / (d as f64).sqrt()))?;
    if causal {
        let group = heads / kv;
        let mask = (0..n * group)
            .flat_map(|row| (0..m).map(move |key| if key > m - n + row / group { f32::NEG_INFINITY } else { 0.0 }));
        scores = scores.broadcast_add(&Tensor::from_iter(mask, &Device::Cpu)?.reshape((n * group, m))?)?;
    }
    let out = candle_nn::ops::softmax_last_dim(&scores)?.matmul(&v)?;
    out.reshape((kv, n, heads / kv, d))?.transpose(0, 1)?.contiguous()?.reshape((1, n, heads * d))
}

fn main() -> Result<()> {
    let table = Table { filter: std::env::args().nth(1).unwrap_or_default() };
    println!("{} threads, {}", rayon::current_num_threads(), kernels::Level::best().name());
    println!("| operation | candle ms | kernel ms | ratio | GFLOP/s | largest difference |");
    println!("|---|---|---|---|---|---|");
    maps(&table)?;
    convolutions(&table)?;
    tokens(&table)
}

fn maps(table: &Table) -> Result<()> {
    for (c, h, w) in [(256, 128, 256), (512, 64, 128), (1792, 32, 64), (1792, 16, 32)] {
        let (x, taps) = (random(&[1, c, h, w])?, random(&[c, 1, 3, 3])?);
        let (weight, bias) = (random(&[c])?, random(&[c])?);
        let name = format!("depthwise {c}x{h}x{w}");
        table.row(&name, 0.0, || depthwise(&x, &taps), || kernels::depthwise_conv3x3(&x, &taps))?;
        table.row(
            &format!("norm+silu+depthwise {c}x{h}x{w}"),
            0.0,
            || depthwise(&candle_nn::ops::silu(&group_norm(&x, &weight, &bias)?)?, &taps),
            || kernels::group_norm_silu_depthwise_conv3x3(&x, [&weight, &bias], 32, 1e-5, &taps),
        )?;
        table.row(
            &format!("norm+silu {c}x{h}x{w}"),
            0.0,
            || candle_nn::ops::silu(&group_norm(&x, &weight, &bias)?),
            || kernels::group_norm_silu(&x, &weight, &bias, 32, 1e-5),
        )?;
        let name = format!("to tokens {c}x{h}x{w}");
        let plain = || x.flatten_from(2)?.transpose(1, 2)?.contiguous();
        table.row(&name, 0.0, plain, || kernels::to_tokens(&x))?;
        table.row(&format!("silu {c}x{h}x{w}"), 0.0, || candle_nn::ops::silu(&x), || kernels::silu(&x))?;
    }
    Ok(())
}

fn convolutions(table: &Table) -> Result<()> {
    for (i, o, h, w) in [(256, 512, 128, 256), (512, 1024, 64, 128), (1792, 896, 32, 64)] {
        let (x, weight, bias) = (random(&[1, i, h, w])?, weights(&[o, i])?, random(&[o])?);
        let plain = || {
            let y = weight.matmul(&x.reshape((i, h * w))?)?.reshape((1, o, h, w))?;
            y.broadcast_add(&per_channel(&bias)?)
        };
        let gflop = (2 * i * o * h * w) as f64 / 1e9;
        let name = format!("pointwise {i}->{o} {h}x{w}");
        table.row(&name, gflop, plain, || kernels::pointwise_conv(&x, &weight, Some(&bias)))?;
    }
    for (i, o, h, w, stride) in [
        (512, 512, 64, 128, 1),
        (896, 896, 32, 64, 1),
        (896, 896, 16, 32, 1),
        (256, 256, 128, 256, 2),
        (4, 256, 128, 256, 1),
        (256, 4, 128, 256, 1),
        (64, 64, 512, 512, 1),
        (64, 3, 512, 512, 1),
    ] {
        let (x, weight, bias) = (random(&[1, i, h, w])?, weights(&[o, i, 3, 3])?, random(&[o])?);
        let plain = || x.conv2d(&weight, 1, stride, 1, 1)?.broadcast_add(&per_channel(&bias)?);
        let gflop = (18 * i * o * h * w / stride / stride) as f64 / 1e9;
        let name = format!("3x3 stride {stride} {i}->{o} {h}x{w}");
        table.row(&name, gflop, plain, || kernels::conv2d(&x, &weight, Some(&bias), 1, stride))?;
    }
    for (c, h, w) in [(512, 64, 128), (896, 32, 64), (64, 256, 256)] {
        let (x, weight, bias) = (random(&[1, c, h, w])?, weights(&[c, c, 3, 3])?, random(&[c])?);
        let conv = kernels::UpsampleConv3x3::new(&weight, Some(&bias))?;
        let plain = || {
            let doubled = x.upsample_nearest2d(2 * h, 2 * w)?;
            doubled.conv2d(&weight, 1, 1, 1, 1)?.broadcast_add(&per_channel(&bias)?)
        };
        // Counted as the doubled convolution that is asked for.
        let gflop = (18 * 4 * c * c * h * w) as f64 / 1e9;
        table.row(&format!("doubling+3x3 {c} {h}x{w}"), gflop, plain, || conv.forward(&x))?;
    }
    Ok(())
}

fn tokens(table: &Table) -> Result<()> {
    for (rows, inner) in [(32768, 768), (8192, 1536), (2048, 2688)] {
        let x = random(&[1, rows, 2 * inner])?;
        let plain = || x.narrow(2, 0, inner)? * x.narrow(2, inner, inner)?.contiguous()?.gelu_erf()?;
        table.row(&format!("geglu {rows}x{}", 2 * inner), 0.0, plain, || kernels::geglu(&x))?;
    }
    for (rows, width) in [(32768, 256), (2048, 896), (28672, 64)] {
        let (x, weight, bias) = (random(&[1, rows, width])?, random(&[width])?, random(&[width])?);
        let plain = || candle_nn::ops::layer_norm(&x, &weight, &bias, 1e-5);
        let name = format!("layer norm {rows}x{width}");
        table.row(&name, 0.0, plain, || kernels::layer_norm(&x, &weight, &bias, 1e-5))?;
        let plain = || candle_nn::ops::rms_norm(&x, &weight, 1e-6);
        table.row(&format!("rms norm {rows}x{width}"), 0.0, plain, || kernels::rms_norm(&x, &weight, 1e-6))?;
    }
    for (rows, input, output) in
        [(32768, 256, 1536), (8192, 512, 3072), (2048, 896, 5376), (2048, 2688, 896), (60, 2048, 6144)]
    {
        let (x, weight) = (random(&[rows, input])?, weights(&[output, input])?);
        let layer = kernels::Int8Linear::new(&weight, None)?;
        let gflop = (2 * rows * input * output) as f64 / 1e9;
        let name = format!("int8 linear {rows}x{input}->{output}");
        table.row(&name, gflop, || x.matmul(&weight.t()?), || layer.forward(&x))?;
    }
    for (n, m, heads, kv, d, causal) in [
        (2048, 2048, 14, 1, 64, false),
        (512, 512, 14, 1, 64, false),
        (32768, 100, 4, 1, 64, false),
        (8192, 400, 8, 1, 64, false),
        (1024, 1024, 16, 8, 128, true),
        (64, 700, 16, 8, 128, true),
    ] {
        let (q, k, v) = (random(&[1, n, heads, d])?, random(&[1, m, kv, d])?, random(&[1, m, kv, d])?);
        let gflop = (4 * n * m * heads * d) as f64 / 1e9;
        let kind = if causal { "causal attention" } else { "attention" };
        let name = format!("{kind} {n}x{m} heads {heads}/{kv}");
        let kernel = || match causal {
            true => kernels::causal_attention(&q, &k, &v, None),
            false => kernels::attention(&q, &k, &v, None),
        };
        table.row(&name, gflop, || attention(&q, &k, &v, causal), kernel)?;
    }
    Ok(())
}
