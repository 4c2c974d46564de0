//! The transformer inside a block: tokens of the picture attend to themselves (or not) and to the prompt.
//! Source: diffusers `transformer_2d_dreamlite.py` and `DreamLiteAttnProcessor2_0`.

use candle_core::Tensor;

use super::config::{Attention as Kind, BlockPlan, Common};
use crate::error::{LoadError, Result};
use crate::ops::{self, GroupNorm, LayerNorm, Linear, RmsNorm, Shared};
use crate::pass::Pass;
use crate::weights::Weights;

/// Fixed in diffusers, whatever the configuration says.
const GROUP_NORM_EPS: f64 = 1e-6;
const LAYER_NORM_EPS: f64 = 1e-5;
const QK_NORM_EPS: f64 = 1e-5;

/// Keys and values of the prompt for one cross-attention: `(b, m, kv_heads, d)` each.
pub(super) struct KeysValues {
    keys: Tensor,
    values: Tensor,
}

/// What the cross-attentions of a U-Net read: keys and values in the order of the layers, and the bias of the mask.
pub(super) struct Prompt {
    pub(super) layers: Vec<KeysValues>,
    /// `(b, m)`; `None` when every position counts.
    pub(super) bias: Option<Tensor>,
}

impl Prompt {
    fn layer(&self, slot: usize) -> Result<&KeysValues> {
        self.layers
            .get(slot)
            .ok_or_else(|| candle_core::Error::Msg(format!("no keys for cross-attention {slot}")).into())
    }
}

/// A stack of transformer layers over the positions of a feature map.
pub(super) struct Transformer {
    path: String,
    norm: GroupNorm,
    proj_in: Linear,
    transformer_blocks: Vec<TransformerBlock>,
    proj_out: Linear,
}

struct TransformerBlock {
    path: String,
    norm1: LayerNorm,
    attn1: Option<Attention>,
    norm2: LayerNorm,
    attn2: Attention,
    /// Place of this layer's keys and values in [`Prompt`].
    slot: usize,
    norm3: LayerNorm,
    proj: Linear,
    out: Linear,
}

struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    norms: Option<(RmsNorm, RmsNorm)>,
    heads: usize,
    head_dim: usize,
    kv_heads: usize,
}

impl Transformer {
    /// A transformer of `layers` layers for a block; `slots` counts the cross-attentions of the U-Net.
    pub(super) fn load(
        weights: &Weights,
        plan: &BlockPlan,
        layers: usize,
        common: &Common,
        slots: &mut usize,
    ) -> std::result::Result<Self, LoadError> {
        let channels = plan.channels;
        let projection = |name: &str| match common.use_linear_projection {
            true => Linear::load_packed(&weights.pp(name), [channels, channels], true),
            false => Linear::load_conv1x1(&weights.pp(name), [channels, channels]),
        };
        let blocks = weights.pp("transformer_blocks");
        let mut block = |i: usize| {
            let slot = *slots;
            *slots += 1;
            TransformerBlock::load(&blocks.pp(i), plan, common, slot)
        };
        Ok(Self {
            path: weights.path().to_owned(),
            norm: GroupNorm::load(&weights.pp("norm"), channels, common.norm_groups, GROUP_NORM_EPS)?,
            proj_in: projection("proj_in")?,
            transformer_blocks: (0..layers).map(&mut block).collect::<std::result::Result<_, _>>()?,
            proj_out: projection("proj_out")?,
        })
    }

    /// `(b, c, h, w) -> (b, c, h, w)`
    pub(super) fn forward(&self, x: &Tensor, prompt: &Prompt, pass: &mut Pass<'_>) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let tokens = ops::to_tokens(&ops::group_norm(x, &self.norm)?)?; // (b, h*w, c)
        let mut tokens = self.proj_in.forward(&tokens)?;
        for block in &self.transformer_blocks {
            tokens = block.forward(&tokens, prompt, pass)?;
        }
        let out = (ops::to_channels(&self.proj_out.forward(&tokens)?, height, width)? + x)?;
        pass.record(&self.path, &out);
        Ok(out)
    }

    /// Appends the keys and values of each layer for a prompt `(b, m, cross_attention_dim)`.
    pub(super) fn project(&self, prompt: &Tensor, layers: &mut Vec<KeysValues>) -> Result<()> {
        for block in &self.transformer_blocks {
            layers.push(block.attn2.keys_values(&Shared::new(prompt))?);
        }
        Ok(())
    }
}

impl TransformerBlock {
    fn load(weights: &Weights, plan: &BlockPlan, common: &Common, slot: usize) -> std::result::Result<Self, LoadError> {
        let channels = plan.channels;
        let norm = |name: &str| LayerNorm::load(&weights.pp(name), channels, LAYER_NORM_EPS);
        let attention = |name: &str, dim| Attention::load(&weights.pp(name), plan, dim, common);
        let net = weights.pp("ff").pp("net");
        let inner = channels * common.ff_mult;
        Ok(Self {
            path: weights.path().to_owned(),
            norm1: norm("norm1")?,
            attn1: (plan.attention == Kind::SelfAndCross).then(|| attention("attn1", channels)).transpose()?,
            norm2: norm("norm2")?,
            attn2: attention("attn2", plan.cross_attention_dim)?,
            slot,
            norm3: norm("norm3")?,
            proj: Linear::load_packed(&net.pp(0).pp("proj"), [2 * inner, channels], true)?,
            out: Linear::load_packed(&net.pp(2), [channels, inner], true)?,
        })
    }

    /// `(b, n, c) -> (b, n, c)`
    fn forward(&self, x: &Tensor, prompt: &Prompt, pass: &mut Pass<'_>) -> Result<Tensor> {
        pass.checkpoint()?;
        let normed = self.norm1.forward(x)?;
        pass.record_part(&self.path, "norm1", &normed);
        // Without self-attention the normalised states are the residual stream from here on, in place of x.
        let x = match &self.attn1 {
            None => normed,
            Some(attn1) => {
                let shared = Shared::new(&normed);
                let context = attn1.keys_values(&shared)?;
                if pass.observes() {
                    pass.record_part(&self.path, "attn1", &attn1.forward(&shared, &context, None, None)?);
                }
                attn1.forward(&shared, &context, None, Some(x))?
            }
        };
        let normed = self.norm2.forward(&x)?;
        pass.record_part(&self.path, "norm2", &normed);
        let (context, bias) = (prompt.layer(self.slot)?, prompt.bias.as_ref());
        let shared = Shared::new(&normed);
        if pass.observes() {
            pass.record_part(&self.path, "attn2", &self.attn2.forward(&shared, context, bias, None)?);
        }
        let x = self.attn2.forward(&shared, context, bias, Some(&x))?;
        let normed = self.norm3.forward(&x)?;
        pass.record_part(&self.path, "norm3", &normed);
        if pass.observes() {
            pass.record_part(&self.path, "ff", &ops::gated_feed_forward(&normed, &self.proj, &self.out, None)?);
        }
        let x = ops::gated_feed_forward(&normed, &self.proj, &self.out, Some(&x))?;
        pass.record(&self.path, &x);
        Ok(x)
    }
}

impl Attention {
    /// `context` is the width of what keys and values are made from.
    fn load(
        weights: &Weights,
        plan: &BlockPlan,
        context: usize,
        common: &Common,
    ) -> std::result::Result<Self, LoadError> {
        let (channels, heads) = (plan.channels, plan.heads);
        let head_dim = channels / heads;
        let kv_heads = common.kv_heads.unwrap_or(heads);
        // Keys and values of the prompt are made once per picture: there is nothing to gain from packing them.
        let narrow = |name: &str| match context == channels {
            true => Linear::load_packed(&weights.pp(name), [kv_heads * head_dim, context], false),
            false => Linear::load(&weights.pp(name), [kv_heads * head_dim, context], false),
        };
        let norm = |name: &str| RmsNorm::load(&weights.pp(name), head_dim, QK_NORM_EPS);
        Ok(Self {
            to_q: Linear::load_packed(&weights.pp("to_q"), [channels, channels], false)?,
            to_k: narrow("to_k")?,
            to_v: narrow("to_v")?,
            to_out: Linear::load_packed(&weights.pp("to_out").pp(0), [channels, channels], true)?,
            norms: if common.qk_norm { Some((norm("norm_q")?, norm("norm_k")?)) } else { None },
            heads,
            head_dim,
            kv_heads,
        })
    }

    /// `(b, m, context) -> (b, m, kv_heads, d)` twice
    fn keys_values(&self, context: &Shared<'_>) -> Result<KeysValues> {
        let (batch, count, _) = context.tensor().dims3()?;
        let split = |x: Tensor| x.reshape((batch, count, self.kv_heads, self.head_dim));
        let keys = split(self.to_k.forward_shared(context)?)?;
        let values = split(self.to_v.forward_shared(context)?)?;
        let keys = match &self.norms {
            Some((_, norm_k)) => norm_k.forward(&keys)?,
            None => keys,
        };
        Ok(KeysValues { keys, values })
    }

    /// `(b, n, c) -> (b, n, c)`, added to `residual` if there is one.
    fn forward(
        &self,
        x: &Shared<'_>,
        context: &KeysValues,
        bias: Option<&Tensor>,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (batch, count, _) = x.tensor().dims3()?;
        let query = self.to_q.forward_shared(x)?.reshape((batch, count, self.heads, self.head_dim))?;
        let query = match &self.norms {
            Some((norm_q, _)) => norm_q.forward(&query)?,
            None => query,
        };
        let attended = ops::attention(&query, &context.keys, &context.values, bias)?;
        Ok(match residual {
            Some(residual) => self.to_out.forward_onto(&attended, residual)?,
            None => self.to_out.forward(&attended)?,
        })
    }
}

impl KeysValues {
    /// Memory of both, in bytes of f32.
    pub(super) fn size_bytes(&self) -> u64 {
        4 * (self.keys.elem_count() + self.values.elem_count()) as u64
    }
}
