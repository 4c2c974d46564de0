//! How the stages behave besides their numbers: they stop when asked and leave their state whole, tell their progress, do
//! not disturb each other, and turn what cannot be computed into errors. Runs on the embedded model.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use candle_core::{Device, Tensor};
use easel_domain::engine::{
    DenoiseSpec, Denoiser as _, Denoising as _, EncodeSpec, Encoder as _, Engine as _, Interrupt, StageControl,
    StageError, StageHooks, StageValue, Vae as _,
};
use easel_domain::{KeptKind, Mode, Reason, Reused, RgbImage, Size};
use easel_engine::embedded;
use easel_engine::engine::{Denoiser, Denoising, DreamLiteEngine, Encoder, Keep, Settings};
use easel_engine::values::{Latents, PromptEmbeds};

const SIZE: Size = Size { width: 64, height: 48 };

/// Interrupts after a number of checkpoints and remembers the progress.
struct Hooks {
    left: AtomicU32,
    last: AtomicU32,
    total: AtomicU32,
}

impl Hooks {
    fn after(checkpoints: u32) -> Arc<Self> {
        Arc::new(Self { left: AtomicU32::new(checkpoints), last: AtomicU32::new(0), total: AtomicU32::new(0) })
    }
}

impl StageHooks for Hooks {
    fn checkpoint(&self) -> Result<(), Interrupt> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(Interrupt::Cancelled);
        }
        self.left.store(left - 1, Ordering::Relaxed);
        Ok(())
    }

    fn progress(&self, done: u32, total: u32) {
        assert!(done <= total && done >= self.last.load(Ordering::Relaxed), "progress goes forward: {done} of {total}");
        self.last.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }
}

fn engine() -> DreamLiteEngine {
    DreamLiteEngine::new(Settings::default()).expect("the embedded model")
}

fn spec(seed: u64, steps: u32) -> DenoiseSpec {
    DenoiseSpec {
        size: SIZE,
        steps,
        sigmas: Vec::new(),
        seed,
        guidance: None,
        edit: false,
        loras: Vec::new(),
        mask: None,
    }
}

/// A denoiser with prompt embeddings that stand for some prompt.
fn denoiser() -> (Denoiser, PromptEmbeds) {
    let denoiser = engine().load_denoiser(embedded::NAME, &StageControl::detached()).expect("the denoiser");
    let prompt =
        EncodeSpec { mode: Mode::Generate, prompt: "a red circle".into(), negative_prompt: String::new(), image: None };
    let mut encoder = engine().load_encoder(embedded::NAME, &StageControl::detached()).expect("the encoder");
    let (embeds, _) = encoder.encode(&prompt, &StageControl::detached()).expect("embeddings");
    (denoiser, embeds)
}

fn values(latents: &Latents) -> Vec<f32> {
    latents.tensor().flatten_all().and_then(|t| t.to_vec1()).expect("latents")
}

fn finish(denoiser: &mut Denoiser, state: &mut Denoising) -> Vec<f32> {
    while state.done() < state.total() {
        denoiser.step(state, &StageControl::detached()).expect("a step");
    }
    values(&state.latents())
}

#[test]
fn an_interrupted_step_leaves_its_state_as_it_was() {
    let (mut denoiser, embeds) = denoiser();
    let expected = finish(&mut denoiser, &mut denoiser_state(&embeds, 7, 2));
    let mut state = denoiser.begin(&spec(7, 2), &embeds, None).expect("a start");
    let mut interrupted = 0;
    for checkpoints in 0.. {
        let before = (state.done(), values(&state.latents()), values(&state.predicted()));
        match denoiser.step(&mut state, &StageControl::new(Hooks::after(checkpoints))) {
            Ok(()) => break,
            Err(StageError::Interrupted(Interrupt::Cancelled)) => interrupted += 1,
            Err(other) => panic!("{other:?}"),
        }
        assert_eq!(before, (state.done(), values(&state.latents()), values(&state.predicted())));
    }
    assert!(interrupted >= 10, "a step looks at its control only {interrupted} times");
    assert_eq!(state.done(), 1);
    assert_eq!(finish(&mut denoiser, &mut state), expected);
}

fn denoiser_state(embeds: &PromptEmbeds, seed: u64, steps: u32) -> Denoising {
    let mut denoiser = engine().load_denoiser(embedded::NAME, &StageControl::detached()).expect("the denoiser");
    denoiser.begin(&spec(seed, steps), embeds, None).expect("a start")
}

#[test]
fn denoisings_do_not_disturb_each_other() {
    let (mut denoiser, embeds) = denoiser();
    let alone: Vec<_> = [1, 2]
        .map(|seed| {
            let mut state = denoiser.begin(&spec(seed, 2), &embeds, None).expect("a start");
            finish(&mut denoiser, &mut state)
        })
        .to_vec();
    let mut states = [1, 2].map(|seed| denoiser.begin(&spec(seed, 2), &embeds, None).expect("a start"));
    for _ in 0..2 {
        for state in &mut states {
            denoiser.step(state, &StageControl::detached()).expect("a step");
        }
    }
    assert_eq!(states.map(|state| values(&state.latents())).to_vec(), alone);
    assert_ne!(alone[0], alone[1], "another seed is another picture");
}

#[test]
fn stages_tell_their_progress_to_the_end() {
    let (mut denoiser, embeds) = denoiser();
    let control = Hooks::after(u32::MAX);
    let mut state = denoiser.begin(&spec(3, 1), &embeds, None).expect("a start");
    denoiser.step(&mut state, &StageControl::new(control.clone())).expect("a step");
    assert_eq!(control.last.load(Ordering::Relaxed), control.total.load(Ordering::Relaxed));
    assert!(control.total.load(Ordering::Relaxed) > 1);
    assert!(state.size_bytes() > 0 && embeds.size_bytes() > 0);

    let mut vae = engine().load_vae(embedded::NAME, &StageControl::detached()).expect("the VAE");
    let control = Hooks::after(u32::MAX);
    let image = vae.decode(&state.latents(), &StageControl::new(control.clone())).expect("a picture");
    assert_eq!(image.size(), SIZE);
    assert_eq!(control.last.load(Ordering::Relaxed), control.total.load(Ordering::Relaxed));
    let stopped = vae.decode(&state.latents(), &StageControl::new(Hooks::after(3)));
    assert_eq!(stopped, Err(StageError::Interrupted(Interrupt::Cancelled)));
}

#[test]
fn given_sigmas_take_the_place_of_the_schedulers_own() {
    let (mut denoiser, embeds) = denoiser();
    let own = finish(&mut denoiser, &mut denoiser_state(&embeds, 5, 4));
    let given = DenoiseSpec { sigmas: vec![1.0, 0.75, 0.5, 0.25], ..spec(5, 4) };
    let mut state = denoiser.begin(&given, &embeds, None).expect("a start");
    assert_eq!(state.sigmas().len(), 4);
    assert_eq!(finish(&mut denoiser, &mut state), own, "these are the levels that four steps have by default");
    let fewer = DenoiseSpec { sigmas: vec![1.0, 0.4], ..spec(5, 2) };
    let mut state = denoiser.begin(&fewer, &embeds, None).expect("a start");
    assert_eq!(state.total(), 2);
    assert_ne!(finish(&mut denoiser, &mut state), own);
}

#[test]
fn what_cannot_be_computed_is_an_error() {
    let (mut denoiser, embeds) = denoiser();
    let mut reason = |spec: DenoiseSpec, image: Option<&Latents>| match denoiser.begin(&spec, &embeds, image) {
        Err(StageError::Failed(error)) => error.reason,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{spec:?} was accepted"),
    };
    let of = |width, height| DenoiseSpec { size: Size { width, height }, ..spec(1, 1) };
    assert_eq!(reason(of(0, 64), None), Reason::InvalidRequest);
    assert_eq!(reason(of(7, 64), None), Reason::InvalidRequest);
    assert_eq!(reason(DenoiseSpec { steps: 0, ..spec(1, 1) }, None), Reason::InvalidRequest);
    let other_size = Latents::new(Tensor::zeros((1, 4, 5, 8), candle_core::DType::F32, &Device::Cpu).expect("zeros"));
    assert_eq!(reason(DenoiseSpec { edit: true, ..spec(1, 1) }, Some(&other_size)), Reason::InvalidRequest);

    let mut vae = engine().load_vae(embedded::NAME, &StageControl::detached()).expect("the VAE");
    let broken = Tensor::full(f32::NAN, (1, 4, 6, 8), &Device::Cpu).expect("numbers");
    for result in
        [vae.decode(&Latents::new(broken.clone()), &StageControl::detached()), vae.project(&Latents::new(broken))]
    {
        match result {
            Err(StageError::Failed(error)) => assert_eq!(error.reason, Reason::EngineFault),
            other => panic!("{other:?}"),
        }
    }
    let image = RgbImage::new(3, 2, vec![9; 18]).expect("a picture");
    let tiny = vae.encode(&image, Size { width: 15, height: 64 }, &StageControl::detached());
    assert!(matches!(tiny, Err(StageError::Failed(error)) if error.reason == Reason::InvalidRequest));
    vae.encode(&image, SIZE, &StageControl::detached()).expect("a picture of six pixels is enlarged");
}

#[test]
fn what_is_kept_of_a_canvas_changes_no_bit_and_saves_its_reading() {
    let picture = |value: u8| RgbImage::new(64, 48, vec![value; 64 * 48 * 3]).expect("a picture");
    let spec = |prompt: &str, value| EncodeSpec {
        mode: Mode::Edit,
        prompt: prompt.into(),
        negative_prompt: String::new(),
        image: Some(picture(value)),
    };
    let nothing = Keep { prefix_bytes: 0, prompt_bytes: 0, latents_bytes: 0, lora_bytes: 0 };
    let cold = DreamLiteEngine::new(Settings { keep: nothing, ..Settings::default() }).expect("the embedded model");
    let (cold, warm) = (&cold, &engine());
    let [mut cold_encoder, mut warm_encoder] =
        [cold, warm].map(|engine| engine.load_encoder(embedded::NAME, &StageControl::detached()).expect("the encoder"));
    let encode = |encoder: &mut Encoder, spec: &EncodeSpec| {
        let control = Hooks::after(u32::MAX);
        let (embeds, reused) = encoder.encode(spec, &StageControl::new(control.clone())).expect("embeddings");
        let bits: Vec<f32> = embeds.branches()[0].flatten_all().and_then(|t| t.to_vec1()).expect("values");
        (bits, u32::MAX - control.left.load(Ordering::Relaxed), reused)
    };
    let mut layers = Vec::new();
    for (spec, known) in [
        (spec("make it red", 9), Reused::Nothing),
        (spec("make it blue", 9), Reused::Part),
        (spec("make it red", 9), Reused::All),
        (spec("make it red", 8), Reused::Nothing),
    ] {
        let (expected, all, nothing) = encode(&mut cold_encoder, &spec);
        let (kept, read, reused) = encode(&mut warm_encoder, &spec);
        assert_eq!(kept, expected, "{}", spec.prompt);
        assert_eq!((nothing, reused), (Reused::Nothing, known), "{}", spec.prompt);
        layers.push((all, read));
    }
    let all = layers[0].0;
    assert!(layers.iter().all(|(cold, _)| *cold == all), "nothing is kept: {layers:?}");
    assert_eq!((layers[0].1, layers[2].1, layers[3].1), (all, 0, all), "a new canvas, the same again, another canvas");
    assert!(layers[1].1 < all / 2, "a second instruction reads its own words alone: {layers:?}");

    let [mut cold_vae, mut warm_vae] =
        [cold, warm].map(|engine| engine.load_vae(embedded::NAME, &StageControl::detached()).expect("the VAE"));
    for (value, size) in [(9, SIZE), (9, SIZE), (9, Size { width: 48, height: 64 }), (8, SIZE)] {
        let [cold, warm] = [&mut cold_vae, &mut warm_vae]
            .map(|vae| values(&vae.encode(&picture(value), size, &StageControl::detached()).expect("latents").0));
        assert_eq!(cold, warm, "{value} at {size}");
    }
    let stopped = StageControl::new(Hooks::after(0));
    assert!(warm_vae.encode(&picture(9), SIZE, &stopped).is_ok(), "kept latents are not computed again");
    assert!(cold_vae.encode(&picture(9), SIZE, &stopped).is_err());
}

#[test]
fn what_was_prepared_is_found_listed_and_cleared() {
    let engine = engine();
    let mut encoder = engine.load_encoder(embedded::NAME, &StageControl::detached()).expect("the encoder");
    let image = RgbImage::new(64, 48, vec![7; 64 * 48 * 3]).expect("a picture");
    let spec = |prompt: &str| EncodeSpec {
        mode: Mode::Edit,
        prompt: prompt.into(),
        negative_prompt: String::new(),
        image: Some(image.clone()),
    };
    let control = StageControl::detached();
    let prepare = |encoder: &mut Encoder, prompt: &str| encoder.prepare(&spec(prompt), &control).expect("it is read");
    assert_eq!(prepare(&mut encoder, " "), Reused::Nothing, "the canvas is read");
    assert_eq!(prepare(&mut encoder, ""), Reused::All, "and known then");
    assert_eq!(prepare(&mut encoder, "make it red"), Reused::Part);
    let (_, reused) = encoder.encode(&spec("make it red"), &control).expect("embeddings");
    assert_eq!(reused, Reused::All);

    let kinds: Vec<_> = engine.kept().iter().map(|cache| (cache.kind, cache.entries.len())).collect();
    assert_eq!(kinds, [(KeptKind::Prefix, 1), (KeptKind::PromptEmbeds, 1)]);
    let held: u64 = engine.kept().iter().map(|cache| cache.bytes()).sum();
    assert!(engine.kept().iter().all(|cache| cache.bytes() > 0 && cache.entries[0].picture.is_some()));
    assert_eq!(engine.clear_kept(Some("another")), 0);
    assert_eq!(engine.clear_kept(Some(embedded::NAME)), held);
    let (_, reused) = encoder.encode(&spec("make it red"), &control).expect("embeddings");
    assert_eq!(reused, Reused::Nothing);
    drop(encoder);
    assert!(engine.kept().is_empty(), "what an unloaded network kept is gone with it");
}
