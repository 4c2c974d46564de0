//! How a part of a canvas is edited: the edges of a selection, the context around it, and how the result is put back.

use serde::{Deserialize, Serialize};

use crate::limits::{MAX_PADDING_PX, MAX_SELECTION_EDGE_PX};
use crate::{BlobHash, Rect};

/// Which pixels of a canvas an edit may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Area {
    /// All of a rectangle within the canvas.
    Rectangle(Rect),
    /// By a second picture: white is selected, black is not.
    Mask {
        /// The picture; its blob is there already.
        image: BlobHash,
        /// Where its upper left corner lies on the canvas; `None`: it has the canvas's size.
        offset: Option<(i32, i32)>,
    },
}

/// What the answer to an edit of a selection carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SelectionResult {
    /// The whole canvas with the edit in it.
    #[default]
    Canvas,
    /// What was drawn, as a layer of the size of the changed rectangle.
    Layer,
}

/// What of the source an edit changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Selection {
    /// Which pixels.
    pub area: Area,
    /// How the edge of the area is worked over.
    pub edges: Edges,
    /// How much of the surroundings the model sees on each side, in pixels; `None`: half of the selection's longer side, at least
    /// 32.
    pub context_px: Option<u32>,
    /// Whether colours are fitted to the surroundings.
    pub color_match: ColorMatch,
    /// The denoiser is held to the source outside of the mask at every step.
    pub denoise_mask: bool,
    /// What the answer carries.
    pub result: SelectionResult,
}

impl Selection {
    /// A selection of an area with everything else as it is by default.
    pub fn of(area: Area) -> Self {
        Self {
            area,
            edges: Edges::default(),
            context_px: None,
            color_match: ColorMatch::None,
            denoise_mask: false,
            result: SelectionResult::Canvas,
        }
    }

    /// The picture of its mask.
    pub fn mask(&self) -> Option<BlobHash> {
        match self.area {
            Area::Rectangle(_) => None,
            Area::Mask { image, .. } => Some(image),
        }
    }

    /// Names the picture of its mask.
    pub fn set_mask(&mut self, hash: BlobHash) {
        if let Area::Mask { image, .. } = &mut self.area {
            *image = hash;
        }
    }

    /// How much of the surroundings the model sees.
    pub fn padding(&self) -> Padding {
        self.context_px.map_or(Padding { share: 0.5, px: 32 }, |px| Padding { share: 0.0, px })
    }
}

/// How the edge of a selection is worked over, in this order: grow, feather, blend. The grown and feathered mask is the region that
/// may change; blending only takes back of it. All in pixels of the canvas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Edges {
    /// Moves the edge outwards, or inwards below zero, along a disc of this radius: -`MAX_SELECTION_EDGE_PX` to that. The border of
    /// the canvas is no edge: what is selected up to it stays so.
    pub grow_px: i32,
    /// Softens the edge by this much to either side, 0 to `MAX_SELECTION_EDGE_PX`: three box filters whose radii sum to it, close to
    /// a Gaussian with a standard deviation of a third of it. Exactly zero beyond.
    pub feather_px: u32,
    /// Width of a ramp along the inside of the mask's outer edge, over which the source fades into the result, 0 to
    /// `MAX_SELECTION_EDGE_PX`. Hides a seam without touching a pixel outside.
    pub blend_px: u32,
}

impl Edges {
    /// The same with every width within its range.
    #[must_use]
    pub fn clamped(self) -> Self {
        let most = MAX_SELECTION_EDGE_PX;
        Self {
            grow_px: self.grow_px.clamp(-(most as i32), most as i32),
            feather_px: self.feather_px.min(most),
            blend_px: self.blend_px.min(most),
        }
    }
}

/// How much of the canvas around a selection the model sees on each side: the larger of the two.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Padding {
    /// Share of the selection's longer side, 0 to 4.
    pub share: f32,
    /// Pixels of the canvas, 0 to `MAX_PADDING_PX`.
    pub px: u32,
}

impl Padding {
    /// The most that a share may be.
    pub const MAX_SHARE: f32 = 4.0;

    /// Pixels to put around a side of `longer_side_px`. What is no number counts as zero.
    pub fn around(self, longer_side_px: u32) -> u32 {
        let share = if self.share.is_finite() { self.share.clamp(0.0, Self::MAX_SHARE) } else { 0.0 };
        let by_share = (f64::from(longer_side_px) * f64::from(share)).ceil() as u32;
        by_share.max(self.px.min(MAX_PADDING_PX))
    }
}

impl Default for Padding {
    /// A quarter of the selection, and no less than 32 pixels.
    fn default() -> Self {
        Self { share: 0.25, px: 32 }
    }
}

/// How the colours of the result are fitted to the surroundings of the selection before they are put back. Mean and
/// variance of the result's ring around the selection are brought to those of the source's ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ColorMatch {
    /// Not at all.
    #[default]
    None,
    /// In linear light, channel by channel: best against a cast or another exposure.
    Linear,
    /// In OKLab, lightness and the two colour axes: best for what the eye sees.
    Perceptual,
}

/// What becomes of the alpha of a canvas inside the selection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AlphaMode {
    /// Every alpha value of the canvas stays; only colours change.
    #[default]
    Keep,
    /// The result is opaque paint over the canvas, by the mask: transparent pixels are filled.
    Paint,
}
