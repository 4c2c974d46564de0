//! The configuration of the encoder (`text_encoder/config.json`), in both spellings that exist: `rope_theta` beside
//! `rope_scaling` as in published Qwen3-VL checkpoints, and `rope_parameters` as transformers 5 writes it.

use candle_core::Tensor;
use serde::Deserialize;

use crate::checkpoint::Checkpoint;
use crate::error::LoadError;
use crate::ops;

pub(super) const FILE: &str = "text_encoder/config.json";
/// Widths and counts above this are no network but a damaged file; products of three of them fit 64 bits.
const MAX_DIMENSION: usize = 1 << 20;
const MAX_LAYERS: usize = 1024;
const VISION_ROPE_THETA: f64 = 10_000.0;

/// Both towers of the encoder and the tokens that stand for pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    /// The language model.
    pub text: TextConfig,
    /// The picture tower.
    pub vision: VisionConfig,
    /// Id of `<|image_pad|>`, whose embedding a picture's features replace.
    pub image_token_id: u32,
}

/// Shape of the language model.
#[derive(Clone, Debug, PartialEq)]
pub struct TextConfig {
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// Width of a head; independent of the others.
    pub head_dim: usize,
    /// Activation of the feed-forward layers.
    pub hidden_act: Activation,
    /// Epsilon of all RMS normalisations.
    pub rms_norm_eps: f64,
    /// True when the projections of the attention have biases.
    pub attention_bias: bool,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How many frequencies turn with time, row and column.
    pub mrope_section: [usize; 3],
}

/// Shape of the picture tower.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    /// Layers.
    pub depth: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Activation of the feed-forward layers.
    pub hidden_act: Activation,
    /// Width inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Heads; divides `hidden_size`.
    pub num_heads: usize,
    /// Edge of a patch in pixels.
    pub patch_size: usize,
    /// Edge of a merged token in patches.
    pub spatial_merge_size: usize,
    /// Frames of a patch; a picture is one frame repeated.
    pub temporal_patch_size: usize,
    /// Edge of the square table of learned positions.
    pub positions_per_side: usize,
    /// Layers after which features go to the language model, in the order of their mergers.
    pub deepstack_visual_indexes: Vec<usize>,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
}

/// Activations that checkpoints name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`
    Silu,
    /// GELU in the approximation with tanh.
    GeluTanh,
    /// GELU with the error function.
    GeluErf,
}

impl Activation {
    /// Applies it to every value.
    pub fn forward(self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Silu => ops::silu(x),
            Self::GeluTanh => ops::gelu(x, true),
            Self::GeluErf => ops::gelu(x, false),
        }
    }

    fn named(name: &str) -> Result<Self, LoadError> {
        match name {
            "silu" | "swish" => Ok(Self::Silu),
            "gelu_pytorch_tanh" | "gelu_new" => Ok(Self::GeluTanh),
            "gelu" => Ok(Self::GeluErf),
            other => Err(wrong(format!("hidden_act {other:?} is unknown; silu, gelu and gelu_pytorch_tanh are"))),
        }
    }
}

impl VisionConfig {
    /// Edge of a merged token in pixels; pictures have to be multiples of it.
    pub fn token_edge_px(&self) -> usize {
        self.patch_size * self.spatial_merge_size
    }

    /// Width of a head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_heads
    }

    /// Numbers of a patch: channels, frames, rows, columns.
    pub fn patch_values(&self) -> usize {
        3 * self.temporal_patch_size * self.patch_size * self.patch_size
    }
}

impl EncoderConfig {
    /// Reads and checks `text_encoder/config.json`. Fails with [`LoadError::Config`] naming the setting that cannot be.
    pub fn load(checkpoint: &Checkpoint) -> Result<Self, LoadError> {
        let raw: RawConfig = checkpoint.json(FILE)?;
        let text = raw.text_config.checked()?;
        if raw.vision_config.out_hidden_size != text.hidden_size {
            return Err(wrong(format!(
                "vision_config.out_hidden_size is {}, but text_config.hidden_size is {}",
                raw.vision_config.out_hidden_size, text.hidden_size
            )));
        }
        Ok(Self { text, vision: raw.vision_config.checked()?, image_token_id: raw.image_token_id })
    }
}

#[derive(Deserialize)]
struct RawConfig {
    text_config: RawText,
    vision_config: RawVision,
    image_token_id: u32,
}

#[derive(Deserialize)]
struct RawText {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    #[serde(default = "default_head_dim")]
    head_dim: usize,
    #[serde(default = "default_text_act")]
    hidden_act: String,
    #[serde(default = "default_eps")]
    rms_norm_eps: f64,
    #[serde(default)]
    attention_bias: bool,
    rope_theta: Option<f64>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
}

#[derive(Deserialize)]
struct RawRope {
    rope_theta: Option<f64>,
    mrope_section: Option<[usize; 3]>,
    #[serde(alias = "type")]
    rope_type: Option<String>,
}

#[derive(Deserialize)]
struct RawVision {
    depth: usize,
    hidden_size: usize,
    #[serde(default = "default_vision_act")]
    hidden_act: String,
    intermediate_size: usize,
    num_heads: usize,
    #[serde(default = "three")]
    in_channels: usize,
    patch_size: usize,
    spatial_merge_size: usize,
    temporal_patch_size: usize,
    out_hidden_size: usize,
    num_position_embeddings: usize,
    #[serde(default)]
    deepstack_visual_indexes: Vec<usize>,
    rope_parameters: Option<RawRope>,
}

impl RawText {
    fn checked(self) -> Result<TextConfig, LoadError> {
        let kv_heads = self.num_key_value_heads.unwrap_or(self.num_attention_heads);
        bounded("text_config.vocab_size", self.vocab_size, u32::MAX as usize)?;
        bounded("text_config.hidden_size", self.hidden_size, MAX_DIMENSION)?;
        bounded("text_config.intermediate_size", self.intermediate_size, MAX_DIMENSION)?;
        bounded("text_config.num_hidden_layers", self.num_hidden_layers, MAX_LAYERS)?;
        bounded("text_config.num_attention_heads", self.num_attention_heads, MAX_DIMENSION)?;
        bounded("text_config.num_key_value_heads", kv_heads, MAX_DIMENSION)?;
        bounded("text_config.head_dim", self.head_dim, MAX_DIMENSION)?;
        epsilon("text_config.rms_norm_eps", self.rms_norm_eps)?;
        if !self.num_attention_heads.is_multiple_of(kv_heads) {
            let heads = self.num_attention_heads;
            return Err(wrong(format!("num_attention_heads {heads} is no multiple of num_key_value_heads {kv_heads}")));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(wrong(format!("text_config.head_dim {} is odd", self.head_dim)));
        }
        // transformers takes rope_scaling over rope_parameters, and a theta inside over the one beside.
        let rope = self.rope_scaling.or(self.rope_parameters);
        if let Some(kind) = rope.as_ref().and_then(|rope| rope.rope_type.as_deref())
            && !matches!(kind, "default" | "mrope")
        {
            return Err(wrong(format!("rope_type {kind:?} is unknown; only \"default\" is computed")));
        }
        let theta = rope.as_ref().and_then(|rope| rope.rope_theta).or(self.rope_theta);
        let Some(rope_theta) = theta else {
            return Err(wrong("text_config has no rope_theta, neither by itself nor in rope_parameters"));
        };
        Ok(TextConfig {
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            num_key_value_heads: kv_heads,
            head_dim: self.head_dim,
            hidden_act: Activation::named(&self.hidden_act)?,
            rms_norm_eps: self.rms_norm_eps,
            attention_bias: self.attention_bias,
            rope_theta: theta_of("text_config", rope_theta)?,
            mrope_section: rope.and_then(|rope| rope.mrope_section).unwrap_or([24, 20, 20]),
        })
    }
}

impl RawVision {
    fn checked(self) -> Result<VisionConfig, LoadError> {
        bounded("vision_config.depth", self.depth, MAX_LAYERS)?;
        bounded("vision_config.hidden_size", self.hidden_size, MAX_DIMENSION)?;
        bounded("vision_config.intermediate_size", self.intermediate_size, MAX_DIMENSION)?;
        bounded("vision_config.num_heads", self.num_heads, self.hidden_size)?;
        bounded("vision_config.patch_size", self.patch_size, 1024)?;
        bounded("vision_config.spatial_merge_size", self.spatial_merge_size, 64)?;
        bounded("vision_config.temporal_patch_size", self.temporal_patch_size, 64)?;
        bounded("vision_config.num_position_embeddings", self.num_position_embeddings, u32::MAX as usize)?;
        if self.in_channels != 3 {
            return Err(wrong(format!("vision_config.in_channels is {}, but pictures have 3", self.in_channels)));
        }
        // A quarter of a head turns with rows and a quarter with columns, in pairs.
        if !self.hidden_size.is_multiple_of(self.num_heads) || !(self.hidden_size / self.num_heads).is_multiple_of(4) {
            let (width, heads) = (self.hidden_size, self.num_heads);
            return Err(wrong(format!(
                "vision_config.hidden_size {width} does not give {heads} heads of a multiple of 4"
            )));
        }
        let side = self.num_position_embeddings.isqrt();
        if side * side != self.num_position_embeddings {
            return Err(wrong(format!("num_position_embeddings {} is no square", self.num_position_embeddings)));
        }
        let indexes = self.deepstack_visual_indexes;
        if indexes.iter().enumerate().any(|(i, layer)| *layer >= self.depth || indexes[..i].contains(layer)) {
            return Err(wrong(format!(
                "deepstack_visual_indexes {indexes:?} are not different layers below {}",
                self.depth
            )));
        }
        let theta = self.rope_parameters.and_then(|rope| rope.rope_theta).unwrap_or(VISION_ROPE_THETA);
        Ok(VisionConfig {
            depth: self.depth,
            hidden_size: self.hidden_size,
            hidden_act: Activation::named(&self.hidden_act)?,
            intermediate_size: self.intermediate_size,
            num_heads: self.num_heads,
            patch_size: self.patch_size,
            spatial_merge_size: self.spatial_merge_size,
            temporal_patch_size: self.temporal_patch_size,
            positions_per_side: side,
            deepstack_visual_indexes: indexes,
            rope_theta: theta_of("vision_config", theta)?,
        })
    }
}

fn wrong(what: impl Into<String>) -> LoadError {
    LoadError::config(FILE, what)
}

fn bounded(name: &str, value: usize, most: usize) -> Result<(), LoadError> {
    if (1..=most).contains(&value) { Ok(()) } else { Err(wrong(format!("{name} is {value}, not within 1 to {most}"))) }
}

fn epsilon(name: &str, value: f64) -> Result<(), LoadError> {
    if (0.0..1.0).contains(&value) { Ok(()) } else { Err(wrong(format!("{name} is {value}, not within 0 to 1"))) }
}

fn theta_of(section: &str, theta: f64) -> Result<f64, LoadError> {
    let usable = theta.is_finite() && theta >= 1.0;
    if usable { Ok(theta) } else { Err(wrong(format!("{section}: rope_theta {theta} is not a number of at least 1"))) }
}

fn default_head_dim() -> usize {
    128
}

fn default_text_act() -> String {
    "silu".into()
}

fn default_vision_act() -> String {
    "gelu_pytorch_tanh".into()
}

fn default_eps() -> f64 {
    1e-6
}

fn three() -> usize {
    3
}
