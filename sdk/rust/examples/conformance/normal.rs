//! The normal form of what this client gives.

use easel_sdk::{Code, Error, Event, EventKind, proto};
use serde_json::{Map, Value, json};

/// A line for an event.
pub(crate) fn event(of: &str, event: &Event) -> Value {
    let sequence = event.sequence;
    match &event.kind {
        EventKind::Accepted(generation) => line(of, "accepted", accepted(sequence, generation)),
        EventKind::Queued { position } => line(of, "queued", json!({"sequence": sequence, "position": position})),
        EventKind::Progress(at) => line(
            of,
            "progress",
            json!({
                "sequence": sequence,
                "stage": short(at.stage().as_str_name(), "STAGE"),
                "done": at.done,
                "total": at.total,
                "image": at.image_index,
                "fraction": at.fraction,
            }),
        ),
        EventKind::Preview(preview) => line(of, "preview", shown(preview)),
        EventKind::Succeeded(done) => {
            let images: Vec<_> = done.images.iter().map(image).collect();
            let facts = json!({"sequence": sequence, "images": images, "timings": timings(&done.timings)});
            line(of, "succeeded", facts)
        }
        EventKind::Ended(end) => {
            let state = if end.cancelled { "cancelled" } else { "failed" };
            line(of, "ended", json!({"sequence": sequence, "state": state, "error": error(&end.error)}))
        }
        EventKind::Snapshot(generation) => {
            line(of, "snapshot", json!({"sequence": sequence, "state": state(generation)}))
        }
    }
}

/// A line about `of`.
pub(crate) fn line(of: &str, what: &str, facts: Value) -> Value {
    let mut line = Map::new();
    if !of.is_empty() {
        line.insert("of".to_owned(), of.into());
    }
    line.insert(what.to_owned(), facts);
    line.into()
}

/// State of a generation.
pub(crate) fn state(generation: &proto::Generation) -> String {
    short(generation.state().as_str_name(), "GENERATION_STATE")
}

/// The names of stages in order of the alphabet.
pub(crate) fn timings(timings: &[proto::StageTiming]) -> Vec<String> {
    let mut names: Vec<_> = timings.iter().map(|timing| short(timing.stage().as_str_name(), "STAGE")).collect();
    names.sort();
    names
}

/// A generation as it stands.
pub(crate) fn generation(of: &str, found: &proto::Generation) -> Value {
    let images: Vec<_> = found.images.iter().filter_map(|result| result.image.as_ref()).map(|i| &i.sha256).collect();
    let failed = found.error.clone().map(|failed| error(&Error::from(failed)));
    line(of, "generation", json!({"state": state(found), "error": failed, "images": images}))
}

/// A session as it stands.
pub(crate) fn session(of: &str, found: &proto::Session) -> Value {
    let facts = json!({
        "name": found.name,
        "revisions": found.revision_count,
        "redo": found.redo_revision_ids.len(),
        "has_head": !found.head_revision_id.is_empty(),
    });
    line(of, "session", facts)
}

/// A revision.
pub(crate) fn revision(found: &proto::Revision) -> Value {
    let image = found.image.clone().unwrap_or_default();
    json!({
        "has_parent": !found.parent_revision_id.is_empty(),
        "size": [image.width, image.height],
        "sha256": image.sha256,
        "prompt": found.spec.as_ref().map_or("", |spec| &spec.prompt),
    })
}

/// A model.
pub(crate) fn model(found: &proto::Model) -> Value {
    json!({"name": found.name, "state": short(found.state().as_str_name(), "MODEL_STATE")})
}

/// An error.
pub(crate) fn error(error: &Error) -> Value {
    let fields: Vec<_> = error.violations.iter().map(|violation| &violation.field).collect();
    json!({
        "code": code(error.code),
        "reason": error.reason,
        "message": error.message,
        "fields": fields,
        "retry_ms": error.retry_after.map(|wait| wait.as_millis() as u64),
        "resource": error.resource.as_ref().map(|resource| [&resource.kind, &resource.name]),
        "metadata": error.metadata,
    })
}

/// An enum value without its prefix, in lower case.
pub(crate) fn short(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).trim_start_matches('_').to_lowercase()
}

fn accepted(sequence: u64, generation: &proto::Generation) -> Value {
    let resolved = generation.resolved.clone().unwrap_or_default();
    let stages: Vec<_> = resolved.stages().map(|stage| short(stage.as_str_name(), "STAGE")).collect();
    json!({
        "sequence": sequence,
        "mode": short(resolved.mode().as_str_name(), "MODE"),
        "model": resolved.model,
        "seed": resolved.seed.to_string(),
        "size": [resolved.width, resolved.height],
        "working_size": [resolved.working_width, resolved.working_height],
        "steps": resolved.num_inference_steps,
        "num_images": resolved.num_images,
        "format": short(resolved.output_format().as_str_name(), "IMAGE_FORMAT"),
        "stages": stages,
        "notes": resolved.notes,
    })
}

fn shown(preview: &proto::Preview) -> Value {
    let image = preview.image.clone().unwrap_or_default();
    json!({
        "number": preview.number,
        "image": preview.image_index,
        "step": preview.step,
        "format": short(image.format().as_str_name(), "IMAGE_FORMAT"),
        "size": [image.width, image.height],
        "bytes": image.inline.len(),
    })
}

fn image(result: &proto::ResultImage) -> Value {
    let image = result.image.clone().unwrap_or_default();
    json!({
        "index": result.index,
        "seed": result.seed.to_string(),
        "format": short(image.format().as_str_name(), "IMAGE_FORMAT"),
        "size": [image.width, image.height],
        "sha256": image.sha256,
    })
}

/// `InvalidArgument` as `INVALID_ARGUMENT`.
fn code(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}
