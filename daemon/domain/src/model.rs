//! What is known about a checkpoint before and after it is loaded.

use serde::{Deserialize, Serialize};

use crate::limits::SIZE_MULTIPLE_PX;
use crate::{BlobHash, Mode, Precisions, Size};

/// Which pipeline of diffusers a checkpoint belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipeline {
    /// `DreamLiteMobilePipeline`: one forward pass a step, no guidance.
    Mobile,
    /// `DreamLitePipeline`: guidance in two branches (generate) or three (edit).
    Base,
}

/// Default strengths of a pipeline with guidance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guidance {
    /// Strength of the prompt.
    pub guidance_scale: f32,
    /// Strength of the source picture in edits.
    pub image_guidance_scale: f32,
}

/// What a model is and can do, as read from its folder without loading the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// Name for requests.
    pub name: String,
    /// What it is good for, one sentence for a person.
    pub description: String,
    /// True for the embedded demonstration model.
    pub demonstration: bool,
    /// Licence of the weights; empty when it is unknown.
    pub license: String,
    /// Pipeline.
    pub pipeline: Pipeline,
    /// Native size: `sample_size * vae_scale_factor`, squared.
    pub native: Size,
    /// Smallest edge of a working size in pixels, a multiple of 16.
    pub min_edge_px: u32,
    /// Largest edge of a working size in pixels, a multiple of 16.
    pub max_edge_px: u32,
    /// Steps when a request names none.
    pub default_steps: u32,
    /// Default strengths; `None` for a pipeline without guidance.
    pub guidance: Option<Guidance>,
    /// Parameters of the three networks together.
    pub parameters: u64,
    /// Size of the weight files in bytes.
    pub file_bytes: u64,
    /// Memory of the three networks when they are loaded, in bytes, as shapes and precisions predict it.
    pub loaded_bytes: u64,
    /// SHA-256 that names the weights of all three networks: that of the lines `sha256sum` prints for the weight files of
    /// `text_encoder`, `unet` and `vae`, in this order and by name. `None` as long as they are being read for the first time.
    pub weights_sha256: Option<BlobHash>,
    /// In which precision the networks are kept when they are loaded.
    pub precisions: Precisions,
    /// Layers whose shape does not allow the precision of their network, each with the one that it has: `NAME as f32`.
    pub fallback_layers: Vec<String>,
}

impl ModelInfo {
    /// What it can do; every DreamLite checkpoint does both.
    pub fn modes(&self) -> [Mode; 2] {
        [Mode::Generate, Mode::Edit]
    }

    /// The size at which the model edits a source of size `source` when none is asked for: the source's aspect within the model's native
    /// area, both sides rounded to multiples of 16 and kept within the model's edges.
    pub fn working_size_for(&self, source: Size) -> Size {
        let scale = (self.native.pixels() as f64 / source.pixels().max(1) as f64).sqrt();
        let side = |length: u32| self.nearest_edge(f64::from(length) * scale);
        Size { width: side(source.width), height: side(source.height) }
    }

    /// The multiple of 16 nearest to `length` that the model allows.
    pub fn nearest_edge(&self, length: f64) -> u32 {
        let multiple = f64::from(SIZE_MULTIPLE_PX);
        let rounded = (length / multiple).round() * multiple;
        rounded.clamp(f64::from(self.min_edge_px), f64::from(self.max_edge_px)) as u32
    }
}
