//! The embedded model against the stored pictures of the reference: `daemon/models/eval/reference`. Reads what lies there,
//! so that a better checkpoint with its own pictures can take the place of both.
#![allow(clippy::print_stdout)]

mod support;

use std::path::Path;
use std::time::Instant;

use candle_core::{Device, Tensor};
use easel_domain::engine::{
    DenoiseSpec, Denoiser as _, Denoising as _, EncodeSpec, Encoder as _, Engine as _, StageControl, StageError,
    Vae as _,
};
use easel_domain::{Mode, Pipeline, RgbImage, Size};
use easel_engine::embedded;
use easel_engine::engine::{Denoiser, DreamLiteEngine, Encoder, Settings, Vae};
use serde::Deserialize;
use support::floats;

/// As `daemon/models/eval/README.md` states it, of the largest absolute value.
const LATENTS_RELATIVE: f64 = 1e-4;
/// torch's vector functions against exact ones, see `golden_noise`.
const NOISE_TOLERANCE: f64 = 2e-6;

#[derive(Deserialize)]
struct Index {
    width: u32,
    height: u32,
    steps: u32,
    items: Vec<Item>,
}

#[derive(Deserialize)]
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
    control: StageControl,
}

#[test]
fn golden_nano() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/eval/reference");
    let index: Index = serde_json::from_slice(&read(&folder.join("reference.json"))).expect("reference.json");
    assert!(!index.items.is_empty(), "no stored pictures");
    let engine = DreamLiteEngine::new(Settings::default()).expect("the embedded model");
    let info = engine.models().remove(0);
    assert!(info.demonstration && info.name == embedded::NAME && info.pipeline == Pipeline::Mobile);
    assert!(!info.description.is_empty());
    let mut stages = Stages::load(&engine).expect("the embedded model loads");
    let mut failures = Vec::new();
    for item in &index.items {
        if let Err(what) = stages.compare(&folder, &index, item) {
            failures.push(format!("{}: {what}", item.id));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), index.items.len(), failures.join("\n"));
    drop(stages);
    assert_eq!(engine.resident_bytes(embedded::NAME), 0, "unloaded networks are no longer counted");
}

impl Stages {
    fn load(engine: &DreamLiteEngine) -> Result<Self, StageError> {
        let control = StageControl::detached();
        let stages = Self {
            encoder: engine.load_encoder(embedded::NAME, &control)?,
            denoiser: engine.load_denoiser(embedded::NAME, &control)?,
            vae: engine.load_vae(embedded::NAME, &control)?,
            control,
        };
        let expected = 4 * engine.models()[0].parameters;
        assert_eq!(engine.resident_bytes(embedded::NAME), expected, "every parameter is counted once, as f32");
        Ok(stages)
    }

    fn compare(&mut self, folder: &Path, index: &Index, item: &Item) -> Result<(), String> {
        let begun = Instant::now();
        let stored = folder.join(format!("{}.safetensors", item.id));
        let stored = candle_core::safetensors::load(stored, &Device::Cpu).map_err(|e| e.to_string())?;
        let edit = item.kind == "edit";
        let size = Size { width: index.width, height: index.height };
        let image = edit.then(|| picture(&folder.join(format!("{}_source.png", item.id))));
        let mode = if edit { Mode::Edit } else { Mode::Generate };
        let spec =
            EncodeSpec { mode, prompt: item.prompt.clone(), negative_prompt: String::new(), image: image.clone() };
        let (embeds, _) = self.encoder.encode(&spec, &self.control).map_err(text)?;
        near(&stored, "prompt_embeds", &embeds.branches()[0], LATENTS_RELATIVE)?;
        let source = image
            .map(|image| self.vae.encode(&image, size, &self.control))
            .transpose()
            .map_err(text)?
            .map(|(latents, _)| latents);
        if let Some(source) = &source {
            near(&stored, "image_latents", source.tensor(), LATENTS_RELATIVE)?;
        }
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
        let mut state = self.denoiser.begin(&spec, &embeds, source.as_ref()).map_err(text)?;
        let noise = apart(&stored["noise"], state.latents().tensor());
        if noise > NOISE_TOLERANCE {
            return Err(format!("the noise of seed {} is {noise:e} away", item.seed));
        }
        while state.done() < state.total() {
            self.denoiser.step(&mut state, &self.control).map_err(text)?;
        }
        let error = near(&stored, "latents", state.latents().tensor(), LATENTS_RELATIVE)?;
        let result = self.vae.decode(&state.latents(), &self.control).map_err(text)?;
        let (most, share) = differ(&result, &picture(&folder.join(format!("{}.png", item.id))))?;
        println!(
            "{}: latents {error:.1e} of their size away, picture by at most {most} on {:.3} % of the values, {} ms",
            item.id,
            share * 100.0,
            begun.elapsed().as_millis()
        );
        if most > 1 || share > 0.01 {
            return Err(format!("the picture differs by up to {most} on {:.2} % of the values", share * 100.0));
        }
        Ok(())
    }
}

#[test]
fn golden_nano_projection_resembles_the_picture() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/eval/reference");
    let index: Index = serde_json::from_slice(&read(&folder.join("reference.json"))).expect("reference.json");
    let engine = DreamLiteEngine::new(Settings::default()).expect("the embedded model");
    let control = StageControl::detached();
    let mut vae = engine.load_vae(embedded::NAME, &control).expect("the VAE");
    for item in &index.items {
        let stored = candle_core::safetensors::load(folder.join(format!("{}.safetensors", item.id)), &Device::Cpu)
            .expect("stored");
        let latents = easel_engine::values::Latents::new(stored["latents"].clone());
        let small = vae.project(&latents).expect("a projection");
        let large = vae.decode(&latents, &control).expect("a picture");
        let reduced = easel_imaging::resize(&large, small.size(), easel_imaging::Filter::Triangle);
        let total: u64 = small.pixels().iter().zip(reduced.pixels()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let mean = total as f64 / small.pixels().len() as f64;
        println!("{}: the projection is {mean:.1} of 255 away on average", item.id);
        assert!(mean < 40.0, "{}: the preview has other colours than the picture: {mean}", item.id);
    }
}

fn near(
    stored: &std::collections::HashMap<String, Tensor>,
    key: &str,
    got: &Tensor,
    relative: f64,
) -> Result<f64, String> {
    let want = stored.get(key).ok_or_else(|| format!("{key} is not stored"))?;
    if want.dims() != got.dims() {
        return Err(format!("{key} has shape {:?} instead of {:?}", got.dims(), want.dims()));
    }
    let size = floats(want).into_iter().map(f64::abs).fold(0.0, f64::max);
    let error = apart(want, got) / size;
    if error > relative { Err(format!("{key} is {error:.1e} of its size away")) } else { Ok(error) }
}

fn apart(want: &Tensor, got: &Tensor) -> f64 {
    floats(want).iter().zip(floats(got)).map(|(w, g)| (w - g).abs()).fold(0.0, f64::max)
}

fn differ(got: &RgbImage, want: &RgbImage) -> Result<(u8, f64), String> {
    if got.size() != want.size() {
        return Err(format!("the picture is {} instead of {}", got.size(), want.size()));
    }
    let apart = got.pixels().iter().zip(want.pixels()).map(|(g, w)| g.abs_diff(*w));
    let (most, count) = apart.fold((0, 0usize), |(most, count), d| (most.max(d), count + usize::from(d > 0)));
    Ok((most, count as f64 / want.pixels().len() as f64))
}

fn picture(path: &Path) -> RgbImage {
    easel_imaging::load(&read(path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn text(error: StageError) -> String {
    format!("{error:?}")
}
