//! The noise of a seed against torch's.
#![allow(clippy::print_stdout)]

mod support;

use candle_core::{Device, Tensor};
use easel_engine::noise::TorchGenerator;
use support::{Reference, floats};

/// torch's vector code takes logarithm, sine and cosine in f32 with an error of an ulp or so; ours rounds exact values.
/// Normals of this size (up to 5) have ulps of up to 4.8e-7.
const TOLERANCE: f64 = 2e-6;

#[test]
fn golden_noise() {
    let reference = Reference::open();
    let path = reference.golden("noise/torch_cpu_randn.safetensors");
    if !path.is_file() {
        println!("golden kind noise is absent from {}", reference.root.display());
        return;
    }
    let tensors = candle_core::safetensors::load(&path, &Device::Cpu).expect("the noise file");
    assert!(!tensors.is_empty(), "{} is empty", path.display());
    let (mut worst, mut equal, mut total) = (0f64, 0usize, 0usize);
    for (name, want) in &tensors {
        let got = draw(name, want);
        let want = floats(want);
        if name.ends_with("_sum_f64") {
            for (want, got) in want.iter().zip(&got) {
                assert!((want - got).abs() <= 1e-6 * want.abs().max(1e3), "{name}: {got} instead of {want}");
            }
            continue;
        }
        assert_eq!(want.len(), got.len(), "{name}");
        for (want, got) in want.iter().zip(&got) {
            worst = worst.max((want - got).abs());
            equal += usize::from(want == got);
            total += 1;
        }
        assert!(worst <= TOLERANCE, "{name}: error {worst:e}");
    }
    println!(
        "noise: {} tensors, largest error {worst:.1e}, {equal} of {total} numbers equal bit for bit",
        tensors.len()
    );
}

/// What a key asks for: `seed{seed}/{shape}`, `..._head`, `..._tail`, `..._sum_f64` of a large draw, and two draws in turn.
fn draw(name: &str, want: &Tensor) -> Vec<f64> {
    let (seed, what) = name.strip_prefix("seed").and_then(|rest| rest.split_once('/')).expect(name);
    let mut generator = TorchGenerator::new(seed.parse().expect(name));
    if what == "second_of_two" {
        generator.randn(want.elem_count());
    }
    let (shape, part) = what.split_once('_').unwrap_or((what, ""));
    let count = match part {
        "of_two" => want.elem_count(),
        _ => shape.split('x').map(|side| side.parse::<usize>().expect(name)).product(),
    };
    let values: Vec<f64> = generator.randn(count).into_iter().map(f64::from).collect();
    match part {
        "head" => values[..want.elem_count()].to_vec(),
        "tail" => values[count - want.elem_count()..].to_vec(),
        "sum_f64" => vec![values.iter().sum(), values.iter().map(|v| v * v).sum()],
        _ => values,
    }
}
