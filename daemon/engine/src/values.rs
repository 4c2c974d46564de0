//! What passes between the stages: prompt embeddings and latents. Cheap to clone, since tensors are shared.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use easel_domain::engine::{DeviceKind, StageValue};

use crate::error::Result;

/// The encoded prompt, once for each branch of the denoiser: `(1, len, prompt_embed_dim)` without padding. One branch for
/// the mobile pipeline; `[negative, positive]` or, in edits, `[negative, negative, positive]` for the base pipeline.
#[derive(Clone)]
pub struct PromptEmbeds {
    branches: Arc<[Tensor]>,
}

/// Latents of one picture: `(1, latent_channels, height / 8, width / 8)`.
#[derive(Clone)]
pub struct Latents {
    tensor: Tensor,
}

impl PromptEmbeds {
    /// Embeddings without padding, in the order of the branches.
    pub fn new(branches: Vec<Tensor>) -> Self {
        Self { branches: branches.into() }
    }

    /// The rows of a padded batch: `embeds (b, len, c)`, of which row `i` has `lengths[i]` positions that count.
    pub fn from_padded(embeds: &Tensor, lengths: &[usize]) -> Result<Self> {
        let row = |(i, length): (usize, &usize)| Ok(embeds.narrow(0, i, 1)?.narrow(1, 0, *length)?.contiguous()?);
        Ok(Self { branches: lengths.iter().enumerate().map(row).collect::<Result<_>>()? })
    }

    /// The branches, each `(1, len, c)`.
    pub fn branches(&self) -> &[Tensor] {
        &self.branches
    }
}

impl Latents {
    /// Wraps `(1, c, h, w)`.
    pub fn new(tensor: Tensor) -> Self {
        Self { tensor }
    }

    /// The tensor, `(1, c, h, w)`.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }
}

impl StageValue for PromptEmbeds {
    fn size_bytes(&self) -> u64 {
        self.branches.iter().map(bytes).sum()
    }

    fn device(&self) -> DeviceKind {
        self.branches.first().map_or(DeviceKind::Cpu, |branch| device_kind(branch.device()))
    }
}

impl StageValue for Latents {
    fn size_bytes(&self) -> u64 {
        bytes(&self.tensor)
    }

    fn device(&self) -> DeviceKind {
        device_kind(self.tensor.device())
    }
}

/// The sort of a device, as the domain knows it.
pub(crate) fn device_kind(device: &Device) -> DeviceKind {
    if device.is_metal() { DeviceKind::Metal } else { DeviceKind::Cpu }
}

fn bytes(tensor: &Tensor) -> u64 {
    (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64
}
