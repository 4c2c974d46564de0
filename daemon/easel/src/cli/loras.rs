//! `easel loras`: the LoRAs of the daemon's folder.

use easel_sdk::proto::LoraInfo;
use serde_json::{Value, json};

use super::Context;
use super::session::Session;
use crate::exit::Failure;
use crate::output::words;

/// Lists the folder that the setting lora_folder names.
pub(crate) async fn loras(context: &Context) -> Result<(), Failure> {
    let session = Session::open(context).await?;
    let listed = session.client.loras().await;
    session.close().await;
    let (listed, output) = (listed?, &context.output);
    if output.is_json() {
        listed.iter().for_each(|lora| output.json(&as_json(lora)));
        return Ok(());
    }
    if listed.is_empty() {
        output.note("no LoRAs: put .safetensors files into a folder and name it with the setting lora_folder");
        return Ok(());
    }
    output.table(&["name", "rank", "layers", "size", "models"], listed.iter().map(row).collect());
    for lora in listed.iter().filter(|lora| !lora.problem.is_empty()) {
        output.line(&format!("\n{} cannot be used: {}", lora.name, lora.problem));
    }
    Ok(())
}

fn row(lora: &LoraInfo) -> Vec<String> {
    let rank = match (lora.min_rank, lora.max_rank) {
        (least, most) if least == most => most.to_string(),
        (least, most) => format!("{least} to {most}"),
    };
    let models = if lora.models.is_empty() { "none".to_owned() } else { lora.models.join(", ") };
    vec![lora.name.clone(), rank, lora.layers.to_string(), words::bytes(lora.file_bytes), models]
}

fn as_json(lora: &LoraInfo) -> Value {
    json!({
        "name": lora.name,
        "min_rank": lora.min_rank,
        "max_rank": lora.max_rank,
        "layers": lora.layers,
        "file_bytes": lora.file_bytes,
        "models": lora.models,
        "problem": lora.problem,
    })
}
