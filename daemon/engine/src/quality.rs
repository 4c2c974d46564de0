//! How far the low precisions are from f32 on a checkpoint: pictures of the same prompts from the same noise, and every layer on
//! the activations of a run in f32. One network is in memory at a time. Serves `easel selftest --quality`.

use easel_domain::engine::{
    self, DenoiseSpec, Denoiser as _, Denoising as _, EncodeSpec, Encoder as _, Engine as _, StageControl, StageError,
    Vae as _,
};
use easel_domain::{Error, Mode, Network, Precision, Precisions, Reason, RgbImage, Size};

use crate::checkpoint::Checkpoint;
use crate::engine::{About, DreamLiteEngine, Settings};
use crate::error::EngineError;
use crate::values::{Latents, PromptEmbeds};
use crate::weights::audit::Audit;
use crate::weights::packing::Packing;

const MODEL: &str = "measured";

/// What is to be measured.
pub struct Plan {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Prompts of the pictures; picture `i` has the seed `seed + i`.
    pub prompts: Vec<String>,
    /// Seed of the first picture.
    pub seed: u64,
    /// Size of the pictures; `None`: the model's own.
    pub size: Option<Size>,
}

/// Something that was measured.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// A picture beside the one in f32.
    Picture {
        /// Precisions of the networks.
        precisions: Precisions,
        /// Which prompt, from 0 on.
        prompt: usize,
        /// Peak signal to noise ratio in dB; infinite when nothing differs.
        psnr_db: f64,
    },
    /// A layer beside itself in f32, see [`Audit`].
    Layer {
        /// Its network.
        network: Network,
        /// The precision that is compared with f32.
        precision: Precision,
        /// Dotted name of its weights.
        layer: String,
        /// Relative error.
        error: f64,
    },
}

/// The combinations that are measured, each with one network or all in a low precision.
const COMBINATIONS: [Precisions; 6] = [
    Precisions { encoder: Precision::Q8_0, unet: Precision::F32, vae: Precision::F32 },
    Precisions { encoder: Precision::Q4K, unet: Precision::F32, vae: Precision::F32 },
    Precisions { encoder: Precision::Int8, unet: Precision::F32, vae: Precision::F32 },
    Precisions { encoder: Precision::F32, unet: Precision::Int8, vae: Precision::F32 },
    Precisions { encoder: Precision::F32, unet: Precision::F32, vae: Precision::Int8 },
    Precisions { encoder: Precision::Q4K, unet: Precision::Int8, vae: Precision::Int8 },
];

/// Pictures and what led to them, each for all prompts.
#[derive(Default)]
struct Made {
    embeds: Vec<(Precision, Vec<PromptEmbeds>)>,
    latents: Vec<([Precision; 2], Vec<Latents>)>,
    pictures: Vec<(Precisions, Vec<RgbImage>)>,
}

/// Peak signal to noise ratio of two pictures of one size, in dB.
pub fn psnr_db(a: &RgbImage, b: &RgbImage) -> f64 {
    let square = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b)).powi(2);
    let mean = a.pixels().iter().zip(b.pixels()).map(square).sum::<f64>() / a.pixels().len().max(1) as f64;
    10.0 * (255.0 * 255.0 / mean).log10()
}

/// Measures, and reports each finding as it is made. Fails when the checkpoint cannot be used or a prompt cannot be encoded.
pub fn measure(plan: &Plan, report: &mut dyn FnMut(Finding)) -> Result<(), Error> {
    let mut made = Made::default();
    make(plan, &mut made).map_err(told)?;
    let all = |wanted: Precisions| made.pictures.iter().find(|(made, _)| *made == wanted).map(|(_, all)| all);
    let full = all(Precisions::default()).ok_or_else(|| Error::new(Reason::Internal, "no pictures in f32"))?;
    for precisions in COMBINATIONS {
        let pictures = all(precisions).into_iter().flatten();
        for (prompt, (picture, full)) in pictures.zip(full).enumerate() {
            report(Finding::Picture { precisions, prompt, psnr_db: psnr_db(picture, full) });
        }
    }
    let audits = [
        (Network::Encoder, Precision::Q8_0),
        (Network::Encoder, Precision::Q4K),
        (Network::Encoder, Precision::Int8),
        (Network::Unet, Precision::Int8),
        (Network::Vae, Precision::Int8),
    ];
    for (network, precision) in audits {
        for (layer, error) in audit(plan, &made, network, precision).map_err(told)? {
            report(Finding::Layer { network, precision, layer, error });
        }
    }
    Ok(())
}

fn engine(plan: &Plan, checkpoint: &Checkpoint, precisions: Precisions) -> Result<DreamLiteEngine, Error> {
    let engine = DreamLiteEngine::empty(Settings { precisions, ..Settings::default() });
    engine.add_checkpoint(checkpoint.clone(), MODEL, About::default())?;
    let size = plan.size.unwrap_or(engine.models()[0].native);
    if size.pixels() == 0 {
        return Err(Error::new(Reason::InvalidRequest, "the size must have pixels"));
    }
    Ok(engine)
}

/// Every combination, and f32.
fn combinations() -> impl Iterator<Item = Precisions> {
    std::iter::once(Precisions::default()).chain(COMBINATIONS)
}

fn make(plan: &Plan, made: &mut Made) -> Result<(), StageError> {
    let control = StageControl::detached();
    for wanted in combinations() {
        if made.embeds.iter().any(|(precision, _)| *precision == wanted.encoder) {
            continue;
        }
        let mut encoder = engine(plan, &plan.checkpoint, wanted)?.load_encoder(MODEL, &control)?;
        let embeds = plan.prompts.iter().map(|prompt| Ok(encoder.encode(&encode_spec(prompt), &control)?.0));
        made.embeds.push((wanted.encoder, embeds.collect::<Result<_, StageError>>()?));
    }
    for precision in [Precision::F32, Precision::Int8] {
        let mut denoiser = engine(plan, &plan.checkpoint, Precisions { unet: precision, ..Precisions::default() })?
            .load_denoiser(MODEL, &control)?;
        for wanted in combinations().filter(|wanted| wanted.unet == precision) {
            let key = [wanted.encoder, precision];
            let Some((_, embeds)) = made.embeds.iter().find(|(precision, _)| *precision == wanted.encoder) else {
                continue;
            };
            if made.latents.iter().all(|(made, _)| *made != key) {
                let latents = embeds.iter().enumerate().map(|(at, embeds)| denoise(plan, &mut denoiser, at, embeds));
                made.latents.push((key, latents.collect::<Result<_, _>>()?));
            }
        }
    }
    for precision in [Precision::F32, Precision::Int8] {
        let precisions = Precisions { vae: precision, ..Precisions::default() };
        let mut vae = engine(plan, &plan.checkpoint, precisions)?.load_vae(MODEL, &control)?;
        for wanted in combinations().filter(|wanted| wanted.vae == precision) {
            let key = [wanted.encoder, wanted.unet];
            let latents = made.latents.iter().find(|(made, _)| *made == key).into_iter().flat_map(|(_, all)| all);
            let pictures = latents.map(|latents| vae.decode(latents, &control)).collect::<Result<_, _>>()?;
            made.pictures.push((wanted, pictures));
        }
    }
    Ok(())
}

fn encode_spec(prompt: &str) -> EncodeSpec {
    EncodeSpec { mode: Mode::Generate, prompt: prompt.to_owned(), negative_prompt: String::new(), image: None }
}

fn denoise(
    plan: &Plan,
    denoiser: &mut crate::engine::Denoiser,
    at: usize,
    embeds: &PromptEmbeds,
) -> Result<Latents, StageError> {
    let control = StageControl::detached();
    let info = engine(plan, &plan.checkpoint, Precisions::default())?.models().remove(0);
    let spec = DenoiseSpec {
        size: plan.size.unwrap_or(info.native),
        steps: info.default_steps,
        sigmas: Vec::new(),
        seed: plan.seed.wrapping_add(at as u64),
        guidance: info.guidance,
        edit: false,
        loras: Vec::new(),
        mask: None,
    };
    let mut state = denoiser.begin(&spec, embeds, None)?;
    while state.done() < state.total() {
        denoiser.step(&mut state, &control)?;
    }
    Ok(state.latents())
}

/// Runs one network in f32 on the first prompt, every layer beside its packed twin.
fn audit(plan: &Plan, made: &Made, network: Network, precision: Precision) -> Result<Vec<(String, f64)>, StageError> {
    let control = StageControl::detached();
    let audit = Audit::new(precision);
    let engine = engine(plan, &plan.checkpoint, Precisions::default())?.audited(Packing::audited(audit.clone()));
    let (embeds, latents) = (&made.embeds[0].1, &made.latents[0].1);
    match network {
        Network::Encoder => {
            let mut encoder = engine.load_encoder(MODEL, &control)?;
            if let Some(prompt) = plan.prompts.first() {
                encoder.encode(&encode_spec(prompt), &control)?;
            }
        }
        Network::Unet => {
            let mut denoiser = engine.load_denoiser(MODEL, &control)?;
            if let Some(embeds) = embeds.first() {
                denoise(plan, &mut denoiser, 0, embeds)?;
            }
        }
        Network::Vae => {
            let mut vae = engine.load_vae(MODEL, &control)?;
            if let Some(latents) = latents.first() {
                let picture = vae.decode(latents, &control)?;
                engine::Vae::encode(&mut vae, &picture, picture.size(), &control)?;
            }
        }
    }
    Ok(audit.errors())
}

fn told(error: StageError) -> Error {
    match error {
        StageError::Failed(error) => error,
        StageError::Interrupted(interrupt) => {
            let what = EngineError::Interrupted(interrupt).to_string();
            Error::new(Reason::Internal, what)
        }
    }
}
