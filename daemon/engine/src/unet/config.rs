//! `unet/config.json`: what diffusers' `DreamLiteUNetModel` is told, with its defaults, and the plan of blocks that follows
//! from it. Anything that this port does not compute is refused by name instead of ignored.

use serde::Deserialize;

use crate::checkpoint::Checkpoint;
use crate::error::LoadError;

pub(super) const FILE: &str = "unet/config.json";

/// One value for all stages, or one for each.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum PerStage<T> {
    One(T),
    Each(Vec<T>),
}

impl<T: Clone> PerStage<T> {
    /// One value for each of `stages`; fails when a list has another length.
    fn spread(&self, name: &str, stages: usize) -> Result<Vec<T>, LoadError> {
        match self {
            Self::One(value) => Ok(vec![value.clone(); stages]),
            Self::Each(values) if values.len() == stages => Ok(values.clone()),
            Self::Each(values) => Err(bad(format!("{name} has {} values for {stages} stages", values.len()))),
        }
    }
}

/// Layers of the transformers: one number for all, or for each stage one number or one for each transformer.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum TransformerLayers {
    Same(usize),
    Each(Vec<PerStage<usize>>),
}

impl TransformerLayers {
    fn spread(&self, stages: usize) -> Result<Vec<PerStage<usize>>, LoadError> {
        match self {
            Self::Same(layers) => Ok(vec![PerStage::One(*layers); stages]),
            Self::Each(values) => PerStage::Each(values.clone()).spread("transformer_layers_per_block", stages),
        }
    }
}

/// The file. Fields that do not matter for inference in f32 (dropout, upcast_attention) are not read.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
struct Raw {
    sample_size: Option<PerStage<u32>>,
    in_channels: usize,
    out_channels: usize,
    center_input_sample: bool,
    flip_sin_to_cos: bool,
    freq_shift: f64,
    down_block_types: Vec<String>,
    mid_block_type: Option<String>,
    up_block_types: Vec<String>,
    only_cross_attention: PerStage<bool>,
    block_out_channels: Vec<usize>,
    layers_per_block: PerStage<usize>,
    downsample_padding: usize,
    mid_block_scale_factor: f64,
    act_fn: String,
    norm_num_groups: Option<usize>,
    norm_eps: f64,
    cross_attention_dim: PerStage<usize>,
    transformer_layers_per_block: TransformerLayers,
    reverse_transformer_layers_per_block: Option<Vec<PerStage<usize>>>,
    encoder_hid_dim: Option<usize>,
    encoder_hid_dim_type: Option<String>,
    attention_head_dim: PerStage<usize>,
    num_attention_heads: Option<serde_json::Value>,
    dual_cross_attention: bool,
    use_linear_projection: bool,
    class_embed_type: Option<String>,
    addition_embed_type: Option<String>,
    addition_time_embed_dim: Option<usize>,
    num_class_embeds: Option<usize>,
    resnet_time_scale_shift: String,
    time_embedding_type: String,
    time_embedding_dim: Option<usize>,
    time_embedding_act_fn: Option<String>,
    timestep_post_act: Option<String>,
    time_cond_proj_dim: Option<usize>,
    conv_in_kernel: usize,
    conv_out_kernel: usize,
    projection_class_embeddings_input_dim: Option<usize>,
    attention_type: String,
    qk_norm: Option<String>,
    use_sep_conv: bool,
    ff_mult: usize,
    num_kv_heads: Option<usize>,
    num_mid_layers: usize,
}

impl Default for Raw {
    fn default() -> Self {
        let strings = |names: [&str; 3]| names.map(str::to_owned).to_vec();
        Self {
            sample_size: None,
            in_channels: 4,
            out_channels: 4,
            center_input_sample: false,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            down_block_types: strings([
                "DreamLiteCrossAttnNoSelfAttnDownBlock2D",
                "DreamLiteCrossAttnNoSelfAttnDownBlock2D",
                "DreamLiteCrossAttnDownBlock2D",
            ]),
            mid_block_type: Some("DreamLiteUNetMidBlock2DCrossAttn".into()),
            up_block_types: strings([
                "DreamLiteCrossAttnUpBlock2D",
                "DreamLiteCrossAttnNoSelfAttnUpBlock2D",
                "DreamLiteUpBlock2D",
            ]),
            only_cross_attention: PerStage::One(false),
            block_out_channels: vec![320, 640, 1280],
            layers_per_block: PerStage::One(2),
            downsample_padding: 1,
            mid_block_scale_factor: 1.0,
            act_fn: "silu".into(),
            norm_num_groups: Some(32),
            norm_eps: 1e-5,
            cross_attention_dim: PerStage::One(2048),
            transformer_layers_per_block: TransformerLayers::Same(1),
            reverse_transformer_layers_per_block: None,
            encoder_hid_dim: None,
            encoder_hid_dim_type: None,
            attention_head_dim: PerStage::One(64),
            num_attention_heads: None,
            dual_cross_attention: false,
            use_linear_projection: false,
            class_embed_type: None,
            addition_embed_type: None,
            addition_time_embed_dim: None,
            num_class_embeds: None,
            resnet_time_scale_shift: "default".into(),
            time_embedding_type: "positional".into(),
            time_embedding_dim: None,
            time_embedding_act_fn: None,
            timestep_post_act: None,
            time_cond_proj_dim: None,
            conv_in_kernel: 3,
            conv_out_kernel: 3,
            projection_class_embeddings_input_dim: None,
            attention_type: "default".into(),
            qk_norm: Some("rms_norm".into()),
            use_sep_conv: true,
            ff_mult: 6,
            num_kv_heads: Some(1),
            num_mid_layers: 1,
        }
    }
}

/// What a block does besides its resnets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attention {
    /// Nothing.
    None,
    /// Cross-attention; the place of self-attention is taken by its normalisation.
    Cross,
    /// Self-attention and cross-attention.
    SelfAndCross,
}

/// One block of the U-Net: its resnets, and as many transformers where it has attention.
#[derive(Clone, Debug)]
pub(super) struct BlockPlan {
    pub(super) attention: Attention,
    /// `(in, out)` channels of each resnet.
    pub(super) resnets: Vec<(usize, usize)>,
    /// Layers of each transformer; empty without attention.
    pub(super) transformer_layers: Vec<usize>,
    pub(super) channels: usize,
    pub(super) heads: usize,
    pub(super) cross_attention_dim: usize,
    /// True when the block ends by changing the resolution.
    pub(super) resamples: bool,
    pub(super) output_scale: f64,
}

/// What all blocks share.
#[derive(Clone, Debug)]
pub(super) struct Common {
    pub(super) time_embed_dim: usize,
    pub(super) norm_groups: usize,
    pub(super) norm_eps: f64,
    pub(super) downsample_padding: usize,
    pub(super) use_linear_projection: bool,
    pub(super) use_sep_conv: bool,
    pub(super) qk_norm: bool,
    pub(super) ff_mult: usize,
    /// `None`: as many as query heads.
    pub(super) kv_heads: Option<usize>,
}

/// Size embedding (`addition_embed_type: time`).
#[derive(Clone, Copy, Debug)]
pub(super) struct SizeEmbedding {
    pub(super) dim: usize,
    pub(super) input_dim: usize,
}

/// How prompt embeddings come to the width of the cross-attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextProjection {
    pub(super) input_dim: usize,
    pub(super) normalised: bool,
}

/// The whole plan of a U-Net.
#[derive(Clone, Debug)]
pub struct UNetConfig {
    /// Native size in latent positions (height, width), where the file names one.
    pub sample_size: Option<(u32, u32)>,
    /// Latent channels that go in.
    pub in_channels: usize,
    /// Latent channels that come out.
    pub out_channels: usize,
    /// Width of the prompt embeddings that it reads.
    pub prompt_embed_dim: usize,
    pub(super) center_input_sample: bool,
    pub(super) flip_sin_to_cos: bool,
    pub(super) freq_shift: f64,
    pub(super) first_channels: usize,
    pub(super) conv_in_kernel: usize,
    pub(super) conv_out_kernel: usize,
    pub(super) size_embedding: Option<SizeEmbedding>,
    pub(super) text_projection: Option<TextProjection>,
    pub(super) cross_attention_dim: usize,
    pub(super) common: Common,
    pub(super) down: Vec<BlockPlan>,
    pub(super) mid: Option<BlockPlan>,
    pub(super) up: Vec<BlockPlan>,
}

impl UNetConfig {
    /// Reads and checks `unet/config.json`.
    pub fn load(checkpoint: &Checkpoint) -> Result<Self, LoadError> {
        let raw: Raw = checkpoint.json(FILE)?;
        raw.refuse_unsupported()?;
        let stages = raw.block_out_channels.len();
        if stages == 0 || raw.down_block_types.len() != stages || raw.up_block_types.len() != stages {
            return Err(bad(
                "block_out_channels, down_block_types and up_block_types must have one value for each stage",
            ));
        }
        let cross = raw.cross_attention_dim.spread("cross_attention_dim", stages)?;
        let common = raw.common()?;
        let (down, mid, up) = (raw.down(&cross)?, raw.mid(&cross)?, raw.up(&cross)?);
        for plan in down.iter().chain(&mid).chain(&up) {
            check(plan, &common)?;
        }
        let text_projection = raw.text_projection()?;
        Ok(Self {
            sample_size: match &raw.sample_size {
                None => None,
                Some(PerStage::One(side)) => Some((*side, *side)),
                Some(PerStage::Each(sides)) => match sides[..] {
                    [height, width] => Some((height, width)),
                    _ => return Err(bad("sample_size must be one number or (height, width)")),
                },
            },
            in_channels: raw.in_channels,
            out_channels: raw.out_channels,
            prompt_embed_dim: text_projection.map_or(cross[0], |projection| projection.input_dim),
            center_input_sample: raw.center_input_sample,
            flip_sin_to_cos: raw.flip_sin_to_cos,
            freq_shift: raw.freq_shift,
            first_channels: raw.block_out_channels[0],
            conv_in_kernel: raw.conv_in_kernel,
            conv_out_kernel: raw.conv_out_kernel,
            size_embedding: raw.size_embedding()?,
            text_projection,
            cross_attention_dim: cross[0],
            common,
            down,
            mid,
            up,
        })
    }

    /// The image must be this many latent positions at least, so that every stage has some.
    pub fn min_latent_side(&self) -> u32 {
        1 << self.down.len().saturating_sub(1)
    }
}

impl Raw {
    fn refuse_unsupported(&self) -> Result<(), LoadError> {
        let only_cross = match &self.only_cross_attention {
            PerStage::One(value) => *value,
            PerStage::Each(values) => values.contains(&true),
        };
        let unsupported = [
            ("only_cross_attention", only_cross),
            (
                "num_attention_heads (attention_head_dim is the number of heads)",
                self.num_attention_heads.as_ref().is_some_and(|v| !v.is_null()),
            ),
            ("dual_cross_attention", self.dual_cross_attention),
            ("class_embed_type", self.class_embed_type.is_some()),
            ("num_class_embeds", self.num_class_embeds.is_some()),
            ("resnet_time_scale_shift", self.resnet_time_scale_shift != "default"),
            ("time_embedding_type", self.time_embedding_type != "positional"),
            ("time_embedding_act_fn", self.time_embedding_act_fn.is_some()),
            ("timestep_post_act", self.timestep_post_act.is_some()),
            ("time_cond_proj_dim", self.time_cond_proj_dim.is_some()),
            ("attention_type", self.attention_type != "default"),
            ("act_fn", !matches!(self.act_fn.as_str(), "silu" | "swish")),
            ("qk_norm", !matches!(self.qk_norm.as_deref(), None | Some("rms_norm"))),
            ("conv_in_kernel", self.conv_in_kernel.is_multiple_of(2)),
            ("conv_out_kernel", self.conv_out_kernel.is_multiple_of(2)),
        ];
        match unsupported.iter().find(|(_, found)| *found) {
            Some((name, _)) => {
                Err(bad(format!("this value of {name} is not supported; published DreamLite checkpoints have another")))
            }
            None => Ok(()),
        }
    }

    fn common(&self) -> Result<Common, LoadError> {
        Ok(Common {
            time_embed_dim: self.time_embedding_dim.unwrap_or(self.block_out_channels[0] * 4),
            norm_groups: self.norm_num_groups.filter(|n| *n > 0).ok_or_else(|| bad("norm_num_groups must be set"))?,
            norm_eps: self.norm_eps,
            downsample_padding: self.downsample_padding,
            use_linear_projection: self.use_linear_projection,
            use_sep_conv: self.use_sep_conv,
            qk_norm: self.qk_norm.is_some(),
            ff_mult: self.ff_mult,
            kv_heads: self.num_kv_heads,
        })
    }

    fn size_embedding(&self) -> Result<Option<SizeEmbedding>, LoadError> {
        match self.addition_embed_type.as_deref() {
            None => Ok(None),
            Some("time") => {
                let both = self.addition_time_embed_dim.zip(self.projection_class_embeddings_input_dim);
                let (dim, input_dim) = both.ok_or_else(|| {
                    bad("addition_embed_type needs addition_time_embed_dim and projection_class_embeddings_input_dim")
                })?;
                if input_dim != 2 * dim {
                    return Err(bad(
                        "projection_class_embeddings_input_dim must be twice addition_time_embed_dim (width and height)",
                    ));
                }
                Ok(Some(SizeEmbedding { dim, input_dim }))
            }
            Some(other) => Err(bad(format!("addition_embed_type {other:?} is not supported; it should be \"time\""))),
        }
    }

    fn text_projection(&self) -> Result<Option<TextProjection>, LoadError> {
        let normalised = match self.encoder_hid_dim_type.as_deref() {
            None if self.encoder_hid_dim.is_none() => return Ok(None),
            None | Some("text_proj") => false,
            Some("text_proj_rms") => true,
            Some(other) => {
                return Err(bad(format!(
                    "encoder_hid_dim_type {other:?} is not supported; it should be \"text_proj_rms\""
                )));
            }
        };
        let input_dim = self.encoder_hid_dim.ok_or_else(|| bad("encoder_hid_dim_type needs encoder_hid_dim"))?;
        if matches!(&self.cross_attention_dim, PerStage::Each(dims) if dims.windows(2).any(|pair| pair[0] != pair[1])) {
            return Err(bad("a projected prompt has one width: cross_attention_dim must be the same for all stages"));
        }
        Ok(Some(TextProjection { input_dim, normalised }))
    }

    /// Resnets, transformer layers for `layers` resnets, and heads of stage `i`, as far as down, mid and up share them.
    fn block(
        &self,
        i: usize,
        attention: Attention,
        resnets: Vec<(usize, usize)>,
        layers: &PerStage<usize>,
    ) -> Result<BlockPlan, LoadError> {
        let stages = self.block_out_channels.len();
        let transformer_layers = match attention {
            Attention::None => Vec::new(),
            _ => match layers {
                PerStage::One(layers) => vec![*layers; resnets.len()],
                PerStage::Each(each) if each.len() >= resnets.len() => each[..resnets.len()].to_vec(),
                PerStage::Each(each) => {
                    let what = format!(
                        "transformer_layers_per_block names {} transformers for a block of {}",
                        each.len(),
                        resnets.len()
                    );
                    return Err(bad(what));
                }
            },
        };
        Ok(BlockPlan {
            attention,
            resnets,
            transformer_layers,
            channels: self.block_out_channels[i],
            heads: self.attention_head_dim.spread("attention_head_dim", stages)?[i],
            cross_attention_dim: self.cross_attention_dim.spread("cross_attention_dim", stages)?[i],
            resamples: true,
            output_scale: 1.0,
        })
    }

    fn down(&self, cross: &[usize]) -> Result<Vec<BlockPlan>, LoadError> {
        let stages = cross.len();
        let layers = self.layers_per_block.spread("layers_per_block", stages)?;
        let transformers = self.transformer_layers_per_block.spread(stages)?;
        let plan = |i: usize| {
            let (before, out) = (self.block_out_channels[i.saturating_sub(1)], self.block_out_channels[i]);
            let resnets = (0..layers[i]).map(|j| (if j == 0 { before } else { out }, out)).collect();
            let block = self.block(i, down_block(&self.down_block_types[i])?, resnets, &transformers[i])?;
            Ok(BlockPlan { resamples: i + 1 < stages, ..block })
        };
        (0..stages).map(plan).collect()
    }

    fn mid(&self, cross: &[usize]) -> Result<Option<BlockPlan>, LoadError> {
        match self.mid_block_type.as_deref() {
            None => return Ok(None),
            Some("DreamLiteUNetMidBlock2DCrossAttn" | "UNetMidBlock2DCrossAttn") => {}
            Some(other) => return Err(unknown_block("mid_block_type", other)),
        }
        let last = cross.len() - 1;
        let out = self.block_out_channels[last];
        let transformers = self.transformer_layers_per_block.spread(cross.len())?;
        let resnets = vec![(out, out); self.num_mid_layers];
        let mut block = self.block(last, Attention::SelfAndCross, resnets, &transformers[last])?;
        // One resnet comes before the first transformer.
        block.resnets.push((out, out));
        Ok(Some(BlockPlan { resamples: false, output_scale: self.mid_block_scale_factor, ..block }))
    }

    fn up(&self, cross: &[usize]) -> Result<Vec<BlockPlan>, LoadError> {
        let stages = cross.len();
        let layers = self.layers_per_block.spread("layers_per_block", stages)?;
        let mut transformers = self.transformer_layers_per_block.spread(stages)?;
        transformers.reverse();
        if let Some(reversed) = &self.reverse_transformer_layers_per_block {
            if reversed.len() != stages {
                return Err(bad("reverse_transformer_layers_per_block must have one value for each stage"));
            }
            transformers = reversed.clone();
        }
        let plan = |step: usize| {
            let i = stages - 1 - step;
            let (out, skip) = (self.block_out_channels[i], self.block_out_channels[i.saturating_sub(1)]);
            let before = self.block_out_channels[(i + 1).min(stages - 1)];
            let count = layers[i] + 1;
            let resnet = |j: usize| {
                let from = if j == 0 { before } else { out };
                (from + if j + 1 == count { skip } else { out }, out)
            };
            let attention = up_block(&self.up_block_types[step])?;
            let block = self.block(i, attention, (0..count).map(resnet).collect(), &transformers[step])?;
            Ok(BlockPlan { resamples: i > 0, ..block })
        };
        (0..stages).map(plan).collect()
    }
}

fn down_block(name: &str) -> Result<Attention, LoadError> {
    match name {
        "DreamLiteCrossAttnNoSelfAttnDownBlock2D" | "CrossAttnDownRemoveSelfAttnBlock2D" => Ok(Attention::Cross),
        "DreamLiteCrossAttnDownBlock2D" | "CrossAttnDownBlock2D" => Ok(Attention::SelfAndCross),
        "DreamLiteDownBlock2D" | "DownBlock2D" => Ok(Attention::None),
        other => Err(unknown_block("down_block_types", other)),
    }
}

fn up_block(name: &str) -> Result<Attention, LoadError> {
    match name {
        "DreamLiteCrossAttnNoSelfAttnUpBlock2D"
        | "CrossAttnUpRemoveSelfAttnBlock2D"
        | "CrossAttnUpRemoveSelfAttnBlock2DV1" => Ok(Attention::Cross),
        "DreamLiteCrossAttnUpBlock2D" | "CrossAttnUpBlock2D" => Ok(Attention::SelfAndCross),
        "DreamLiteUpBlock2D" | "UpBlock2D" => Ok(Attention::None),
        other => Err(unknown_block("up_block_types", other)),
    }
}

/// Divisions that have to come out even.
fn check(plan: &BlockPlan, common: &Common) -> Result<(), LoadError> {
    let expand = if common.use_sep_conv { 2 } else { 1 };
    let normed = plan.resnets.iter().flat_map(|(input, out)| [*input, out * expand]).chain([plan.channels]);
    if let Some(channels) = normed.into_iter().find(|channels| *channels == 0 || channels % common.norm_groups != 0) {
        return Err(bad(format!(
            "{channels} channels cannot be split into norm_num_groups = {} groups",
            common.norm_groups
        )));
    }
    if plan.attention == Attention::None {
        return Ok(());
    }
    let kv_heads = common.kv_heads.unwrap_or(plan.heads);
    if plan.heads == 0 || !plan.channels.is_multiple_of(plan.heads) {
        return Err(bad(format!(
            "{} channels cannot be split into attention_head_dim = {} heads",
            plan.channels, plan.heads
        )));
    }
    if kv_heads == 0 || !plan.heads.is_multiple_of(kv_heads) {
        return Err(bad(format!("{} heads cannot share num_kv_heads = {kv_heads} key heads", plan.heads)));
    }
    Ok(())
}

fn unknown_block(field: &str, name: &str) -> LoadError {
    bad(format!("{field}: {name:?} is not a block of DreamLite"))
}

fn bad(what: impl Into<String>) -> LoadError {
    LoadError::config(FILE, what)
}
