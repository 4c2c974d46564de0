//! Matrix products over the last dimension, and the gated feed-forward layer.

use std::cell::OnceCell;

use candle_core::{D, Result, Tensor};
use easel_kernels::{BlockLinear, BlockTokens, Int8FeedForward, Int8Linear, Int8Tokens};

use super::low_rank::{LayerKind, Slot, Target};
use super::path::fused;
use crate::error::LoadError;
use crate::weights::Weights;
use crate::weights::audit::Twin;
use crate::weights::packing::Form;

/// `y = x W^T + b` over the last dimension.
pub struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
    twin: Option<Box<Twin>>,
    slot: Slot,
}

enum Weight {
    /// `(out, in)`
    Full(Tensor),
    Int8(Int8Linear),
    Blocks(BlockLinear),
}

/// What several layers read: rounded once for all of those that need it so.
pub struct Shared<'a> {
    x: &'a Tensor,
    int8: OnceCell<Int8Tokens>,
    blocks: OnceCell<BlockTokens>,
}

impl<'a> Shared<'a> {
    /// Nothing is computed yet.
    pub fn new(x: &'a Tensor) -> Self {
        Self { x, int8: OnceCell::new(), blocks: OnceCell::new() }
    }

    /// What was given.
    pub fn tensor(&self) -> &Tensor {
        self.x
    }

    fn int8(&self) -> Result<&Int8Tokens> {
        match self.int8.get() {
            Some(tokens) => Ok(tokens),
            None => {
                let tokens = Int8Tokens::new(self.x)?;
                Ok(self.int8.get_or_init(|| tokens))
            }
        }
    }

    fn blocks(&self) -> Result<&BlockTokens> {
        match self.blocks.get() {
            Some(tokens) => Ok(tokens),
            None => {
                let tokens = BlockTokens::new(self.x)?;
                Ok(self.blocks.get_or_init(|| tokens))
            }
        }
    }
}

impl Linear {
    /// Reads `weight (out, in)` and, when `bias` is true, `bias (out)`, in f32 whatever the precision of the network.
    pub fn load(weights: &Weights, [out, input]: [usize; 2], bias: bool) -> std::result::Result<Self, LoadError> {
        let weight = weights.get([out, input], "weight")?;
        let bias = bias.then(|| weights.get([out], "bias")).transpose()?;
        let slot = slot(weights, [out, input]);
        Ok(Self { weight: Weight::Full(weight), bias, twin: None, slot })
    }

    /// The same in the precision of the network.
    pub fn load_packed(
        weights: &Weights,
        [out, input]: [usize; 2],
        bias: bool,
    ) -> std::result::Result<Self, LoadError> {
        Self::load_shaped(weights, [out, input], [out, input], bias)
    }

    /// Reads a 1x1 convolution `weight (out, in, 1, 1)` with `bias (out)` as the same product over channels-last tokens, in the
    /// precision of the network.
    pub fn load_conv1x1(weights: &Weights, [out, input]: [usize; 2]) -> std::result::Result<Self, LoadError> {
        Self::load_shaped(weights, [out, input], [out, input, 1, 1], true)
    }

    fn load_shaped<const N: usize>(
        weights: &Weights,
        layer: [usize; 2],
        shape: [usize; N],
        bias: bool,
    ) -> std::result::Result<Self, LoadError> {
        let bias = bias.then(|| weights.get([layer[0]], "bias")).transpose()?;
        let slot = slot(weights, layer);
        if let Some(form) = weights.form(layer, "weight")
            && let Some(packed) = weights.packed(form, &shape, "weight")?
        {
            let made = |bias: Option<&[f32]>| match form {
                Form::Blocks(format) => BlockLinear::from_packed(format, &packed, bias, layer).map(Weight::Blocks),
                _ => Int8Linear::from_packed(&packed, bias, layer).map(Weight::Int8),
            };
            return Ok(Self { weight: with_bias(weights, bias.as_ref(), made)?, bias: None, twin: None, slot });
        }
        let weight = weights.get_as(shape, layer, "weight")?;
        let twin = weights.twin_of_linear(&weight, "weight").map(Box::new);
        Ok(Self { weight: Weight::Full(weight), bias, twin, slot })
    }

    /// `(..., in) -> (..., out)`
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(&Shared::new(x), None)
    }

    /// The same, with `residual (..., out)` added.
    pub fn forward_onto(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.apply(&Shared::new(x), Some(residual))
    }

    /// The same as [`forward`](Self::forward), for what other layers read too.
    pub fn forward_shared(&self, x: &Shared<'_>) -> Result<Tensor> {
        self.apply(x, None)
    }

    fn apply(&self, shared: &Shared<'_>, residual: Option<&Tensor>) -> Result<Tensor> {
        self.slot.over_tokens(self.apply_alone(shared, residual)?, shared.x)
    }

    fn apply_alone(&self, shared: &Shared<'_>, residual: Option<&Tensor>) -> Result<Tensor> {
        let x = shared.x;
        let weight = match &self.weight {
            Weight::Full(weight) => weight,
            Weight::Int8(layer) => return layer.forward_rounded(shared.int8()?, x.dims(), residual),
            Weight::Blocks(layer) => return layer.forward_rounded(shared.blocks()?, x.dims(), residual),
        };
        if let Some(twin) = &self.twin {
            twin.compare(x, &easel_kernels::linear(x, weight, None, None)?)?;
        }
        product(x, weight, self.bias.as_ref(), residual)
    }
}

/// The place of a layer for what a LoRA adds.
fn slot(weights: &Weights, [output, input]: [usize; 2]) -> Slot {
    weights.slot(Target { kind: LayerKind::Linear, input, output })
}

/// `x (..., in)` times `weight (out, in)`, with `bias (out)` and `residual (..., out)` added: `(..., out)`.
pub(super) fn product(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, residual: Option<&Tensor>) -> Result<Tensor> {
    if fused(x) {
        return easel_kernels::linear(x, weight, bias, residual);
    }
    let (out, input) = weight.dims2()?;
    let mut shape = x.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = out;
    }
    let x = x.contiguous()?.reshape(((), input))?.matmul(&weight.t()?)?;
    let x = match bias {
        Some(bias) => x.broadcast_add(bias)?,
        None => x,
    };
    let x = x.reshape(shape)?;
    match residual {
        Some(residual) => x + residual,
        None => Ok(x),
    }
}

/// Makes a packed layer with the values of its bias.
pub(super) fn with_bias<T>(
    weights: &Weights,
    bias: Option<&Tensor>,
    make: impl FnOnce(Option<&[f32]>) -> Option<T>,
) -> std::result::Result<T, LoadError> {
    let bias = bias.map(Tensor::to_vec1::<f32>).transpose().map_err(|source| weights.refused("bias", source))?;
    let short = || candle_core::Error::Msg("the packed weights have another length than the layer".into());
    make(bias.as_deref()).ok_or_else(|| weights.refused("weight", short()))
}

/// The gated activation of a feed-forward layer: `x (..., 2n)` split in the middle, `first * gelu(second)` with the exact
/// (erf) GELU. Source: Shazeer, "GLU Variants Improve Transformer" (2020), and diffusers' `GEGLU`.
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    if fused(x) {
        return easel_kernels::geglu(x);
    }
    let half = x.dim(D::Minus1)? / 2;
    let gate = x.narrow(D::Minus1, half, half)?.contiguous()?.gelu_erf()?;
    x.narrow(D::Minus1, 0, half)? * gate
}

/// `out(geglu(proj(x))) + residual`.
pub fn gated_feed_forward(x: &Tensor, proj: &Linear, out: &Linear, residual: Option<&Tensor>) -> Result<Tensor> {
    let plain = proj.slot.is_empty() && out.slot.is_empty();
    if let (Weight::Int8(proj), Weight::Int8(out)) = (&proj.weight, &out.weight)
        && plain
        && let Some(both) = Int8FeedForward::new(proj, out)
    {
        return both.forward(x, residual);
    }
    out.apply(&Shared::new(&geglu(&proj.forward(x)?)?), residual)
}
