//! The layers of the tiny VAE, numbered in the checkpoint as one sequence.

use candle_core::Tensor;

use crate::error::{LoadError, Result};
use crate::ops::{self, Conv2d, Use};
use crate::pass::Pass;
use crate::weights::Weights;

/// Three convolutions around which the input is added.
pub(super) struct TinyBlock {
    convs: [Conv2d; 3],
}

/// One place of a sequence.
pub(super) enum Layer {
    Conv(Conv2d),
    Relu,
    Block(Box<TinyBlock>),
    /// Nearest-neighbour upsampling by a factor, followed by the convolution of the next place.
    Upsample(usize, Conv2d),
}

impl TinyBlock {
    pub(super) fn load(weights: &Weights, channels: usize) -> std::result::Result<Self, LoadError> {
        let convs = weights.pp("conv");
        let conv = |place: usize| Conv2d::load_packed3x3(&convs.pp(place), [channels, channels], true, Use::Plain);
        // The odd places are activations without parameters.
        Ok(Self { convs: [conv(0)?, conv(2)?, conv(4)?] })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(ops::residual_convs(&self.convs, x)?)
    }
}

impl Layer {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Conv(conv) => Ok(conv.forward(x)?),
            Self::Relu => Ok(x.relu()?),
            Self::Block(block) => block.forward(x),
            Self::Upsample(factor, conv) => {
                let (_, _, height, width) = x.dims4()?;
                Ok(ops::upsample_conv3x3(x, height * factor, width * factor, conv)?)
            }
        }
    }
}

/// Runs a sequence; may be stopped before each layer.
pub(super) fn run(layers: &[Layer], x: Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
    let mut x = x;
    for (i, layer) in layers.iter().enumerate() {
        pass.checkpoint()?;
        x = layer.forward(&x)?;
        pass.progress(i + 1, layers.len());
    }
    Ok(x)
}
