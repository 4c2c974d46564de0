//! `easel models quantize` and `easel selftest`: both work in this process, without a daemon.

use std::path::Path;

use serde_json::json;

use super::Context;
use super::args::SelftestArgs;
use crate::compose;
use crate::exit::{Exit, Failure};
use crate::output::words;

/// Layers that are shown to a person, the worst first; `--json` shows all.
const SHOWN_LAYERS: usize = 12;
/// What is drawn when no list is given.
const PROMPTS: [&str; 4] = [
    "a red circle above a blue square on a white background",
    "a bowl of ripe oranges on a wooden table, morning light",
    "a lighthouse on a rocky coast under heavy clouds",
    "a street in the rain at night, neon signs reflected on the pavement",
];

/// Writes the packed weights of a model.
pub(crate) fn quantise(context: &Context, model: &str) -> Result<(), Failure> {
    let output = &context.output;
    for (path, bytes) in compose::quantise(&context.effective, model)? {
        match output.is_json() {
            true => output.json(&json!({"event": "written", "file": path, "bytes": bytes})),
            false => output.line(&format!("wrote {} ({})", path.display(), words::bytes(bytes))),
        }
    }
    Ok(())
}

/// Measures how far the low precisions are from f32.
pub(crate) fn selftest(context: &Context, args: &SelftestArgs) -> Result<(), Failure> {
    use easel_engine::Checkpoint;
    use easel_engine::quality::{Finding, Plan};

    let prompts = match &args.prompts {
        Some(file) => read_prompts(file)?,
        None => PROMPTS.map(str::to_owned).to_vec(),
    };
    let size = args.size.map(|(width, height)| easel_domain::Size { width, height });
    let plan = Plan { checkpoint: Checkpoint::folder(&args.quality), prompts, seed: args.seed, size };
    let (mut pictures, mut layers) = (Vec::new(), Vec::new());
    compose::quality(&context.effective, &plan, &mut |finding| match finding {
        Finding::Picture { precisions, prompt, psnr_db } => pictures.push((precisions, prompt, psnr_db)),
        Finding::Layer { network, precision, layer, error } => layers.push((network, precision, layer, error)),
    })?;
    let output = &context.output;
    if output.is_json() {
        for (precisions, prompt, psnr_db) in &pictures {
            let [encoder, unet, vae] = [precisions.encoder, precisions.unet, precisions.vae].map(|p| p.name());
            let prompt = &plan.prompts[*prompt];
            output
                .json(&json!({"event": "picture", "text_encoder": encoder, "unet": unet, "vae": vae, "prompt": prompt,
                "psnr_db": if psnr_db.is_finite() { Some(psnr_db) } else { None }}));
        }
        for (network, precision, layer, error) in &layers {
            output.json(&json!({"event": "layer", "network": network.name(), "precision": precision.name(),
                "layer": layer, "relative_error": error}));
        }
        return Ok(());
    }
    let names = |p: &easel_domain::Precisions| format!("{} {} {}", p.encoder.name(), p.unet.name(), p.vae.name());
    let row = |(precisions, prompt, psnr_db): &(easel_domain::Precisions, usize, f64)| {
        let found = if psnr_db.is_finite() { format!("{psnr_db:.1} dB") } else { "equal".to_owned() };
        vec![names(precisions), found, plan.prompts[*prompt].clone()]
    };
    output.table(&["encoder, U-Net, VAE", "against f32", "prompt"], pictures.iter().map(row).collect());
    layers.sort_by(|a, b| b.3.total_cmp(&a.3));
    let row = |(network, precision, layer, error): &(easel_domain::Network, easel_domain::Precision, String, f64)| {
        vec![network.name().to_owned(), precision.name().to_owned(), format!("{:.2} %", error * 100.0), layer.clone()]
    };
    output.line(&format!("\nthe {SHOWN_LAYERS} of {} layers that differ most:", layers.len()));
    output.table(&["network", "precision", "error", "layer"], layers.iter().take(SHOWN_LAYERS).map(row).collect());
    Ok(())
}

/// One prompt for each line that is not empty.
fn read_prompts(file: &Path) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| Failure::new(Exit::NotFound, format!("{}: {error}", file.display())))?;
    let prompts: Vec<String> = text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect();
    if prompts.is_empty() {
        return Err(Failure::new(Exit::Request, format!("{} has no prompts: write one on each line", file.display())));
    }
    Ok(prompts)
}
