//! The encoder: prompts, and the source picture of an edit, to what the denoiser is conditioned on. Entry point:
//! [`Conditioner`].
//!
//! A prompt is read in two passes through the same code: the template's head with the picture and the instruction, which all
//! prompts of a mode (and of a picture) share, and then the rest behind it. A prompt without the instruction, or one that
//! changes its last token, is read behind as much of the first pass as it shares. Each prompt is read by itself, so that its
//! result does not depend on what else is in a batch, and a head that was kept gives the same bits as a head that is read again.

pub mod config;
mod parts;
pub mod pixels;
pub mod positions;
pub mod prompt;
pub mod text;
pub mod tokenizer;
pub mod vision;

use candle_core::{Device, Tensor};
use easel_domain::{Error, Mode, Pipeline, Reason, RgbImage};

use crate::checkpoint::Checkpoint;
use crate::error::{EngineError, LoadError, Result};
use crate::pass::Pass;
use config::EncoderConfig;
use parts::Parts;
use pixels::PixelSettings;
use positions::{ImageSpan, Positions};
use prompt::Template;
use text::{KvCache, TextInput, TextOutput, TextTower, replace_at};
use tokenizer::PromptTokenizer;
use vision::{ImageFeatures, VisionTower};

/// What the operator chooses about the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Edge in pixels of the square as which the encoder sees a source picture: 512 as in diffusers, or 256 as in the authors'
    /// pipeline for small devices, with a quarter of the tokens.
    pub condition_size_px: usize,
    /// Tokens of a generate prompt, the template's tail included, that are read; the rest is cut off. Edits are never cut.
    pub max_sequence_length: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { condition_size_px: 512, max_sequence_length: 200 }
    }
}

/// What is to be encoded.
#[derive(Clone, Copy, Debug)]
pub struct EncodeRequest<'a> {
    /// Generate or edit.
    pub mode: Mode,
    /// The pipeline, which decides how many prompts there are and in which order.
    pub pipeline: Pipeline,
    /// The prompt as the user wrote it.
    pub prompt: &'a str,
    /// The negative prompt; read for [`Pipeline::Base`] only.
    pub negative_prompt: &'a str,
    /// The source picture; needed for an edit and otherwise not looked at.
    pub image: Option<&'a RgbImage>,
}

/// Encoded prompts: one row for the mobile pipeline, the branches of guidance for the base pipeline in the order of the
/// reference ([negative, positive], for an edit [negative, negative, positive]).
#[derive(Clone, Debug)]
pub struct PromptEmbeds {
    /// `(b, l, hidden)` in f32; rows that are shorter than the longest are filled with zeros.
    pub embeds: Tensor,
    /// `(b, l)` as bytes: 1 where a row has a token, 0 where it is filled.
    pub mask: Tensor,
}

impl PromptEmbeds {
    /// Memory that it holds, in bytes.
    pub fn size_bytes(&self) -> u64 {
        (self.embeds.elem_count() * self.embeds.dtype().size_in_bytes() + self.mask.elem_count()) as u64
    }

    /// Puts rows `(1, l_i, hidden)` of different lengths under each other.
    fn stack(rows: &[Tensor]) -> candle_core::Result<Self> {
        let lengths = rows.iter().map(|row| row.dim(1)).collect::<candle_core::Result<Vec<_>>>()?;
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let mut padded = Vec::with_capacity(rows.len());
        let mut mask = Vec::with_capacity(rows.len() * longest);
        for (row, &length) in rows.iter().zip(&lengths) {
            padded.push(if length == longest { row.clone() } else { row.pad_with_zeros(1, 0, longest - length)? });
            mask.extend((0..longest).map(|i| u8::from(i < length)));
        }
        let embeds = if padded.len() == 1 { padded.remove(0) } else { Tensor::cat(&padded, 0)? };
        let mask = Tensor::from_vec(mask, (rows.len(), longest), embeds.device())?;
        Ok(Self { embeds, mask })
    }
}

/// What all prompts of a mode (and of a source picture) begin with, read once: the template's head, the picture and the
/// instruction.
#[derive(Clone, Debug)]
pub struct Prefix {
    mode: Mode,
    ids: Vec<u32>,
    image: Option<ImageSpan>,
    cache: KvCache,
    /// What the denoiser sees of it: `(1, ids - dropped, hidden)`.
    shown: Tensor,
}

impl Prefix {
    /// Memory that it holds, in bytes.
    pub fn size_bytes(&self) -> u64 {
        let shown = self.shown.elem_count() * self.shown.dtype().size_in_bytes();
        self.cache.size_bytes() + shown as u64 + self.ids.len() as u64 * 4
    }

    /// How many tokens a prompt begins with that were read already; one at least is left to read.
    fn shared_with(&self, ids: &[u32]) -> usize {
        let same = self.ids.iter().zip(ids).take_while(|(kept, id)| kept == id).count();
        same.min(ids.len().saturating_sub(1))
    }
}

/// The encoder of a checkpoint.
pub struct Conditioner {
    tokenizer: PromptTokenizer,
    pixels: PixelSettings,
    vision: VisionTower,
    text: TextTower,
    max_sequence_length: usize,
    device: Device,
    parameters: u64,
    resident_bytes: u64,
}

impl Conditioner {
    /// Reads `tokenizer/`, `processor/` and `text_encoder/` of a checkpoint onto a device, as f32; the table of token embeddings
    /// stays in its file.
    pub fn load(checkpoint: &Checkpoint, settings: &Settings, device: &Device) -> std::result::Result<Self, LoadError> {
        let config = EncoderConfig::load(checkpoint)?;
        let tokenizer = PromptTokenizer::load(checkpoint)?;
        if tokenizer.ids() > config.text.vocab_size || tokenizer.image_pad() != config.image_token_id {
            return Err(LoadError::config(
                config::FILE,
                format!(
                    "vocab_size {} and image_token_id {} do not belong to the tokenizer, which has {} ids and {} for {}",
                    config.text.vocab_size,
                    config.image_token_id,
                    tokenizer.ids(),
                    tokenizer.image_pad(),
                    prompt::IMAGE_PAD,
                ),
            ));
        }
        let pixels = PixelSettings::load(checkpoint, &config.vision, settings.condition_size_px)?;
        let weights = checkpoint.weights("text_encoder", device)?;
        let parameters = weights.parameters();
        let model = if weights.contains("language_model.norm.weight") { weights } else { weights.pp("model") };
        let text = TextTower::load(&model.pp("language_model"), &config.text)?;
        let vision = VisionTower::load(&model.pp("visual"), &config.vision, &pixels, config.text.hidden_size)?;
        let (max_sequence_length, resident_bytes) = (settings.max_sequence_length, model.resident_bytes());
        let device = device.clone();
        Ok(Self { tokenizer, pixels, vision, text, max_sequence_length, device, parameters, resident_bytes })
    }

    /// Encodes a request. Fails with `InvalidRequest` when an edit has no picture or a prompt cannot be encoded.
    pub fn encode(&self, request: &EncodeRequest<'_>, pass: &mut Pass<'_>) -> Result<PromptEmbeds> {
        Ok(self.encode_keeping(request, None, pass)?.0)
    }

    /// Encodes a request and gives the prefix that its prompts share, for later ones of the same mode and picture; `kept` is
    /// such a prefix, which is then not read again. The embeddings are the same bit for bit with and without it.
    pub fn encode_keeping(
        &self,
        request: &EncodeRequest<'_>,
        kept: Option<Prefix>,
        pass: &mut Pass<'_>,
    ) -> Result<(PromptEmbeds, Prefix)> {
        let prompts = prompt::batch(request.pipeline, request.mode, request.prompt, request.negative_prompt);
        self.encode_rows(request.mode, &prompts, request.image, kept, pass)
    }

    /// Encodes prompts that carry their instructions already, one row for each; the last is the positive one. Fails as
    /// [`encode`](Self::encode) does.
    pub fn encode_prompts(
        &self,
        mode: Mode,
        prompts: &[String],
        image: Option<&RgbImage>,
        pass: &mut Pass<'_>,
    ) -> Result<PromptEmbeds> {
        Ok(self.encode_rows(mode, prompts, image, None, pass)?.0)
    }

    fn encode_rows(
        &self,
        mode: Mode,
        prompts: &[String],
        image: Option<&RgbImage>,
        kept: Option<Prefix>,
        pass: &mut Pass<'_>,
    ) -> Result<(PromptEmbeds, Prefix)> {
        let rows = self.tokenize(mode, prompts)?;
        let mut distinct: Vec<&Vec<u32>> = Vec::with_capacity(rows.len());
        rows.iter().for_each(|row| {
            if !distinct.contains(&row) {
                distinct.push(row)
            }
        });
        let before = if kept.is_some() { 0 } else { self.prefix_parts(mode) };
        let mut parts = Parts::new(before + self.text.parts() * distinct.len());
        let prefix = match kept {
            Some(prefix) => prefix,
            None => self.read_prefix(mode, image, &mut parts, pass)?,
        };
        let mut encoded = Vec::with_capacity(distinct.len());
        for ids in &distinct {
            encoded.push(self.read_rest(&prefix, ids, &mut parts, pass)?);
        }
        let of_row = |row| distinct.iter().position(|ids| *ids == row).map(|i| encoded[i].clone());
        let stacked: Vec<Tensor> = rows.iter().filter_map(of_row).collect();
        let embeds = PromptEmbeds::stack(&stacked)?;
        finite(&embeds.embeds)?;
        Ok((embeds, prefix))
    }

    /// Reads what all prompts of a mode and picture begin with. Fails with `InvalidRequest` when an edit has no picture.
    pub fn prefix(&self, mode: Mode, image: Option<&RgbImage>, pass: &mut Pass<'_>) -> Result<Prefix> {
        self.read_prefix(mode, image, &mut Parts::new(self.prefix_parts(mode)), pass)
    }

    /// Parts of reading a prefix: the language model, and before it, in an edit, the picture tower.
    fn prefix_parts(&self, mode: Mode) -> usize {
        self.text.parts() + if mode == Mode::Edit { self.vision.parts() } else { 0 }
    }

    /// Encodes one prompt, instruction included, behind a prefix: `(1, l, hidden)`, bit for bit the row that
    /// [`encode`](Self::encode) gives.
    pub fn encode_behind(&self, prefix: &Prefix, prompt: &str, pass: &mut Pass<'_>) -> Result<Tensor> {
        let ids = self.tokens_of(prefix.mode, prompt, "spec.prompt")?;
        self.read_rest(prefix, &ids, &mut Parts::new(self.text.parts()), pass)
    }

    /// The picture tower alone: a source picture to its features.
    pub fn look(&self, image: &RgbImage, pass: &mut Pass<'_>) -> Result<ImageFeatures> {
        self.see(image, &mut Parts::new(self.vision.parts()), pass)
    }

    /// The language model alone: reads whole rows at once, padded on the right to one length.
    pub fn read(&self, input: &TextInput<'_>, pass: &mut Pass<'_>) -> Result<Tensor> {
        Ok(self.text.read(input, &mut Parts::new(self.text.parts()), pass)?.hidden)
    }

    /// Embeddings of a row of tokens, a picture's features in place: `(1, ids, hidden)`.
    pub fn embed(&self, ids: &[u32], image: Option<(&ImageFeatures, ImageSpan)>) -> Result<Tensor> {
        let embeds = self.text.embed(ids)?;
        match image {
            Some((features, span)) => Ok(replace_at(&embeds, &features.merged, span)?),
            None => Ok(embeds),
        }
    }

    /// Where the picture stands among the tokens of an edit.
    pub fn image_span(&self) -> ImageSpan {
        let side = self.pixels.tokens_per_side();
        ImageSpan { start: Template::of(Mode::Edit).dropped + 1, rows: side, columns: side }
    }

    /// The tokenizers.
    pub fn tokenizer(&self) -> &PromptTokenizer {
        &self.tokenizer
    }

    /// Number of parameters.
    pub fn parameters(&self) -> u64 {
        self.parameters
    }

    /// Memory of its weights in bytes, the table of embeddings counted as if it were f32.
    pub fn resident_bytes(&self) -> u64 {
        self.resident_bytes
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Tokens of prompts that carry their instructions: one row for each, a picture's token repeated as often as it has tokens.
    pub fn tokenize(&self, mode: Mode, prompts: &[String]) -> Result<Vec<Vec<u32>>> {
        let last = prompts.len().saturating_sub(1);
        let field = |i| if i == last { "spec.prompt" } else { "spec.negative_prompt" };
        prompts.iter().enumerate().map(|(i, prompt)| self.tokens_of(mode, prompt, field(i))).collect()
    }

    fn tokens_of(&self, mode: Mode, prompt: &str, field: &'static str) -> Result<Vec<u32>> {
        match mode {
            Mode::Generate => self.tokenizer.generate_tokens(prompt, self.max_sequence_length),
            Mode::Edit => self.tokenizer.edit_tokens(prompt, field, self.image_span().tokens().len()),
        }
    }

    fn see(&self, image: &RgbImage, parts: &mut Parts, pass: &mut Pass<'_>) -> Result<ImageFeatures> {
        let patches = self.pixels.patches(&self.pixels.squash(image), &self.device)?;
        self.vision.forward(&patches, parts, pass)
    }

    fn read_prefix(
        &self,
        mode: Mode,
        image: Option<&RgbImage>,
        parts: &mut Parts,
        pass: &mut Pass<'_>,
    ) -> Result<Prefix> {
        let (ids, picture) = match (mode, image) {
            (Mode::Generate, _) => (self.tokenizer.head(mode).to_vec(), None),
            (Mode::Edit, Some(image)) => {
                let (head, span) = (self.tokenizer.head(mode), self.image_span());
                let (before, after) = (&head[..span.start], &head[span.start + 1..]);
                let pads = std::iter::repeat_n(self.tokenizer.image_pad(), span.tokens().len());
                let ids = before.iter().copied().chain(pads).chain(after.iter().copied()).collect();
                (ids, Some((self.see(image, parts, pass)?, span)))
            }
            (Mode::Edit, None) => {
                let what = "an edit needs a picture: give one inline or by its hash";
                return Err(Error::field(Reason::InvalidRequest, "spec.image", what).into());
            }
        };
        let picture = picture.as_ref().map(|(features, span)| (features, *span));
        let span = picture.map(|(_, span)| span);
        let embeds = self.embed(&ids, picture)?;
        let positions = [Positions::new(ids.len(), span)];
        let input = TextInput { embeds: &embeds, positions: &positions, past: None, lengths: None, image: picture };
        let TextOutput { hidden, cache } = self.text.read(&input, parts, pass)?;
        let dropped = Template::of(mode).dropped;
        let shown = hidden.narrow(1, dropped, ids.len() - dropped)?.contiguous()?;
        Ok(Prefix { mode, ids, image: span, cache, shown })
    }

    /// Reads the tokens behind as much of a prefix as they begin with.
    fn read_rest(&self, prefix: &Prefix, ids: &[u32], parts: &mut Parts, pass: &mut Pass<'_>) -> Result<Tensor> {
        let shared = prefix.shared_with(ids);
        if prefix.image.is_some_and(|span| shared < span.tokens().end) {
            let what = "the tokens of an edit do not begin with its head";
            return Err(EngineError::Tensor(candle_core::Error::Msg(what.into())));
        }
        let past = prefix.cache.first(shared)?;
        let embeds = self.text.embed(&ids[shared..])?;
        let positions = [Positions::new(ids.len(), prefix.image).slice(shared..ids.len())];
        let past = (shared > 0).then_some(&past);
        let input = TextInput { embeds: &embeds, positions: &positions, past, lengths: None, image: None };
        let hidden = self.text.read(&input, parts, pass)?.hidden;
        let dropped = Template::of(prefix.mode).dropped;
        match shared.checked_sub(dropped) {
            Some(0) => Ok(hidden),
            Some(shown) => Ok(Tensor::cat(&[&prefix.shown.narrow(1, 0, shown)?, &hidden], 1)?),
            None => Ok(hidden.narrow(1, dropped - shared, ids.len() - dropped)?.contiguous()?),
        }
    }
}

/// Fails when a value is not finite: a checkpoint whose numbers overflow must not reach the denoiser unseen.
fn finite(embeds: &Tensor) -> Result<()> {
    // Zero times a value that is not finite is not a number, and stays so in a sum.
    let sum = (embeds * 0.0)?.sum_all()?.to_scalar::<f32>()?;
    if sum == 0.0 { Ok(()) } else { Err(EngineError::NotFinite("prompt embeddings")) }
}
