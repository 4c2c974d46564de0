//! Sessions, revisions and replays, in both directions.

use std::time::SystemTime;

use bytes::Bytes;
use easel_domain::limits::{
    MAX_LORAS, MAX_NUM_INFERENCE_STEPS, MAX_PROMPT_BYTES, MAX_REPLAY_STEPS, MAX_SEEN_GENERATIONS,
    MAX_SESSION_NAME_BYTES,
};
use easel_domain::lora::is_lora_name;
use easel_domain::session::{Difference, Draft, Replay, ReplayPicture, ReplayStep, Revision, Session, SessionEdit};
use easel_domain::{
    BlobHash, DisconnectPolicy, Error, GenerationId, GenerationRequest, Guidance, ImageFormat, LoraId, LoraUse, Mode,
    Plan, PlannedLora, Reason, RevisionId, RunPolicy, SessionId, Size,
};
use easel_proto::v1;
use easel_proto::v1::image_source::Source;
use easel_runtime::{Cleaned, SessionUpdate};

use super::request::{Brought, Inline, Submission, submission};
use super::{Check, InlineBudget, event, image, names, selection, time};

const DEFAULT_PAGE_SIZE: u32 = 50;
const MAX_PAGE_SIZE: u32 = 500;
/// Version of the message of a replay.
const REPLAY_FORMAT: u32 = 1;

/// A page of a list.
pub(crate) struct Page {
    /// At most this many.
    pub(crate) size: usize,
    /// Token of the page before.
    pub(crate) token: Option<String>,
}

/// The id of a session; it is only looked up.
pub(crate) fn session_id(text: String) -> Result<SessionId, Error> {
    let mut check = Check::default();
    check.filled("session_id", &text);
    check.finish(SessionId::new(text))
}

/// What a viewer of a session names: the session, and how far it has seen which generations.
pub(crate) fn viewer(
    session: String,
    seen: Vec<v1::SeenGeneration>,
) -> Result<(SessionId, Vec<(GenerationId, u64)>), Error> {
    let mut check = Check::default();
    check.filled("session_id", &session);
    if seen.len() > MAX_SEEN_GENERATIONS {
        check.wrong("seen", format!("has {} generations, at most {MAX_SEEN_GENERATIONS} are taken", seen.len()));
    }
    let seen = seen
        .into_iter()
        .take(MAX_SEEN_GENERATIONS)
        .enumerate()
        .map(|(i, seen)| (check.id(&format!("seen[{i}].generation_id"), seen.generation_id), seen.sequence));
    let seen = seen.collect();
    check.finish((SessionId::new(session), seen))
}

/// The ids of a session and a revision of it.
pub(crate) fn revision_id(session: String, revision: String) -> Result<(SessionId, RevisionId), Error> {
    let mut check = Check::default();
    check.filled("session_id", &session);
    check.filled("revision_id", &revision);
    check.finish((SessionId::new(session), RevisionId::new(revision)))
}

/// What a new session begins with: name, and the picture by its hash or inline.
pub(crate) fn create(wire: v1::CreateSessionRequest) -> Result<(String, Option<BlobHash>, Option<Brought>), Error> {
    let mut check = Check::default();
    name(&mut check, &wire.name);
    let (hash, inline) = super::request::source(&mut check, "image", wire.image);
    check.finish((wire.name, hash, inline))
}

/// What is changed of a session.
pub(crate) fn update(wire: v1::UpdateSessionRequest) -> Result<(SessionId, SessionUpdate), Error> {
    let mut check = Check::default();
    check.filled("session_id", &wire.session_id);
    wire.name.iter().for_each(|text| name(&mut check, text));
    let draft = wire.draft.map(|wire| draft(&mut check, wire));
    let update = SessionUpdate { name: wire.name, pinned: wire.pinned, draft };
    check.finish((SessionId::new(wire.session_id), update))
}

/// A draft that stands alone.
pub(crate) fn lone_draft(wire: v1::Draft) -> Result<Draft, Error> {
    let mut check = Check::default();
    let draft = draft(&mut check, wire);
    check.finish(draft)
}

fn draft(check: &mut Check, wire: v1::Draft) -> Draft {
    let bytes = wire.instruction.len();
    if bytes > MAX_PROMPT_BYTES {
        check.wrong("draft.instruction", format!("has {bytes} bytes, {MAX_PROMPT_BYTES} are allowed: shorten it"));
    }
    let selection = wire.selection.and_then(|wanted| {
        let (selection, inline) = selection::read(check, "draft.selection", wanted);
        if inline.is_some() {
            check.wrong(
                "draft.selection.mask.image",
                "is inline or raw: upload the mask of a draft as a file and give its hash",
            );
        }
        selection
    });
    Draft { instruction: wire.instruction, seed: wire.seed, selection }
}

fn name(check: &mut Check, text: &str) {
    if text.len() > MAX_SESSION_NAME_BYTES {
        let bytes = text.len();
        check.wrong("name", format!("has {bytes} bytes, {MAX_SESSION_NAME_BYTES} are allowed: shorten it"));
    }
}

/// Page size and token of a list.
pub(crate) fn page(size: Option<u32>, token: String) -> Result<Page, Error> {
    let mut check = Check::default();
    let size = check.range("page_size", size.unwrap_or(DEFAULT_PAGE_SIZE), 1, MAX_PAGE_SIZE);
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    check.finish(Page { size, token: Some(token).filter(|token| !token.is_empty()) })
}

/// The place of a session in the list, as its token has it.
pub(crate) fn place(token: Option<String>) -> Result<Option<(i64, String)>, Error> {
    let Some(token) = token else { return Ok(None) };
    let place = token.split_once(':').and_then(|(ms, id)| Some((ms.parse().ok()?, id.to_owned())));
    let wrong = "is no token of a page: pass what `next_page_token` gave, or nothing";
    place.map(Some).ok_or_else(|| Error::field(Reason::InvalidRequest, "page_token", wrong))
}

/// See [`place`].
pub(crate) fn token(session: &Session) -> String {
    let since = session.update_time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}:{}", since.as_millis(), session.id)
}

/// An edit, how it is run, and what came along. The picture is the revision's: none may come along.
pub(crate) fn edit(
    edit: Option<v1::SessionEdit>,
    deadline: Option<std::time::Duration>,
) -> Result<(SessionEdit, RunPolicy, Inline), Error> {
    let edit = edit.unwrap_or_default();
    let spec = edit.spec.unwrap_or_default();
    let (brought, format) = (spec.image.is_some(), spec.output_format);
    let spec = v1::GenerationSpec { image: None, ..spec };
    let mut check = Check::default();
    if brought {
        check.wrong("edit.spec.image", "is not allowed: the picture is the revision's; make a session of another one");
    }
    if !edit.revision_id.is_empty() && !edit.rerun_revision_id.is_empty() {
        check.wrong("edit.rerun_revision_id", "is set beside `revision_id`: edit a revision, or make one again");
    }
    let submitted = submission(Some(spec), edit.policy, DisconnectPolicy::Keep, deadline);
    let submitted = match submitted {
        Ok(submitted) => Some(submitted),
        Err(error) => {
            let under = |violation: easel_domain::FieldViolation| easel_domain::FieldViolation {
                field: format!("edit.{}", violation.field),
                ..violation
            };
            check.merge(error.violations.into_iter().map(under).collect());
            None
        }
    };
    let Some(Submission { request, inline, policy }) = check.finish(submitted)? else {
        return Err(Error::new(Reason::InvalidRequest, "the edit is wrong"));
    };
    let output_format = (format != v1::ImageFormat::Unspecified as i32).then_some(request.output_format);
    let id = |text: String| Some(text).filter(|text| !text.is_empty()).map(RevisionId::new);
    let (revision, rerun) = (id(edit.revision_id), id(edit.rerun_revision_id));
    Ok((SessionEdit { revision, rerun, request, output_format }, policy, inline))
}

/// A session as it stands.
pub(crate) fn session(session: &Session, viewers: u32) -> v1::Session {
    v1::Session {
        id: session.id.to_string(),
        name: session.name.clone(),
        pinned: session.pinned,
        head_revision_id: session.head.as_ref().map(ToString::to_string).unwrap_or_default(),
        redo_revision_ids: session.redo.iter().map(ToString::to_string).collect(),
        draft: Some(v1::Draft {
            instruction: session.draft.instruction.clone(),
            seed: session.draft.seed,
            selection: session.draft.selection.as_ref().map(selection::wire),
        }),
        revision_count: session.revisions,
        active_generation_ids: session.active.iter().map(ToString::to_string).collect(),
        create_time: Some(time::timestamp(session.create_time)),
        update_time: Some(time::timestamp(session.update_time)),
        version: session.version,
        viewers,
    }
}

/// A revision; `file` stands inline when it fits.
pub(crate) fn revision(revision: &Revision, file: Bytes) -> v1::Revision {
    let made = revision.made.as_ref();
    v1::Revision {
        id: revision.id.to_string(),
        session_id: revision.session.to_string(),
        parent_revision_id: revision.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        image: Some(v1::Image {
            format: wire_format(revision.format),
            width: revision.width,
            height: revision.height,
            sha256: revision.hash.to_string(),
            size_bytes: revision.size_bytes,
            inline: file,
        }),
        live: revision.live,
        create_time: Some(time::timestamp(revision.create_time)),
        spec: made.map(|made| spec(&made.request, &made.plan)),
        resolved: made.map(|made| event::resolved(&made.plan)),
        generation_id: made.map(|made| made.generation.to_string()).unwrap_or_default(),
        image_index: made.map(|made| made.image_index).unwrap_or_default(),
        easel_version: made.map(|made| made.version.clone()).unwrap_or_default(),
    }
}

/// The file of a revision when it may stand in an answer.
pub(crate) fn inline(bytes: &std::sync::Arc<[u8]>) -> Bytes {
    let mut budget = InlineBudget::one_answer();
    if budget.takes(bytes.len()) { image::shared(bytes) } else { Bytes::new() }
}

/// What was asked for, with the seed and the model that were resolved.
fn wire_lora(lora: &LoraUse) -> v1::Lora {
    let source = match &lora.id {
        LoraId::Name(name) => v1::lora::Source::Name(name.clone()),
        LoraId::Sha256(hash) => v1::lora::Source::Sha256(hash.to_string()),
    };
    v1::Lora { source: Some(source), weight: Some(lora.weight) }
}

fn spec(request: &GenerationRequest, plan: &Plan) -> v1::GenerationSpec {
    v1::GenerationSpec {
        mode: names::wire_mode(plan.mode).into(),
        model: plan.model.clone(),
        prompt: request.prompt.clone(),
        negative_prompt: request.negative_prompt.clone(),
        image: request.image.map(|hash| v1::ImageSource { source: Some(Source::Sha256(hash.to_string())) }),
        selection: request.selection.as_ref().map(selection::wire),
        whole_canvas: request.tiling.map_or(v1::WholeCanvas::Unspecified, |_| v1::WholeCanvas::Tiled).into(),
        tile_overlap_px: request.tiling.and_then(|tiling| tiling.overlap_px),
        width: request.width,
        height: request.height,
        num_inference_steps: request.num_inference_steps,
        sigmas: request.sigmas.clone(),
        guidance_scale: request.guidance_scale,
        image_guidance_scale: request.image_guidance_scale,
        loras: request.loras.iter().map(wire_lora).collect(),
        seed: plan.seeds.is_empty().then_some(plan.seed),
        seeds: plan.seeds.clone(),
        num_images: request.num_images,
        output_format: names::wire_format(request.output_format).into(),
        provenance: names::wire_provenance(plan.provenance).into(),
        ..v1::GenerationSpec::default()
    }
}

/// How two revisions differ.
pub(crate) fn difference(found: &Difference) -> v1::CompareRevisionsResponse {
    let identical = found.same_size && found.changed_pixels == 0;
    let noise = found.mean_squared_difference;
    v1::CompareRevisionsResponse {
        identical,
        same_size: found.same_size,
        changed_fraction: found.changed_pixels as f64 / found.pixels.max(1) as f64,
        mean_absolute_difference: found.mean_absolute_difference,
        max_difference: found.max_difference.into(),
        psnr_db: (noise > 0.0).then(|| 10.0 * (255.0 * 255.0 / noise).log10()),
        changed: found.changed.map(|(x, y, width, height)| v1::PixelRect { x, y, width, height }),
    }
}

/// What a clean-up has removed.
pub(crate) fn removed(cleaned: &Cleaned) -> v1::Removed {
    v1::Removed {
        sessions: cleaned.sessions,
        generations: cleaned.generations.len() as u64,
        blobs: cleaned.blobs.len() as u64,
        bytes: cleaned.bytes,
    }
}

/// A replay, without its models.
pub(crate) fn wire_replay(replay: &Replay, version: &str) -> v1::Replay {
    let step = |step: &ReplayStep| v1::ReplayStep {
        spec: Some(spec(&step.request, &step.plan)),
        resolved: Some(event::resolved(&step.plan)),
        image_index: step.image_index,
        result: Some(picture(&step.result)),
        easel_version: step.version.clone(),
    };
    v1::Replay {
        format_version: REPLAY_FORMAT,
        easel_version: version.to_owned(),
        name: replay.name.clone(),
        canvas: replay.canvas.as_ref().map(picture),
        steps: replay.steps.iter().map(step).collect(),
        models: Vec::new(),
    }
}

fn picture(picture: &ReplayPicture) -> v1::Image {
    v1::Image {
        format: wire_format(picture.format),
        width: picture.width,
        height: picture.height,
        sha256: picture.hash.to_string(),
        size_bytes: 0,
        inline: Bytes::new(),
    }
}

fn wire_format(format: Option<ImageFormat>) -> i32 {
    format.map_or(v1::ImageFormat::Unspecified, names::wire_format).into()
}

/// A replay that is to become a session.
pub(crate) fn replay(wire: v1::ImportReplayRequest) -> Result<Replay, Error> {
    let mut check = Check::default();
    let replay = wire.replay.unwrap_or_default();
    if replay.format_version != REPLAY_FORMAT {
        let found = replay.format_version;
        check.wrong("replay.format_version", format!("{found} is not known, this daemon reads {REPLAY_FORMAT}"));
    }
    if replay.steps.len() > MAX_REPLAY_STEPS {
        check.wrong("replay.steps", format!("has more than {MAX_REPLAY_STEPS} steps"));
    }
    let session = wire.name.unwrap_or(replay.name);
    name(&mut check, &session);
    let canvas = replay.canvas.map(|canvas| replay_picture(&mut check, "replay.canvas", &canvas));
    let steps = replay.steps.into_iter().take(MAX_REPLAY_STEPS).enumerate();
    let steps = steps.map(|(index, step)| replay_step(&mut check, index, step)).collect();
    check.finish(Replay { name: session, canvas, steps })
}

fn replay_step(check: &mut Check, index: usize, step: v1::ReplayStep) -> ReplayStep {
    let field = |name: &str| format!("replay.steps[{index}].{name}");
    let spec = step.spec.unwrap_or_default();
    let format = spec.output_format;
    let (request, inline) = super::request::generation(check, spec);
    for (name, inline) in [("spec.image", inline.image), ("spec.selection.mask.image", inline.mask)] {
        if inline.is_some() {
            check.wrong(field(name), "is inline or raw: upload it as a file and give its hash");
        }
    }
    let resolved = step.resolved.unwrap_or_default();
    if resolved.num_inference_steps == 0 || resolved.num_inference_steps > MAX_NUM_INFERENCE_STEPS {
        check.wrong(field("resolved.num_inference_steps"), format!("must be 1 to {MAX_NUM_INFERENCE_STEPS}"));
    }
    let tiles = selection::tile_plan(check, &field("resolved.tiles"), &resolved);
    let known = |value: i32| v1::ImageFormat::try_from(value).unwrap_or(v1::ImageFormat::Unspecified);
    let plan = Plan {
        mode: if request.image.is_some() { Mode::Edit } else { Mode::Generate },
        model: resolved.model,
        prompt: request.prompt.clone(),
        negative_prompt: request.negative_prompt.clone(),
        seed: resolved.seed,
        seeds: request.seeds.clone(),
        selection: request.selection,
        tiles,
        crop: resolved.crop.and_then(|crop| selection::rect(check, &field("resolved.crop"), crop)),
        working: Size { width: resolved.working_width, height: resolved.working_height },
        output: Size { width: resolved.width, height: resolved.height },
        steps: resolved.num_inference_steps,
        sigmas: resolved.sigmas,
        guidance: resolved.guidance_scale.map(|guidance_scale| Guidance {
            guidance_scale,
            image_guidance_scale: resolved.image_guidance_scale.unwrap_or(1.0),
        }),
        loras: planned_loras(check, &field("resolved.loras"), resolved.loras),
        num_images: resolved.num_images.max(1),
        output_format: names::format(known(format), ImageFormat::Png),
        provenance: request.provenance.unwrap_or_default(),
        source: request.image,
        model_sha256: model_hash(check, &field("resolved.model_hash"), &resolved.model_hash),
        notes: resolved.notes,
    };
    let result = replay_picture(check, &field("result"), &step.result.unwrap_or_default());
    ReplayStep { request, plan, image_index: step.image_index, result, version: step.easel_version }
}

/// The hash of a model as `Resolved.model_hash` writes it; empty when it is not known.
fn model_hash(check: &mut Check, field: &str, text: &str) -> Option<BlobHash> {
    let digits = text.strip_prefix(event::MODEL_HASH_PREFIX).unwrap_or(text);
    if digits.is_empty() { None } else { check.hash(field, digits) }
}

fn planned_loras(check: &mut Check, field: &str, loras: Vec<v1::ResolvedLora>) -> Vec<PlannedLora> {
    if loras.len() > MAX_LORAS {
        check.wrong(field, format!("{} are given, {MAX_LORAS} are allowed", loras.len()));
        return Vec::new();
    }
    let mut planned = Vec::with_capacity(loras.len());
    for (i, lora) in loras.into_iter().enumerate() {
        check.finite(format!("{field}[{i}].weight"), lora.weight);
        let name = Some(lora.name).filter(|name| is_lora_name(name));
        if let Some(sha256) = check.hash(&format!("{field}[{i}].sha256"), &lora.sha256) {
            planned.push(PlannedLora { name, sha256, weight: lora.weight });
        }
    }
    planned
}

/// What a file is, the runtime reads from the file itself.
fn replay_picture(check: &mut Check, field: &str, image: &v1::Image) -> ReplayPicture {
    let hash = check.hash(&format!("{field}.sha256"), &image.sha256).unwrap_or(BlobHash([0; 32]));
    ReplayPicture { hash, format: None, width: image.width, height: image.height }
}
