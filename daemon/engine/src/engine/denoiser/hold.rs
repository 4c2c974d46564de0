//! Mask-aware denoising: after each step the latents outside of the mask are those of the source with the noise of that step, as
//! the inpainting pipelines of diffusers do it (`scale_noise` of the flow matching scheduler, then the two joined by the mask).

use candle_core::Tensor;
use easel_domain::{Error, Reason, Size};

use crate::error::Result;

/// What the latents of one picture are held to.
pub(super) struct Hold {
    /// `(1, c, h, w)`
    source: Tensor,
    /// The noise that the picture began with, `(1, c, h, w)`.
    noise: Tensor,
    /// How much of each position may be redrawn, 0 to 1, `(1, 1, h, w)`.
    mask: Tensor,
}

impl Hold {
    /// `mask` has a value for each pixel of `size`; a position takes the largest of its pixels, so that nothing that may change is
    /// held. Fails with `InvalidRequest` when the source does not cover the picture.
    pub(super) fn new((mask, size, scale): (&[f32], Size, u32), source: Tensor, noise: Tensor) -> Result<Self> {
        let (_, _, height, width) = noise.dims4()?;
        if source.dims() != noise.dims() || mask.len() as u64 != size.pixels() {
            let what = "a mask needs a source of the size that the model works at";
            return Err(Error::field(Reason::InvalidRequest, "spec.selection.denoise_mask", what).into());
        }
        let (stride, scale) = (size.width as usize, scale as usize);
        let mut positions = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let rows = mask.chunks_exact(stride).skip(y * scale).take(scale);
                let largest = rows.flat_map(|row| &row[x * scale..(x + 1) * scale]).fold(0.0_f32, |a, &b| a.max(b));
                positions.push(largest);
            }
        }
        let mask = Tensor::from_vec(positions, (1, 1, height, width), noise.device())?;
        Ok(Self { source, noise, mask })
    }

    /// `(1 - mask) * ((1 - sigma) * source + sigma * noise) + mask * latents`.
    pub(super) fn apply(&self, latents: &Tensor, sigma: f32) -> Result<Tensor> {
        let sigma = f64::from(sigma);
        let held = (self.source.affine(1.0 - sigma, 0.0)? + self.noise.affine(sigma, 0.0)?)?;
        let free = latents.broadcast_mul(&self.mask)?;
        let bound = held.broadcast_mul(&self.mask.affine(-1.0, 1.0)?)?;
        Ok((free + bound)?)
    }

    /// Memory that it holds.
    pub(super) fn size_bytes(&self) -> u64 {
        4 * [&self.source, &self.noise, &self.mask].iter().map(|tensor| tensor.elem_count() as u64).sum::<u64>()
    }
}
