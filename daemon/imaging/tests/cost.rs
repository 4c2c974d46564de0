//! What the operations cost: `cargo test -p easel-imaging --test cost -- --ignored --nocapture`.
#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use easel_domain::{ImageFormat, RgbImage, Size};
use easel_imaging::{Filter, encode, fit, load, resize};

fn best<T>(what: &str, run: impl Fn() -> T) {
    let time = |_| {
        let start = Instant::now();
        std::hint::black_box(run());
        start.elapsed()
    };
    let fastest = (0..5).map(time).min().unwrap_or(Duration::ZERO);
    println!("{what}: {:.1} ms", fastest.as_secs_f64() * 1e3);
}

#[test]
#[ignore = "prints times, asserts nothing"]
fn cost_at_1024() {
    let value = |i: u32| ((i / 3 % 1024) / 4 + (i / 3072) / 8) as u8 ^ (i.wrapping_mul(2_654_435_761) >> 29) as u8;
    let picture = RgbImage::new(1024, 1024, (0..1024 * 1024 * 3).map(value).collect::<Vec<_>>()).unwrap();
    for length in [512, 768, 1536] {
        let size = Size { width: length, height: length };
        best(&format!("lanczos 1024 -> {length}"), || resize(&picture, size, Filter::Lanczos));
    }
    best("fit 1024 -> 256", || fit(&picture, 256));
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Tiff] {
        let bytes = encode(&picture, format).unwrap();
        best(&format!("encode {format:?} ({} bytes)", bytes.len()), || encode(&picture, format));
        best(&format!("load {format:?}"), || load(&bytes));
    }
}
