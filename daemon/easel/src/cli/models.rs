//! `easel models`: list, add, load, unload.

use std::path::Path;

use easel_sdk::{Easel, proto};
use serde_json::{Value, json};

use super::args::ModelsAction;
use super::session::Session;
use super::{Context, Interrupt};
use crate::exit::{Exit, Failure};
use crate::output::{Output, words};

/// Does what `action` says; without one it lists.
pub(crate) async fn models(context: &Context, action: Option<ModelsAction>) -> Result<(), Failure> {
    let mut interrupt = Interrupt::take_over()?;
    let session = Session::open(context).await?;
    let (client, output) = (&session.client, &context.output);
    let work = async {
        match action.unwrap_or(ModelsAction::List) {
            ModelsAction::List => list(client, output).await,
            ModelsAction::Add { folder, name } => add(client, output, &folder, name).await,
            ModelsAction::Load { name } => load(client, output, name).await,
            #[cfg(feature = "dreamlite")]
            ModelsAction::Quantize { name, .. } => super::quantise(context, &name),
            ModelsAction::Unload { name } => {
                show(output, &client.unload_model(name).await?, "unloaded");
                Ok(())
            }
        }
    };
    let done = tokio::select! {
        done = work => done,
        () = interrupt.wait() => Err(Failure::interrupted()),
    };
    session.close().await;
    done
}

async fn list(client: &Easel, output: &Output) -> Result<(), Failure> {
    let models = client.models().await?;
    if output.is_json() {
        models.iter().for_each(|model| output.json(&described(model)));
        return Ok(());
    }
    let rows = models
        .iter()
        .map(|model| {
            let name = if model.default { format!("{} (default)", model.name) } else { model.name.clone() };
            vec![
                name,
                words::lower(model.state().as_str_name(), "MODEL_STATE_"),
                words::lower(model.pipeline().as_str_name(), "PIPELINE_"),
                format!("{}x{}", model.native_width, model.native_height),
                words::count(model.parameters),
                words::bytes(model.file_bytes),
                format!("{} {} {}", model.text_encoder_precision, model.unet_precision, model.vae_precision),
                if model.license.is_empty() { "unknown".to_owned() } else { model.license.clone() },
            ]
        })
        .collect();
    output.table(&["name", "state", "pipeline", "native", "parameters", "files", "precision", "licence"], rows);
    for model in &models {
        output.line(&format!("\n{}: {}", model.name, model.description));
        if !model.problem.is_empty() {
            output.line(&format!("  could not be loaded: {}", model.problem));
        }
        if !model.fallback_layers.is_empty() {
            output.line(&format!(
                "  layers whose shape does not allow that precision: {}",
                model.fallback_layers.join(", ")
            ));
        }
    }
    Ok(())
}

async fn add(client: &Easel, output: &Output, folder: &Path, name: Option<String>) -> Result<(), Failure> {
    // The daemon has another working folder, and what it remembers must hold after this command.
    let absolute = folder.canonicalize();
    let absolute = absolute.map_err(|error| Failure::new(Exit::NotFound, format!("{}: {error}", folder.display())))?;
    let text = absolute.to_str();
    let text = text.ok_or_else(|| Failure::new(Exit::Request, "the folder's path is not valid UTF-8: rename it"))?;
    let model = client.add_model(text, name).await?;
    show(output, &model, "added");
    if !output.is_json() {
        output.line(&format!("try it: easel generate \"...\" --model {} -o out.png", model.name));
    }
    Ok(())
}

async fn load(client: &Easel, output: &Output, name: String) -> Result<(), Failure> {
    let mut loading = client.load_model(name).await?;
    let mut last = None;
    while let Some(step) = loading.next().await {
        let (model, fraction) = step?;
        match output.is_json() {
            true => output.json(&json!({"event": "loading", "model": model.name, "fraction": fraction})),
            false => output.note(&format!("{}: {:.0} %", model.name, fraction * 100.0)),
        }
        last = Some(model);
    }
    let model = last.ok_or_else(|| Failure::new(Exit::Fault, "the daemon said nothing about the model"))?;
    if model.state() == proto::ModelState::Failed {
        return Err(Failure::new(Exit::Request, model.problem));
    }
    show(output, &model, "loaded");
    Ok(())
}

fn show(output: &Output, model: &proto::Model, what: &str) {
    match output.is_json() {
        true => output.json(&described(model)),
        false => output.line(&format!("{what} {}: {}", model.name, model.description)),
    }
}

fn described(model: &proto::Model) -> Value {
    let modes: Vec<_> = model.modes().map(|mode| words::lower(mode.as_str_name(), "MODE_")).collect();
    json!({
        "name": model.name,
        "default": model.default,
        "demonstration": model.demonstration,
        "description": model.description,
        "state": words::lower(model.state().as_str_name(), "MODEL_STATE_"),
        "problem": model.problem,
        "pipeline": words::lower(model.pipeline().as_str_name(), "PIPELINE_"),
        "modes": modes,
        "native_width": model.native_width,
        "native_height": model.native_height,
        "min_edge_px": model.min_edge_px,
        "max_edge_px": model.max_edge_px,
        "default_num_inference_steps": model.default_num_inference_steps,
        "default_guidance_scale": model.default_guidance_scale,
        "default_image_guidance_scale": model.default_image_guidance_scale,
        "parameters": model.parameters,
        "file_bytes": model.file_bytes,
        "resident_bytes": model.resident_bytes,
        "license": model.license,
        "text_encoder_precision": model.text_encoder_precision,
        "unet_precision": model.unet_precision,
        "vae_precision": model.vae_precision,
        "weights_sha256": model.weights_sha256,
        "fallback_layers": model.fallback_layers,
    })
}
