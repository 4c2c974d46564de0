//! Rates of the layers in 8-bit integers on shapes of the U-Net and the VAE at 1024, at each level:
//! `cargo run -p easel-kernels --example int8_speed [part of a name]`.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::time::Instant;

use easel_kernels::{
    BlockFormat, BlockLinear, BlockTokens, Int8Chain, Int8Conv3x3, Int8FeedForward, Int8Linear, Int8Pointwise,
    Int8Tokens, Level,
};

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|at| ((at * 7919) % 1009) as f32 / 504.0 - 1.0).collect()
}

/// Weights that keep the spread of a sum over `inputs` products, as trained ones do.
fn weights(len: usize, inputs: usize) -> Vec<f32> {
    values(len).iter().map(|x| x * (3.0 / inputs as f32).sqrt()).collect()
}

fn row(name: &str, gop: f64, work: impl Fn(Level)) {
    if std::env::args().nth(1).is_some_and(|part| !name.contains(&part)) {
        return;
    }
    for level in Level::available().into_iter().rev().take(2) {
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let start = Instant::now();
            work(level);
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!("{name:40} {:8} {:8.1} ms {:6.0} GOP/s", level.name(), best * 1e3, gop / best);
    }
}

fn main() {
    for (rows, input, output) in [
        (32768, 256, 256),
        (8192, 512, 512),
        (8192, 512, 3072),
        (2048, 896, 896),
        (2048, 896, 5376),
        (2048, 2688, 896),
        (400, 2048, 6144),
    ] {
        let layer = Int8Linear::from_slices(&weights(output * input, input), None, [output, input]);
        let x = values(rows * input);
        let gop = 2e-9 * (rows * input * output) as f64;
        let tokens = Int8Tokens::from_slice(Level::best(), &x, input);
        let mut out = vec![0f32; rows * output];
        let out = std::cell::RefCell::new(&mut out);
        row(&format!("linear {rows} x {input} -> {output}"), gop, |level| {
            layer.forward_tokens(level, &tokens, None, &mut out.borrow_mut());
        });
    }
    for (rows, format) in [60, 400].into_iter().flat_map(|rows| [(rows, BlockFormat::Q8_0), (rows, BlockFormat::Q4K)]) {
        let (input, output) = (2048, 6144);
        let packed = format.pack(&weights(output * input, input), [output, input]).into();
        let layer = BlockLinear::from_packed(format, &packed, None, [output, input]).expect("packed just now");
        let x = values(rows * input);
        let gop = 2e-9 * (rows * input * output) as f64;
        let mut out = vec![0f32; rows * output];
        let out = std::cell::RefCell::new(&mut out);
        row(&format!("{format:?} {rows} x {input} -> {output}"), gop, |level| {
            let tokens = BlockTokens::from_slice(level, &x, input);
            layer.forward_tokens(level, &tokens, None, &mut out.borrow_mut());
        });
    }
    for (rows, width) in [(32768, 256), (8192, 512), (2048, 896)] {
        let proj = Int8Linear::from_slices(&weights(6 * width * width, width), None, [6 * width, width]);
        let back = Int8Linear::from_slices(&weights(3 * width * width, 3 * width), None, [width, 3 * width]);
        let x = values(rows * width);
        let gop = 2e-9 * (rows * width * width * 9) as f64;
        let mut out = vec![0f32; rows * width];
        let out = std::cell::RefCell::new(&mut out);
        row(&format!("feed forward {rows} x {width}"), gop, |level| {
            let tokens = Int8Tokens::from_slice(level, &x, width);
            let both = Int8FeedForward::new(&proj, &back).expect("they fit");
            both.forward_tokens(level, &tokens, None, &mut out.borrow_mut());
        });
    }
    for (input, output, pixels) in [(256, 512, 32768), (512, 1024, 8192), (1792, 896, 2048)] {
        let layer = Int8Pointwise::from_slices(&weights(output * input, input), None, [output, input]);
        let x = values(pixels * input);
        let gop = 2e-9 * (pixels * input * output) as f64;
        let mut out = vec![0f32; pixels * output];
        let out = std::cell::RefCell::new(&mut out);
        row(&format!("pointwise {pixels} x {input} -> {output}"), gop, |level| {
            layer.forward_slice(level, &x, [None, None], pixels, &mut out.borrow_mut());
        });
    }
    for (channels, height, width, doubles) in [(64, 512, 512, false), (896, 32, 64, true), (64, 256, 256, true)] {
        let weight = weights(channels * channels * 9, channels * 9);
        let layer = Int8Conv3x3::from_slices(&weight, None, [channels, channels], doubles);
        let x = values(channels * height * width);
        let taps = if doubles { 16 } else { 9 };
        let gop = 2e-9 * (channels * channels * height * width * taps) as f64;
        let mut out = vec![0f32; channels * height * width * if doubles { 4 } else { 1 }];
        let out = std::cell::RefCell::new(&mut out);
        row(&format!("conv {channels} at {height}x{width} doubles {doubles}"), gop, |level| {
            let chain = Int8Chain::new(&[&layer], false, false).expect("one layer");
            chain.forward_slice(level, &x, [height, width], &mut out.borrow_mut());
        });
        if !doubles {
            row(&format!("chain of 3, {channels} at {height}x{width}"), 3.0 * gop, |level| {
                let chain = Int8Chain::new(&[&layer, &layer, &layer], true, true).expect("they fit");
                chain.forward_slice(level, &x, [height, width], &mut out.borrow_mut());
            });
        }
    }
}
