//! A source picture as the encoder sees it: squashed to a square, normalised and cut into patches.
//! Source: transformers `Qwen2VLImageProcessor`.

use candle_core::{Device, Tensor};
use easel_domain::{RgbImage, Size};
use easel_imaging::{Filter, resize};
use serde::Deserialize;

use super::config::VisionConfig;
use crate::checkpoint::Checkpoint;
use crate::error::LoadError;

const NEW_FILE: &str = "processor/processor_config.json";
const OLD_FILE: &str = "processor/preprocessor_config.json";

/// How pictures become patches.
#[derive(Clone, Debug)]
pub struct PixelSettings {
    /// What each byte of each channel becomes.
    values: [Vec<f32>; 3],
    /// Edge of the square in pixels.
    edge_px: usize,
    patch: usize,
    merge: usize,
    frames: usize,
}

impl PixelSettings {
    /// Reads the picture settings of `processor/`. Fails when they contradict `vision` or do not take a square of
    /// `condition_size_px` as it is.
    pub fn load(checkpoint: &Checkpoint, vision: &VisionConfig, condition_size_px: usize) -> Result<Self, LoadError> {
        let (file, raw) = read(checkpoint)?;
        let wrong = |what: String| LoadError::config(file, what);
        let agree = |name: &str, found: Option<usize>, expected: usize| match found {
            Some(found) if found != expected => {
                Err(wrong(format!("{name} is {found}, but text_encoder/config.json has {expected}")))
            }
            _ => Ok(()),
        };
        agree("patch_size", raw.patch_size, vision.patch_size)?;
        agree("merge_size", raw.merge_size, vision.spatial_merge_size)?;
        agree("temporal_patch_size", raw.temporal_patch_size, vision.temporal_patch_size)?;
        let multiple = vision.token_edge_px();
        let (least, most) = raw.pixels();
        let pixels = condition_size_px as u64 * condition_size_px as u64;
        if condition_size_px == 0 || !condition_size_px.is_multiple_of(multiple) || pixels < least || pixels > most {
            return Err(wrong(format!(
                "a condition_size of {condition_size_px} is no multiple of {multiple} with {least} to {most} pixels"
            )));
        }
        let scale = if raw.do_rescale { (1.0 / raw.rescale_factor) as f32 } else { 1.0 };
        let values = [0, 1, 2].map(|channel| {
            let (mean, std) = (raw.image_mean[channel] as f32 * scale, raw.image_std[channel] as f32 * scale);
            let normalised = |byte: f32| if raw.do_normalize { (byte - mean) / std } else { byte / scale };
            (0..=255u8).map(|byte| normalised(f32::from(byte))).collect()
        });
        if values.iter().flatten().any(|value: &f32| !value.is_finite()) {
            return Err(wrong("image_std or rescale_factor is zero".into()));
        }
        let (patch, merge, frames) = (vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size);
        Ok(Self { values, edge_px: condition_size_px, patch, merge, frames })
    }

    /// Edge of the square of patches; a multiple of the merge size.
    pub fn patches_per_side(&self) -> usize {
        self.edge_px / self.patch
    }

    /// Edge of the square of tokens that the language model sees.
    pub fn tokens_per_side(&self) -> usize {
        self.patches_per_side() / self.merge
    }

    /// Row and column of each patch, in the order of the patches: the merged tokens row by row, within each its own patches
    /// row by row.
    pub fn places(&self) -> Vec<(usize, usize)> {
        let (tokens, merge) = (self.tokens_per_side(), self.merge);
        let mut places = Vec::with_capacity(self.patches_per_side() * self.patches_per_side());
        for token in 0..tokens * tokens {
            for part in 0..merge * merge {
                let row = token / tokens * merge + part / merge;
                places.push((row, token % tokens * merge + part % merge));
            }
        }
        places
    }

    /// Squashes a picture to the square, whatever its aspect.
    pub fn squash(&self, image: &RgbImage) -> RgbImage {
        resize(image, Size { width: self.edge_px as u32, height: self.edge_px as u32 }, Filter::Lanczos)
    }

    /// The patches of a squashed picture: `(patches, channels * frames * patch * patch)`, the frame repeated.
    pub fn patches(&self, square: &RgbImage, device: &Device) -> candle_core::Result<Tensor> {
        if square.width() as usize != self.edge_px || square.height() as usize != self.edge_px {
            candle_core::bail!("{square:?} is no square of {} pixels", self.edge_px);
        }
        let places = self.places();
        let width = 3 * self.frames * self.patch * self.patch;
        let mut values = Vec::with_capacity(places.len() * width);
        for &(row, column) in &places {
            for channel in 0..3 {
                for _frame in 0..self.frames {
                    for y in row * self.patch..(row + 1) * self.patch {
                        let first = (y * self.edge_px + column * self.patch) * 3;
                        let pixels = square.pixels()[first..first + self.patch * 3].chunks_exact(3);
                        values.extend(pixels.map(|pixel| self.values[channel][usize::from(pixel[channel])]));
                    }
                }
            }
        }
        Tensor::from_vec(values, (places.len(), width), device)
    }
}

#[derive(Deserialize)]
struct RawProcessor {
    image_processor: Option<RawPixels>,
}

#[derive(Deserialize)]
struct RawPixels {
    image_mean: [f64; 3],
    image_std: [f64; 3],
    #[serde(default = "one_in_255")]
    rescale_factor: f64,
    #[serde(default = "yes")]
    do_rescale: bool,
    #[serde(default = "yes")]
    do_normalize: bool,
    patch_size: Option<usize>,
    merge_size: Option<usize>,
    temporal_patch_size: Option<usize>,
    size: Option<RawSize>,
    min_pixels: Option<u64>,
    max_pixels: Option<u64>,
}

/// The names speak of edges, the numbers are areas in pixels.
#[derive(Deserialize)]
struct RawSize {
    shortest_edge: Option<u64>,
    longest_edge: Option<u64>,
}

impl RawPixels {
    /// Pictures of an area outside of these are resized by the reference before it looks at them.
    fn pixels(&self) -> (u64, u64) {
        let size = self.size.as_ref();
        let least = size.and_then(|size| size.shortest_edge).or(self.min_pixels).unwrap_or(0);
        let most = size.and_then(|size| size.longest_edge).or(self.max_pixels).unwrap_or(u64::MAX);
        (least, most)
    }
}

/// Newer checkpoints keep the picture settings in one file with those of videos, older ones in a file of their own.
fn read(checkpoint: &Checkpoint) -> Result<(&'static str, RawPixels), LoadError> {
    if checkpoint.contains(NEW_FILE) {
        let all: RawProcessor = checkpoint.json(NEW_FILE)?;
        match all.image_processor {
            Some(pixels) => return Ok((NEW_FILE, pixels)),
            None if !checkpoint.contains(OLD_FILE) => {
                return Err(LoadError::config(
                    NEW_FILE,
                    "has no image_processor, and there is no preprocessor_config.json",
                ));
            }
            None => {}
        }
    }
    Ok((OLD_FILE, checkpoint.json(OLD_FILE)?))
}

fn one_in_255() -> f64 {
    1.0 / 255.0
}

fn yes() -> bool {
    true
}
