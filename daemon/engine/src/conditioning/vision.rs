//! The picture tower of Qwen3-VL: patches to merged tokens, and the features that go into the first layers of the language
//! model. Source: transformers `Qwen3VLVisionModel`.

mod places;

use candle_core::{Result as TensorResult, Tensor};

use super::config::{Activation, VisionConfig};
use super::parts::Parts;
use super::pixels::PixelSettings;
use super::positions::Rope;
use crate::error::{LoadError, Result};
use crate::ops::{self, LayerNorm, Linear};
use crate::pass::Pass;
use crate::weights::Weights;

const NORM_EPS: f64 = 1e-6;

/// The picture tower for pictures of one size.
pub struct VisionTower {
    patch_embed: PatchEmbed,
    /// Learned positions, resampled to the grid of patches: `(patches, hidden)`.
    places: Tensor,
    rope: Rope,
    blocks: Vec<Block>,
    merger: Merger,
    /// After which block each of them reads.
    deepstack: Vec<(usize, Merger)>,
}

/// What the tower makes of a picture.
#[derive(Clone, Debug)]
pub struct ImageFeatures {
    /// What takes the place of the picture tokens' embeddings: `(1, tokens, text hidden)`.
    pub merged: Tensor,
    /// What is added to the picture tokens after the first layers of the language model, each `(1, tokens, text hidden)`.
    pub deepstack: Vec<Tensor>,
}

impl VisionTower {
    /// Reads `visual` for pictures as `pixels` cuts them, to be used by a language model of width `text_hidden`.
    pub fn load(
        weights: &Weights,
        config: &VisionConfig,
        pixels: &PixelSettings,
        text_hidden: usize,
    ) -> std::result::Result<Self, LoadError> {
        let patches = pixels.places();
        let refused = |source| LoadError::Device {
            file: "text_encoder".into(),
            tensor: weights.pp("pos_embed.weight").path().into(),
            source: Box::new(source),
        };
        let table = weights.table([config.positions_per_side.pow(2), config.hidden_size], "pos_embed.weight")?;
        let places = places::resample(&table, config.positions_per_side, pixels.patches_per_side(), &patches);
        let mut blocks = Vec::new();
        for i in 0..config.depth {
            blocks.push(Block::load(&weights.pp("blocks").pp(i), config)?);
        }
        let mut deepstack = Vec::new();
        for (i, layer) in config.deepstack_visual_indexes.iter().enumerate() {
            let weights = weights.pp("deepstack_merger_list").pp(i);
            deepstack.push((*layer, Merger::load(&weights, config, text_hidden, true)?));
        }
        Ok(Self {
            patch_embed: PatchEmbed::load(&weights.pp("patch_embed.proj"), config)?,
            places: places.map_err(refused)?,
            rope: Rope::vision(config, &patches, weights.device()).map_err(refused)?,
            blocks,
            merger: Merger::load(&weights.pp("merger"), config, text_hidden, false)?,
            deepstack,
        })
    }

    /// Number of parts that it advances by.
    pub(super) fn parts(&self) -> usize {
        self.blocks.len()
    }

    /// `patches (n, values of a patch)` as [`PixelSettings::patches`] cuts them.
    pub(super) fn forward(&self, patches: &Tensor, parts: &mut Parts, pass: &mut Pass<'_>) -> Result<ImageFeatures> {
        let x = self.patch_embed.forward(patches)?;
        pass.record("vision.patch_embed", &x);
        let mut x = (x + &self.places)?;
        pass.record("vision.block0_in", &x);
        let mut deepstack = Vec::with_capacity(self.deepstack.len());
        for (i, block) in self.blocks.iter().enumerate() {
            pass.checkpoint()?;
            x = block.forward(&x, &self.rope)?;
            pass.record_part("vision", &format!("block{i}_out"), &x);
            if let Some((_, merger)) = self.deepstack.iter().find(|(layer, _)| *layer == i) {
                let features = merger.forward(&x)?;
                pass.record_part("vision", &format!("deepstack{}", deepstack.len()), &features);
                deepstack.push(features.unsqueeze(0)?);
            }
            parts.advance(pass);
        }
        pass.record("vision.last_hidden", &x);
        let merged = self.merger.forward(&x)?;
        pass.record("vision.pooler", &merged);
        Ok(ImageFeatures { merged: merged.unsqueeze(0)?, deepstack })
    }
}

/// A convolution over patches that do not overlap, which is one matrix product.
struct PatchEmbed {
    /// `(values of a patch, hidden)`
    weight: Tensor,
    bias: Tensor,
}

impl PatchEmbed {
    fn load(weights: &Weights, config: &VisionConfig) -> std::result::Result<Self, LoadError> {
        let (hidden, patch) = (config.hidden_size, config.patch_size);
        let shape = [hidden, 3, config.temporal_patch_size, patch, patch];
        let weight = weights.get_as(shape, [hidden, config.patch_values()], "weight")?;
        let weight = weight.t().map_err(|source| weights.refused("weight", source))?;
        Ok(Self { weight, bias: weights.get([hidden], "bias")? })
    }

    fn forward(&self, patches: &Tensor) -> TensorResult<Tensor> {
        patches.matmul(&self.weight)?.broadcast_add(&self.bias)
    }
}

struct Block {
    norm1: LayerNorm,
    attn: Attention,
    norm2: LayerNorm,
    mlp: Mlp,
}

impl Block {
    fn load(weights: &Weights, config: &VisionConfig) -> std::result::Result<Self, LoadError> {
        Ok(Self {
            norm1: LayerNorm::load(&weights.pp("norm1"), config.hidden_size, NORM_EPS)?,
            attn: Attention::load(&weights.pp("attn"), config)?,
            norm2: LayerNorm::load(&weights.pp("norm2"), config.hidden_size, NORM_EPS)?,
            mlp: Mlp::load(&weights.pp("mlp"), [config.hidden_size, config.intermediate_size], config.hidden_act)?,
        })
    }

    fn forward(&self, x: &Tensor, rope: &Rope) -> TensorResult<Tensor> {
        let attended = self.attn.forward(&self.norm1.forward(x)?, rope)?;
        let x = self.attn.proj.forward_onto(&attended, x)?;
        self.mlp.forward(&self.norm2.forward(&x)?, &x)
    }
}

struct Attention {
    qkv: Linear,
    proj: Linear,
    heads: usize,
    head_dim: usize,
}

impl Attention {
    fn load(weights: &Weights, config: &VisionConfig) -> std::result::Result<Self, LoadError> {
        let hidden = config.hidden_size;
        Ok(Self {
            qkv: Linear::load_packed(&weights.pp("qkv"), [3 * hidden, hidden], true)?,
            proj: Linear::load_packed(&weights.pp("proj"), [hidden, hidden], true)?,
            heads: config.num_heads,
            head_dim: config.head_dim(),
        })
    }

    /// `(n, hidden) -> (n, hidden)`, before the last projection; every patch sees every patch.
    fn forward(&self, x: &Tensor, rope: &Rope) -> TensorResult<Tensor> {
        let patches = x.dim(0)?;
        let qkv = self.qkv.forward(x)?.reshape((1, patches, 3, self.heads, self.head_dim))?;
        let part = |i| qkv.narrow(2, i, 1)?.squeeze(2)?.contiguous(); // (1, n, heads, head_dim)
        let (q, k) = (rope.turn(&part(0)?)?, rope.turn(&part(1)?)?);
        ops::attention(&q, &k, &part(2)?, None)?.squeeze(0)
    }
}

/// Two linear layers with an activation between them.
struct Mlp {
    linear_fc1: Linear,
    activation: Activation,
    linear_fc2: Linear,
}

impl Mlp {
    fn load(
        weights: &Weights,
        [outer, inner]: [usize; 2],
        activation: Activation,
    ) -> std::result::Result<Self, LoadError> {
        Ok(Self {
            linear_fc1: Linear::load_packed(&weights.pp("linear_fc1"), [inner, outer], true)?,
            activation,
            linear_fc2: Linear::load_packed(&weights.pp("linear_fc2"), [outer, inner], true)?,
        })
    }

    /// Added to `residual`.
    fn forward(&self, x: &Tensor, residual: &Tensor) -> TensorResult<Tensor> {
        self.linear_fc2.forward_onto(&self.activation.forward(&self.linear_fc1.forward(x)?)?, residual)
    }
}

/// Joins the patches of a token and brings them to the width of the language model.
struct Merger {
    norm: LayerNorm,
    linear_fc1: Linear,
    linear_fc2: Linear,
    /// Patches of a token times their width.
    joined: usize,
    /// True: patches are joined first and normalised together. False: each is normalised by itself.
    joins_first: bool,
}

impl Merger {
    fn load(
        weights: &Weights,
        config: &VisionConfig,
        text_hidden: usize,
        joins_first: bool,
    ) -> std::result::Result<Self, LoadError> {
        let joined = config.hidden_size * config.spatial_merge_size * config.spatial_merge_size;
        let normed = if joins_first { joined } else { config.hidden_size };
        Ok(Self {
            norm: LayerNorm::load(&weights.pp("norm"), normed, NORM_EPS)?,
            linear_fc1: Linear::load_packed(&weights.pp("linear_fc1"), [joined, joined], true)?,
            linear_fc2: Linear::load_packed(&weights.pp("linear_fc2"), [text_hidden, joined], true)?,
            joined,
            joins_first,
        })
    }

    /// `(n, hidden) -> (n / merge^2, text hidden)`
    fn forward(&self, x: &Tensor) -> TensorResult<Tensor> {
        let x = if self.joins_first {
            self.norm.forward(&x.reshape(((), self.joined))?)?
        } else {
            self.norm.forward(x)?.reshape(((), self.joined))?
        };
        self.linear_fc2.forward(&ops::gelu(&self.linear_fc1.forward(&x)?, false)?)
    }
}
