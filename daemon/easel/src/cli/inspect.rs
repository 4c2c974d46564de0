//! `easel inspect FILE`: what a picture says of its making.

use std::path::Path;

use easel_domain::provenance::{ColorMatchName, ModeName, Parameters, SelectionMark};
use serde_json::json;

use super::Context;
use super::picture_file::{Making, NOTHING, PictureFile};
use crate::exit::{Exit, Failure};

/// Shows it. Fails with `NotFound` when the file says nothing, and with `Request` when what it says cannot be read or the file is no
/// picture.
pub(crate) fn inspect(context: &Context, path: &Path) -> Result<(), Failure> {
    let file = PictureFile::read(path)?;
    let output = &context.output;
    let size = format!("{}x{}", file.width, file.height);
    if output.is_json() {
        let (parameters, problem) = match &file.making {
            Making::Said(parameters) => (json!(parameters), None),
            Making::Unsaid => (json!(null), Some(NOTHING.to_owned())),
            Making::Unusable(why) => (json!(null), Some(why.clone())),
        };
        output.json(&json!({
            "event": "picture", "file": path.display().to_string(), "format": file.format, "width": file.width,
            "height": file.height, "size_bytes": file.bytes.len(), "parameters": parameters, "problem": problem,
        }));
        return match &file.making {
            Making::Said(_) => Ok(()),
            Making::Unsaid => Err(Failure::new(Exit::NotFound, "")),
            Making::Unusable(_) => Err(Failure::new(Exit::Request, "")),
        };
    }
    output.line(&format!("{}: {} of {size}", path.display(), file.format.to_uppercase()));
    let parameters = file.parameters()?;
    let rows = rows(parameters);
    let widest = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in &rows {
        output.line(&format!("  {name:widest$}  {value}"));
    }
    if (parameters.width, parameters.height) != (file.width, file.height) {
        output.note(&format!("the file has {size} now: another program has scaled, cut or turned the picture"));
    }
    Ok(())
}

fn rows(told: &Parameters) -> Vec<(&'static str, String)> {
    // Quoted: a text of a stranger must not move the cursor of the terminal.
    let quoted = |text: &str| format!("{text:?}");
    let or_unknown = |text: String| if text.is_empty() { "unknown".to_owned() } else { text };
    let edit = told.mode == ModeName::Edit;
    let mut rows = vec![(if edit { "instruction" } else { "prompt" }, quoted(&told.prompt))];
    if !told.negative_prompt.is_empty() {
        rows.push(("negative prompt", quoted(&told.negative_prompt)));
    }
    rows.push(("seed", told.seed.to_string()));
    rows.push(("size", format!("{}x{}", told.width, told.height)));
    if (told.working_width, told.working_height) != (told.width, told.height) {
        rows.push(("worked at", format!("{}x{}", told.working_width, told.working_height)));
    }
    rows.push(("steps", told.num_inference_steps.to_string()));
    if !told.sigmas.is_empty() {
        rows.push(("sigmas", told.sigmas.iter().map(f32::to_string).collect::<Vec<_>>().join(" ")));
    }
    let scales = [("guidance", told.guidance_scale), ("image guidance", told.image_guidance_scale)];
    rows.extend(scales.into_iter().filter_map(|(name, scale)| Some((name, scale?.to_string()))));
    if let Some(source) = told.source_sha256 {
        rows.push(("source", format!("sha256:{source}")));
    }
    if let Some(selection) = &told.selection {
        rows.push(("selection", selected(selection)));
    }
    let model = &told.model;
    rows.push(("model", quoted(&model.name)));
    rows.push(("weights", model.sha256.map_or("unknown".to_owned(), |hash| format!("sha256:{hash}"))));
    rows.push(("licence", or_unknown(model.license.escape_debug().to_string())));
    let precisions = [("encoder", &model.text_encoder), ("unet", &model.unet), ("vae", &model.vae)];
    let precisions = precisions.map(|(name, precision)| format!("{name} {}", precision.escape_debug()));
    rows.push(("precisions", precisions.join(", ")));
    for lora in &told.loras {
        let name = lora.name.as_deref().map_or("an uploaded one".to_owned(), quoted);
        rows.push(("lora", format!("{name} at {}, sha256:{}", lora.weight, lora.sha256)));
    }
    rows.push(("easel", told.easel_version.escape_debug().to_string()));
    rows
}

fn selected(told: &SelectionMark) -> String {
    let area = match (told.rectangle, told.mask_sha256) {
        (Some(rect), _) => rect.to_string(),
        (None, Some(hash)) => format!("mask sha256:{hash}"),
        (None, None) => "nothing".to_owned(),
    };
    let at = told.mask_offset.map(|(x, y)| format!("at {x},{y}"));
    let widths = [("grown", told.grow_px.unsigned_abs()), ("feathered", told.feather_px), ("blended", told.blend_px)];
    let widths = widths.into_iter().filter(|(_, px)| *px > 0).map(|(what, px)| format!("{what} by {px} px"));
    let context = told.context_px.map(|px| format!("{px} px of context"));
    let colours = (told.color_match != ColorMatchName::None)
        .then(|| format!("colours matched: {:?}", told.color_match).to_lowercase());
    let held = told.denoise_mask.then(|| "denoised by the mask".to_owned());
    let layer = told.layer.then(|| "as a layer".to_owned());
    let more = at.into_iter().chain(widths).chain(context).chain(colours).chain(held).chain(layer);
    std::iter::once(area).chain(more).collect::<Vec<_>>().join(", ")
}
