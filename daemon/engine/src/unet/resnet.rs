//! The residual block: two convolutions, separable or full, with the time embedding added between them.
//! Source: diffusers `ResnetBlock2DDreamLite`.

use candle_core::Tensor;

use super::config::Common;
use crate::error::{LoadError, Result};
use crate::ops::{self, Conv2d, GroupNorm, LayerKind, Linear, Pointwise, Slot, Target, Use};
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
    conv_shortcut: Option<Pointwise>,
    output_scale: f64,
}

/// A full 3x3 convolution, or a depthwise 3x3 followed by a 1x1, both without bias.
enum Conv {
    Full(Conv2d),
    Separable { depthwise: Tensor, slot: Slot, pointwise: Pointwise },
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
                .then(|| Pointwise::load(&weights.pp("conv_shortcut"), [out, input], true))
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
        let time = self.time_emb_proj.forward(temb)?;
        pass.record_part(&self.path, "time_emb_proj", &time);
        if pass.observes() {
            pass.record_part(&self.path, "conv1", &self.conv1.forward(x, &self.norm1, None, None)?);
        }
        let h = self.conv1.forward(x, &self.norm1, Some(&time), None)?;
        if pass.observes() {
            pass.record_part(&self.path, "norm2", &ops::group_norm(&h, &self.norm2)?);
            pass.record_part(&self.path, "conv2", &self.conv2.forward(&h, &self.norm2, None, None)?);
        }
        let sum = match &self.conv_shortcut {
            Some(shortcut) => {
                let x = shortcut.forward(x, None, None)?;
                self.conv2.forward(&h, &self.norm2, None, Some(&x))?
            }
            None => self.conv2.forward(&h, &self.norm2, None, Some(x))?,
        };
        let out = if self.output_scale == 1.0 { sum } else { (sum / self.output_scale)? };
        pass.record(&self.path, &out);
        Ok(out)
    }
}

impl Conv {
    fn load(weights: &Weights, input: usize, out: usize, separable: bool) -> std::result::Result<Self, LoadError> {
        if !separable {
            return Ok(Self::Full(Conv2d::load_packed3x3(weights, [out, input], true, Use::Plain)?));
        }
        let depthwise = weights.pp("depthwise").get([input, 1, 3, 3], "weight")?;
        let target = Target { kind: LayerKind::Depthwise { kernel: 3 }, input, output: input };
        let slot = weights.pp("depthwise").slot(target);
        let pointwise = Pointwise::load(&weights.pp("pointwise"), [out, input], false)?;
        Ok(Self::Separable { depthwise, slot, pointwise })
    }

    /// The convolution of the normalised and activated `x`; `shift (b, out)` is added to each channel and `residual` to each
    /// value.
    fn forward(
        &self,
        x: &Tensor,
        norm: &GroupNorm,
        shift: Option<&Tensor>,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let conv = match self {
            Self::Separable { depthwise, slot, pointwise } => {
                let x = match slot.is_empty() {
                    true => ops::group_norm_silu_depthwise_conv3x3(x, norm, depthwise)?,
                    false => {
                        let x = ops::group_norm_silu(x, norm)?;
                        slot.over_pixels(ops::depthwise_conv3x3(&x, depthwise)?, &x, (1, 1))?
                    }
                };
                return Ok(pointwise.forward(&x, shift, residual)?);
            }
            Self::Full(conv) => conv,
        };
        let h = conv.forward(&ops::group_norm_silu(x, norm)?)?;
        let h = match shift {
            Some(shift) => h.broadcast_add(&shift.unsqueeze(2)?.unsqueeze(3)?)?,
            None => h,
        };
        match residual {
            Some(residual) => Ok((h + residual)?),
            None => Ok(h),
        }
    }
}
