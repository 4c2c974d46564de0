//! LoRAs against PEFT, in every format, and what must hold around them: other formats of the same file are the same, what was
//! added leaves no trace, and what does not fit is named.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use easel_domain::engine::{DenoiseSpec, Denoiser as _, Denoising as _, Engine as _, StageControl};
use easel_domain::{BlobHash, Error, LoraBytes, LoraSource, PlannedLora, Precision, Precisions, Reason, Size};
use easel_engine::engine::{DreamLiteEngine, Settings};
use easel_engine::lora::{Adapters, LoraFile};
use easel_engine::pass::Pass;
use easel_engine::unet::UNet;
use easel_engine::values::PromptEmbeds;
use easel_engine::{Checkpoint, lora};
use sha2::{Digest, Sha256};
use support::{Check, Outcome, Reference, run_kind_of};

const MODEL: &str = "micro-base";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/lora")
}

fn checkpoint() -> PathBuf {
    folder().join("../checkpoints").join(MODEL)
}

fn adapters(unet: &UNet, files: &[(&str, f32)]) -> Adapters {
    let files: Vec<_> =
        files.iter().map(|(file, weight)| (LoraFile::on_disk(*file, folder().join(file)), *weight)).collect();
    lora::load(&files, unet).expect("the files fit")
}

#[test]
fn golden_lora() {
    let reference = Reference::in_tree("lora/manifest.json");
    assert_eq!(reference.cases("lora").len(), 5);
    run_kind_of(&reference, "lora", case);
}

fn case(reference: &Reference, check: &mut Check<'_>) -> Outcome {
    let checkpoint = Checkpoint::folder(check.checkpoint(reference));
    let unet = UNet::load(&checkpoint, &Device::Cpu)?;
    let uses = check.case.inputs["loras"].as_array().ok_or("no loras")?.clone();
    let files: Vec<(&str, f32)> =
        uses.iter().filter_map(|used| Some((used["file"].as_str()?, used["weight"].as_f64()? as f32))).collect();
    let plain = velocity(&unet, check, None)?;
    let adapted = velocity(&unet, check, Some(&adapters(&unet, &files)))?;
    check.close("output", &adapted);
    let after = velocity(&unet, check, None)?;
    if support::floats(&plain) != support::floats(&after) {
        check.fail("what was added has left a trace");
    }
    Ok(())
}

fn velocity(
    unet: &UNet,
    check: &mut Check<'_>,
    adapters: Option<&Adapters>,
) -> Result<Tensor, Box<dyn std::error::Error>> {
    let (sample, prompt) = (check.input("in.sample")?, check.input("in.encoder_hidden_states")?);
    let timesteps: Vec<f32> = check.input("in.timestep")?.to_vec1()?;
    let ids: Vec<Vec<f32>> = check.input("in.time_ids")?.to_dtype(DType::F32)?.to_vec2()?;
    let ids: Vec<(f32, f32)> = ids.iter().map(|pair| (pair[0], pair[1])).collect();
    let mask = check.input("in.encoder_attention_mask")?;
    let control = StageControl::detached();
    let mut pass = Pass::new(&control);
    let _filled = adapters.map(|adapters| unet.adapt(adapters));
    let conditioning = unet.condition(&prompt, Some(&mask), &ids, &mut pass)?;
    Ok(unet.forward(&sample, &timesteps, &conditioning, &mut pass)?)
}

/// Everything about factors that counts: the layers, and the values to the bit.
fn factors(file: &str) -> Vec<(String, Vec<u32>)> {
    let unet = UNet::load(&Checkpoint::folder(checkpoint()), &Device::Cpu).expect("the checkpoint");
    let bits = |tensor: &Tensor| {
        let values: Vec<f32> = tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("numbers");
        values.into_iter().map(f32::to_bits).collect::<Vec<u32>>()
    };
    let adapters = adapters(&unet, &[(file, 1.0)]);
    let mut all: Vec<_> =
        adapters.factors().map(|(path, down, up)| (path.to_owned(), [bits(down), bits(up)].concat())).collect();
    all.sort();
    all
}

#[test]
fn all_formats_of_one_adapter_are_the_same() {
    let attention = factors("attention_diffusers.safetensors");
    assert!(attention.len() > 50, "{} layers", attention.len());
    assert_eq!(attention, factors("attention_kohya.safetensors"), "alpha of the metadata is alpha of the tensors");
    let convolutions = factors("convolutions_peft.safetensors");
    assert_eq!(convolutions, factors("convolutions_kohya.safetensors"));
    assert_eq!(convolutions, factors("convolutions_older.safetensors"));
}

fn engine(precisions: Precisions, lora_folder: Option<PathBuf>) -> DreamLiteEngine {
    let engine = DreamLiteEngine::empty(Settings { precisions, lora_folder, ..Settings::default() });
    engine.add_model(&checkpoint(), MODEL).expect("the checkpoint");
    engine
}

fn source(file: &str, weight: f32) -> LoraSource {
    let bytes: Arc<[u8]> = std::fs::read(folder().join(file)).expect("the file").into();
    let sha256 = BlobHash(Sha256::digest(&bytes).into());
    LoraSource { lora: PlannedLora { name: None, sha256, weight }, bytes: LoraBytes::Memory(bytes) }
}

fn spec(loras: Vec<LoraSource>) -> DenoiseSpec {
    DenoiseSpec {
        size: Size { width: 64, height: 64 },
        steps: 2,
        sigmas: Vec::new(),
        seed: 7,
        guidance: None,
        edit: false,
        loras,
        mask: None,
    }
}

/// Latents after one step, as bits.
fn drawn(denoiser: &mut easel_engine::engine::Denoiser, loras: Vec<LoraSource>) -> Vec<u32> {
    let prompt = Tensor::full(0.25f32, (1, 9, 64), &Device::Cpu).expect("numbers");
    let embeds = PromptEmbeds::new(vec![prompt.clone(), prompt]);
    let mut state = denoiser.begin(&spec(loras), &embeds, None).expect("it begins");
    denoiser.step(&mut state, &StageControl::detached()).expect("a step");
    let values: Vec<f32> = state.latents().tensor().flatten_all().and_then(|flat| flat.to_vec1()).expect("numbers");
    values.into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_lora_leaves_no_trace_in_any_precision() {
    for unet in [Precision::F32, Precision::Int8] {
        let engine = engine(Precisions { unet, ..Precisions::default() }, None);
        let mut denoiser = engine.load_denoiser(MODEL, &StageControl::detached()).expect("the denoiser");
        let plain = drawn(&mut denoiser, Vec::new());
        let with = |denoiser: &mut _, file: &str, weight| drawn(denoiser, vec![source(file, weight)]);
        let adapted = with(&mut denoiser, "attention_diffusers.safetensors", 1.0);
        assert_ne!(plain, adapted, "{unet:?}");
        assert_eq!(plain, drawn(&mut denoiser, Vec::new()), "{unet:?}");
        assert_eq!(plain, with(&mut denoiser, "convolutions_kohya.safetensors", 0.0), "{unet:?}: a weight of nothing");
        assert_ne!(adapted, with(&mut denoiser, "convolutions_kohya.safetensors", 1.0));
        assert_eq!(adapted, with(&mut denoiser, "attention_kohya.safetensors", 1.0), "{unet:?}: kohya's is the same");
        assert_eq!(adapted, with(&mut denoiser, "attention_diffusers.safetensors", 1.0), "{unet:?}: kept and read");
        assert_eq!(plain, drawn(&mut denoiser, Vec::new()), "{unet:?}");
    }
}

#[test]
fn two_generations_with_other_loras_do_not_meet() {
    let engine = engine(Precisions::default(), None);
    let mut denoiser = engine.load_denoiser(MODEL, &StageControl::detached()).expect("the denoiser");
    let prompt = Tensor::ones((1, 5, 64), DType::F32, &Device::Cpu).expect("numbers");
    let embeds = PromptEmbeds::new(vec![prompt.clone(), prompt]);
    let control = StageControl::detached();
    let values = |state: &easel_engine::engine::Denoising| -> Vec<f32> {
        state.latents().tensor().flatten_all().and_then(|flat| flat.to_vec1()).expect("numbers")
    };
    let uses =
        [vec![], vec![source("attention_diffusers.safetensors", 1.0)], vec![source("depthwise_peft.safetensors", 2.0)]];
    let mut alone = Vec::new();
    for loras in &uses {
        let mut state = denoiser.begin(&spec(loras.clone()), &embeds, None).expect("it begins");
        for _ in 0..2 {
            denoiser.step(&mut state, &control).expect("a step");
        }
        alone.push(values(&state));
    }
    let mut states: Vec<_> =
        uses.iter().map(|loras| denoiser.begin(&spec(loras.clone()), &embeds, None).expect("it begins")).collect();
    for _ in 0..2 {
        states.iter_mut().for_each(|state| denoiser.step(state, &control).expect("a step"));
    }
    let together: Vec<_> = states.iter().map(values).collect();
    assert_eq!(alone, together);
    assert!(alone[0] != alone[1] && alone[1] != alone[2] && alone[0] != alone[2]);
}

/// Names and shapes.
type Tensors<'a> = &'a [(&'a str, &'a [usize])];

/// A file with these tensors, all of them of F32.
fn file_of(tensors: Tensors<'_>) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in tensors {
        let bytes = 4 * shape.iter().product::<usize>();
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [end, end + bytes]});
        header.insert((*name).to_owned(), entry);
        end += bytes;
    }
    let header = serde_json::to_vec(&header).expect("a header");
    [&(header.len() as u64).to_le_bytes()[..], &header, &vec![0; end]].concat()
}

fn checked(engine: &DreamLiteEngine, bytes: Vec<u8>) -> Result<(), Error> {
    let sha256 = BlobHash(Sha256::digest(&bytes).into());
    let lora = PlannedLora { name: Some("mine".into()), sha256, weight: 1.0 };
    engine.check_lora(MODEL, &LoraSource { lora, bytes: LoraBytes::Memory(bytes.into()) })
}

#[test]
fn what_does_not_fit_is_named() {
    const TO_Q: &str = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q";
    let engine = engine(Precisions::default(), None);
    let names = |layer: &str| (format!("unet.{layer}.lora_A.weight"), format!("unet.{layer}.lora_B.weight"));
    let (down, up) = names(TO_Q);
    assert_eq!(checked(&engine, file_of(&[(&down, &[4, 64]), (&up, &[64, 4])])), Ok(()));
    let (other_down, other_up) = names("mid_block.attentions.9.to_q");
    let table: [(Tensors<'_>, Reason, &str); 11] = [
        (&[(&other_down, &[4, 64]), (&other_up, &[64, 4])], Reason::LoraMismatch, "is no layer of this U-Net"),
        (&[(&down, &[4, 48]), (&up, &[64, 4])], Reason::LoraMismatch, "has shape [4, 48], expected [4, 64]"),
        (
            &[(&down, &[4, 64]), (&up, &[64, 3])],
            Reason::LoraMismatch,
            "second factor of shape [64, 3], expected [64, 4]",
        ),
        (&[(&down, &[0, 64]), (&up, &[64, 0])], Reason::LoraMismatch, "has rank 0"),
        (&[(&down, &[4, 64])], Reason::LoraMismatch, "has no second factor"),
        (&[(&up, &[64, 4])], Reason::LoraMismatch, "has no first factor"),
        (&[(&down, &[4, 64]), (&up, &[64, 4]), ("stray", &[1])], Reason::LoraMismatch, "stray is no layer"),
        (&[("text_encoder.q.lora_A.weight", &[4, 4])], Reason::LoraMismatch, "adapts the text encoder"),
        (
            &[(&down, &[4, 64]), (&up, &[64, 4]), (&format!("unet.{TO_Q}.lora_magnitude_vector"), &[64])],
            Reason::LoraInvalid,
            "DoRA",
        ),
        (&[], Reason::LoraInvalid, "no pair of factors"),
        (&[("lora_unet_mid_block_attentions_0_hada_w1_a", &[4, 4])], Reason::LoraMismatch, "is no layer"),
    ];
    for (tensors, reason, part) in table {
        let error = checked(&engine, file_of(tensors)).expect_err(part);
        assert_eq!(error.reason, reason, "{error}");
        assert!(error.message.contains(part) && error.message.contains("mine"), "{part}: {error}");
    }
    let many: Vec<String> = (0..100).map(|i| format!("unet.layer_{i}.lora_A.weight")).collect();
    let many: Vec<(&str, &[usize])> = many.iter().map(|name| (name.as_str(), &[1usize, 1][..])).collect();
    let error = checked(&engine, file_of(&many)).expect_err("nothing fits");
    assert!(error.message.contains("and 96 more") && error.message.len() < 600, "{error}");
}

#[test]
fn files_that_are_none_are_refused() {
    let engine = engine(Precisions::default(), None);
    let whole = std::fs::read(folder().join("rank_stabilised_diffusers.safetensors")).expect("the file");
    for bytes in [
        Vec::new(),
        b"hello".to_vec(),
        b"PK\x03\x04 a pickle".to_vec(),
        vec![0xff; 64],
        whole[..whole.len() - 1].to_vec(),
        whole[..40].to_vec(),
    ] {
        let error = checked(&engine, bytes).expect_err("no LoRA");
        assert_eq!(error.reason, Reason::LoraInvalid, "{error}");
    }
    // Every byte of the header may be wrong: never a panic, and never more than an error.
    for at in 0..600.min(whole.len()) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x15;
        let _ = checked(&engine, bytes);
    }
}

#[test]
fn the_folder_is_listed_and_searched_by_name_alone() {
    let engine = engine(Precisions::default(), Some(folder()));
    engine.add_checkpoint(easel_engine::embedded::checkpoint(), "nano", Default::default()).expect("a model");
    let listed = engine.loras().expect("the folder");
    let found = listed.iter().find(|lora| lora.name == "attention_kohya").expect("it is listed");
    assert_eq!((found.min_rank, found.max_rank), (2, 6));
    assert_eq!(found.models, [MODEL]);
    assert!(found.layers > 50 && found.file_bytes > 100_000 && found.problem.is_none());
    let case = listed.iter().find(|lora| lora.name == "case__attention").expect("it lies there");
    assert!(case.problem.as_ref().is_some_and(|what| what.contains("is stored as I64")));
    let (hash, _) = engine.find_lora("attention_kohya").expect("it is there");
    assert_eq!(hash, source("attention_kohya.safetensors", 1.0).lora.sha256);
    for name in ["none", "../lora/attention_kohya", "", ".", "/etc/passwd"] {
        assert_eq!(engine.find_lora(name).expect_err("not there").reason, Reason::LoraNotFound, "{name}");
    }
    let other = engine.check_lora("nano", &source("attention_kohya.safetensors", 1.0)).expect_err("another model");
    assert_eq!(other.reason, Reason::LoraMismatch);
}
