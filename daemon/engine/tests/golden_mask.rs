//! Mask-aware denoising against diffusers' loop, through the fused kernels and through plain operations; and what a mask of only ones or
//! zeros must give.

mod support;

use candle_core::Tensor;
use easel_domain::engine::{DenoiseSpec, Denoiser as _, Denoising as _, Engine as _, StageControl};
use easel_domain::{Guidance, Size};
use easel_engine::engine::{Denoiser, DreamLiteEngine, Settings};
use easel_engine::values::{Latents, PromptEmbeds};
use support::{Check, Outcome, Reference, floats, run_kind_of};

#[test]
fn golden_mask() {
    let reference = Reference::in_tree("mask/manifest.json");
    assert_eq!(reference.cases("mask").len(), 1);
    run_kind_of(&reference, "mask", case);
}

/// What a case begins with.
struct Start {
    noise: Tensor,
    source: Latents,
    embeds: PromptEmbeds,
    spec: DenoiseSpec,
}

fn start(check: &mut Check<'_>) -> Result<Start, Box<dyn std::error::Error>> {
    let (noise, mask) = (check.input("in.noise")?, check.input("in.mask")?);
    let lengths: Vec<Vec<i64>> = check.input("in.prompt_mask")?.to_vec2()?;
    let lengths: Vec<usize> = lengths.iter().map(|row| row.iter().sum::<i64>() as usize).collect();
    let embeds = PromptEmbeds::from_padded(&check.input("in.prompt_embeds")?, &lengths)?;
    let (height, width) = mask.dims2()?;
    let number = |key: &str| check.case.inputs[key].as_f64().map(|value| value as f32);
    let guidance = Guidance {
        guidance_scale: number("guidance").ok_or("no guidance")?,
        image_guidance_scale: number("image_guidance").ok_or("no image guidance")?,
    };
    let spec = DenoiseSpec {
        size: Size { width: width as u32, height: height as u32 },
        steps: number("steps").ok_or("no steps")? as u32,
        sigmas: Vec::new(),
        seed: 0,
        guidance: Some(guidance),
        edit: true,
        loras: Vec::new(),
        mask: Some(mask.flatten_all()?.to_vec1::<f32>()?.into()),
    };
    Ok(Start { noise, source: Latents::new(check.input("in.image_latents")?), embeds, spec })
}

/// The latents after every step.
fn every(denoiser: &mut Denoiser, start: &Start, spec: &DenoiseSpec) -> Result<Tensor, Box<dyn std::error::Error>> {
    let control = StageControl::detached();
    let mut state = denoiser.begin_with_noise(spec, start.noise.clone(), &start.embeds, Some(&start.source))?;
    let mut latents = Vec::new();
    while state.done() < state.total() {
        denoiser.step(&mut state, &control).map_err(|error| format!("{error:?}"))?;
        latents.push(state.latents().tensor().unsqueeze(0)?);
    }
    Ok(Tensor::cat(&latents, 0)?)
}

fn case(reference: &Reference, check: &mut Check<'_>) -> Outcome {
    let engine = DreamLiteEngine::empty(Settings::default());
    engine.add_model(&check.checkpoint(reference), "golden")?;
    let control = StageControl::detached();
    let mut denoiser = engine.load_denoiser("golden", &control).map_err(|error| format!("{error:?}"))?;
    let start = start(check)?;
    let made = every(&mut denoiser, &start, &start.spec)?;
    check.close("latents", &made);

    let pixels = start.spec.size.pixels() as usize;
    let with =
        |mask: Option<f32>| DenoiseSpec { mask: mask.map(|value| vec![value; pixels].into()), ..start.spec.clone() };
    let (free, ones) = (every(&mut denoiser, &start, &with(None))?, every(&mut denoiser, &start, &with(Some(1.0)))?);
    if floats(&free) != floats(&ones) {
        check.fail("a mask that holds nothing changes something");
    }
    let held = every(&mut denoiser, &start, &with(Some(0.0)))?;
    let last = held.get(start.spec.steps as usize - 1)?;
    if floats(&last) != floats(start.source.tensor()) {
        check.fail("where everything is held the source does not come out");
    }
    Ok(())
}
