//! Blocks of 256 weights need widths that the small checkpoints lack: a random encoder of such widths, made here, is read in
//! `q4k` and `q8_0` and compared with f32 runs on the very weights that the blocks stand for.
#![allow(clippy::print_stdout)]

use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use easel_domain::engine::StageControl;
use easel_domain::{Mode, Pipeline, Precision, RgbImage};
use easel_engine::Checkpoint;
use easel_engine::conditioning::{Conditioner, EncodeRequest, Settings};
use easel_engine::noise::TorchGenerator;
use easel_engine::pass::Pass;
use easel_engine::weights::packing::Packing;
use easel_kernels::{BlockFormat, BlockLinear};
use serde_json::{Value, json};

/// Widths of the language model: residual stream, feed-forward, heads, key heads, head.
const HIDDEN: usize = 256;
const INNER: usize = 512;
const HEADS: [usize; 2] = [4, 2];
const HEAD: usize = 64;
const LAYERS: usize = 3;
/// Widths of the picture tower.
const VISION: usize = 256;
const VISION_INNER: usize = 512;
const VISION_LAYERS: usize = 2;
const VOCABULARY: usize = 1960;
const PLACES: usize = 256;
const PATCH: usize = 16;
const VISION_HEADS: usize = 2;

/// What rounding the activations to 8 bits in blocks of 32 costs over some layers, of the size of the embeddings.
const LARGEST_ERROR: f64 = 0.025;

/// Names and shapes of a linear layer with or without a bias.
fn linear(name: String, shape: [usize; 2], bias: bool, out: &mut Vec<(String, Vec<usize>)>) {
    out.push((format!("{name}.weight"), shape.to_vec()));
    if bias {
        out.push((format!("{name}.bias"), vec![shape[0]]));
    }
}

/// All tensors of the encoder.
fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut out = vec![("language_model.embed_tokens.weight".to_owned(), vec![VOCABULARY, HIDDEN])];
    out.push(("language_model.norm.weight".into(), vec![HIDDEN]));
    for layer in 0..LAYERS {
        let layer = format!("language_model.layers.{layer}");
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            out.push((format!("{layer}.{norm}.weight"), vec![HIDDEN]));
        }
        for norm in ["q_norm", "k_norm"] {
            out.push((format!("{layer}.self_attn.{norm}.weight"), vec![HEAD]));
        }
        let attention = |name: &str| format!("{layer}.self_attn.{name}");
        linear(attention("q_proj"), [HEADS[0] * HEAD, HIDDEN], false, &mut out);
        linear(attention("k_proj"), [HEADS[1] * HEAD, HIDDEN], false, &mut out);
        linear(attention("v_proj"), [HEADS[1] * HEAD, HIDDEN], false, &mut out);
        linear(attention("o_proj"), [HIDDEN, HEADS[0] * HEAD], false, &mut out);
        linear(format!("{layer}.mlp.gate_proj"), [INNER, HIDDEN], false, &mut out);
        linear(format!("{layer}.mlp.up_proj"), [INNER, HIDDEN], false, &mut out);
        linear(format!("{layer}.mlp.down_proj"), [HIDDEN, INNER], false, &mut out);
    }
    out.push(("visual.patch_embed.proj.weight".into(), vec![VISION, 3, 2, PATCH, PATCH]));
    out.push(("visual.patch_embed.proj.bias".into(), vec![VISION]));
    out.push(("visual.pos_embed.weight".into(), vec![PLACES, VISION]));
    let norm = |name: String, width: usize, out: &mut Vec<(String, Vec<usize>)>| {
        out.push((format!("{name}.weight"), vec![width]));
        out.push((format!("{name}.bias"), vec![width]));
    };
    for block in 0..VISION_LAYERS {
        let block = format!("visual.blocks.{block}");
        norm(format!("{block}.norm1"), VISION, &mut out);
        norm(format!("{block}.norm2"), VISION, &mut out);
        linear(format!("{block}.attn.qkv"), [3 * VISION, VISION], true, &mut out);
        linear(format!("{block}.attn.proj"), [VISION, VISION], true, &mut out);
        linear(format!("{block}.mlp.linear_fc1"), [VISION_INNER, VISION], true, &mut out);
        linear(format!("{block}.mlp.linear_fc2"), [VISION, VISION_INNER], true, &mut out);
    }
    for (merger, normed) in [("visual.merger", VISION), ("visual.deepstack_merger_list.0", 4 * VISION)] {
        norm(format!("{merger}.norm"), normed, &mut out);
        linear(format!("{merger}.linear_fc1"), [4 * VISION, 4 * VISION], true, &mut out);
        linear(format!("{merger}.linear_fc2"), [HIDDEN, 4 * VISION], true, &mut out);
    }
    out
}

/// True for the weights that are packed.
fn packed(name: &str, shape: &[usize]) -> bool {
    shape.len() == 2 && !name.contains("embed")
}

/// Writes the encoder into a copy of the embedded model's other files; `change` sees every packed weight.
fn write(folder: &Path, change: impl Fn(Vec<f32>, [usize; 2]) -> Vec<f32>) -> Checkpoint {
    let nano = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/dreamlite-nano");
    for part in ["tokenizer", "processor", "text_encoder"] {
        fs::create_dir_all(folder.join(part)).expect("a folder");
        for entry in fs::read_dir(nano.join(part)).expect("a folder").flatten() {
            fs::copy(entry.path(), folder.join(part).join(entry.file_name())).expect("a copy");
        }
    }
    let path = folder.join("text_encoder/config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
    let text = &mut config["text_config"];
    text["hidden_size"] = json!(HIDDEN);
    text["intermediate_size"] = json!(INNER);
    text["num_attention_heads"] = json!(HEADS[0]);
    text["num_key_value_heads"] = json!(HEADS[1]);
    text["head_dim"] = json!(HEAD);
    text["num_hidden_layers"] = json!(LAYERS);
    text["rope_parameters"]["mrope_section"] = json!([16, 8, 8]);
    let vision = &mut config["vision_config"];
    vision["hidden_size"] = json!(VISION);
    vision["intermediate_size"] = json!(VISION_INNER);
    vision["out_hidden_size"] = json!(HIDDEN);
    vision["depth"] = json!(VISION_LAYERS);
    vision["num_position_embeddings"] = json!(PLACES);
    vision["num_heads"] = json!(VISION_HEADS);
    vision["patch_size"] = json!(PATCH);
    vision["deepstack_visual_indexes"] = json!([0]);
    fs::write(&path, config.to_string()).expect("written");
    let path = folder.join("processor/processor_config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
    config["image_processor"]["patch_size"] = json!(PATCH);
    fs::write(&path, config.to_string()).expect("written");
    let mut weights = std::collections::HashMap::new();
    for (at, (name, shape)) in tensors().into_iter().enumerate() {
        let count: usize = shape.iter().product();
        let inputs: usize = shape[1..].iter().product();
        let mut values = match (shape.len(), name.ends_with("bias")) {
            (1, true) => vec![0.0; count],
            (1, false) => vec![1.0; count],
            _ => TorchGenerator::new(at as u64).randn(count).iter().map(|x| x / (inputs as f32).sqrt()).collect(),
        };
        if packed(&name, &shape) {
            values = change(values, [shape[0], shape[1]]);
        }
        weights.insert(name, Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor"));
    }
    candle_core::safetensors::save(&weights, folder.join("text_encoder/model.safetensors")).expect("written");
    Checkpoint::folder(folder)
}

/// Embeddings of a prompt alone and with a picture.
fn encode(checkpoint: &Checkpoint, packing: &Packing) -> Vec<f32> {
    let conditioner = Conditioner::load(&checkpoint.with_packing(packing.clone()), &Settings::default(), &Device::Cpu);
    let conditioner = conditioner.expect("the encoder");
    let control = StageControl::detached();
    let canvas = RgbImage::new(64, 64, (0..64u32 * 64 * 3).map(|at| (at * 37 % 251) as u8).collect::<Vec<_>>());
    let canvas = canvas.expect("a picture");
    let mut out = Vec::new();
    for (mode, image) in [(Mode::Generate, None), (Mode::Edit, Some(&canvas))] {
        let pipeline = Pipeline::Mobile;
        let request = EncodeRequest { mode, pipeline, prompt: "a red circle", negative_prompt: "", image };
        let embeds = conditioner.encode(&request, &mut Pass::new(&control)).expect("embeddings").embeds;
        let embeds = embeds.to_dtype(DType::F32).and_then(|embeds| embeds.flatten_all()?.to_vec1::<f32>());
        out.extend(embeds.expect("numbers"));
    }
    out
}

fn relative(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>();
    let apart = square(&mut got.iter().zip(want).map(|(g, w)| f64::from(*g) - f64::from(*w)));
    (apart / square(&mut want.iter().map(|w| f64::from(*w)))).sqrt()
}

#[test]
fn blocks_compute_what_their_weights_stand_for() {
    for (precision, format) in [(Precision::Q4K, BlockFormat::Q4K), (Precision::Q8_0, BlockFormat::Q8_0)] {
        let folders = [0, 1].map(|_| tempfile::tempdir().expect("a folder"));
        let drawn = write(folders[0].path(), |values, _| values);
        let rounded = write(folders[1].path(), |values, shape| {
            let packed = format.pack(&values, shape).into();
            BlockLinear::from_packed(format, &packed, None, shape).expect("packed just now").dequantised()
        });
        let packing = Packing::new(precision);
        let got = encode(&drawn, &packing);
        let tally = packing.tally();
        assert_eq!(tally.fallbacks, Vec::<String>::new(), "every width is suitable");
        let weights = tensors().into_iter().filter(|(name, shape)| packed(name, shape));
        assert_eq!(
            tally.packed_parameters,
            weights.map(|(_, shape)| shape.iter().product::<usize>() as u64).sum::<u64>()
        );
        let same_weights = relative(&got, &encode(&rounded, &Packing::default()));
        let full = relative(&got, &encode(&drawn, &Packing::default()));
        println!("{}: {same_weights:.4} from f32 on the same weights, {full:.4} from f32", precision.name());
        assert!(same_weights < LARGEST_ERROR, "{precision:?}: {same_weights}");
    }
}
