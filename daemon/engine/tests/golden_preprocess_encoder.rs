//! Source pictures as the encoder sees them against the reference: squashed bytes and patches, which have to be equal.
#![allow(clippy::print_stdout)]

mod support;

use candle_core::Device;
use easel_engine::Checkpoint;
use easel_engine::conditioning::config::EncoderConfig;
use easel_engine::conditioning::pixels::PixelSettings;
use support::{Check, Outcome, Reference, integers, run_kind};

#[test]
fn golden_preprocess_encoder() {
    run_kind("preprocess_encoder", case);
}

fn case(reference: &Reference, check: &mut Check<'_>) -> Outcome {
    // These cases belong to no checkpoint; their settings are those that all checkpoints of a folder share.
    let named = ["encode", "unet", "vae", "e2e"].into_iter().flat_map(|kind| reference.cases(kind));
    let Some(name) = named.filter_map(|case| case.checkpoint.as_deref()).next() else {
        return Err("no checkpoint in the reference folder to take the picture settings from".into());
    };
    let checkpoint = Checkpoint::folder(reference.checkpoint(name));
    let size = check.case.tensors["resized_512_u8"].shape[0];
    let settings = PixelSettings::load(&checkpoint, &EncoderConfig::load(&checkpoint)?.vision, size)?;
    let path = check.case.inputs["image"].as_str().ok_or("the case names no picture")?;
    let square = settings.squash(&easel_imaging::load(&std::fs::read(reference.golden(path))?)?);
    let bytes: Vec<i64> = square.pixels().iter().map(|byte| i64::from(*byte)).collect();
    check.equal("resized_512_u8", &bytes);
    let side = settings.patches_per_side() as i64;
    check.equal("image_grid_thw", &[1, side, side]);
    let rows: Vec<u32> = integers(&check.input("pixel_rows")?).iter().map(|row| *row as u32).collect();
    let rows = candle_core::Tensor::new(rows, &Device::Cpu)?;
    let patches = settings.patches(&square, &Device::Cpu)?.index_select(&rows, 0)?;
    // Subtracting 127.5 is exact and a division is rounded once, on every machine.
    check.close_within("pixel_values_rows", &patches, 0.0);
    Ok(())
}
