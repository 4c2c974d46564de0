//! Files of packed weights: a network that is read from one is the network that is packed from its checkpoint, and a file
//! that is damaged or belongs to other weights is told apart.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use easel_domain::engine::{EncodeSpec, Encoder as _, Engine as _, StageControl};
use easel_domain::{Mode, Network, Precision, Precisions, Reason};
use easel_engine::engine::{DreamLiteEngine, Settings};
use easel_engine::error::LoadError;
use easel_engine::pass::Pass;
use easel_engine::prepared::{self, Prepared};
use easel_engine::unet::UNet;
use easel_engine::weights::packing::Packing;
use easel_engine::{Checkpoint, conditioning};

const INT8: (Network, Precision) = (Network::Unet, Precision::Int8);

/// A copy of the embedded model that may be changed.
fn copied(folder: &Path) -> PathBuf {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("a folder");
        for entry in fs::read_dir(from).expect("a folder").flatten() {
            let (path, target) = (entry.path(), to.join(entry.file_name()));
            match path.is_dir() {
                true => copy(&path, &target),
                false => assert!(fs::copy(path, target).expect("a copy") > 0),
            }
        }
    }
    let model = folder.join("model");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/dreamlite-nano"), &model);
    model
}

fn velocity(checkpoint: &Checkpoint) -> Vec<f32> {
    let unet = UNet::load(checkpoint, &Device::Cpu).expect("the U-Net");
    let control = StageControl::detached();
    let mut pass = Pass::new(&control);
    let width = unet.config().prompt_embed_dim;
    let embeds = Tensor::arange(0f32, 5.0 * width as f32, &Device::Cpu).and_then(|x| x.sin()?.reshape((1, 5, width)));
    let conditioning =
        unet.condition(&embeds.expect("embeds"), None, &[(64.0, 64.0)], &mut pass).expect("conditioning");
    let x = Tensor::arange(0f32, 4.0 * 128.0, &Device::Cpu).and_then(|x| x.cos()?.reshape((1, 4, 8, 16)));
    let out = unet.forward(&x.expect("noise"), &[500.0], &conditioning, &mut pass).expect("a velocity");
    out.flatten_all().and_then(|out| out.to_vec1()).expect("numbers")
}

fn open(path: &Path, checkpoint: &Checkpoint) -> Result<Option<Prepared>, LoadError> {
    Prepared::open(path, checkpoint, INT8.0, INT8.1)
}

#[test]
fn a_prepared_network_is_the_packed_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint = Checkpoint::folder(copied(folder.path()));
    let path = prepared::path_of(folder.path(), "nano", INT8.0, INT8.1);
    assert!(open(&path, &checkpoint).expect("no file is no error").is_none());
    let bytes = prepared::write(&path, &checkpoint, INT8, &conditioning::Settings::default()).expect("written");
    assert_eq!(fs::metadata(&path).expect("a file").len(), bytes);
    let prepared = open(&path, &checkpoint).expect("a good file").expect("a file");
    let packed = checkpoint.with_packing(Packing::new(INT8.1));
    let read = checkpoint.with_packing(Packing::prepared(INT8.1, prepared));
    assert_eq!(velocity(&packed), velocity(&read));
    assert_ne!(velocity(&packed), velocity(&checkpoint), "8 bits are not f32");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 2, "nothing unfinished is left");
}

#[test]
fn other_weights_are_noticed_and_a_copy_of_the_same_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = copied(folder.path());
    let checkpoint = Checkpoint::folder(&model);
    let path = folder.path().join("packed.safetensors");
    prepared::write(&path, &checkpoint, INT8, &conditioning::Settings::default()).expect("written");
    let weights = model.join("unet/diffusion_pytorch_model.safetensors");
    let mut content = fs::read(&weights).expect("weights");
    fs::write(&weights, &content).expect("written again");
    assert!(open(&path, &checkpoint).expect("the same content").is_some());
    let last = content.len() - 1;
    content[last] ^= 1;
    fs::write(&weights, &content).expect("changed");
    let error = open(&path, &checkpoint).map(|_| ()).expect_err("other content");
    assert!(matches!(error, LoadError::Stale { .. }) && error.to_string().contains("easel models quantize"), "{error}");
}

#[test]
fn damage_is_noticed_wherever_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint = Checkpoint::folder(copied(folder.path()));
    let path = folder.path().join("packed.safetensors");
    prepared::write(&path, &checkpoint, INT8, &conditioning::Settings::default()).expect("written");
    let good = fs::read(&path).expect("a file");
    let length = good.len();
    let mut changed: Vec<Vec<u8>> = [0, 9, 200, length / 2, length - 1]
        .into_iter()
        .map(|at| {
            let mut bytes = good.clone();
            bytes[at] ^= 0x55;
            bytes
        })
        .collect();
    changed.extend([vec![], good[..7].to_vec(), good[..length - 1].to_vec(), good[..length / 2].to_vec()]);
    for (number, bytes) in changed.iter().enumerate() {
        fs::write(&path, bytes).expect("damaged");
        let error = open(&path, &checkpoint).map(|_| ()).expect_err("damage");
        assert!(matches!(error, LoadError::Damaged { .. } | LoadError::Stale { .. }), "{number}: {error:?}");
    }
    let other = Prepared::open(&path, &checkpoint, Network::Vae, Precision::Int8).map(|_| ());
    assert!(matches!(other, Err(LoadError::Damaged { .. })));
}

#[test]
fn an_engine_uses_what_it_has_prepared_and_packs_anew_what_is_damaged() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = copied(folder.path());
    let prepared_dir = folder.path().join("prepared");
    let engine = |precisions: Precisions| {
        let settings = Settings { precisions, prepared_dir: Some(prepared_dir.clone()), ..Settings::default() };
        let engine = DreamLiteEngine::empty(settings);
        engine.add_model(&model, "nano").expect("the model");
        engine
    };
    let encode = |engine: &DreamLiteEngine| {
        let control = StageControl::detached();
        let mut encoder = engine.load_encoder("nano", &control).expect("the encoder");
        let spec = EncodeSpec {
            mode: Mode::Generate,
            prompt: "a red circle".into(),
            negative_prompt: String::new(),
            image: None,
        };
        let (embeds, _) = encoder.encode(&spec, &control).expect("embeddings");
        embeds.branches()[0].flatten_all().and_then(|x| x.to_vec1::<f32>()).expect("numbers")
    };
    let engine_of = |encoder| engine(Precisions { encoder, unet: Precision::Int8, vae: Precision::Int8 });
    let low = engine_of(Precision::Q4K);
    let fallbacks = low.models().remove(0).fallback_layers;
    assert!(!fallbacks.is_empty() && fallbacks.iter().all(|layer| layer.ends_with(" as q8_0")), "{fallbacks:?}");
    let anew = encode(&low);
    let files = low.quantise("nano").expect("written");
    assert_eq!(files.len(), 3);
    assert_eq!(encode(&low), anew);
    fs::write(&files[0].0, b"nothing").expect("damaged");
    assert_eq!(encode(&low), anew);
    let error = engine(Precisions::default()).quantise("nano").expect_err("nothing to pack");
    assert_eq!(error.reason, Reason::InvalidRequest);
}
