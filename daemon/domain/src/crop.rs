//! Which part of a canvas the model sees, and at which size: the crop around a selection, and the tiles of a canvas that
//! is larger than the model. Plain total functions.

use serde::{Deserialize, Serialize};

use crate::limits::{MAX_CROP_ENLARGEMENT, MAX_TILES};
use crate::selection::Padding;
use crate::{ModelInfo, Rect, Size};

/// At which sizes a model works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkingLimits {
    /// Pixels of the size at which it works best.
    pub native_pixels: u64,
    /// Both sides are multiples of this, at least 1.
    pub multiple_px: u32,
    /// Shortest side, a multiple of `multiple_px`.
    pub min_edge_px: u32,
    /// Longest side, a multiple of `multiple_px`, not below `min_edge_px`.
    pub max_edge_px: u32,
}

impl WorkingLimits {
    /// Those of a model.
    pub fn of(model: &ModelInfo) -> Self {
        Self {
            native_pixels: model.native.pixels(),
            multiple_px: crate::limits::SIZE_MULTIPLE_PX,
            min_edge_px: model.min_edge_px,
            max_edge_px: model.max_edge_px,
        }
    }

    /// The bucket for a part of the canvas: near the native area, with the aspect as nearly as the steps and edges allow. The
    /// longer side gives way first when the shorter one is at its least.
    pub fn bucket(&self, part: Size) -> Size {
        let (width, height) = (f64::from(part.width.max(1)), f64::from(part.height.max(1)));
        let scale = (self.native_pixels.max(1) as f64 / (width * height)).sqrt();
        Size { width: self.edge(width * scale), height: self.edge(height * scale) }
    }

    fn edge(&self, length: f64) -> u32 {
        let multiple = self.multiple_px.max(1);
        let rounded = (length / f64::from(multiple)).round().min(f64::from(u32::MAX / multiple)) as u32 * multiple;
        rounded.max(self.min_edge_px.max(multiple)).min(self.max_edge_px.max(multiple))
    }
}

/// A part of the canvas and the size at which the model works on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Crop {
    /// The part, within the canvas.
    pub rect: Rect,
    /// The working size.
    pub working: Size,
}

/// The crop for a selection: its bounds and the context around them, within the canvas. The shorter side is widened until the aspect
/// is that of the bucket, and a tiny selection until the model enlarges at most `MAX_CROP_ENLARGEMENT` times, as far as the canvas
/// has pixels. `None` when the selection has no pixel on the canvas.
pub fn crop_for(selection: Rect, canvas: Size, padding: Padding, limits: &WorkingLimits) -> Option<Crop> {
    let whole = Rect::of(canvas);
    let selected = selection.intersect(whole)?;
    let padded = selected.expanded(padding.around(selected.width.max(selected.height)), whole)?;
    let working = limits.bucket(padded.size());
    let least = |edge: u32| edge.div_ceil(MAX_CROP_ENLARGEMENT);
    let mut rect = widen(padded, least(working.width), least(working.height), canvas);
    let working = limits.bucket(rect.size());
    let side = |own: u32, other: u32, other_edge: u32, edge: u32| {
        let wanted = u64::from(other) * u64::from(edge) / u64::from(other_edge.max(1));
        own.max(u32::try_from(wanted).unwrap_or(u32::MAX))
    };
    rect = widen(
        rect,
        side(rect.width, rect.height, working.height, working.width),
        side(rect.height, rect.width, working.width, working.height),
        canvas,
    );
    Some(Crop { rect, working })
}

/// At least `width` by `height`, around the same centre where the canvas allows it, else pushed inwards.
fn widen(rect: Rect, width: u32, height: u32, canvas: Size) -> Rect {
    let (x, width) = widen_side(rect.x, rect.width, width, canvas.width);
    let (y, height) = widen_side(rect.y, rect.height, height, canvas.height);
    Rect { x, y, width, height }
}

fn widen_side(start: i32, length: u32, least: u32, canvas: u32) -> (i32, u32) {
    let wanted = least.max(length).min(canvas);
    let more = i64::from(wanted - length.min(wanted));
    let centred = i64::from(start) - more / 2;
    let last = i64::from(canvas) - i64::from(wanted);
    (centred.clamp(0, last.max(0)) as i32, wanted)
}

/// A canvas cut into tiles that overlap. All tiles have one size and one working size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TilePlan {
    /// The canvas.
    pub canvas: Size,
    /// Left edges of the columns, ascending from 0.
    pub columns: Vec<u32>,
    /// Top edges of the rows, ascending from 0.
    pub rows: Vec<u32>,
    /// Width and height of every tile on the canvas.
    pub tile: Size,
    /// Size at which the model works on a tile.
    pub working: Size,
}

impl TilePlan {
    /// Number of tiles, at least 1.
    pub fn len(&self) -> usize {
        self.columns.len() * self.rows.len()
    }

    /// Never: a plan covers its canvas.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rectangles of all tiles, row by row from the top left.
    pub fn rects(&self) -> impl Iterator<Item = Rect> {
        (0..self.len()).filter_map(|index| Some(self.crop(index)?.rect))
    }

    /// Tile `index`, row by row from the top left; `None` behind the last.
    pub fn crop(&self, index: usize) -> Option<Crop> {
        let columns = self.columns.len().max(1);
        let (x, y) = (*self.columns.get(index % columns)?, *self.rows.get(index / columns)?);
        let Size { width, height } = self.tile;
        let rect = Rect { x: i32::try_from(x).ok()?, y: i32::try_from(y).ok()?, width, height };
        Some(Crop { rect, working: self.working })
    }
}

/// Cuts a canvas into tiles of about the model's native area that overlap by at least `overlap_px` (at most half a tile). A canvas that
/// needs more than `MAX_TILES` at its own scale is worked on at a smaller one: tiles are then larger than the working size. One
/// tile when the canvas is no larger than the model.
pub fn tiles_for(canvas: Size, overlap_px: u32, limits: &WorkingLimits) -> TilePlan {
    let square = (limits.native_pixels.max(1) as f64).sqrt();
    let edge = limits.edge(square);
    let mut scale = 1.0_f64;
    loop {
        let length = (f64::from(edge) * scale).round() as u32;
        let tile = Size { width: length.min(canvas.width).max(1), height: length.min(canvas.height).max(1) };
        let columns = starts(canvas.width, tile.width, overlap_px);
        let rows = starts(canvas.height, tile.height, overlap_px);
        if columns.len().saturating_mul(rows.len()) <= MAX_TILES {
            let working = if tile.width < length || tile.height < length {
                limits.bucket(tile)
            } else {
                Size { width: edge, height: edge }
            };
            return TilePlan { canvas, columns, rows, tile, working };
        }
        scale *= 1.25;
    }
}

/// Starts of the fewest pieces of `length` that cover `whole`, evenly spread.
fn starts(whole: u32, length: u32, overlap: u32) -> Vec<u32> {
    let spare = u64::from(whole.saturating_sub(length));
    let stride = u64::from((length - overlap.min(length / 2)).max(1));
    let gaps = spare.div_ceil(stride);
    (0..=gaps).map(|i| (spare * i / gaps.max(1)) as u32).collect()
}
