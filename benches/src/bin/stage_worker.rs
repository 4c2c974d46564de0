//! Easel's side of the comparison with diffusers: a process that loads a checkpoint once and then does what a line of JSON
//! on its input asks for, answering with the wall and processor seconds of the work alone.
//! `benches/vs_diffusers/compare.py` drives it.

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use candle_core::{Device, Tensor};
use easel_domain::engine::{
    DenoiseSpec, Denoiser as _, EncodeSpec, Encoder as _, Engine, StageControl, StageError, Vae as _,
};
use easel_domain::{Mode, Network, RgbImage, Size};
use easel_engine::{DreamLiteEngine, engine};
use serde::Deserialize;

const MODEL: &str = "compared";
const STEPS: u32 = 4;

/// What one line asks for.
#[derive(Deserialize)]
struct Ask {
    work: String,
    /// Edge of a square picture in pixels.
    size: u32,
    prompt: String,
    /// Positions of the embeddings that steps read.
    tokens: usize,
}

type Embeds = <DreamLiteEngine as Engine>::PromptEmbeds;

struct Worker {
    engine: DreamLiteEngine,
    /// Takes most of the memory and is read when it is first needed.
    encoder: Option<engine::Encoder>,
    denoiser: engine::Denoiser,
    vae: engine::Vae,
    control: StageControl,
    /// Number of pictures and prompts that were drawn so far: what is cold must not be known from before.
    drawn: u32,
}

impl Worker {
    fn load(folder: &Path, settings: engine::Settings) -> Result<Self> {
        let dreamlite = DreamLiteEngine::empty(settings);
        dreamlite.add_model(folder, MODEL).map_err(|error| anyhow!("{error}"))?;
        let control = StageControl::detached();
        Ok(Self {
            encoder: None,
            denoiser: dreamlite.load_denoiser(MODEL, &control).map_err(failed)?,
            vae: dreamlite.load_vae(MODEL, &control).map_err(failed)?,
            control,
            engine: dreamlite,
            drawn: 0,
        })
    }

    fn encode(&mut self, prompt: &str, image: Option<RgbImage>) -> Result<Embeds> {
        let mode = if image.is_some() { Mode::Edit } else { Mode::Generate };
        let spec = EncodeSpec { mode, prompt: prompt.to_owned(), negative_prompt: String::new(), image };
        if self.encoder.is_none() {
            self.encoder = Some(self.engine.load_encoder(MODEL, &self.control).map_err(failed)?);
        }
        let encoder = self.encoder.as_mut().context("the encoder was loaded above")?;
        Ok(encoder.encode(&spec, &self.control).map_err(failed)?.0)
    }

    /// Of the shape that an edit's are; the time of a step does not depend on the values.
    fn some_embeds(&self, tokens: usize) -> Result<Embeds> {
        let shape = (1, tokens, self.denoiser.unet().config().prompt_embed_dim);
        let mut state = 7;
        let values: Vec<f32> = (0..shape.1 * shape.2).map(|_| f32::from(random(&mut state)) / 64.0 - 2.0).collect();
        Ok(Embeds::new(vec![Tensor::from_vec(values, shape, &Device::Cpu)?]))
    }

    /// From noise to latents in the first `count` of four steps, with the source `image` on the right.
    fn steps(
        &mut self,
        size: Size,
        count: u32,
        embeds: &Embeds,
        image: &<DreamLiteEngine as Engine>::Latents,
    ) -> Result<engine::Denoising> {
        let spec = DenoiseSpec {
            size,
            steps: STEPS,
            sigmas: Vec::new(),
            seed: 0,
            guidance: None,
            edit: true,
            loras: Vec::new(),
            mask: None,
        };
        let mut state = self.denoiser.begin(&spec, embeds, Some(image)).map_err(failed)?;
        for _ in 0..count {
            self.denoiser.step(&mut state, &self.control).map_err(failed)?;
        }
        Ok(state)
    }

    fn edit(&mut self, source: &RgbImage, size: Size, instruction: &str) -> Result<RgbImage> {
        use easel_domain::engine::Denoising as _;
        let embeds = self.encode(instruction, Some(source.clone()))?;
        let (image, _) = self.vae.encode(source, size, &self.control).map_err(failed)?;
        let state = self.steps(size, STEPS, &embeds, &image)?;
        self.vae.decode(&state.latents(), &self.control).map_err(failed)
    }

    /// Does one kind of work and gives its wall and processor seconds; what it needs beforehand is not counted.
    fn time(&mut self, ask: &Ask) -> Result<(f64, f64)> {
        let size = Size { width: ask.size, height: ask.size };
        self.drawn += 1;
        let source = picture(ask.size, if ask.work.ends_with("warm") { 0 } else { self.drawn })?;
        let instruction = format!("{} {}", ask.prompt, self.drawn);
        match ask.work.as_str() {
            "encode_text" => timed(|| self.encode(&instruction, None)),
            "encode_edit" => timed(|| self.encode(&instruction, Some(source))),
            "encode_second" => {
                self.encode(&ask.prompt, Some(picture(ask.size, 0)?))?;
                let canvas = picture(ask.size, 0)?;
                timed(|| self.encode(&instruction, Some(canvas)))
            }
            "vae_encode" => timed(|| self.vae.encode(&source, size, &self.control).map_err(failed)),
            "vae_decode" => {
                let (latents, _) = self.vae.encode(&source, size, &self.control).map_err(failed)?;
                timed(|| self.vae.decode(&latents, &self.control).map_err(failed))
            }
            "step" | "four_steps" => {
                let embeds = self.some_embeds(ask.tokens)?;
                let (image, _) = self.vae.encode(&source, size, &self.control).map_err(failed)?;
                let count = if ask.work == "step" { 1 } else { STEPS };
                timed(|| self.steps(size, count, &embeds, &image))
            }
            "edit" => timed(|| self.edit(&source, size, &instruction)),
            "edit_warm" => {
                self.encode(&ask.prompt, Some(source.clone()))?;
                self.vae.encode(&source, size, &self.control).map_err(failed)?;
                timed(|| self.edit(&source, size, &instruction))
            }
            other => bail!("there is no work {other:?}"),
        }
    }
}

fn failed(error: StageError) -> anyhow::Error {
    match error {
        StageError::Failed(error) => anyhow!("{error}"),
        StageError::Interrupted(interrupt) => anyhow!("interrupted: {interrupt:?}"),
    }
}

/// A picture of noise; the time of no stage depends on what is on it.
fn picture(edge: u32, number: u32) -> Result<RgbImage> {
    let mut state = 0x9e37_79b9_u32 ^ number;
    let values: Vec<u8> = (0..edge as usize * edge as usize * 3).map(|_| random(&mut state)).collect();
    RgbImage::new(edge, edge, values).map_err(|error| anyhow!("{error}"))
}

/// The next byte of a linear congruential generator.
fn random(state: &mut u32) -> u8 {
    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    (*state >> 24) as u8
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, f64)> {
    let (start, before) = (Instant::now(), processor_seconds()?);
    work()?;
    Ok((start.elapsed().as_secs_f64(), processor_seconds()? - before))
}

/// Processor time of all threads of this process, in seconds. Source: `proc(5)`, fields utime and stime in hundredths.
fn processor_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("the comparison needs Linux")?;
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = after_name.split(' ').skip(11).take(2).map(str::parse::<u64>).sum::<std::result::Result<u64, _>>()?;
    Ok(ticks as f64 / 100.0)
}

/// The most memory that this process has had resident, in MiB.
fn peak_rss_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM is missing")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// What stands behind folder and threads, as key=value.
fn settings(arguments: impl Iterator<Item = String>) -> Result<engine::Settings> {
    let mut settings = engine::Settings::default();
    for argument in arguments {
        let (key, value) = argument.split_once('=').with_context(|| format!("{argument:?} is not key=value"))?;
        let precision = |network: Network| network.precision(value).map_err(|error| anyhow!("{error}"));
        match key {
            "condition_size" => settings.conditioning.condition_size_px = value.parse()?,
            "encoder" => settings.precisions.encoder = precision(Network::Encoder)?,
            "unet" => settings.precisions.unet = precision(Network::Unet)?,
            "vae" => settings.precisions.vae = precision(Network::Vae)?,
            "instructions" if easel_engine::limit_instructions(value) => {}
            "instructions" => bail!("this processor has no {value}"),
            _ => bail!("there is no setting {key:?}"),
        }
    }
    Ok(settings)
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "stage_worker CHECKPOINT_FOLDER THREADS [condition_size=256] [encoder=q8_0] [unet=int8] [vae=int8] \
        [instructions=avx512]";
    let (folder, threads) = (arguments.next().context(usage)?, arguments.next().context(usage)?.parse()?);
    let settings = settings(arguments)?;
    easel_engine::keep_freed_memory();
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let mut worker = Worker::load(Path::new(&folder), settings)?;
    let mut out = std::io::stdout().lock();
    let hello = serde_json::json!({"ready": true, "versions": concat!("easel ", env!("CARGO_PKG_VERSION"))});
    writeln!(out, "{hello}")?;
    for line in std::io::stdin().lock().lines() {
        let (wall, cpu) = worker.time(&serde_json::from_str(&line?)?)?;
        let answer = serde_json::json!({"wall": wall, "cpu": cpu, "peak_rss_mib": peak_rss_mib()?});
        writeln!(out, "{answer}")?;
    }
    Ok(())
}
