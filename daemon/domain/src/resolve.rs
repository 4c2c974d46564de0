//! From a request to a plan: every default filled in, every size settled, every wrong field reported at once.

mod sizes;

use serde::{Deserialize, Serialize};

use crate::crop::{Crop, TilePlan};
use crate::engine::DenoiseSpec;
use crate::limits::{
    MAX_GUIDANCE_SCALE, MAX_LORA_NAME_BYTES, MAX_LORA_WEIGHT, MAX_LORAS, MAX_NUM_IMAGES, MAX_NUM_INFERENCE_STEPS,
    MAX_PROMPT_BYTES,
};
use crate::lora::is_lora_name;
use crate::{
    BlobHash, Error, FieldViolation, GenerationRequest, Guidance, ImageFormat, LoraId, Mode, ModelInfo, PlannedLora,
    Reason, Rect, Selection, Size,
};

/// What is known of a source picture before work begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its size after its EXIF orientation.
    pub size: Size,
    /// The smallest rectangle around all that the request's selection, grown and feathered, lets change of it; `None` without a
    /// selection, and when it selects nothing.
    pub selected: Option<Rect>,
}

impl From<Size> for Source {
    fn from(size: Size) -> Self {
        Self { size, selected: None }
    }
}

/// Everything about a generation that is settled before work begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Generate or edit.
    pub mode: Mode,
    /// Name of the model.
    pub model: String,
    /// The prompt as given.
    pub prompt: String,
    /// The negative prompt; empty when not given.
    pub negative_prompt: String,
    /// Seed of the first picture; picture i has `seed + i`, wrapping, unless there are `seeds`.
    pub seed: u64,
    /// Seeds of the pictures when a list was asked for, else empty.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// What of the source is edited; `None`: all of it.
    #[serde(default)]
    pub selection: Option<Selection>,
    /// What the model sees of the source; `None`: all of it. There exactly when `selection` is.
    #[serde(default)]
    pub crop: Option<Rect>,
    /// The tiles of a canvas that is edited in them; `None`: it is not.
    #[serde(default)]
    pub tiles: Option<TilePlan>,
    /// Size at which the model works, multiples of 16.
    pub working: Size,
    /// Size of the result.
    pub output: Size,
    /// Denoising steps, at least 1.
    pub steps: u32,
    /// Noise levels asked for; empty: the scheduler's own.
    pub sigmas: Vec<f32>,
    /// Strengths; `None` for a model without guidance.
    pub guidance: Option<Guidance>,
    /// LoRAs, added together. Their content is settled by whoever finds their files.
    #[serde(default)]
    pub loras: Vec<PlannedLora>,
    /// Number of pictures; 0: only read prompt and source for later, see [`resolve_preparation`].
    pub num_images: u32,
    /// Encoding of the result.
    pub output_format: ImageFormat,
    /// Whether the file of the result says how it was made. `resolve` takes what was asked for; the default is its caller's.
    #[serde(default)]
    pub provenance: bool,
    /// SHA-256 of the file that is edited.
    #[serde(default)]
    pub source: Option<BlobHash>,
    /// SHA-256 of the model's weights, as far as it was known.
    #[serde(default)]
    pub model_sha256: Option<BlobHash>,
    /// What differs from what was asked and why, as sentences for a person.
    pub notes: Vec<String>,
}

impl Plan {
    /// True when nothing is drawn: prompt and source are read for later.
    pub fn is_preparation(&self) -> bool {
        self.num_images == 0
    }

    /// Tiles of a picture; 1 when it is not made in tiles.
    pub fn tiles_per_image(&self) -> u32 {
        self.tiles.as_ref().map_or(1, |tiles| u32::try_from(tiles.len()).unwrap_or(u32::MAX).max(1))
    }

    /// How often the denoiser draws: pass `i` is tile `i % tiles_per_image()` of picture `i / tiles_per_image()`.
    pub fn passes(&self) -> u32 {
        self.num_images.saturating_mul(self.tiles_per_image())
    }

    /// Picture and tile of a pass.
    pub fn pass(&self, pass: u32) -> (u32, u32) {
        (pass / self.tiles_per_image(), pass % self.tiles_per_image())
    }

    /// Seed of picture `index`: alone it gives the same picture to the bit.
    pub fn seed_of(&self, index: u32) -> u64 {
        let listed = usize::try_from(index).ok().and_then(|index| self.seeds.get(index));
        listed.copied().unwrap_or_else(|| self.seed.wrapping_add(u64::from(index)))
    }

    /// The denoiser's part of the plan for picture `index`, of which all tiles have the same noise, without the files of its LoRAs.
    pub fn denoise_spec(&self, index: u32) -> DenoiseSpec {
        DenoiseSpec {
            size: self.working,
            steps: self.steps,
            sigmas: self.sigmas.clone(),
            seed: self.seed_of(index),
            guidance: self.guidance,
            edit: self.mode == Mode::Edit,
            loras: Vec::new(),
            mask: None,
        }
    }
}

/// Resolves `request` for `model`.
///
/// `source` is what is known of the source picture, when there is one; `drawn_seed` is used when the request has no seed. Fails with [`Reason::InvalidRequest`] or [`Reason::ModelUnsupported`], naming every wrong field.
pub fn resolve(
    request: &GenerationRequest,
    model: &ModelInfo,
    source: Option<Source>,
    drawn_seed: u64,
) -> Result<Plan, Error> {
    settle(request, model, source, Some(drawn_seed))
}

/// Resolves a request of which only the reading of prompt and source is wanted now: as [`resolve`], but the prompt may be
/// empty (somebody is still typing) and no picture is drawn.
pub fn resolve_preparation(
    request: &GenerationRequest,
    model: &ModelInfo,
    source: Option<Source>,
) -> Result<Plan, Error> {
    settle(request, model, source, None)
}

/// Without a `drawn_seed` nothing is drawn.
fn settle(
    request: &GenerationRequest,
    model: &ModelInfo,
    source: Option<Source>,
    drawn_seed: Option<u64>,
) -> Result<Plan, Error> {
    let mut check = Check::default();
    let mode = check.mode(request);
    if drawn_seed.is_some() && request.prompt.trim().is_empty() {
        check.wrong("spec.prompt", "is empty: say what to draw or what to change");
    }
    check.prompts(request);
    let (steps, sigmas) = check.schedule(request, model);
    let guidance = check.guidance(request, model);
    check.loras(request);
    let asked_images = check.pictures(request);
    let num_images = if drawn_seed.is_some() { asked_images } else { 0 };
    let source = source.filter(|_| mode == Mode::Edit);
    let tiles = request.tiling.and_then(|tiling| check.tiles(request, tiling, model, (mode, source)));
    let (crop, output) = match (&request.selection, &tiles) {
        (Some(selection), _) => check.selection(request, selection, model, (mode, source)),
        (None, Some(tiles)) => (Crop { rect: Rect::of(tiles.canvas), working: tiles.working }, tiles.canvas),
        (None, None) => {
            let (working, output) = check.sizes(request, model, source.map(|source| source.size));
            (Crop { rect: Rect::of(output), working }, output)
        }
    };
    if !check.violations.is_empty() {
        return Err(Error::fields(Reason::InvalidRequest, check.violations));
    }
    Ok(Plan {
        mode,
        model: model.name.clone(),
        prompt: request.prompt.clone(),
        negative_prompt: request.negative_prompt.clone(),
        seed: request.seeds.first().copied().or(request.seed).or(drawn_seed).unwrap_or(0),
        seeds: request.seeds.clone(),
        selection: request.selection,
        crop: request.selection.map(|_| crop.rect),
        tiles,
        working: crop.working,
        output,
        steps,
        sigmas,
        guidance,
        loras: Vec::new(),
        num_images,
        output_format: request.output_format,
        provenance: request.provenance.unwrap_or_default(),
        source: request.image.filter(|_| mode == Mode::Edit),
        model_sha256: model.weights_sha256,
        notes: check.notes,
    })
}

/// Special tokens of Qwen3-VL whose place the encoder fills with a picture; one more in a prompt would have no picture to
/// take.
const PICTURE_TOKENS: [&str; 4] = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"];

#[derive(Default)]
struct Check {
    violations: Vec<FieldViolation>,
    notes: Vec<String>,
}

impl Check {
    fn wrong(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.violations.push(FieldViolation { field: field.into(), description: description.into() });
    }

    fn range(&mut self, field: &str, value: u32, least: u32, most: u32) -> u32 {
        if value < least || value > most {
            self.wrong(field, format!("{value} is outside of {least} to {most}"));
        }
        value
    }

    fn mode(&mut self, request: &GenerationRequest) -> Mode {
        let given = request.image.is_some();
        let mode = request.mode.unwrap_or(if given { Mode::Edit } else { Mode::Generate });
        match (mode, given) {
            (Mode::Edit, false) => self.wrong("spec.image", "an edit needs a picture: give one inline or by its hash"),
            (Mode::Generate, true) => {
                self.wrong("spec.image", "text to image takes no picture: leave it out, or set the mode to edit");
            }
            _ => {}
        }
        mode
    }

    fn prompts(&mut self, request: &GenerationRequest) {
        for (field, text) in [("spec.prompt", &request.prompt), ("spec.negative_prompt", &request.negative_prompt)] {
            if text.len() > MAX_PROMPT_BYTES {
                let bytes = text.len();
                self.wrong(field, format!("has {bytes} bytes, {MAX_PROMPT_BYTES} are allowed: shorten it"));
            }
            if text.contains('\0') {
                self.wrong(field, "contains a NUL character: remove it");
            }
            if let Some(token) = PICTURE_TOKENS.into_iter().find(|token| text.contains(token)) {
                self.wrong(field, format!("contains {token}, which stands for a picture inside the model: remove it"));
            }
        }
    }

    /// Number of pictures, by a list of seeds or by itself.
    fn pictures(&mut self, request: &GenerationRequest) -> u32 {
        if request.seeds.is_empty() {
            return self.range("spec.num_images", request.num_images.unwrap_or(1), 1, MAX_NUM_IMAGES);
        }
        if request.seed.is_some() || request.num_images.is_some() {
            self.wrong("spec.seeds", "is set beside `seed` or `num_images`: the list says both");
        }
        let count = u32::try_from(request.seeds.len()).unwrap_or(u32::MAX);
        if count > MAX_NUM_IMAGES {
            self.wrong("spec.seeds", format!("has {count} seeds, {MAX_NUM_IMAGES} are allowed"));
        }
        count
    }

    fn schedule(&mut self, request: &GenerationRequest, model: &ModelInfo) -> (u32, Vec<f32>) {
        let field = "spec.num_inference_steps";
        if request.sigmas.is_empty() {
            let steps = request.num_inference_steps.unwrap_or(model.default_steps);
            return (self.range(field, steps, 1, MAX_NUM_INFERENCE_STEPS), Vec::new());
        }
        let count = request.sigmas.len() as u32;
        if count > MAX_NUM_INFERENCE_STEPS {
            self.wrong("spec.sigmas", format!("{count} values are given, {MAX_NUM_INFERENCE_STEPS} are allowed"));
        }
        if request.num_inference_steps.is_some_and(|steps| steps != count) {
            self.wrong(field, format!("differs from the {count} sigmas: leave one of the two out"));
        }
        for (i, &sigma) in request.sigmas.iter().enumerate() {
            let above = if i == 0 { 1.0 } else { request.sigmas[i - 1] };
            let falls = if i == 0 { sigma <= above } else { sigma < above };
            if !(sigma > 0.0 && falls) {
                self.wrong(
                    format!("spec.sigmas[{i}]"),
                    format!("{sigma} is not in (0, 1] and below the one before it"),
                );
                break;
            }
        }
        (count, request.sigmas.clone())
    }

    fn guidance(&mut self, request: &GenerationRequest, model: &ModelInfo) -> Option<Guidance> {
        let asked = [
            ("spec.guidance_scale", request.guidance_scale),
            ("spec.image_guidance_scale", request.image_guidance_scale),
        ];
        for (field, value) in asked {
            if value.is_some_and(|v| !(0.0..=MAX_GUIDANCE_SCALE).contains(&v)) {
                self.wrong(field, format!("must be a number from 0 to {MAX_GUIDANCE_SCALE}"));
            }
        }
        let Some(default) = model.guidance else {
            let ignored: Vec<_> = asked.iter().filter(|(_, v)| v.is_some()).map(|(f, _)| &f[5..]).collect();
            if !ignored.is_empty() {
                self.notes.push(format!("{} has no guidance: {} is ignored", model.name, ignored.join(" and ")));
            }
            if !request.negative_prompt.is_empty() {
                self.notes.push(format!("{} has no guidance: negative_prompt is ignored", model.name));
            }
            return None;
        };
        Some(Guidance {
            guidance_scale: request.guidance_scale.unwrap_or(default.guidance_scale),
            image_guidance_scale: request.image_guidance_scale.unwrap_or(default.image_guidance_scale),
        })
    }

    fn loras(&mut self, request: &GenerationRequest) {
        if request.loras.len() > MAX_LORAS {
            let count = request.loras.len();
            return self.wrong("spec.loras", format!("{count} are given, {MAX_LORAS} are allowed"));
        }
        for (i, lora) in request.loras.iter().enumerate() {
            if !(-MAX_LORA_WEIGHT..=MAX_LORA_WEIGHT).contains(&lora.weight) {
                let what = format!("must be a number from -{MAX_LORA_WEIGHT} to {MAX_LORA_WEIGHT}");
                self.wrong(format!("spec.loras[{i}].weight"), what);
            }
            if let LoraId::Name(name) = &lora.id
                && !is_lora_name(name)
            {
                let what = format!(
                    "must have 1 to {MAX_LORA_NAME_BYTES} characters out of A-Z a-z 0-9 . _ -: the name of a file in the folder of LoRAs, without .safetensors"
                );
                self.wrong(format!("spec.loras[{i}].name"), what);
            }
            if request.loras[..i].iter().any(|other| other.id == lora.id) {
                self.wrong(format!("spec.loras[{i}]"), "is named twice: give it once with the sum of the weights");
            }
        }
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
