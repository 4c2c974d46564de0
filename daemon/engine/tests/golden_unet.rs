//! The U-Net against the reference, every recorded module of every case.

mod support;

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use easel_domain::engine::StageControl;
use easel_engine::Checkpoint;
use easel_engine::pass::{Pass, Tap};
use easel_engine::unet::UNet;
use support::{Check, Outcome, Reference, run_kind};

struct Recorder {
    outputs: HashMap<String, Tensor>,
}

impl Tap for Recorder {
    fn record(&mut self, path: &str, output: &Tensor) {
        self.outputs.insert(path.to_owned(), output.clone());
    }
}

#[test]
fn golden_unet() {
    run_kind("unet", case);
}

fn case(reference: &Reference, check: &mut Check<'_>) -> Outcome {
    let checkpoint = Checkpoint::folder(check.checkpoint(reference));
    let unet = UNet::load(&checkpoint, &Device::Cpu)?;
    let sample = check.input("in.sample")?;
    let timesteps: Vec<f32> = check.input("in.timestep")?.to_vec1()?;
    let prompt_embeds = check.input("in.encoder_hidden_states")?;
    let ids: Vec<Vec<f32>> = check.input("in.time_ids")?.to_dtype(DType::F32)?.to_vec2()?;
    let ids: Vec<(f32, f32)> = ids.iter().map(|pair| (pair[0], pair[1])).collect();
    let mask = match check.has("in.encoder_attention_mask") {
        true => Some(check.input("in.encoder_attention_mask")?),
        false => None,
    };
    let control = StageControl::detached();
    let mut recorder = Recorder { outputs: HashMap::new() };
    let mut pass = Pass::observed(&control, &mut recorder);
    let conditioning = unet.condition(&prompt_embeds, mask.as_ref(), &ids, &mut pass)?;
    let output = unet.forward(&sample, &timesteps, &conditioning, &mut pass)?;
    recorder.outputs.insert("output".into(), output.clone());
    for key in check.keys().into_iter().filter(|key| !key.starts_with("in.")) {
        match recorder.outputs.get(&key) {
            Some(got) => check.close(&key, got),
            None => check.fail(format!("{key} was never computed")),
        }
    }
    // Observing must not change what is computed.
    let mut plain = Pass::new(&control);
    let again = unet.forward(&sample, &timesteps, &conditioning, &mut plain)?;
    let difference = (again - output)?.abs()?.max_all()?.to_scalar::<f32>()?;
    if difference != 0.0 {
        check.fail(format!("the output without an observer differs by {difference}"));
    }
    Ok(())
}
