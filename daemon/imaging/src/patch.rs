//! What a model has drawn for a part of the canvas, at the canvas's own scale.

use easel_domain::{Rect, RgbImage};

use crate::resample;

/// Encoded sRGB for a rectangle of the canvas, 16 bits for each sample: an enlarged picture of 8 bits has values in between, which a
/// canvas of more bits can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    rect: Rect,
    rgb: Vec<u16>,
}

impl Patch {
    /// Scales a picture of the model to the part of the canvas that it is for, with the kernel of [`crate::Filter::Lanczos`]; when
    /// it has that size already, its values are taken as they are. An empty `rect` makes a patch without pixels.
    pub fn new(picture: &RgbImage, rect: Rect) -> Self {
        let rgb = if rect.is_empty() { Vec::new() } else { resample::fine(picture, rect.size()) };
        Self { rect, rgb }
    }

    pub(crate) fn from_parts(rect: Rect, rgb: Vec<u16>) -> Self {
        Self { rect, rgb }
    }

    /// Where it belongs.
    pub fn rect(&self) -> Rect {
        self.rect
    }

    /// Pixels of row `y` of the canvas from column `x` on, 0 to 1, as many as `out` holds. They lie within.
    pub(crate) fn read(&self, (x, y): (i32, i32), out: &mut [f32]) {
        let at = ((y - self.rect.y) as usize * self.rect.width as usize + (x - self.rect.x) as usize) * 3;
        out.iter_mut().zip(&self.rgb[at..]).for_each(|(out, &v)| *out = f32::from(v) / 65535.0);
    }
}
