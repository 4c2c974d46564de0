//! Convolutions. Candle's grouped convolution is one convolution for each channel, on every device, so it is never called;
//! a 1x1 convolution is a matrix product.

use std::sync::OnceLock;

use candle_core::{Result, Tensor};
use easel_domain::Precision;
use easel_kernels::{Int8Chain, Int8Conv3x3, Int8Pointwise, Then, UpsampleConv3x3};

use super::linear::with_bias;
use super::low_rank::{LayerKind, Slot, Target};
use super::path::fused;
use crate::error::LoadError;
use crate::weights::Weights;
use crate::weights::audit::Twin;
use crate::weights::packing::Form;

/// A full convolution with a square kernel.
pub struct Conv2d {
    weight: Kernel,
    bias: Option<Tensor>,
    padding: usize,
    stride: usize,
    /// What [`upsample_conv3x3`] makes of the weights when it first runs fused.
    doubling: OnceLock<UpsampleConv3x3>,
    twin: Option<Box<Twin>>,
    slot: Slot,
}

enum Kernel {
    /// `(out, in, kernel, kernel)`
    Full(Tensor),
    Int8(Box<Packed>),
}

/// A 3x3 convolution for the pictures that it is to be used for.
struct Packed {
    plain: Option<Int8Conv3x3>,
    doubling: Option<Int8Conv3x3>,
}

/// Which pictures a 3x3 convolution with packed weights is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Those that come.
    Plain,
    /// Those that are doubled first.
    Doubling,
    /// Those that are doubled first, or nearly: an odd size that was halved and rounded up.
    Upsampling,
}

impl Conv2d {
    /// Reads `weight (out, in, kernel, kernel)` and, when `bias` is true, `bias (out)`, in f32 whatever the precision of the
    /// network. Stride 1, padding that keeps the size.
    pub fn load(
        weights: &Weights,
        [out, input, kernel]: [usize; 3],
        bias: bool,
    ) -> std::result::Result<Self, LoadError> {
        let weight = weights.get([out, input, kernel, kernel], "weight")?;
        let bias = bias.then(|| weights.get([out], "bias")).transpose()?;
        let padding = (kernel - 1) / 2;
        let slot = weights.slot(Target { kind: LayerKind::Conv { kernel }, input, output: out });
        Ok(Self { weight: Kernel::Full(weight), bias, padding, stride: 1, doubling: OnceLock::new(), twin: None, slot })
    }

    /// The same with a 3x3 kernel in the precision of the network.
    pub fn load_packed3x3(
        weights: &Weights,
        [out, input]: [usize; 2],
        bias: bool,
        use_: Use,
    ) -> std::result::Result<Self, LoadError> {
        let full = || Self::load(weights, [out, input, 3], bias);
        if weights.precision() == Precision::F32 {
            let mut conv = full()?;
            let form = if use_ == Use::Plain { Form::Conv } else { Form::Doubling };
            if let Kernel::Full(weight) = &conv.weight {
                conv.twin = weights.twin(form, weight, "weight").map(Box::new);
            }
            return Ok(conv);
        }
        let bias_values = bias.then(|| weights.get([out], "bias")).transpose()?;
        let packed = |doubles: bool| {
            let form = if doubles { Form::Doubling } else { Form::Conv };
            let Some(packed) = weights.packed(form, &[out, input, 3, 3], "weight")? else { return Ok(None) };
            let make = |bias: Option<&[f32]>| Int8Conv3x3::from_packed(&packed, bias, [out, input], doubles);
            with_bias(weights, bias_values.as_ref(), make).map(Some)
        };
        let plain = if use_ == Use::Doubling { None } else { packed(false)? };
        let doubling = if use_ == Use::Plain { None } else { packed(true)? };
        if plain.is_none() && doubling.is_none() {
            return full();
        }
        let weight = Kernel::Int8(Box::new(Packed { plain, doubling }));
        let slot = weights.slot(Target { kind: LayerKind::Conv { kernel: 3 }, input, output: out });
        Ok(Self { weight, bias: None, padding: 1, stride: 1, doubling: OnceLock::new(), twin: None, slot })
    }

    /// The same with another stride and padding. Only for weights in f32.
    #[must_use]
    pub fn with_stride(self, stride: usize, padding: usize) -> Self {
        Self { stride, padding, ..self }
    }

    /// `(b, in, h, w) -> (b, out, h', w')`
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.slot.over_pixels(self.forward_alone(x)?, x, (self.padding, self.stride))
    }

    fn forward_alone(&self, x: &Tensor) -> Result<Tensor> {
        let weight = match &self.weight {
            Kernel::Full(weight) => weight,
            Kernel::Int8(packed) => match &packed.plain {
                Some(layer) => return layer.forward(x),
                None => candle_core::bail!("this convolution was packed for doubled pictures"),
            },
        };
        if let Some(twin) = &self.twin {
            twin.compare(x, &easel_kernels::conv2d(x, weight, None, self.padding, self.stride)?)?;
        }
        if fused(x) {
            return easel_kernels::conv2d(x, weight, self.bias.as_ref(), self.padding, self.stride);
        }
        let x = x.conv2d(weight, self.padding, self.stride, 1, 1)?;
        match &self.bias {
            Some(bias) => x.broadcast_add(&bias.reshape((1, bias.elem_count(), 1, 1))?),
            None => Ok(x),
        }
    }

    /// The same with `residual` added, and then ReLU.
    fn forward_relu(&self, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        if let (Kernel::Full(weight), None, true) = (&self.weight, &self.twin, fused(x)) {
            let then = Then { padding: self.padding, stride: self.stride, residual, relu: true };
            return easel_kernels::conv2d_then(x, weight, self.bias.as_ref(), then);
        }
        let y = self.forward(x)?;
        match residual {
            Some(residual) => (y + residual)?.relu(),
            None => y.relu(),
        }
    }

    fn doubling(&self, weight: &Tensor) -> Result<&UpsampleConv3x3> {
        match self.doubling.get() {
            Some(doubling) => Ok(doubling),
            None => {
                let made = UpsampleConv3x3::new(weight, self.bias.as_ref())?;
                Ok(self.doubling.get_or_init(|| made))
            }
        }
    }

    fn int8(&self) -> Option<&Int8Conv3x3> {
        match &self.weight {
            Kernel::Int8(packed) => packed.plain.as_ref(),
            Kernel::Full(_) => None,
        }
    }
}

/// 3x3 convolutions with ReLU between them, then the input added, then ReLU once more.
pub fn residual_convs(convs: &[Conv2d; 3], x: &Tensor) -> Result<Tensor> {
    let packed: Vec<&Int8Conv3x3> = convs.iter().filter_map(Conv2d::int8).collect();
    if packed.len() == convs.len()
        && let Some(chain) = Int8Chain::new(&packed, true, true)
    {
        return chain.forward(x);
    }
    let h = convs[0].forward_relu(x, None)?;
    let h = convs[1].forward_relu(&h, None)?;
    convs[2].forward_relu(&h, Some(x))
}

/// A 1x1 convolution over channels-first pixels.
pub struct Pointwise {
    weight: Points,
    bias: Option<Tensor>,
    twin: Option<Box<Twin>>,
    slot: Slot,
}

enum Points {
    /// `(out, in)`
    Full(Tensor),
    Int8(Int8Pointwise),
}

impl Pointwise {
    /// Reads `weight (out, in, 1, 1)` and, when `bias` is true, `bias (out)`, in the precision of the network.
    pub fn load(weights: &Weights, [out, input]: [usize; 2], bias: bool) -> std::result::Result<Self, LoadError> {
        let shape = [out, input, 1, 1];
        let slot = weights.slot(Target { kind: LayerKind::Conv { kernel: 1 }, input, output: out });
        let bias = bias.then(|| weights.get([out], "bias")).transpose()?;
        let packed = match weights.precision() {
            Precision::F32 => None,
            _ => weights.packed(Form::Pixels, &shape, "weight")?,
        };
        if let Some(packed) = packed {
            let make = |bias: Option<&[f32]>| Int8Pointwise::from_packed(&packed, bias, [out, input]);
            return Ok(Self {
                weight: Points::Int8(with_bias(weights, bias.as_ref(), make)?),
                bias: None,
                twin: None,
                slot,
            });
        }
        let weight = weights.get_as(shape, [out, input], "weight")?;
        let twin = weights.twin(Form::Pixels, &weight, "weight").map(Box::new);
        Ok(Self { weight: Points::Full(weight), bias, twin, slot })
    }

    /// `x (b, in, h, w)` -> `(b, out, h, w)`; `shift (b, out)` is added to each channel and `residual` to each value.
    pub fn forward(&self, x: &Tensor, shift: Option<&Tensor>, residual: Option<&Tensor>) -> Result<Tensor> {
        self.slot.over_pixels(self.forward_alone(x, shift, residual)?, x, (0, 1))
    }

    fn forward_alone(&self, x: &Tensor, shift: Option<&Tensor>, residual: Option<&Tensor>) -> Result<Tensor> {
        let weight = match &self.weight {
            Points::Full(weight) => weight,
            Points::Int8(layer) => return layer.forward(x, shift, residual),
        };
        if let Some(twin) = &self.twin {
            twin.compare(x, &pointwise_conv(x, weight, None)?)?;
        }
        if fused(x) {
            return easel_kernels::pointwise_conv_onto(x, weight, self.bias.as_ref(), shift, residual);
        }
        let y = pointwise_conv(x, weight, self.bias.as_ref())?;
        let y = match shift {
            Some(shift) => y.broadcast_add(&shift.unsqueeze(2)?.unsqueeze(3)?)?,
            None => y,
        };
        match residual {
            Some(residual) => y + residual,
            None => Ok(y),
        }
    }
}

/// 3x3 convolution of every channel with a kernel of its own, padding 1: `x (b, c, h, w)`, `weight (c, 1, 3, 3)`.
/// Nine shifted products, which every device knows.
pub fn depthwise_conv3x3(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    if fused(x) {
        return easel_kernels::depthwise_conv3x3(x, weight);
    }
    let (_, channels, height, width) = x.dims4()?;
    let padded = x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
    let taps = weight.reshape((1, channels, 9, 1))?;
    let mut sum: Option<Tensor> = None;
    for tap in 0..9 {
        let shifted = padded.narrow(2, tap / 3, height)?.narrow(3, tap % 3, width)?;
        let product = shifted.broadcast_mul(&taps.narrow(2, tap, 1)?)?;
        sum = Some(match sum {
            Some(sum) => (sum + product)?,
            None => product,
        });
    }
    sum.ok_or_else(|| candle_core::Error::Msg("a kernel without taps".into()))
}

/// 1x1 convolution: `x (b, in, h, w)`, `weight (out, in)`, `bias (out)`.
pub fn pointwise_conv(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if fused(x) {
        return easel_kernels::pointwise_conv(x, weight, bias);
    }
    let (batch, channels, height, width) = x.dims4()?;
    let out = weight.dim(0)?;
    let pixels = x.contiguous()?.reshape((batch, channels, height * width))?;
    let weight = weight.unsqueeze(0)?.broadcast_as((batch, out, channels))?;
    let x = weight.matmul(&pixels)?;
    let x = match bias {
        Some(bias) => x.broadcast_add(&bias.reshape((1, out, 1))?)?,
        None => x,
    };
    x.reshape((batch, out, height, width))
}

/// Nearest-neighbour resize, as `F.interpolate(mode="nearest")`: `(b, c, h, w) -> (b, c, height, width)`.
pub fn resize_nearest(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    x.contiguous()?.upsample_nearest2d(height, width)
}

/// Nearest-neighbour resize followed by a 3x3 convolution. Twice the size is four 2x2 convolutions of `x` with summed weights,
/// which is 4/9 of the products.
pub fn upsample_conv3x3(x: &Tensor, height: usize, width: usize, conv: &Conv2d) -> Result<Tensor> {
    let (_, _, rows, columns) = x.dims4()?;
    let doubled = (height, width) == (2 * rows, 2 * columns);
    // What is added reads the resized picture, which the four convolutions spare.
    let with_added = |out: Tensor| match conv.slot.is_empty() {
        true => Ok(out),
        false => conv.slot.over_pixels(out, &resize_nearest(x, height, width)?, (conv.padding, conv.stride)),
    };
    match &conv.weight {
        Kernel::Int8(packed) if doubled => {
            if let Some(layer) = &packed.doubling {
                return with_added(layer.forward(x)?);
            }
        }
        Kernel::Full(weight) if doubled && fused(x) => {
            let out = conv.doubling(weight)?.forward(x)?;
            if let Some(twin) = &conv.twin {
                twin.compare(x, &UpsampleConv3x3::new(weight, None)?.forward(x)?)?;
            }
            return with_added(out);
        }
        _ => {}
    }
    conv.forward(&resize_nearest(x, height, width)?)
}
