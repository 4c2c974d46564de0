//! `easel replay PICTURE`: makes a picture again from what its file says, and compares.

use easel_domain::provenance::{ColorMatchName, ModeName, Parameters, SelectionMark};
use easel_sdk::proto::selection::Area;
use easel_sdk::proto::{self, image_source, lora};
use easel_sdk::{Easel, Error};
use serde_json::{Value, json};

use super::args::ReplayArgs;
use super::follow::finish;
use super::picture_file::{Making, PictureFile, difference, verdict};
use super::pictures::{read_input, write_new};
use super::session::Session;
use super::{Context, Interrupt};
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// How far what was made is from what there was.
struct Comparison {
    same_bytes: bool,
    /// Largest difference of a channel; `None` when the sizes differ.
    max_difference: Option<u8>,
    /// What the two files say differently, then and now.
    differences: Vec<(String, Value, Value)>,
}

/// Makes it again. Fails when a pixel differs by more than the tolerance.
pub(super) async fn replay(context: &Context, args: &ReplayArgs, file: &PictureFile) -> Result<(), Failure> {
    let parameters = file.parameters()?;
    let [source, mask] = [&args.source, &args.mask].map(|path| path.as_deref().map(read_input).transpose());
    let (source, mask) = (source?, mask?);
    let mut interrupt = Interrupt::take_over()?;
    let session = Session::open(context).await?;
    let made = make(&session.client, &context.output, (file, parameters), (source, mask), &mut interrupt).await;
    session.close().await;
    let made = made?;
    if let Some(path) = &args.output {
        write_new(path, &made, args.force)?;
    }
    tell(&context.output, args, &compare(file, parameters, &made))
}

async fn make(
    client: &Easel,
    output: &Output,
    (file, parameters): (&PictureFile, &Parameters),
    (source, mask): (Option<Vec<u8>>, Option<Vec<u8>>),
    interrupt: &mut Interrupt,
) -> Result<Vec<u8>, Failure> {
    let mut spec = spec(parameters, file.format);
    if let (ModeName::Edit, Some(bytes)) = (parameters.mode, source) {
        let hash = client.upload(&bytes).await?;
        if parameters.source_sha256.is_none_or(|wanted| wanted.to_string() != hash) {
            output.note("the source is another file than the one that was edited: the picture may differ");
        }
        spec.image = Some(by_hash(hash));
    }
    if let (Some(Area::Mask(wanted)), Some(bytes)) = (spec.selection.as_mut().and_then(|s| s.area.as_mut()), mask) {
        let hash = client.upload(&bytes).await?;
        if wanted.image != Some(by_hash(hash.clone())) {
            output.note("the mask is another file than the one that was used: the picture may differ");
        }
        wanted.image = Some(by_hash(hash));
    }
    let stream = client.run_spec(spec, proto::RunPolicy::default()).await.map_err(explained)?;
    let done = finish(client, stream, output, interrupt).await?;
    let image = done.images.into_iter().next().and_then(|made| made.image);
    let image = image.ok_or_else(|| Failure::new(Exit::Fault, "the daemon sent no picture"))?;
    Ok(client.picture(&image).await?)
}

/// The request that makes it again. The daemon judges what is wrong in it.
fn spec(told: &Parameters, format: &str) -> proto::GenerationSpec {
    // What was scaled, or put into a canvas, has the size of its source.
    let own_size = told.selection.is_none() && (told.width, told.height) == (told.working_width, told.working_height);
    let format = match format {
        "jpeg" => proto::ImageFormat::Jpeg,
        "webp" => proto::ImageFormat::Webp,
        "tiff" => proto::ImageFormat::Tiff,
        _ => proto::ImageFormat::Png,
    };
    let mode = if told.mode == ModeName::Edit { proto::Mode::Edit } else { proto::Mode::Generate };
    let loras = told.loras.iter().map(|used| proto::Lora {
        source: Some(match &used.name {
            Some(name) => lora::Source::Name(name.clone()),
            None => lora::Source::Sha256(used.sha256.to_string()),
        }),
        weight: Some(used.weight),
    });
    proto::GenerationSpec {
        mode: mode.into(),
        model: told.model.name.clone(),
        prompt: told.prompt.clone(),
        negative_prompt: told.negative_prompt.clone(),
        image: told.source_sha256.map(|hash| by_hash(hash.to_string())),
        selection: told.selection.as_ref().map(selection),
        width: own_size.then_some(told.width),
        height: own_size.then_some(told.height),
        num_inference_steps: told.sigmas.is_empty().then_some(told.num_inference_steps),
        sigmas: told.sigmas.clone(),
        guidance_scale: told.guidance_scale,
        image_guidance_scale: told.image_guidance_scale,
        loras: loras.collect(),
        seed: Some(told.seed),
        output_format: format.into(),
        provenance: proto::Provenance::Embed.into(),
        ..Default::default()
    }
}

fn selection(told: &SelectionMark) -> proto::Selection {
    let whole = |v: i32| u32::try_from(v).unwrap_or(u32::MAX);
    let rectangle = told.rectangle.map(|rect| {
        let (x, y) = (whole(rect.x), whole(rect.y));
        Area::Rectangle(proto::PixelRect { x, y, width: rect.width, height: rect.height })
    });
    let mask = told.mask_sha256.map(|hash| {
        let offset = told.mask_offset.map(|(x, y)| proto::PixelOffset { x, y });
        Area::Mask(proto::SelectionMask { image: Some(by_hash(hash.to_string())), offset })
    });
    let color_match = match told.color_match {
        ColorMatchName::None => proto::ColorMatch::None,
        ColorMatchName::Linear => proto::ColorMatch::Linear,
        ColorMatchName::Perceptual => proto::ColorMatch::Perceptual,
    };
    let result = if told.layer { proto::SelectionResult::Layer } else { proto::SelectionResult::Canvas };
    proto::Selection {
        area: rectangle.or(mask),
        grow_px: Some(whole(told.grow_px)),
        feather_px: Some(told.feather_px),
        blend_px: Some(told.blend_px),
        context_px: told.context_px,
        color_match: color_match.into(),
        denoise_mask: told.denoise_mask,
        result: result.into(),
    }
}

fn by_hash(hash: String) -> proto::ImageSource {
    proto::ImageSource { source: Some(image_source::Source::Sha256(hash)) }
}

/// What the caller can do about what is missing.
fn explained(error: Error) -> Failure {
    let hint = match error.reason.as_str() {
        "BLOB_NOT_FOUND" => {
            "; the daemon does not have what was edited: give it with --source FILE, and its mask with --mask FILE"
        }
        "MODEL_NOT_FOUND" => "; add the checkpoint under that name, see `easel models add`",
        "LORA_NOT_FOUND" => "; put the file into the folder of LoRAs, see `easel loras`",
        _ => return error.into(),
    };
    let mut failure = Failure::from(error);
    failure.message.push_str(hint);
    failure
}

fn compare(file: &PictureFile, told: &Parameters, made: &[u8]) -> Comparison {
    let same_bytes = file.bytes == made;
    let max_difference = if same_bytes { Some(0) } else { difference(made, &file.bytes) };
    let now = super::picture_file::making(made);
    let (then, now) = (json!(told), if let Making::Said(now) = &now { json!(now) } else { json!({}) });
    let mut differences = Vec::new();
    collect(&mut differences, "", &then, &now);
    Comparison { same_bytes, max_difference, differences }
}

/// Where two JSON values differ, by the paths of the fields.
fn collect(found: &mut Vec<(String, Value, Value)>, path: &str, then: &Value, now: &Value) {
    let (Value::Object(a), Value::Object(b)) = (then, now) else {
        if then != now {
            found.push((path.to_owned(), then.clone(), now.clone()));
        }
        return;
    };
    let mut names: Vec<_> = a.keys().chain(b.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(found, &path, a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null));
    }
}

fn tell(output: &Output, args: &ReplayArgs, found: &Comparison) -> Result<(), Failure> {
    let same = found.max_difference.is_some_and(|by| by <= args.tolerance);
    if output.is_json() {
        let differences = found.differences.iter().map(|(f, then, now)| json!({"field": f, "then": then, "now": now}));
        output.json(&json!({
            "event": "replayed", "exact": found.same_bytes, "same": same, "max_difference": found.max_difference,
            "differences": differences.collect::<Vec<_>>(),
        }));
    } else {
        for (field, then, now) in &found.differences {
            output.note(&format!("{field} was {then} and is {now}"));
        }
        output.line(&verdict(found.same_bytes, found.max_difference, "another size"));
    }
    if same {
        return Ok(());
    }
    let why = if found.differences.is_empty() {
        "the file was changed after it was made, or another machine or device made it"
    } else {
        "it was made under other circumstances, as listed"
    };
    Err(Failure::new(Exit::Fault, format!("the picture came out different: {why}")))
}
