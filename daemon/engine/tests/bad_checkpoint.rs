//! What a broken checkpoint gets: an error that names the file and the tensor and says how to mend it, before anything is
//! computed, and never a panic. Every case damages a copy of the embedded checkpoint.

use std::fs;
use std::path::Path;

use easel_domain::engine::{Engine, StageControl, StageError};
use easel_domain::{Error, Reason};
use easel_engine::engine::{DreamLiteEngine, Settings};
use serde_json::{Value, json};

const UNET: &str = "unet/diffusion_pytorch_model.safetensors";

/// A copy of the embedded checkpoint in a folder that disappears with it.
struct Copy(tempfile::TempDir);

impl Copy {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/dreamlite-nano");
        copy(&original, folder.path());
        Self(folder)
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.0.path().join(file)
    }

    fn add(&self) -> Result<(), Error> {
        DreamLiteEngine::empty(Settings::default()).add_model(self.0.path(), "broken").map(|_| ())
    }

    /// The sentence of the refusal, which has to be `ModelInvalid` about the model.
    fn refusal(&self) -> String {
        let error = self.add().expect_err("a broken checkpoint is refused");
        assert_eq!(error.reason, Reason::ModelInvalid, "{error}");
        assert_eq!(error.resource, Some(("model", "broken".to_owned())));
        assert!(!error.message.contains(&self.0.path().display().to_string()), "no path leaves the machine: {error}");
        error.message
    }

    fn edit_json(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let path = self.path(file);
        let mut value: Value = serde_json::from_slice(&fs::read(&path).expect("read")).expect("JSON");
        change(&mut value);
        fs::write(path, value.to_string()).expect("write");
    }

    /// Rewrites the header of a weight file; the data stays.
    fn edit_header(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let bytes = fs::read(self.path(file)).expect("read");
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
        let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("header");
        change(&mut header);
        self.write_header(file, header.to_string().as_bytes(), &bytes[8 + length..]);
    }

    fn write_header(&self, file: &str, header: &[u8], data: &[u8]) {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(data);
        fs::write(self.path(file), bytes).expect("write");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("folder");
    for entry in fs::read_dir(from).expect("folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copy");
        }
    }
}

fn says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{word:?} is missing from: {message}");
    }
}

#[test]
fn the_whole_copy_is_accepted() {
    Copy::new().add().expect("the embedded checkpoint as a folder");
}

#[test]
fn a_missing_tensor_is_named_with_its_shape() {
    let copy = Copy::new();
    copy.edit_header(UNET, |header| {
        header.as_object_mut().expect("object").remove("mid_block.resnets.0.conv1.pointwise.weight");
    });
    says(
        &copy.refusal(),
        &[UNET, "no tensor mid_block.resnets.0.conv1.pointwise.weight", "[", "do not belong together"],
    );
}

#[test]
fn a_wrong_shape_is_named_with_both_shapes() {
    let copy = Copy::new();
    copy.edit_header("vae/diffusion_pytorch_model.safetensors", |header| {
        let shape = &mut header["decoder.layers.0.weight"]["shape"];
        let swapped: Vec<Value> = shape.as_array().expect("shape").iter().rev().cloned().collect();
        *shape = Value::Array(swapped);
    });
    says(&copy.refusal(), &["vae/", "decoder.layers.0.weight has shape [3, 3, 4, 32]", "expected [32, 4, 3, 3]"]);
}

#[test]
fn a_configuration_that_does_not_fit_the_weights_is_refused() {
    let copy = Copy::new();
    copy.edit_json("unet/config.json", |config| config["ff_mult"] = json!(4));
    says(&copy.refusal(), &["has shape", "expected"]);
}

#[test]
fn a_cut_file_is_told_from_a_wrong_one() {
    let copy = Copy::new();
    let bytes = fs::read(copy.path(UNET)).expect("read");
    for length in [bytes.len() - 1, bytes.len() / 2, 100, 5, 0] {
        fs::write(copy.path(UNET), &bytes[..length]).expect("write");
        says(&copy.refusal(), &[UNET, "cut off", "download it again"]);
    }
}

#[test]
fn pickles_are_never_read() {
    let copy = Copy::new();
    let bytes = fs::read(copy.path(UNET)).expect("read");
    for magic in [&b"PK\x03\x04archive"[..], &[0x80, 0x02, b'}'], &[0x80, 0x04, b'}']] {
        fs::write(copy.path(UNET), [magic, &bytes[..100]].concat()).expect("write");
        says(&copy.refusal(), &[UNET, "pickle", "safetensors"]);
    }
    fs::remove_file(copy.path(UNET)).expect("remove");
    fs::write(copy.path("unet/diffusion_pytorch_model.bin"), bytes).expect("write");
    says(&copy.refusal(), &["unet/diffusion_pytorch_model.bin", "pickle", "safetensors"]);
}

#[test]
fn a_broken_header_is_refused() {
    let copy = Copy::new();
    let huge = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    fs::write(copy.path(UNET), huge).expect("write");
    says(&copy.refusal(), &[UNET, "not a safetensors file"]);
    copy.write_header(UNET, b"{ this is no JSON", &[0; 64]);
    says(&copy.refusal(), &[UNET, "not JSON"]);
    let sides = [u64::MAX / 2, 3, 4, 5];
    for entry in [
        json!({"dtype": "F32", "shape": sides, "data_offsets": [0, 64]}),
        json!({"dtype": "F32", "shape": [16], "data_offsets": [64, 0]}),
        json!({"dtype": "F32", "shape": [17], "data_offsets": [0, 64]}),
        json!({"dtype": "F32", "shape": [-1], "data_offsets": [0, 64]}),
        json!({"dtype": "F32", "shape": [16]}),
        json!(7),
    ] {
        copy.write_header(UNET, json!({ "conv_in.weight": entry }).to_string().as_bytes(), &[0; 64]);
        says(&copy.refusal(), &[UNET, "conv_in.weight", "not a safetensors file"]);
    }
}

#[test]
fn numbers_of_another_type_are_refused() {
    let copy = Copy::new();
    copy.edit_header(UNET, |header| header["conv_in.bias"]["dtype"] = json!("I16"));
    says(&copy.refusal(), &["conv_in.bias", "I16", "F32, F16 and BF16"]);
}

#[test]
fn missing_and_broken_files_are_named() {
    for file in [
        "unet/config.json",
        "vae/config.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "tokenizer/tokenizer.json",
    ] {
        let copy = Copy::new();
        fs::write(copy.path(file), "{ no JSON").expect("write");
        says(&copy.refusal(), &[file]);
        fs::remove_file(copy.path(file)).expect("remove");
        says(&copy.refusal(), &[file, "missing"]);
    }
    let copy = Copy::new();
    fs::remove_file(copy.path(UNET)).expect("remove");
    says(&copy.refusal(), &["unet", "no weights"]);
}

#[test]
fn settings_that_are_not_computed_are_refused_by_name() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change, &str); 9] = [
        ("unet/config.json", |c| c["down_block_types"][0] = json!("SkipDownBlock2D"), "SkipDownBlock2D"),
        ("unet/config.json", |c| c["resnet_time_scale_shift"] = json!("scale_shift"), "resnet_time_scale_shift"),
        ("unet/config.json", |c| c["attention_head_dim"] = json!([1, 1]), "attention_head_dim"),
        ("unet/config.json", |c| c["attention_head_dim"] = json!([1, 1, 0]), "attention_head_dim"),
        ("unet/config.json", |c| c["norm_num_groups"] = json!(7), "norm_num_groups"),
        ("unet/config.json", |c| c["num_kv_heads"] = json!(3), "num_kv_heads"),
        ("vae/config.json", |c| c["act_fn"] = json!("mish"), "act_fn"),
        ("scheduler/scheduler_config.json", |c| c["use_karras_sigmas"] = json!(true), "use_karras_sigmas"),
        ("model_index.json", |c| c["_class_name"] = json!("FluxPipeline"), "FluxPipeline"),
    ];
    for (file, change, word) in cases {
        let copy = Copy::new();
        copy.edit_json(file, change);
        says(&copy.refusal(), &[file, word]);
    }
}

#[test]
fn old_block_names_mean_the_same_blocks() {
    let copy = Copy::new();
    copy.edit_json("unet/config.json", |config| {
        config["down_block_types"] =
            json!(["CrossAttnDownRemoveSelfAttnBlock2D", "CrossAttnDownRemoveSelfAttnBlock2D", "CrossAttnDownBlock2D"]);
        config["mid_block_type"] = json!("UNetMidBlock2DCrossAttn");
        config["up_block_types"] = json!(["CrossAttnUpBlock2D", "CrossAttnUpRemoveSelfAttnBlock2DV1", "UpBlock2D"]);
    });
    copy.add().expect("the names of the published main branch");
}

#[test]
fn an_index_may_not_lead_out_of_its_folder() {
    let copy = Copy::new();
    fs::remove_file(copy.path(UNET)).expect("remove");
    let index = copy.path("unet/diffusion_pytorch_model.safetensors.index.json");
    fs::write(&index, json!({"weight_map": {"conv_in.weight": "../vae/config.json"}}).to_string()).expect("write");
    says(&copy.refusal(), &["index.json", "not the name of a file beside it"]);
    fs::write(&index, json!({"weight_map": {"conv_in.weight": "part-1.safetensors"}}).to_string()).expect("write");
    says(&copy.refusal(), &["unet/part-1.safetensors", "missing"]);
}

#[test]
fn folders_that_are_no_checkpoints_are_told_apart() {
    let engine = DreamLiteEngine::new(Settings::default()).expect("an engine");
    let empty = tempfile::tempdir().expect("a folder");
    let reason = |path: &Path, name: &str| engine.add_model(path, name).expect_err("refused").reason;
    assert_eq!(reason(&empty.path().join("nowhere"), "x"), Reason::InvalidRequest);
    assert_eq!(reason(empty.path(), "x"), Reason::ModelInvalid);
    let copy = Copy::new();
    for name in ["", "a b", "../x", ".hidden", &"x".repeat(500)] {
        assert_eq!(reason(copy.0.path(), name), Reason::InvalidRequest, "{name:?}");
    }
    assert_eq!(reason(copy.0.path(), easel_engine::embedded::NAME), Reason::NameTaken);
    let info = engine.add_model(copy.0.path(), "copy").expect("a good folder");
    assert!(!info.demonstration);
    assert_eq!(engine.models().len(), 2);
}

#[test]
fn unknown_models_are_not_found() {
    let engine = DreamLiteEngine::new(Settings::default()).expect("an engine");
    match engine.load_denoiser("nobody", &StageControl::detached()) {
        Err(StageError::Failed(error)) => assert_eq!(error.reason, Reason::ModelNotFound),
        _ => panic!("a model that does not exist was loaded"),
    }
}

#[test]
fn a_file_that_breaks_after_it_was_added_fails_the_load() {
    let engine = DreamLiteEngine::empty(Settings::default());
    let copy = Copy::new();
    engine.add_model(copy.0.path(), "copy").expect("a good folder");
    let bytes = fs::read(copy.path(UNET)).expect("read");
    fs::write(copy.path(UNET), &bytes[..bytes.len() / 2]).expect("write");
    match engine.load_denoiser("copy", &StageControl::detached()) {
        Err(StageError::Failed(error)) => {
            assert_eq!(error.reason, Reason::ModelInvalid);
            says(&error.message, &["cut off"]);
        }
        _ => panic!("half a file was loaded"),
    }
    assert_eq!(engine.resident_bytes("copy"), 0);
}
