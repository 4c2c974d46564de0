//! What a client asks for, structurally valid but not yet resolved against a model.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::{BlobHash, LoraUse, RequestId, Selection};

/// What kind of work is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// Text to image.
    Generate,
    /// An instruction applied to a picture.
    Edit,
}

/// How urgent a generation is; the order is the order of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Priority {
    /// Nobody waits.
    Batch,
    /// A person pressed a button and waits.
    Interactive,
    /// A person drags a slider and waits.
    Live,
}

/// What happens when the last watcher has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DisconnectPolicy {
    /// The generation is cancelled.
    Cancel,
    /// It goes on.
    Keep,
}

/// What happens to an unfinished generation when the daemon comes back after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// It runs again from its seed, to the same picture.
    Rerun,
    /// It fails with `DaemonRestarted`.
    Fail,
}

/// How a picture is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ImageFormat {
    /// Lossless.
    Png,
    /// Quality 92.
    Jpeg,
    /// Lossless.
    WebP,
    /// Lossless.
    Tiff,
}

/// How previews are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PreviewKind {
    /// A linear map from latents to colours, an eighth of the picture's size.
    Projection,
    /// Decoded by the VAE.
    Decoded,
}

/// Which previews a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PreviewPolicy {
    /// How they are made.
    pub kind: PreviewKind,
    /// Longest edge in pixels; `None`: as they come. Never enlarges.
    pub longest_edge_px: Option<u32>,
    /// Encoding.
    pub format: ImageFormat,
    /// After every n-th step, at least 1.
    pub every_n_steps: u32,
}

/// How a whole canvas is cut into tiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tiling {
    /// Pixels that neighbouring tiles share; `None`: an eighth of a tile's shorter side.
    pub overlap_px: Option<u32>,
}

/// Which picture to make. Two requests with equal content make the same picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerationRequest {
    /// `None`: edit when an image is given.
    pub mode: Option<Mode>,
    /// `None`: the daemon's default model.
    pub model: Option<String>,
    /// What to draw, or the instruction.
    pub prompt: String,
    /// What to avoid; empty when not given.
    pub negative_prompt: String,
    /// The picture to edit; its blob is there already.
    pub image: Option<BlobHash>,
    /// What of the picture the edit changes; `None`: everything.
    #[serde(default)]
    pub selection: Option<Selection>,
    /// Edits the whole canvas in tiles at its own scale; `None`: scaled to what suits the model.
    #[serde(default)]
    pub tiling: Option<Tiling>,
    /// Width of the result in pixels.
    pub width: Option<u32>,
    /// Height of the result in pixels.
    pub height: Option<u32>,
    /// Denoising steps.
    pub num_inference_steps: Option<u32>,
    /// Noise levels; empty: the scheduler's own.
    pub sigmas: Vec<f32>,
    /// Strength of the prompt.
    pub guidance_scale: Option<f32>,
    /// Strength of the source picture.
    pub image_guidance_scale: Option<f32>,
    /// LoRAs, added together.
    #[serde(default)]
    pub loras: Vec<LoraUse>,
    /// Seed; `None`: the daemon draws one.
    pub seed: Option<u64>,
    /// Seeds of the pictures, each one picture, in place of `seed` and `num_images`; empty: those say.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// Number of pictures; `None`: 1.
    pub num_images: Option<u32>,
    /// Encoding of the result.
    pub output_format: ImageFormat,
    /// Whether the file of the result says how it was made; `None`: as the settings have it.
    #[serde(default)]
    pub provenance: Option<bool>,
}

impl GenerationRequest {
    /// Blobs that it needs beside the picture to edit.
    pub fn inputs(&self) -> impl Iterator<Item = BlobHash> {
        self.selection.as_ref().and_then(Selection::mask).into_iter()
    }
}

/// How a generation is run, as far as it does not change the picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunPolicy {
    /// Previews; `None`: off.
    pub previews: Option<PreviewPolicy>,
    /// Urgency.
    pub priority: Priority,
    /// What a lost connection means.
    pub on_disconnect: DisconnectPolicy,
    /// Compute stops this long after the creation.
    pub timeout: Option<Duration>,
    /// Makes creation idempotent.
    pub request_id: Option<RequestId>,
    /// Without watchers it goes on until then at most, by the clock of the machine.
    pub keep_until: Option<SystemTime>,
    /// What a new start of the daemon means.
    pub on_restart: RestartPolicy,
    /// How long its model stays in memory after it when nobody uses it; zero: not at all. `None`: as the daemon is set.
    #[serde(default)]
    pub keep_alive: Option<Duration>,
}
