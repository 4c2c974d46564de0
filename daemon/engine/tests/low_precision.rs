//! The embedded model in 8 bits against itself in f32, from the same noise, over the stored items of its evaluation list.
#![allow(clippy::print_stdout)]

use std::path::Path;

use candle_core::Device;
use easel_domain::engine::{
    DenoiseSpec, Denoiser as _, Denoising as _, EncodeSpec, Encoder as _, Engine as _, StageControl, Vae as _,
};
use easel_domain::{Mode, Precision, Precisions, RgbImage, Size};
use easel_engine::engine::{Denoiser, DreamLiteEngine, Encoder, Settings, Vae};
use easel_engine::pass::Pass;
use easel_engine::unet::UNet;
use easel_engine::weights::audit::Audit;
use easel_engine::weights::packing::Packing;
use easel_engine::{embedded, vae::TinyVae};
use serde::Deserialize;

/// Mean over the items, in dB.
const LEAST_MEAN_PSNR: f64 = 30.0;
/// Relative error of a packed layer on the activations of a real run, see `Audit`.
const LARGEST_LAYER_ERROR: f64 = 0.05;

#[derive(Deserialize)]
struct Index {
    width: u32,
    height: u32,
    steps: u32,
    items: Vec<Item>,
}

#[derive(Clone, Deserialize)]
struct Item {
    id: String,
    kind: String,
    prompt: String,
    seed: u64,
}

struct Stages {
    encoder: Encoder,
    denoiser: Denoiser,
    vae: Vae,
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/eval/reference")
}

fn index() -> Index {
    let text = std::fs::read(folder().join("reference.json")).expect("reference.json");
    serde_json::from_slice(&text).expect("reference.json")
}

impl Stages {
    fn load(precisions: Precisions) -> Self {
        let engine = DreamLiteEngine::new(Settings { precisions, ..Settings::default() }).expect("the embedded model");
        let control = StageControl::detached();
        Self {
            encoder: engine.load_encoder(embedded::NAME, &control).expect("the encoder"),
            denoiser: engine.load_denoiser(embedded::NAME, &control).expect("the denoiser"),
            vae: engine.load_vae(embedded::NAME, &control).expect("the VAE"),
        }
    }

    fn picture(&mut self, index: &Index, item: &Item) -> RgbImage {
        let control = StageControl::detached();
        let edit = item.kind == "edit";
        let size = Size { width: index.width, height: index.height };
        let image = edit.then(|| {
            let path = folder().join(format!("{}_source.png", item.id));
            easel_imaging::load(&std::fs::read(path).expect("a source")).expect("a picture")
        });
        let mode = if edit { Mode::Edit } else { Mode::Generate };
        let spec =
            EncodeSpec { mode, prompt: item.prompt.clone(), negative_prompt: String::new(), image: image.clone() };
        let (embeds, _) = self.encoder.encode(&spec, &control).expect("embeddings");
        let source = image.map(|image| self.vae.encode(&image, size, &control).expect("latents").0);
        let spec = DenoiseSpec {
            size,
            steps: index.steps,
            sigmas: Vec::new(),
            seed: item.seed,
            guidance: None,
            edit,
            loras: Vec::new(),
            mask: None,
        };
        let mut state = self.denoiser.begin(&spec, &embeds, source.as_ref()).expect("noise");
        while state.done() < state.total() {
            self.denoiser.step(&mut state, &control).expect("a step");
        }
        self.vae.decode(&state.latents(), &control).expect("a picture")
    }
}

fn psnr(a: &RgbImage, b: &RgbImage) -> f64 {
    let square = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b)).powi(2);
    let mean = a.pixels().iter().zip(b.pixels()).map(square).sum::<f64>() / a.pixels().len() as f64;
    10.0 * (255.0 * 255.0 / mean.max(1e-9)).log10()
}

fn compare(precisions: Precisions) -> f64 {
    let index = index();
    let (mut full, mut low) = (Stages::load(Precisions::default()), Stages::load(precisions));
    let mut sum = 0.0;
    for item in &index.items {
        let found = psnr(&full.picture(&index, item), &low.picture(&index, item));
        println!("{}: {found:.1} dB", item.id);
        sum += found.min(99.0);
    }
    let mean = sum / index.items.len() as f64;
    println!("mean {mean:.1} dB with {precisions:?}");
    mean
}

#[test]
fn int8_pictures_are_those_of_f32() {
    let mean = compare(Precisions { unet: Precision::Int8, vae: Precision::Int8, ..Precisions::default() });
    assert!(mean >= LEAST_MEAN_PSNR, "{mean}");
}

#[test]
fn an_encoder_in_blocks_leaves_the_pictures_as_they_are() {
    let mean = compare(Precisions { encoder: Precision::Q8_0, ..Precisions::default() });
    assert!(mean >= LEAST_MEAN_PSNR, "{mean}");
}

#[test]
fn no_int8_layer_is_far_from_itself_in_f32() {
    let index = index();
    let audit = Audit::new(Precision::Int8);
    let checkpoint = embedded::checkpoint().with_packing(Packing::audited(audit.clone()));
    let unet = UNet::load(&checkpoint, &Device::Cpu).expect("the U-Net");
    let vae = TinyVae::load(&checkpoint, &Device::Cpu).expect("the VAE");
    let control = StageControl::detached();
    for item in &index.items {
        let stored = folder().join(format!("{}.safetensors", item.id));
        let stored = candle_core::safetensors::load(stored, &Device::Cpu).expect("stored");
        let (noise, latents) = (&stored["noise"], &stored["latents"]);
        let right = stored.get("image_latents").cloned().unwrap_or_else(|| noise.zeros_like().expect("zeros"));
        let mut pass = Pass::new(&control);
        let size = [(index.width as f32, index.height as f32)];
        let conditioning = unet.condition(&stored["prompt_embeds"], None, &size, &mut pass).expect("conditioning");
        // From noise to latents on a straight line, which is where a flow goes.
        for part in [0.0, 0.5, 0.9] {
            let x = ((noise * (1.0 - part)).expect("noise") + (latents * part).expect("latents")).expect("a sum");
            let x = candle_core::Tensor::cat(&[&x, &right], 3).expect("a diptych");
            unet.forward(&x, &[(1000.0 * (1.0 - part)) as f32], &conditioning, &mut pass).expect("a velocity");
        }
        let pixels = vae.decode(latents, &mut pass).expect("pixels");
        vae.encode(&pixels, &mut pass).expect("latents");
    }
    let errors = audit.errors();
    assert!(errors.len() > 50, "{}", errors.len());
    let mut sorted = errors.clone();
    sorted.sort_by(|a, b| b.1.total_cmp(&a.1));
    sorted.iter().for_each(|(name, error)| println!("{error:.4} {name}"));
    assert!(sorted[0].1 <= LARGEST_LAYER_ERROR, "{:?}", sorted[0]);
}

#[test]
fn the_memory_that_is_counted_is_that_of_the_packed_weights() {
    let bytes = |precisions: Precisions| {
        let engine = DreamLiteEngine::new(Settings { precisions, ..Settings::default() }).expect("the embedded model");
        let _denoiser = engine.load_denoiser(embedded::NAME, &StageControl::detached()).expect("the denoiser");
        engine.resident_bytes(embedded::NAME)
    };
    let low = bytes(Precisions { unet: Precision::Int8, ..Precisions::default() });
    let full = bytes(Precisions::default());
    assert!(low * 2 < full, "{low} of {full}");
}
