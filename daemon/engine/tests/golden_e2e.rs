//! Whole generations through the traits of the domain, against the pipelines of the reference: prompt embeddings, source
//! latents, every step, and the picture.

mod support;

use candle_core::{DType, Device, Tensor};
use easel_domain::engine::{
    DenoiseSpec, Denoiser as _, Denoising as _, EncodeSpec, Encoder as _, Engine as _, StageControl, Vae as _,
};
use easel_domain::{Guidance, Mode, RgbImage, Size};
use easel_engine::Checkpoint;
use easel_engine::engine::{About, Denoiser, Denoising, DreamLiteEngine, Settings, Vae};
use easel_engine::pass::Pass;
use easel_engine::unet::UNet;
use easel_engine::vae::TinyVae;
use easel_engine::values::{Latents, PromptEmbeds};
use support::{Check, Outcome, Reference, run_kind};

/// What torch's vector functions and exact ones may differ by in a normal number; see `golden_noise`.
const NOISE_TOLERANCE: f64 = 2e-6;

#[test]
fn golden_e2e() {
    run_kind("e2e", case);
}

/// The request of a case.
struct Request {
    encode: EncodeSpec,
    denoise: DenoiseSpec,
}

fn case(reference: &Reference, check: &mut Check<'_>) -> Outcome {
    let checkpoint = Checkpoint::folder(check.checkpoint(reference));
    let engine = DreamLiteEngine::empty(Settings::default());
    engine.add_checkpoint(checkpoint.clone(), "golden", About::default())?;
    let control = StageControl::detached();
    let (mut encoder, mut vae, mut denoiser) = load(&engine, &control)?;
    let tiny = TinyVae::load(&checkpoint, &Device::Cpu)?;
    let request = request(reference, check, tiny.config().scale_factor())?;

    let (embeds, _) = encoder.encode(&request.encode, &control).map_err(failed)?;
    compare_embeds(check, &embeds)?;
    let source = match &request.encode.image {
        Some(image) => Some(vae.encode(image, request.denoise.size, &control).map_err(failed)?.0),
        None => None,
    };
    if let Some(source) = &source {
        check.close("image_latents", source.tensor());
    }
    let noise = check.input("noise")?;
    let drawn = denoiser.begin(&request.denoise, &embeds, source.as_ref()).map_err(failed)?;
    check.close_within("noise", drawn.latents().tensor(), NOISE_TOLERANCE);
    compare_raw(check, &checkpoint, &request.denoise, &embeds, source.as_ref())?;

    let mut state = denoiser.begin_with_noise(&request.denoise, noise, &embeds, source.as_ref())?;
    run(check, &mut denoiser, &mut state, &control)?;
    finish(check, &tiny, &mut vae, &state, &control)
}

type Stages = (easel_engine::engine::Encoder, Vae, Denoiser);

fn load(engine: &DreamLiteEngine, control: &StageControl) -> Result<Stages, String> {
    let encoder = engine.load_encoder("golden", control).map_err(failed)?;
    let vae = engine.load_vae("golden", control).map_err(failed)?;
    let denoiser = engine.load_denoiser("golden", control).map_err(failed)?;
    assert!(engine.resident_bytes("golden") > 0);
    Ok((encoder, vae, denoiser))
}

fn request(reference: &Reference, check: &Check<'_>, scale: u32) -> Result<Request, Box<dyn std::error::Error>> {
    let inputs = &check.case.inputs;
    let text = |key: &str| inputs[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| inputs[key].as_u64().map(|value| value as u32);
    let image = match inputs["image"].as_str() {
        Some(name) => Some(easel_imaging::load(&std::fs::read(reference.golden(&format!("images/{name}.png")))?)?),
        None => None,
    };
    // Without a size the reference takes the source's, floored to whole latent positions.
    let floored = |length: u32| length / scale * scale;
    let source = image.as_ref().map(RgbImage::size);
    let size = match (number("width"), number("height"), source) {
        (Some(width), Some(height), _) => Size { width, height },
        (_, _, Some(source)) => Size { width: floored(source.width), height: floored(source.height) },
        _ => return Err("the case has no size".into()),
    };
    let scale_of = |key: &str| inputs[key].as_f64().map(|value| value as f32);
    let guidance = scale_of("guidance").map(|guidance_scale| Guidance {
        guidance_scale,
        image_guidance_scale: scale_of("image_guidance").unwrap_or(1.5),
    });
    let edit = image.is_some();
    let mode = if edit { Mode::Edit } else { Mode::Generate };
    let encode = EncodeSpec { mode, prompt: text("prompt"), negative_prompt: text("negative"), image };
    let seed = inputs["seed"].as_u64().ok_or("the case has no seed")?;
    let denoise = DenoiseSpec {
        size,
        steps: number("steps").ok_or("no steps")?,
        sigmas: Vec::new(),
        seed,
        guidance,
        edit,
        loras: Vec::new(),
        mask: None,
    };
    Ok(Request { encode, denoise })
}

/// The reference pads the branches to the longest with zeros and says where in a mask.
fn compare_embeds(check: &mut Check<'_>, embeds: &PromptEmbeds) -> Outcome {
    let longest = embeds.branches().iter().map(|branch| branch.dim(1)).collect::<Result<Vec<_>, _>>()?;
    let most = longest.iter().copied().max().unwrap_or(0);
    let mut rows = Vec::new();
    let mut mask = Vec::new();
    for (branch, length) in embeds.branches().iter().zip(longest) {
        rows.push(branch.pad_with_zeros(1, 0, most - length)?);
        mask.extend((0..most).map(|i| i64::from(i < length)));
    }
    check.close("prompt_embeds", &Tensor::cat(&rows, 0)?);
    check.equal("prompt_mask", &mask);
    Ok(())
}

/// The raw output of the U-Net at the first step, both halves, and what it is told about the size.
fn compare_raw(
    check: &mut Check<'_>,
    checkpoint: &Checkpoint,
    spec: &DenoiseSpec,
    embeds: &PromptEmbeds,
    source: Option<&Latents>,
) -> Outcome {
    let unet = UNet::load(checkpoint, &Device::Cpu)?;
    let noise = check.input("noise")?;
    let zeros = noise.zeros_like()?;
    let source = source.map_or(zeros.clone(), |source| source.tensor().clone());
    let size = (spec.size.width as f32, spec.size.height as f32);
    let timestep: Vec<f32> = check.input("timesteps")?.to_vec1()?;
    let control = StageControl::detached();
    let mut outputs = Vec::new();
    let branches = embeds.branches();
    for (i, branch) in branches.iter().enumerate() {
        // Of three branches the first one does without the source.
        let right = if branches.len() == 3 && i == 0 { &zeros } else { &source };
        let mut pass = Pass::new(&control);
        let conditioning = unet.condition(branch, None, &[size], &mut pass)?;
        let diptych = Tensor::cat(&[&noise, right], 3)?;
        outputs.push(unet.forward(&diptych, &timestep[..1], &conditioning, &mut pass)?);
    }
    check.close("unet_out_step0", &Tensor::cat(&outputs, 0)?);
    let ids = Tensor::new(&[size.0, size.1], &Device::Cpu)?.broadcast_as((branches.len(), 2))?;
    check.close("time_ids", &ids);
    Ok(())
}

fn run(check: &mut Check<'_>, denoiser: &mut Denoiser, state: &mut Denoising, control: &StageControl) -> Outcome {
    let (mut preds, mut latents) = (Vec::new(), Vec::new());
    let timesteps = Tensor::new(state.timesteps(), &Device::Cpu)?;
    check.close("timesteps", &timesteps);
    while state.done() < state.total() {
        denoiser.step(state, control).map_err(failed)?;
        preds.push(state.noise_pred().unsqueeze(0)?);
        latents.push(state.latents().tensor().unsqueeze(0)?);
    }
    check.close("pred", &Tensor::cat(&preds, 0)?);
    check.close("latents", &Tensor::cat(&latents, 0)?);
    // After the last step nothing of the noise is left: the prediction is the result.
    let apart = (state.predicted().tensor() - state.latents().tensor())?.abs()?.max_all()?.to_scalar::<f32>()?;
    let size = state.latents().tensor().abs()?.max_all()?.to_scalar::<f32>()?;
    if apart > 1e-4 * size.max(1.0) {
        check.fail(format!("the last prediction is {apart} away from the result"));
    }
    Ok(())
}

fn finish(check: &mut Check<'_>, tiny: &TinyVae, vae: &mut Vae, state: &Denoising, control: &StageControl) -> Outcome {
    let latents = state.latents();
    if check.has("decoded") {
        let decoded = tiny.decode(&tiny.unscale(latents.tensor())?, &mut Pass::new(control))?;
        check.close("decoded", &decoded.to_dtype(DType::F32)?);
    }
    let image = vae.decode(&latents, control).map_err(failed)?;
    check.picture("image_u8", [image.height() as usize, image.width() as usize, 3], image.pixels());
    Ok(())
}

fn failed(error: easel_domain::engine::StageError) -> String {
    format!("{error:?}")
}
