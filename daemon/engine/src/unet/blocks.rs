//! The three sorts of blocks: on the way down, in the middle, on the way up.

use candle_core::Tensor;

use super::config::{BlockPlan, Common};
use super::resnet::ResnetBlock;
use super::transformer::{KeysValues, Prompt, Transformer};
use crate::error::{LoadError, Result};
use crate::ops::{self, Conv2d, Use};
use crate::pass::Pass;
use crate::weights::Weights;

/// What every block reads besides its features.
pub(super) struct Surroundings<'a> {
    /// `(b, time_embed_dim)` after its SiLU.
    pub(super) temb: &'a Tensor,
    pub(super) prompt: &'a Prompt,
}

/// Resnets with as many transformers or none.
struct Layers {
    resnets: Vec<ResnetBlock>,
    attentions: Vec<Transformer>,
}

pub(super) struct DownBlock {
    path: String,
    layers: Layers,
    downsampler: Option<Downsampler>,
}

pub(super) struct MidBlock {
    path: String,
    layers: Layers,
}

pub(super) struct UpBlock {
    path: String,
    layers: Layers,
    upsampler: Option<Conv2d>,
}

struct Downsampler {
    conv: Conv2d,
    /// Zeros to the right and below; only where the convolution itself has no padding.
    pad_end: bool,
}

impl Layers {
    fn load(
        weights: &Weights,
        plan: &BlockPlan,
        common: &Common,
        slots: &mut usize,
    ) -> std::result::Result<Self, LoadError> {
        let (resnets, attentions) = (weights.pp("resnets"), weights.pp("attentions"));
        let resnet = |(i, channels): (usize, &(usize, usize))| {
            ResnetBlock::load(&resnets.pp(i), *channels, common, plan.output_scale)
        };
        let mut transformer =
            |(i, layers): (usize, &usize)| Transformer::load(&attentions.pp(i), plan, *layers, common, slots);
        Ok(Self {
            resnets: plan.resnets.iter().enumerate().map(resnet).collect::<std::result::Result<_, _>>()?,
            attentions: plan
                .transformer_layers
                .iter()
                .enumerate()
                .map(&mut transformer)
                .collect::<std::result::Result<_, _>>()?,
        })
    }

    /// Resnet `i` and the transformer behind it, if there is one.
    fn forward(&self, i: usize, x: &Tensor, around: &Surroundings<'_>, pass: &mut Pass<'_>) -> Result<Tensor> {
        let x = self.resnets[i].forward(x, around.temb, pass)?;
        match self.attentions.get(i) {
            Some(attention) => attention.forward(&x, around.prompt, pass),
            None => Ok(x),
        }
    }

    fn project(&self, prompt: &Tensor, layers: &mut Vec<KeysValues>) -> Result<()> {
        self.attentions.iter().try_for_each(|attention| attention.project(prompt, layers))
    }
}

impl DownBlock {
    pub(super) fn load(
        weights: &Weights,
        plan: &BlockPlan,
        common: &Common,
        slots: &mut usize,
    ) -> std::result::Result<Self, LoadError> {
        let conv = weights.pp("downsamplers").pp(0).pp("conv");
        let downsampler =
            plan.resamples.then(|| Downsampler::load(&conv, plan.channels, common.downsample_padding)).transpose()?;
        Ok(Self { path: weights.path().to_owned(), layers: Layers::load(weights, plan, common, slots)?, downsampler })
    }

    /// Leaves the output of every layer on `skips`.
    pub(super) fn forward(
        &self,
        x: Tensor,
        around: &Surroundings<'_>,
        skips: &mut Vec<Tensor>,
        pass: &mut Pass<'_>,
    ) -> Result<Tensor> {
        let mut x = x;
        for i in 0..self.layers.resnets.len() {
            x = self.layers.forward(i, &x, around, pass)?;
            skips.push(x.clone());
        }
        if let Some(downsampler) = &self.downsampler {
            x = downsampler.forward(&x)?;
            pass.record_part(&self.path, "downsamplers.0", &x);
            skips.push(x.clone());
        }
        pass.record(&self.path, &x);
        Ok(x)
    }

    pub(super) fn project(&self, prompt: &Tensor, layers: &mut Vec<KeysValues>) -> Result<()> {
        self.layers.project(prompt, layers)
    }
}

impl MidBlock {
    pub(super) fn load(
        weights: &Weights,
        plan: &BlockPlan,
        common: &Common,
        slots: &mut usize,
    ) -> std::result::Result<Self, LoadError> {
        Ok(Self { path: weights.path().to_owned(), layers: Layers::load(weights, plan, common, slots)? })
    }

    /// Resnet, transformer, resnet, and so on; the last resnet has no transformer behind it.
    pub(super) fn forward(&self, x: Tensor, around: &Surroundings<'_>, pass: &mut Pass<'_>) -> Result<Tensor> {
        let mut x = x;
        for i in 0..self.layers.resnets.len() {
            x = self.layers.forward(i, &x, around, pass)?;
        }
        pass.record(&self.path, &x);
        Ok(x)
    }

    pub(super) fn project(&self, prompt: &Tensor, layers: &mut Vec<KeysValues>) -> Result<()> {
        self.layers.project(prompt, layers)
    }
}

impl UpBlock {
    pub(super) fn load(
        weights: &Weights,
        plan: &BlockPlan,
        common: &Common,
        slots: &mut usize,
    ) -> std::result::Result<Self, LoadError> {
        let channels = plan.channels;
        let conv = weights.pp("upsamplers").pp(0).pp("conv");
        let upsampler = plan
            .resamples
            .then(|| Conv2d::load_packed3x3(&conv, [channels, channels], true, Use::Upsampling))
            .transpose()?;
        Ok(Self { path: weights.path().to_owned(), layers: Layers::load(weights, plan, common, slots)?, upsampler })
    }

    /// Takes one of `skips` for every layer; grows to the size of the next one, which is half of an odd size rounded up.
    pub(super) fn forward(
        &self,
        x: Tensor,
        around: &Surroundings<'_>,
        skips: &mut Vec<Tensor>,
        pass: &mut Pass<'_>,
    ) -> Result<Tensor> {
        let mut x = x;
        for i in 0..self.layers.resnets.len() {
            let skip = skips.pop().ok_or_else(|| candle_core::Error::Msg("no features left for the way up".into()))?;
            x = self.layers.forward(i, &Tensor::cat(&[&x, &skip], 1)?, around, pass)?;
        }
        if let Some(conv) = &self.upsampler {
            let (_, _, height, width) = x.dims4()?;
            let (height, width) = match skips.last() {
                Some(skip) => (skip.dim(2)?, skip.dim(3)?),
                None => (2 * height, 2 * width),
            };
            x = ops::upsample_conv3x3(&x, height, width, conv)?;
            pass.record_part(&self.path, "upsamplers.0", &x);
        }
        pass.record(&self.path, &x);
        Ok(x)
    }

    pub(super) fn project(&self, prompt: &Tensor, layers: &mut Vec<KeysValues>) -> Result<()> {
        self.layers.project(prompt, layers)
    }
}

impl Downsampler {
    fn load(weights: &Weights, channels: usize, padding: usize) -> std::result::Result<Self, LoadError> {
        let conv = Conv2d::load(weights, [channels, channels, 3], true)?.with_stride(2, padding);
        Ok(Self { conv, pad_end: padding == 0 })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self.pad_end {
            true => Ok(self.conv.forward(&x.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?)?),
            false => Ok(self.conv.forward(x)?),
        }
    }
}
