//! The language model of Qwen3-VL up to its last normalisation; the head that would predict tokens is not needed.
//! Source: transformers `Qwen3VLTextModel`.

use candle_core::{Result as TensorResult, Tensor};

use super::config::{Activation, TextConfig};
use super::parts::Parts;
use super::positions::{ImageSpan, Positions, Rope};
use super::vision::ImageFeatures;
use crate::error::{LoadError, Result};
use crate::ops::{self, Linear, RmsNorm, Shared};
use crate::pass::Pass;
use crate::weights::{Table, Weights};

/// The language model.
pub struct TextTower {
    config: TextConfig,
    embed_tokens: Table,
    layers: Vec<Layer>,
    norm: RmsNorm,
}

/// What every layer has computed of the tokens that were read: a later pass goes on behind them. Exact, because a token
/// sees only what stands before it.
#[derive(Clone, Debug)]
pub struct KvCache {
    /// Keys and values of each layer, `(b, tokens, kv_heads, head_dim)`.
    layers: Vec<(Tensor, Tensor)>,
}

/// Tokens to be read, all rows of one length.
pub struct TextInput<'a> {
    /// `(b, l, hidden)`, pictures in place.
    pub embeds: &'a Tensor,
    /// Places of the tokens, one for each row.
    pub positions: &'a [Positions],
    /// What stands before them.
    pub past: Option<&'a KvCache>,
    /// How many positions of each row count, those of `past` included; the rest is padding on the right. `None`: all.
    pub lengths: Option<&'a [usize]>,
    /// A picture among the tokens: its features and where it stands, counted from the first of these tokens.
    pub image: Option<(&'a ImageFeatures, ImageSpan)>,
}

/// What came of reading.
pub struct TextOutput {
    /// After the last normalisation: `(b, l, hidden)`.
    pub hidden: Tensor,
    /// Of everything that was read, past and new.
    pub cache: KvCache,
}

impl KvCache {
    /// Memory that it holds, in bytes.
    pub fn size_bytes(&self) -> u64 {
        let bytes = |t: &Tensor| (t.elem_count() * t.dtype().size_in_bytes()) as u64;
        self.layers.iter().map(|(k, v)| bytes(k) + bytes(v)).sum()
    }

    /// What was read of the first `tokens`, in the same memory.
    pub(super) fn first(&self, tokens: usize) -> TensorResult<Self> {
        let cut = |(k, v): &(Tensor, Tensor)| Ok((k.narrow(1, 0, tokens)?, v.narrow(1, 0, tokens)?));
        Ok(Self { layers: self.layers.iter().map(cut).collect::<TensorResult<_>>()? })
    }
}

impl TextTower {
    /// Reads `language_model`.
    pub fn load(weights: &Weights, config: &TextConfig) -> std::result::Result<Self, LoadError> {
        let mut layers = Vec::new();
        for i in 0..config.num_hidden_layers {
            layers.push(Layer::load(&weights.pp("layers").pp(i), config)?);
        }
        Ok(Self {
            embed_tokens: weights.pp("embed_tokens").table([config.vocab_size, config.hidden_size], "weight")?,
            layers,
            norm: RmsNorm::load(&weights.pp("norm"), config.hidden_size, config.rms_norm_eps)?,
            config: config.clone(),
        })
    }

    /// Its configuration.
    pub fn config(&self) -> &TextConfig {
        &self.config
    }

    /// Embeddings of tokens: `(1, ids, hidden)`. Ids have to be below the size of the vocabulary.
    pub fn embed(&self, ids: &[u32]) -> TensorResult<Tensor> {
        self.embed_tokens.gather(ids)?.unsqueeze(0)
    }

    /// Number of parts that one reading advances by.
    pub(super) fn parts(&self) -> usize {
        self.layers.len()
    }

    /// Reads tokens.
    pub(super) fn read(&self, input: &TextInput<'_>, parts: &mut Parts, pass: &mut Pass<'_>) -> Result<TextOutput> {
        let rope = Rope::text(&self.config, input.positions, input.embeds.device())?;
        pass.record("inputs_embeds", input.embeds);
        pass.record("text.rope_cos", &rope.cos);
        pass.record("text.rope_sin", &rope.sin);
        let mut x = input.embeds.clone();
        let mut cache = KvCache { layers: Vec::with_capacity(self.layers.len()) };
        for (i, layer) in self.layers.iter().enumerate() {
            pass.checkpoint()?;
            pass.record_part("text", &format!("layer{i}_in"), &x);
            let past = input.past.map(|past| &past.layers[i]);
            let (out, newest) = layer.forward(&x, &rope, past, input.lengths)?;
            if i + 1 == self.layers.len() {
                pass.record_part("text", &format!("layer{i}_out"), &out);
            }
            cache.layers.push(newest);
            x = match input.image {
                Some((image, span)) => match image.deepstack.get(i) {
                    Some(features) => add_at(&out, features, span)?,
                    None => out,
                },
                None => out,
            };
            parts.advance(pass);
        }
        let hidden = self.norm.forward(&x)?;
        pass.record("last_hidden_state", &hidden);
        Ok(TextOutput { hidden, cache })
    }
}

/// Adds a picture's features `(1, tokens, hidden)` to its tokens in `x (b, l, hidden)`.
fn add_at(x: &Tensor, features: &Tensor, span: ImageSpan) -> TensorResult<Tensor> {
    let tokens = span.tokens();
    let sum = x.narrow(1, tokens.start, tokens.len())?.broadcast_add(features)?;
    replace_at(x, &sum, span)
}

/// Puts `image (b, tokens, hidden)` in the place of a picture's tokens in `x (b, l, hidden)`.
pub(super) fn replace_at(x: &Tensor, image: &Tensor, span: ImageSpan) -> TensorResult<Tensor> {
    let (tokens, length) = (span.tokens(), x.dim(1)?);
    let before = x.narrow(1, 0, tokens.start)?;
    let after = x.narrow(1, tokens.end, length - tokens.end)?;
    Tensor::cat(&[&before, image, &after], 1)
}

struct Layer {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: Mlp,
}

impl Layer {
    fn load(weights: &Weights, config: &TextConfig) -> std::result::Result<Self, LoadError> {
        let norm = |name: &str| RmsNorm::load(&weights.pp(name), config.hidden_size, config.rms_norm_eps);
        Ok(Self {
            input_layernorm: norm("input_layernorm")?,
            self_attn: Attention::load(&weights.pp("self_attn"), config)?,
            post_attention_layernorm: norm("post_attention_layernorm")?,
            mlp: Mlp::load(&weights.pp("mlp"), config)?,
        })
    }

    fn forward(
        &self,
        x: &Tensor,
        rope: &Rope,
        past: Option<&(Tensor, Tensor)>,
        lengths: Option<&[usize]>,
    ) -> TensorResult<(Tensor, (Tensor, Tensor))> {
        let normed = self.input_layernorm.forward(x)?;
        let (attended, newest) = self.self_attn.forward(&normed, rope, past, lengths)?;
        let x = self.self_attn.o_proj.forward_onto(&attended, x)?;
        let out = self.mlp.forward(&self.post_attention_layernorm.forward(&x)?, &x)?;
        Ok((out, newest))
    }
}

struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    q_norm: RmsNorm,
    k_norm: RmsNorm,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Attention {
    fn load(weights: &Weights, config: &TextConfig) -> std::result::Result<Self, LoadError> {
        let (heads, kv_heads, head_dim) = (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
        let linear = |name: &str, shape| Linear::load_packed(&weights.pp(name), shape, config.attention_bias);
        let norm = |name: &str| RmsNorm::load(&weights.pp(name), head_dim, config.rms_norm_eps);
        Ok(Self {
            q_proj: linear("q_proj", [heads * head_dim, config.hidden_size])?,
            k_proj: linear("k_proj", [kv_heads * head_dim, config.hidden_size])?,
            v_proj: linear("v_proj", [kv_heads * head_dim, config.hidden_size])?,
            o_proj: linear("o_proj", [config.hidden_size, heads * head_dim])?,
            q_norm: norm("q_norm")?,
            k_norm: norm("k_norm")?,
            heads,
            kv_heads,
            head_dim,
        })
    }

    /// `(b, l, hidden) -> (b, l, heads * head_dim)`, before the last projection, and the keys and values of everything that was read.
    fn forward(
        &self,
        x: &Tensor,
        rope: &Rope,
        past: Option<&(Tensor, Tensor)>,
        lengths: Option<&[usize]>,
    ) -> TensorResult<(Tensor, (Tensor, Tensor))> {
        let (batch, tokens, _) = x.dims3()?;
        let x = &Shared::new(x);
        let heads_of = |x: Tensor, heads: usize| x.reshape((batch, tokens, heads, self.head_dim));
        // Heads are normalised before they are turned.
        let q = rope.turn(&self.q_norm.forward(&heads_of(self.q_proj.forward_shared(x)?, self.heads)?)?)?;
        let k = rope.turn(&self.k_norm.forward(&heads_of(self.k_proj.forward_shared(x)?, self.kv_heads)?)?)?;
        let v = heads_of(self.v_proj.forward_shared(x)?, self.kv_heads)?;
        let (k, v) = match past {
            Some((past_k, past_v)) => (Tensor::cat(&[past_k, &k], 1)?, Tensor::cat(&[past_v, &v], 1)?),
            None => (k, v),
        };
        Ok((ops::causal_attention(&q, &k, &v, lengths)?, (k, v)))
    }
}

struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
    activation: Activation,
}

impl Mlp {
    fn load(weights: &Weights, config: &TextConfig) -> std::result::Result<Self, LoadError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        Ok(Self {
            gate_proj: Linear::load_packed(&weights.pp("gate_proj"), [inner, hidden], false)?,
            up_proj: Linear::load_packed(&weights.pp("up_proj"), [inner, hidden], false)?,
            down_proj: Linear::load_packed(&weights.pp("down_proj"), [hidden, inner], false)?,
            activation: config.hidden_act,
        })
    }

    /// Added to `residual`.
    fn forward(&self, x: &Tensor, residual: &Tensor) -> TensorResult<Tensor> {
        let x = Shared::new(x);
        let (gate, up) = (self.gate_proj.forward_shared(&x)?, self.up_proj.forward_shared(&x)?);
        let gated = match self.activation {
            Activation::Silu => ops::silu_times(&gate, &up)?,
            other => (other.forward(&gate)? * up)?,
        };
        self.down_proj.forward_onto(&gated, residual)
    }
}
