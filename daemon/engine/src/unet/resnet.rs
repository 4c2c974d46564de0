//! The residual block: two convolutions, separable or full, with the time embedding added between them.
//! Source: diffusers `ResnetBlock2DDreamLite`.

use candle_core::Tensor;

use super::config::Common;
use crate::error::{LoadError, Result};
use crate::ops::{self, Conv2d, GroupNorm, Linear};
use crate::pass::Pass;
use crate::weights::Weights;

/// What a separable first convolution multiplies the channels with.
const EXPANSION: usize = 2;

pub(super) struct ResnetBlock {
    path: String,
    norm1: GroupNorm,
    conv1: Conv,
    time_emb_proj: Linear,
    norm2: GroupNorm,
    conv2: Conv,
    conv_shortcut: Option<Shortcut>,
    output_scale: f64,
}

/// A full 3x3 convolution, or a depthwise 3x3 followed by a 1x1, both without bias.
enum Conv {
    Full(Conv2d),
    Separable { depthwise: Tensor, pointwise: Tensor },
}

struct Shortcut {
    weight: Tensor,
    bias: Tensor,
}

impl ResnetBlock {
    /// A block from `input` to `out` channels.
    pub(super) fn load(
        weights: &Weights,
        (input, out): (usize, usize),
        common: &Common,
        output_scale: f64,
    ) -> std::result::Result<Self, LoadError> {
        let inner = if common.use_sep_conv { out * EXPANSION } else { out };
        let norm =
            |name: &str, channels| GroupNorm::load(&weights.pp(name), channels, common.norm_groups, common.norm_eps);
        Ok(Self {
            path: weights.path().to_owned(),
            norm1: norm("norm1", input)?,
            conv1: Conv::load(&weights.pp("conv1"), input, inner, common.use_sep_conv)?,
            time_emb_proj: Linear::load(&weights.pp("time_emb_proj"), [inner, common.time_embed_dim], true)?,
            norm2: norm("norm2", inner)?,
            conv2: Conv::load(&weights.pp("conv2"), inner, out, common.use_sep_conv)?,
            conv_shortcut: (input != out)
                .then(|| Shortcut::load(&weights.pp("conv_shortcut"), input, out))
                .transpose()?,
            output_scale,
        })
    }

    /// `x (b, in, h, w) -> (b, out, h, w)`; `temb (b, time_embed_dim)` is after its SiLU.
    pub(super) fn forward(&self, x: &Tensor, temb: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        pass.checkpoint()?;
        if pass.observes() {
            pass.record_part(&self.path, "norm1", &ops::group_norm(x, &self.norm1)?);
        }
        let h = self.conv1.forward(x, &self.norm1)?;
        pass.record_part(&self.path, "conv1", &h);
        let time = self.time_emb_proj.forward(temb)?;
        pass.record_part(&self.path, "time_emb_proj", &time);
        let h = h.broadcast_add(&time.unsqueeze(2)?.unsqueeze(3)?)?;
        if pass.observes() {
            pass.record_part(&self.path, "norm2", &ops::group_norm(&h, &self.norm2)?);
        }
        let h = self.conv2.forward(&h, &self.norm2)?;
        pass.record_part(&self.path, "conv2", &h);
        let sum = match &self.conv_shortcut {
            Some(shortcut) => (ops::pointwise_conv(x, &shortcut.weight, Some(&shortcut.bias))? + h)?,
            None => (x + h)?,
        };
        let out = if self.output_scale == 1.0 { sum } else { (sum / self.output_scale)? };
        pass.record(&self.path, &out);
        Ok(out)
    }
}

impl Conv {
    fn load(weights: &Weights, input: usize, out: usize, separable: bool) -> std::result::Result<Self, LoadError> {
        if !separable {
            return Ok(Self::Full(Conv2d::load(weights, [out, input, 3], true)?));
        }
        let depthwise = weights.pp("depthwise").get([input, 1, 3, 3], "weight")?;
        let pointwise = matrix(&weights.pp("pointwise"), out, input)?;
        Ok(Self::Separable { depthwise, pointwise })
    }

    /// The convolution of the normalised and activated `x`.
    fn forward(&self, x: &Tensor, norm: &GroupNorm) -> Result<Tensor> {
        match self {
            Self::Full(conv) => Ok(conv.forward(&ops::group_norm_silu(x, norm)?)?),
            Self::Separable { depthwise, pointwise } => {
                let x = ops::group_norm_silu_depthwise_conv3x3(x, norm, depthwise)?;
                Ok(ops::pointwise_conv(&x, pointwise, None)?)
            }
        }
    }
}

impl Shortcut {
    fn load(weights: &Weights, input: usize, out: usize) -> std::result::Result<Self, LoadError> {
        Ok(Self { weight: matrix(weights, out, input)?, bias: weights.get([out], "bias")? })
    }
}

/// Reads the kernel of a 1x1 convolution as a matrix: `(out, in, 1, 1) -> (out, in)`.
fn matrix(weights: &Weights, out: usize, input: usize) -> std::result::Result<Tensor, LoadError> {
    let kernel = weights.get([out, input, 1, 1], "weight")?;
    kernel.reshape((out, input)).map_err(|source| LoadError::Device {
        file: "unet".into(),
        tensor: format!("{}.weight", weights.path()),
        source: Box::new(source),
    })
}
