//! The precisions, for every command that has them, and the arguments of `selftest`.

use std::path::PathBuf;

use clap::Args;

use super::parse_size;

/// The precisions.
#[derive(Debug, Args)]
pub(crate) struct PrecisionArgs {
    /// Precision of the encoder: auto (q8_0 for large ones), f32, q8_0, q4k or int8
    #[arg(long, value_name = "NAME")]
    encoder_precision: Option<String>,
    /// Precision of the denoiser: f32 or int8
    #[arg(long, value_name = "NAME")]
    unet_precision: Option<String>,
    /// Precision of the VAE: f32 or int8
    #[arg(long, value_name = "NAME")]
    vae_precision: Option<String>,
}

impl PrecisionArgs {
    /// The flags that are given, by the names of their settings.
    pub(crate) fn flags(&self) -> impl Iterator<Item = (&'static str, String)> {
        let all = [
            ("encoder_precision", &self.encoder_precision),
            ("unet_precision", &self.unet_precision),
            ("vae_precision", &self.vae_precision),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key, value.clone()?)))
    }
}

/// Arguments of `selftest`.
#[derive(Debug, Args)]
pub(crate) struct SelftestArgs {
    /// Folder of a diffusers checkpoint; it does not have to be added
    #[arg(long, value_name = "FOLDER")]
    pub(crate) quality: PathBuf,
    /// File with one prompt on each line [default: a few of its own]
    #[arg(long, value_name = "FILE")]
    pub(crate) prompts: Option<PathBuf>,
    /// Seed of the first picture; picture i has the seed SEED + i
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Size in pixels [default: the model's]
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    pub(crate) size: Option<(u32, u32)>,
}
