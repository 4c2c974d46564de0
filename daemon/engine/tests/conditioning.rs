//! What the encoder promises beside the numbers of the reference: a kept prefix gives the same bits, rows of a batch do not
//! touch each other, it can be stopped between layers, and what cannot be encoded is refused by the field that is wrong.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use candle_core::{Device, Tensor};
use easel_domain::engine::{Interrupt, StageControl, StageHooks};
use easel_domain::{Error, Mode, Pipeline, Reason, RgbImage};
use easel_engine::conditioning::positions::Positions;
use easel_engine::conditioning::prompt::instruct;
use easel_engine::conditioning::text::TextInput;
use easel_engine::conditioning::{Conditioner, EncodeRequest, Settings};
use easel_engine::pass::{Pass, Tap};
use easel_engine::{Checkpoint, EngineError, LoadError};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn checkpoint() -> Checkpoint {
    Checkpoint::folder(Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/dreamlite-nano"))
}

fn conditioner() -> Result<Conditioner, LoadError> {
    Conditioner::load(&checkpoint(), &Settings::default(), &Device::Cpu)
}

/// A picture that is different everywhere.
fn picture(width: u32, height: u32) -> Result<RgbImage, Error> {
    RgbImage::new(
        width,
        height,
        (0..width * height * 3).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>(),
    )
}

fn bits(tensor: &Tensor) -> candle_core::Result<Vec<u32>> {
    Ok(tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
}

/// Largest difference of two tensors of one shape.
fn apart(a: &Tensor, b: &Tensor) -> candle_core::Result<f32> {
    assert_eq!(a.dims(), b.dims());
    (a - b)?.abs()?.max_all()?.to_scalar()
}

#[test]
fn a_kept_prefix_gives_the_same_bits() -> Outcome {
    let conditioner = conditioner()?;
    let control = StageControl::detached();
    let image = picture(97, 61)?;
    for (mode, image) in [(Mode::Generate, None), (Mode::Edit, Some(&image))] {
        let prefix = conditioner.prefix(mode, image, &mut Pass::new(&control))?;
        let instructed = ["a red circle", "", "  two blanks", "\nmake the sky purple, add two birds, then a house"];
        let instructed = instructed.map(|prompt| instruct(mode, prompt));
        // Without the instruction, with a part of it, and with nothing that it shares.
        let bare = ["blurry", "", "[Edit]: A diptych of birds", "[Generate", "\n\nblurry"].map(str::to_owned);
        for prompt in instructed.into_iter().chain(bare) {
            let cold =
                conditioner.encode_prompts(mode, std::slice::from_ref(&prompt), image, &mut Pass::new(&control))?;
            let warm = conditioner.encode_behind(&prefix, &prompt, &mut Pass::new(&control))?;
            assert_eq!(bits(&cold.embeds)?, bits(&warm)?, "{mode:?} {prompt:?}");
        }
    }
    Ok(())
}

/// How many tokens each pass reads.
#[derive(Default)]
struct Lengths(Vec<usize>);

impl Tap for Lengths {
    fn record(&mut self, path: &str, output: &Tensor) {
        if path == "inputs_embeds" {
            self.0.extend(output.dim(1));
        }
    }
}

#[test]
fn behind_a_prefix_only_the_words_of_the_user_are_read() -> Outcome {
    let conditioner = conditioner()?;
    let control = StageControl::detached();
    let image = picture(64, 64)?;
    for (mode, image) in [(Mode::Generate, None), (Mode::Edit, Some(&image))] {
        let prefix = conditioner.prefix(mode, image, &mut Pass::new(&control))?;
        let read = |prompt: &str| -> Result<usize, Box<dyn std::error::Error>> {
            let mut lengths = Lengths::default();
            conditioner.encode_behind(&prefix, prompt, &mut Pass::observed(&control, &mut lengths))?;
            assert_eq!(lengths.0.len(), 1, "one pass");
            Ok(lengths.0[0])
        };
        let words = " a yellow star";
        let all = conditioner.tokenizer().tokens(mode, words)?.len() - conditioner.tokenizer().tokens(mode, "")?.len();
        // Behind the prompt, the template has five tokens.
        assert_eq!(read(&instruct(mode, words.trim()))?, all + 5, "{mode:?}");
        assert!(read("blurry")? < 12, "{mode:?}: the head is not read again");
    }
    Ok(())
}

#[test]
fn one_reading_and_two_agree() -> Outcome {
    let conditioner = conditioner()?;
    let control = StageControl::detached();
    let long = "a blue square on a green field";
    for prompt in [instruct(Mode::Generate, long), long.to_owned(), format!("\n\n{long}")] {
        let prompts = [prompt];
        let split = conditioner.encode_prompts(Mode::Generate, &prompts, None, &mut Pass::new(&control))?.embeds;
        let ids = conditioner.tokenize(Mode::Generate, &prompts)?.remove(0);
        let embeds = conditioner.embed(&ids, None)?;
        let positions = [Positions::new(ids.len(), None)];
        let input = TextInput { embeds: &embeds, positions: &positions, past: None, lengths: None, image: None };
        let whole = conditioner.read(&input, &mut Pass::new(&control))?.narrow(1, 34, ids.len() - 34)?;
        assert!(apart(&split, &whole)? < 1e-4, "{prompts:?}");
    }
    Ok(())
}

#[test]
fn rows_of_a_batch_do_not_touch_each_other() -> Outcome {
    let conditioner = conditioner()?;
    let control = StageControl::detached();
    let image = picture(64, 64)?;
    let request = EncodeRequest {
        mode: Mode::Edit,
        pipeline: Pipeline::Base,
        prompt: "add a yellow star",
        negative_prompt: "blurry",
        image: Some(&image),
    };
    let all = conditioner.encode(&request, &mut Pass::new(&control))?;
    let (rows, longest, width) = all.embeds.dims3()?;
    assert_eq!(rows, 3);
    let mask: Vec<Vec<u8>> = all.mask.to_vec2()?;
    let prompts = ["blurry".to_owned(), "blurry".to_owned(), instruct(Mode::Edit, "add a yellow star")];
    for (row, prompt) in prompts.iter().enumerate() {
        let alone = conditioner.encode_prompts(
            Mode::Edit,
            std::slice::from_ref(prompt),
            Some(&image),
            &mut Pass::new(&control),
        )?;
        let length = alone.embeds.dim(1)?;
        let kept = all.embeds.narrow(0, row, 1)?.narrow(1, 0, length)?;
        assert_eq!(bits(&kept)?, bits(&alone.embeds)?, "row {row}");
        let filled = all.embeds.narrow(0, row, 1)?.narrow(1, length, longest - length)?;
        assert_eq!(filled.flatten_all()?.to_vec1::<f32>()?, vec![0.0; (longest - length) * width]);
        assert!(mask[row].iter().enumerate().all(|(i, kept)| *kept == u8::from(i < length)));
    }
    let mobile = EncodeRequest { pipeline: Pipeline::Mobile, ..request };
    let mobile = conditioner.encode(&mobile, &mut Pass::new(&control))?;
    assert_eq!(bits(&mobile.embeds)?, bits(&all.embeds.narrow(0, 2, 1)?)?);
    Ok(())
}

#[test]
fn a_smaller_condition_size_takes_a_quarter_of_the_tokens() -> Outcome {
    let settings = Settings { condition_size_px: 256, ..Settings::default() };
    let small = Conditioner::load(&checkpoint(), &settings, &Device::Cpu)?;
    let large = conditioner()?;
    let control = StageControl::detached();
    let image = picture(80, 120)?;
    let prompts = [instruct(Mode::Edit, "add a star")];
    let length = |conditioner: &Conditioner| -> Result<usize, Box<dyn std::error::Error>> {
        Ok(conditioner.encode_prompts(Mode::Edit, &prompts, Some(&image), &mut Pass::new(&control))?.embeds.dim(1)?)
    };
    let seen = |conditioner: &Conditioner| conditioner.image_span().tokens().len();
    assert_eq!(seen(&large), 4 * seen(&small));
    assert_eq!(length(&large)? - length(&small)?, seen(&large) - seen(&small));
    let odd = Settings { condition_size_px: 500, ..Settings::default() };
    let refused = Conditioner::load(&checkpoint(), &odd, &Device::Cpu).err().ok_or("500 is no multiple of a patch")?;
    assert!(refused.to_string().contains("500"), "{refused}");
    Ok(())
}

#[test]
fn what_cannot_be_encoded_is_refused_by_its_field() -> Outcome {
    let conditioner = conditioner()?;
    let control = StageControl::detached();
    let image = picture(8, 8)?;
    let field_of = |prompt: &str, negative_prompt: &str, image: Option<&RgbImage>| {
        let request = EncodeRequest { mode: Mode::Edit, pipeline: Pipeline::Base, prompt, negative_prompt, image };
        match conditioner.encode(&request, &mut Pass::new(&control)) {
            Err(EngineError::Request(error)) if error.reason == Reason::InvalidRequest => {
                error.violations[0].field.clone()
            }
            other => panic!("expected a refusal, got {other:?}"),
        }
    };
    assert_eq!(field_of("a <|image_pad|>", "", Some(&image)), "spec.prompt");
    assert_eq!(field_of("a star", "<|image_pad|>", Some(&image)), "spec.negative_prompt");
    assert_eq!(field_of("a star", "", None), "spec.image");
    Ok(())
}

/// Stops when it has been looked at `left` times, and keeps the newest progress.
struct Stopwatch {
    left: AtomicU32,
    done: AtomicU32,
    total: AtomicU32,
}

impl Stopwatch {
    fn new(left: u32) -> Arc<Self> {
        Arc::new(Self { left: AtomicU32::new(left), done: AtomicU32::new(0), total: AtomicU32::new(0) })
    }
}

impl StageHooks for Stopwatch {
    fn checkpoint(&self) -> Result<(), Interrupt> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map(|_| ()).map_err(|_| Interrupt::Cancelled)
    }

    fn progress(&self, done: u32, total: u32) {
        self.done.store(done, Ordering::SeqCst);
        self.total.store(total, Ordering::SeqCst);
    }
}

#[test]
fn it_can_be_stopped_before_every_layer_and_says_how_far_it_is() -> Outcome {
    let conditioner = conditioner()?;
    let image = picture(32, 32)?;
    let request = EncodeRequest {
        mode: Mode::Edit,
        pipeline: Pipeline::Mobile,
        prompt: "add a star",
        negative_prompt: "",
        image: Some(&image),
    };
    let run = |watch: &Arc<Stopwatch>| {
        let control = StageControl::new(watch.clone());
        conditioner.encode(&request, &mut Pass::new(&control)).map(|_| ())
    };
    let whole = Stopwatch::new(u32::MAX);
    run(&whole)?;
    let total = whole.total.load(Ordering::SeqCst);
    assert!(total > 0 && whole.done.load(Ordering::SeqCst) == total);
    for layers in 0..total {
        let watch = Stopwatch::new(layers);
        assert!(matches!(run(&watch), Err(EngineError::Interrupted(Interrupt::Cancelled))), "after {layers} layers");
        assert_eq!(watch.done.load(Ordering::SeqCst), layers);
    }
    run(&Stopwatch::new(total))?;
    Ok(())
}

#[test]
#[ignore = "prints times for people"]
fn encode_times() -> Outcome {
    let conditioner = conditioner()?;
    let control = StageControl::detached();
    let image = picture(256, 256)?;
    for (mode, image) in [(Mode::Generate, None), (Mode::Edit, Some(&image))] {
        let prompts = [instruct(mode, "a red circle left of a blue square on a green field")];
        let prefix = conditioner.prefix(mode, image, &mut Pass::new(&control))?;
        let (mut cold, mut warm) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..20 {
            let start = Instant::now();
            conditioner.encode_prompts(mode, &prompts, image, &mut Pass::new(&control))?;
            cold = cold.min(start.elapsed().as_secs_f64());
            let start = Instant::now();
            conditioner.encode_behind(&prefix, &prompts[0], &mut Pass::new(&control))?;
            warm = warm.min(start.elapsed().as_secs_f64());
        }
        println!("{mode:?}: {:.1} ms, behind a kept prefix {:.1} ms", cold * 1e3, warm * 1e3);
    }
    Ok(())
}
