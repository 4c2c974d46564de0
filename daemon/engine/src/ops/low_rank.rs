//! What a LoRA adds to a layer: `y + B (A x)`, computed beside the layer, whose weights stay as they are. A layer has a slot for
//! it; with an empty slot it computes what it always did.

use std::sync::{Arc, PoisonError, RwLock};

use candle_core::{Result, Tensor};

use super::conv::pointwise_conv;
use super::linear::product;
use super::path::fused;

/// What sort of layer a slot belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerKind {
    /// A product over the last dimension.
    Linear,
    /// A square convolution.
    Conv {
        /// Side of its kernel.
        kernel: usize,
    },
    /// A square convolution of each channel by itself.
    Depthwise {
        /// Side of its kernel.
        kernel: usize,
    },
}

/// A layer that can be adapted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// What sort of layer it is.
    pub kind: LayerKind,
    /// Inputs or input channels.
    pub input: usize,
    /// Outputs or output channels.
    pub output: usize,
}

/// The two factors for one layer. Scale and weight are in the second.
#[derive(Debug)]
pub struct LowRank {
    /// `(rank, in)`, or `(rank, in, kernel, kernel)` for a convolution with a kernel above 1.
    down: Tensor,
    /// `(out, rank)`
    up: Tensor,
}

impl LowRank {
    /// `down (rank, in)` or `(rank, in, kernel, kernel)`, `up (out, rank)`, on the device of the layer.
    pub fn new(down: Tensor, up: Tensor) -> Self {
        Self { down, up }
    }

    /// The first factor.
    pub fn down(&self) -> &Tensor {
        &self.down
    }

    /// The second factor.
    pub fn up(&self) -> &Tensor {
        &self.up
    }

    /// Memory that it holds, in bytes.
    pub fn size_bytes(&self) -> u64 {
        4 * (self.down.elem_count() + self.up.elem_count()) as u64
    }

    /// `y (..., out)` with what `x (..., in)` adds.
    fn add_to_tokens(&self, y: &Tensor, x: &Tensor) -> Result<Tensor> {
        product(&product(x, &self.down, None, None)?, &self.up, None, Some(y))
    }

    /// `y (b, out, h', w')` with what `x (b, in, h, w)` adds.
    fn add_to_pixels(&self, y: Tensor, x: &Tensor, padding: usize, stride: usize) -> Result<Tensor> {
        let down = match (self.down.rank(), fused(x)) {
            (2, _) => pointwise_conv(x, &self.down, None)?,
            (_, true) => easel_kernels::conv2d(x, &self.down, None, padding, stride)?,
            (_, false) => x.conv2d(&self.down, padding, stride, 1, 1)?,
        };
        pointwise_conv(&down, &self.up, None)? + y
    }
}

/// The place of a layer for what is added to it. Clones are the same place: the layer has one, and whoever sets it another.
#[derive(Clone, Debug, Default)]
pub struct Slot(Arc<RwLock<Option<Arc<LowRank>>>>);

impl Slot {
    /// Fills the slot, or empties it.
    pub fn set(&self, low_rank: Option<Arc<LowRank>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = low_rank;
    }

    /// True when the layer computes as it always did.
    pub fn is_empty(&self) -> bool {
        self.current().is_none()
    }

    fn current(&self) -> Option<Arc<LowRank>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a linear layer made of `x (..., in)`, with what is added to it.
    pub(super) fn over_tokens(&self, y: Tensor, x: &Tensor) -> Result<Tensor> {
        match self.current() {
            Some(low_rank) => low_rank.add_to_tokens(&y, x),
            None => Ok(y),
        }
    }

    /// What a convolution made of `x (b, in, h, w)`, with what is added to it.
    pub(crate) fn over_pixels(&self, y: Tensor, x: &Tensor, (padding, stride): (usize, usize)) -> Result<Tensor> {
        match self.current() {
            Some(low_rank) => low_rank.add_to_pixels(y, x, padding, stride),
            None => Ok(y),
        }
    }
}
