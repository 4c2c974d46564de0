//! `vae/config.json`: what diffusers' `AutoencoderTiny` is told, with its defaults.

use serde::Deserialize;

use crate::checkpoint::Checkpoint;
use crate::error::LoadError;

pub(super) const FILE: &str = "vae/config.json";

/// Configuration of the tiny VAE.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct VaeConfig {
    /// Channels of a picture.
    pub in_channels: usize,
    /// Channels of a decoded picture.
    pub out_channels: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Latents are divided by this before they are decoded.
    pub scaling_factor: f64,
    /// Added to the latents after the division.
    pub shift_factor: Option<f64>,
    pub(super) encoder_block_out_channels: Vec<usize>,
    pub(super) decoder_block_out_channels: Vec<usize>,
    pub(super) num_encoder_blocks: Vec<usize>,
    pub(super) num_decoder_blocks: Vec<usize>,
    pub(super) upsampling_scaling_factor: usize,
    act_fn: String,
    upsample_fn: String,
}

impl Default for VaeConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            latent_channels: 4,
            scaling_factor: 1.0,
            shift_factor: Some(0.0),
            encoder_block_out_channels: vec![64; 4],
            decoder_block_out_channels: vec![64; 4],
            num_encoder_blocks: vec![1, 3, 3, 3],
            num_decoder_blocks: vec![3, 3, 3, 1],
            upsampling_scaling_factor: 2,
            act_fn: "relu".into(),
            upsample_fn: "nearest".into(),
        }
    }
}

impl VaeConfig {
    /// Reads and checks `vae/config.json`.
    pub fn load(checkpoint: &Checkpoint) -> Result<Self, LoadError> {
        let config: Self = checkpoint.json(FILE)?;
        let stages = [
            ("encoder_block_out_channels", &config.encoder_block_out_channels, &config.num_encoder_blocks),
            ("decoder_block_out_channels", &config.decoder_block_out_channels, &config.num_decoder_blocks),
        ];
        for (name, channels, blocks) in stages {
            if channels.is_empty() || channels.len() != blocks.len() {
                return Err(LoadError::config(
                    FILE,
                    format!("{name} must have as many values as there are stages of blocks"),
                ));
            }
            if channels.iter().any(|width| *width != channels[0]) {
                return Err(LoadError::config(FILE, format!("{name}: stages of different widths are not supported")));
            }
        }
        let settings =
            [("act_fn", config.act_fn.as_str(), "relu"), ("upsample_fn", config.upsample_fn.as_str(), "nearest")];
        if let Some((name, found, expected)) = settings.iter().find(|(_, found, expected)| found != expected) {
            return Err(LoadError::config(
                FILE,
                format!("{name} {found:?} is not supported; it should be {expected:?}"),
            ));
        }
        if config.in_channels != 3 || config.out_channels != 3 {
            return Err(LoadError::config(FILE, "in_channels and out_channels must be 3"));
        }
        Ok(config)
    }

    /// Pixels along one side of a latent position.
    pub fn scale_factor(&self) -> u32 {
        1 << (self.encoder_block_out_channels.len() - 1).min(16)
    }

    /// What a source picture's sides are floored to a multiple of. Source: the pipelines build their image processor with
    /// twice the scale factor of the VAE.
    pub fn size_multiple(&self) -> u32 {
        self.scale_factor() * 2
    }
}
