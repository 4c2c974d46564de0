//! What each precision costs: one step of the U-Net and both ways through the VAE, in turns, in processor seconds; with
//! `read` as the name, the encoder.
//! `cargo run --example precision -- FOLDER [SIZE] [THREADS] [part of a name] [TURNS] [f32|int8] [avx512]`
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::error::Error;
use std::time::Instant;

use candle_core::{Device, Tensor};
use easel_domain::engine::StageControl;
use easel_domain::{Mode, Network, Pipeline, Precision, RgbImage};
use easel_engine::conditioning::{Conditioner, EncodeRequest, Settings};
use easel_engine::pass::Pass;
use easel_engine::unet::{Conditioning, UNet};
use easel_engine::vae::TinyVae;
use easel_engine::weights::packing::Packing;
use easel_engine::{Checkpoint, keep_freed_memory, limit_instructions};

/// Tokens of the prompt, a picture of 256 tokens among them.
const TOKENS: usize = 350;
/// About 60 tokens with what is written around it.
const PROMPT: &str = "paint the boat in the foreground bright red, add fresh snow on the mountains behind the lake, keep the calm \
    water and the soft morning mist as they are, and make it look like an old watercolour";

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Networks {
    precision: Precision,
    unet: UNet,
    vae: TinyVae,
    conditioning: Conditioning,
}

impl Networks {
    fn load(checkpoint: &Checkpoint, precision: Precision, size: f32) -> Outcome<Self> {
        let checkpoint = checkpoint.with_packing(Packing::new(precision));
        let unet = UNet::load(&checkpoint, &Device::Cpu)?;
        let vae = TinyVae::load(&checkpoint, &Device::Cpu)?;
        let embeds = Tensor::randn(0f32, 1.0, (1, TOKENS, unet.config().prompt_embed_dim), &Device::Cpu)?;
        let control = StageControl::detached();
        let conditioning = unet.condition(&embeds, None, &[(size, size)], &mut Pass::new(&control))?;
        Ok(Self { precision, unet, vae, conditioning })
    }

    fn run(&self, work: &str, size: usize) -> Outcome<()> {
        let control = StageControl::detached();
        let mut pass = Pass::new(&control);
        let random = |shape: (usize, usize, usize, usize)| Tensor::randn(0f32, 1.0, shape, &Device::Cpu);
        match work {
            "step" => {
                let x = random((1, 4, size / 8, size / 4))?;
                self.unet.forward(&x, &[893.0], &self.conditioning, &mut pass)?;
            }
            "encode" => drop(self.vae.encode(&random((1, 3, size, size))?, &mut pass)?),
            _ => drop(self.vae.decode(&random((1, 4, size / 8, size / 8))?, &mut pass)?),
        }
        Ok(())
    }
}

/// Reads a prompt, alone and with a canvas, in each precision of the encoder; one is in memory at a time.
fn encode(checkpoint: &Checkpoint, turns: usize, only: Option<&String>) -> Outcome<()> {
    let control = StageControl::detached();
    let mut full = std::collections::HashMap::new();
    let canvas = RgbImage::new(512, 512, (0..512 * 512 * 3).map(|at| (at * 31 % 251) as u8).collect::<Vec<u8>>())?;
    for precision in Network::Encoder.allowed().iter().filter(|p| only.is_none_or(|only| only == p.name())) {
        let checkpoint = checkpoint.with_packing(Packing::new(*precision));
        let conditioner = Conditioner::load(&checkpoint, &Settings::default(), &Device::Cpu)?;
        for (name, mode, image) in [("prompt", Mode::Generate, None), ("canvas", Mode::Edit, Some(&canvas))] {
            for _ in 0..turns {
                let request =
                    EncodeRequest { mode, pipeline: Pipeline::Mobile, prompt: PROMPT, negative_prompt: "", image };
                let (start, before) = (Instant::now(), processor_seconds()?);
                let embeds = conditioner.encode(&request, &mut Pass::new(&control))?.embeds;
                let taken = (processor_seconds()? - before, start.elapsed().as_secs_f64());
                // Relative to what was computed first for the same prompt, which is f32.
                let embeds = embeds.flatten_all()?.to_vec1::<f32>()?;
                let first = full.entry(name).or_insert_with(|| embeds.clone());
                let square = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>();
                let apart = square(&mut embeds.iter().zip(&*first).map(|(a, b)| a - b));
                let error = (apart / square(&mut first.iter().copied())).sqrt();
                println!(
                    "{name}, {}: {:.2} s of processor, {:.2} s, {error:.4} from the first",
                    precision.name(),
                    taken.0,
                    taken.1
                );
            }
        }
    }
    Ok(())
}

/// Processor time of all threads of this process, in seconds. Source: `proc(5)`, fields utime and stime in hundredths.
fn processor_seconds() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = after_name.split(' ').skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(ticks as f64 / 100.0)
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = arguments.first().ok_or("precision FOLDER [SIZE] [THREADS] [part of a name]")?;
    let number = |at: usize, otherwise| arguments.get(at).map_or(Ok(otherwise), |text| text.parse::<usize>());
    let (size, threads, turns) = (number(1, 1024)?, number(2, 2)?, number(4, 3)?);
    let filter = arguments.get(3).map_or("", String::as_str);
    keep_freed_memory();
    if let Some(name) = arguments.get(6) {
        assert!(limit_instructions(name), "this processor has no {name}");
    }
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let checkpoint = Checkpoint::folder(folder);
    let load = |precision| Networks::load(&checkpoint, precision, size as f32);
    let only = arguments.get(5);
    if filter == "read" {
        return encode(&checkpoint, turns, only);
    }
    let wanted = |precision: &&Precision| only.is_none_or(|only| only == precision.name());
    let both = [Precision::Int8, Precision::F32].iter().filter(wanted).map(|precision| load(*precision));
    let both = both.collect::<Outcome<Vec<_>>>()?;
    for work in ["step", "encode", "decode"].into_iter().filter(|work| work.contains(filter)) {
        let mut times = vec![Vec::new(); both.len()];
        for _ in 0..turns {
            for (networks, times) in both.iter().zip(&mut times) {
                let (start, before) = (Instant::now(), processor_seconds()?);
                networks.run(work, size)?;
                let taken = (processor_seconds()? - before, start.elapsed().as_secs_f64());
                println!(
                    "{work} at {size}, {}: {:.2} s of processor, {:.2} s",
                    networks.precision.name(),
                    taken.0,
                    taken.1
                );
                times.push(taken.0);
            }
        }
        let median = |times: &mut Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        if let [low, full] = &mut times[..] {
            println!("{work} at {size}: int8 takes {:.2} of f32", median(low) / median(full));
        }
    }
    Ok(())
}
