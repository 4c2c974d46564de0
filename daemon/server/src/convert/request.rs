//! What a client asks for: `GenerationSpec` and `RunPolicy` to the domain's request and policy.

use std::time::Duration;

use bytes::Bytes;
use easel_domain::limits::{
    MAX_EDGE_PX, MAX_INLINE_IMAGE_BYTES, MAX_KEEP_ALIVE, MAX_NUM_INFERENCE_STEPS, MAX_PREVIEW_EDGE_PX, MAX_TIMEOUT,
    MIN_PREVIEW_EDGE_PX, SIZE_MULTIPLE_PX,
};
use easel_domain::resolve::resolve;
use easel_domain::{
    BlobHash, DisconnectPolicy, Error, FieldViolation, GenerationRequest, Guidance, ImageFormat, LoraId, LoraUse,
    ModelInfo, Pipeline, PreviewPolicy, RawLayout, RunPolicy, Size,
};
use easel_proto::v1;

use super::{Check, names};

/// Shortest time that a generation may be given.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);

/// Pictures that are not stored files yet, to be stored before the request is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inline {
    /// The source picture; that of the request is not set yet then.
    pub(crate) image: Option<Brought>,
    /// The mask of the selection, whose hash is not set yet then.
    pub(crate) mask: Option<Brought>,
}

/// A picture that is no stored file yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Brought {
    /// A file that came along.
    File(Bytes),
    /// Raw pixels.
    Raw(Box<BroughtPixels>),
}

/// Raw pixels, along with the request or uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BroughtPixels {
    /// The pixels, or the hash of the blob that they are.
    pub(crate) data: Result<Bytes, BlobHash>,
    /// How they lie.
    pub(crate) layout: RawLayout,
    /// Their profile; empty for sRGB.
    pub(crate) icc: Bytes,
    /// What errors call them.
    pub(crate) field: String,
}

/// A request that is structurally right.
#[derive(Debug)]
pub(crate) struct Submission {
    /// Which picture to make, without what stands in `inline`.
    pub(crate) request: GenerationRequest,
    /// What came along.
    pub(crate) inline: Inline,
    /// How it is run.
    pub(crate) policy: RunPolicy,
}

/// Converts what `RunGeneration` and `CreateGeneration` ask for.
///
/// `deadline` is what is left of the call's own deadline; the shorter of the two limits counts. Names every wrong field
/// at once: what only a model can judge is added when something else is wrong already, judged by a model that can do
/// everything.
pub(crate) fn submission(
    spec: Option<v1::GenerationSpec>,
    policy: Option<v1::RunPolicy>,
    on_disconnect: DisconnectPolicy,
    deadline: Option<Duration>,
) -> Result<Submission, Error> {
    let mut check = Check::default();
    let (request, inline) = generation(&mut check, spec.unwrap_or_default());
    let mut policy = run_policy(&mut check, policy.unwrap_or_default(), on_disconnect);
    if !check.is_clean() {
        check.merge(wrong_for_any_model(&request, inline.image.is_some()));
    }
    if let Some(deadline) = deadline {
        let deadline = deadline.clamp(MIN_TIMEOUT, MAX_TIMEOUT);
        policy.timeout = Some(policy.timeout.map_or(deadline, |timeout| timeout.min(deadline)));
    }
    check.finish(Submission { request, inline, policy })
}

/// Converts what `PrepareConditioning` asks for, with what came along, to be stored before; wrong fields are named as
/// for a generation.
pub(crate) fn preparation(spec: Option<v1::GenerationSpec>) -> Result<(GenerationRequest, Inline), Error> {
    let mut check = Check::default();
    let asked = generation(&mut check, spec.unwrap_or_default());
    check.finish(asked)
}

pub(super) fn generation(check: &mut Check, spec: v1::GenerationSpec) -> (GenerationRequest, Inline) {
    let mode = check.known("spec.mode", spec.mode, "Mode").and_then(names::mode);
    super::artist::fields(check, &spec);
    let tiling = super::artist::tiling(&spec);
    let (image, picture) = source(check, "spec.image", spec.image);
    let (selection, mask) = match spec.selection {
        Some(wanted) => super::selection::read(check, "spec.selection", wanted),
        None => (None, None),
    };
    for (field, value) in
        [("spec.guidance_scale", spec.guidance_scale), ("spec.image_guidance_scale", spec.image_guidance_scale)]
    {
        value.into_iter().for_each(|value| check.finite(field, value));
    }
    for (i, &sigma) in spec.sigmas.iter().enumerate() {
        check.finite(format!("spec.sigmas[{i}]"), sigma);
    }
    let loras = loras(check, spec.loras);
    let request = GenerationRequest {
        mode,
        model: Some(spec.model).filter(|name| !name.is_empty()),
        prompt: spec.prompt,
        negative_prompt: spec.negative_prompt,
        image,
        selection,
        tiling,
        width: spec.width,
        height: spec.height,
        num_inference_steps: spec.num_inference_steps,
        sigmas: spec.sigmas,
        guidance_scale: spec.guidance_scale,
        image_guidance_scale: spec.image_guidance_scale,
        loras,
        seed: spec.seed,
        seeds: spec.seeds,
        num_images: spec.num_images,
        output_format: image_format(check, "spec.output_format", spec.output_format, ImageFormat::Png),
        provenance: check.known("spec.provenance", spec.provenance, "Provenance").and_then(names::provenance),
    };
    (request, Inline { image: picture, mask })
}

/// The LoRAs by their names or hashes; how many there may be, and how strong, is the domain's to judge.
fn loras(check: &mut Check, wire: Vec<v1::Lora>) -> Vec<LoraUse> {
    use v1::lora::Source;
    let mut loras = Vec::with_capacity(wire.len());
    for (i, lora) in wire.into_iter().enumerate() {
        let field = format!("spec.loras[{i}]");
        let weight = lora.weight.unwrap_or(1.0);
        check.finite(format!("{field}.weight"), weight);
        let id = match lora.source {
            Some(Source::Name(name)) => LoraId::Name(name),
            Some(Source::Sha256(text)) => match check.hash(&format!("{field}.sha256"), &text) {
                Some(hash) => LoraId::Sha256(hash),
                None => continue,
            },
            None => {
                check.wrong(field, "names no LoRA: set `name` or `sha256`");
                continue;
            }
        };
        loras.push(LoraUse { id, weight });
    }
    loras
}

/// The source picture by its hash, or inline. A wrong hash still counts as a picture, so that nothing else is found
/// wrong with it.
pub(super) fn source(
    check: &mut Check,
    field: &str,
    image: Option<v1::ImageSource>,
) -> (Option<BlobHash>, Option<Brought>) {
    use v1::image_source::Source;
    match image.map(|image| image.source) {
        None => (None, None),
        Some(None) => {
            check.wrong(field, "holds no picture: set `inline`, `sha256` or `raw`");
            (Some(BlobHash([0; 32])), None)
        }
        Some(Some(Source::Sha256(text))) => {
            let hash = check.hash(&format!("{field}.sha256"), &text);
            (Some(hash.unwrap_or(BlobHash([0; 32]))), None)
        }
        Some(Some(Source::Raw(raw))) => match super::raw::pixels(check, format!("{field}.raw"), raw) {
            Some(pixels) => (None, Some(Brought::Raw(Box::new(pixels)))),
            None => (Some(BlobHash([0; 32])), None),
        },
        Some(Some(Source::Inline(bytes))) => {
            inline_bytes(check, format!("{field}.inline"), &bytes);
            (None, Some(Brought::File(bytes)))
        }
    }
}

/// Bytes that stand in a request.
pub(super) fn inline_bytes(check: &mut Check, field: String, bytes: &Bytes) {
    let size = bytes.len();
    if size == 0 {
        check.wrong(field, "has no bytes: send the whole file");
    } else if size > MAX_INLINE_IMAGE_BYTES {
        let text =
            format!("has {size} bytes, {MAX_INLINE_IMAGE_BYTES} may stand in a request: upload it and give its hash");
        check.wrong(field, text);
    }
}

fn run_policy(check: &mut Check, policy: v1::RunPolicy, on_disconnect: DisconnectPolicy) -> RunPolicy {
    let priority = check.known("policy.priority", policy.priority, "Priority").unwrap_or(v1::Priority::Unspecified);
    let disconnect = check
        .known("policy.on_disconnect", policy.on_disconnect, "DisconnectPolicy")
        .unwrap_or(v1::DisconnectPolicy::Unspecified);
    let restart =
        check.known("policy.on_restart", policy.on_restart, "RestartPolicy").unwrap_or(v1::RestartPolicy::Unspecified);
    let request_id = Some(policy.request_id).filter(|id| !id.is_empty());
    RunPolicy {
        previews: policy.previews.and_then(|previews| preview_policy(check, &previews)),
        priority: names::priority(priority),
        keep_until: policy.keep_until.and_then(|until| check.time("policy.keep_until", until)),
        on_restart: names::on_restart(restart, names::priority(priority)),
        on_disconnect: names::on_disconnect(disconnect, on_disconnect),
        timeout: check.duration("policy.timeout", policy.timeout, MIN_TIMEOUT, MAX_TIMEOUT),
        request_id: request_id
            .and_then(|id| id.parse().map_err(|wrong: &str| check.wrong("policy.request_id", wrong)).ok()),
        keep_alive: check.duration("policy.keep_alive", policy.keep_alive, Duration::ZERO, MAX_KEEP_ALIVE),
    }
}

/// `None` when previews are off; the other fields have to be right nevertheless.
fn preview_policy(check: &mut Check, previews: &v1::PreviewPolicy) -> Option<PreviewPolicy> {
    let kind = check.known("policy.previews.kind", previews.kind, "PreviewKind").and_then(names::preview_kind);
    if let Some(edge) = previews.longest_edge_px {
        check.range("policy.previews.longest_edge_px", edge, MIN_PREVIEW_EDGE_PX, MAX_PREVIEW_EDGE_PX);
    }
    let every_n_steps = previews.every_n_steps.unwrap_or(1);
    check.range("policy.previews.every_n_steps", every_n_steps, 1, MAX_NUM_INFERENCE_STEPS);
    let format = image_format(check, "policy.previews.format", previews.format, ImageFormat::Jpeg);
    Some(PreviewPolicy { kind: kind?, longest_edge_px: previews.longest_edge_px, format, every_n_steps })
}

fn image_format(check: &mut Check, field: &str, value: i32, default: ImageFormat) -> ImageFormat {
    check.known(field, value, "ImageFormat").map_or(default, |wire| names::format(wire, default))
}

fn wrong_for_any_model(request: &GenerationRequest, inline: bool) -> Vec<FieldViolation> {
    let able = ModelInfo {
        name: "every model".to_owned(),
        description: String::new(),
        demonstration: false,
        license: String::new(),
        pipeline: Pipeline::Base,
        native: Size { width: SIZE_MULTIPLE_PX, height: SIZE_MULTIPLE_PX },
        min_edge_px: SIZE_MULTIPLE_PX,
        max_edge_px: MAX_EDGE_PX,
        default_steps: 1,
        guidance: Some(Guidance { guidance_scale: 1.0, image_guidance_scale: 1.0 }),
        parameters: 0,
        file_bytes: 0,
        loaded_bytes: 0,
        precisions: easel_domain::Precisions::default(),
        weights_sha256: None,
        fallback_layers: Vec::new(),
    };
    let image = request.image.or(inline.then_some(BlobHash([0; 32])));
    let request = GenerationRequest { image, ..request.clone() };
    resolve(&request, &able, None, 0).map_or_else(|error| error.violations, |_| Vec::new())
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
