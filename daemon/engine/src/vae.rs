//! The tiny VAE: pictures to latents and back. Source: diffusers `autoencoder_tiny.py`, `EncoderTiny`, `DecoderTiny`.

mod config;
mod layers;
mod projection;

pub use config::VaeConfig;
pub use projection::Projection;

use candle_core::{DType, Device, Tensor};
use easel_domain::RgbImage;

use crate::checkpoint::Checkpoint;
use crate::error::{EngineError, LoadError, Result};
use crate::ops::{Conv2d, Use};
use crate::pass::Pass;
use crate::weights::Weights;
use layers::{Layer, TinyBlock};

/// Latents are squashed to this range before they are decoded.
const LATENT_RANGE: f64 = 3.0;

/// The VAE of a checkpoint.
pub struct TinyVae {
    config: VaeConfig,
    encoder: Vec<Layer>,
    decoder: Vec<Layer>,
    parameters: u64,
    resident_bytes: u64,
    device: Device,
}

impl TinyVae {
    /// Reads `vae/` of a checkpoint onto a device.
    pub fn load(checkpoint: &Checkpoint, device: &Device) -> std::result::Result<Self, LoadError> {
        let config = VaeConfig::load(checkpoint)?;
        let weights = checkpoint.weights("vae", device)?;
        let encoder = load_encoder(&config, &weights.pp("encoder").pp("layers"))?;
        let decoder = load_decoder(&config, &weights.pp("decoder").pp("layers"))?;
        let (parameters, resident_bytes) = (weights.parameters(), weights.resident_bytes());
        Ok(Self { config, encoder, decoder, parameters, resident_bytes, device: device.clone() })
    }

    /// Its configuration.
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }

    /// Number of parameters.
    pub fn parameters(&self) -> u64 {
        self.parameters
    }

    /// Memory of its weights in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.resident_bytes
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// `(b, 3, h, w)` in -1..=1 to latents `(b, latent_channels, h/8, w/8)`.
    pub fn encode(&self, pixels: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        layers::run(&self.encoder, ((pixels + 1.0)? / 2.0)?, pass)
    }

    /// Latents `(b, latent_channels, h, w)` to `(b, 3, 8h, 8w)` around -1..=1, not clamped.
    pub fn decode(&self, latents: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let squashed = ((latents / LATENT_RANGE)?.tanh()? * LATENT_RANGE)?;
        Ok(layers::run(&self.decoder, squashed, pass)?.affine(2.0, -1.0)?)
    }

    /// Latents as the denoiser leaves them to latents as [`decode`](Self::decode) reads them.
    pub fn unscale(&self, latents: &Tensor) -> Result<Tensor> {
        let shift = self.config.shift_factor.unwrap_or(0.0);
        if self.config.scaling_factor == 1.0 && shift == 0.0 {
            return Ok(latents.clone());
        }
        Ok(((latents / self.config.scaling_factor)? + shift)?)
    }
}

/// A picture as the VAE reads it: bytes to `value / 255 * 2 - 1`, `(1, 3, h, w)`.
pub fn to_pixels(image: &RgbImage, device: &Device) -> Result<Tensor> {
    let shape = (image.height() as usize, image.width() as usize, 3);
    let bytes = Tensor::from_slice(image.pixels(), shape, device)?;
    let unit = (bytes.to_dtype(DType::F32)?.permute((2, 0, 1))?.contiguous()? / 255.0)?;
    Ok(unit.affine(2.0, -1.0)?.unsqueeze(0)?)
}

/// A decoded picture `(1, 3, h, w)` to bytes: clamp of `value / 2 + 0.5` to 0..=1, times 255, rounded half to even.
/// Fails when a value is not finite.
pub fn to_image(pixels: &Tensor) -> Result<RgbImage> {
    let (_, _, height, width) = pixels.dims4()?;
    let values: Vec<f32> = pixels.squeeze(0)?.permute((1, 2, 0))?.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?;
    if values.iter().any(|value| !value.is_finite()) {
        return Err(EngineError::NotFinite("the decoded pixels"));
    }
    let byte = |value: &f32| ((value * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
    let bytes: Vec<u8> = values.iter().map(byte).collect();
    Ok(RgbImage::new(width as u32, height as u32, bytes)?)
}

fn load_encoder(config: &VaeConfig, weights: &Weights) -> std::result::Result<Vec<Layer>, LoadError> {
    let mut layers = Vec::new();
    let mut width = config.in_channels;
    for (stage, (channels, blocks)) in
        config.encoder_block_out_channels.iter().zip(&config.num_encoder_blocks).enumerate()
    {
        let place = weights.pp(layers.len());
        let conv = Conv2d::load(&place, [*channels, width, 3], stage == 0)?;
        layers.push(Layer::Conv(if stage == 0 { conv } else { conv.with_stride(2, 1) }));
        width = *channels;
        for _ in 0..*blocks {
            layers.push(Layer::Block(Box::new(TinyBlock::load(&weights.pp(layers.len()), width)?)));
        }
    }
    layers.push(Layer::Conv(Conv2d::load(&weights.pp(layers.len()), [config.latent_channels, width, 3], true)?));
    Ok(layers)
}

fn load_decoder(config: &VaeConfig, weights: &Weights) -> std::result::Result<Vec<Layer>, LoadError> {
    let width = config.decoder_block_out_channels[0];
    let first = Conv2d::load(&weights.pp(0), [width, config.latent_channels, 3], true)?;
    let mut layers = vec![Layer::Conv(first), Layer::Relu];
    let mut place = layers.len();
    for (stage, blocks) in config.num_decoder_blocks.iter().enumerate() {
        for _ in 0..*blocks {
            layers.push(Layer::Block(Box::new(TinyBlock::load(&weights.pp(place), width)?)));
            place += 1;
        }
        if stage + 1 == config.num_decoder_blocks.len() {
            layers.push(Layer::Conv(Conv2d::load(&weights.pp(place), [config.out_channels, width, 3], true)?));
        } else {
            // The upsampling has a place of its own and no parameters.
            let factor = config.upsampling_scaling_factor;
            let use_ = if factor == 2 { Use::Doubling } else { Use::Plain };
            let conv = Conv2d::load_packed3x3(&weights.pp(place + 1), [width, width], false, use_)?;
            layers.push(Layer::Upsample(factor, conv));
            place += 2;
        }
    }
    Ok(layers)
}
