//! A picture in memory.

use std::fmt;
use std::sync::Arc;

use crate::{Error, Reason, Size};

/// A picture of 8-bit RGB pixels, row by row from the top left, without padding: `pixels.len() == width * height * 3`.
/// Cheap to clone; the pixels are shared and never change.
#[derive(Clone, PartialEq, Eq)]
pub struct RgbImage {
    size: Size,
    pixels: Arc<[u8]>,
}

impl RgbImage {
    /// Wraps pixels. Fails when a side is zero or the number of bytes is not `width * height * 3`.
    pub fn new(width: u32, height: u32, pixels: impl Into<Arc<[u8]>>) -> Result<Self, Error> {
        let pixels = pixels.into();
        let expected = u64::from(width) * u64::from(height) * 3;
        if expected == 0 || pixels.len() as u64 != expected {
            return Err(Error::new(
                Reason::Internal,
                format!("{} bytes are not a picture of {width}x{height} RGB pixels", pixels.len()),
            ));
        }
        Ok(Self { size: Size { width, height }, pixels })
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.size.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.size.height
    }

    /// Width and height.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The bytes: `height` rows of `width` pixels of 3 bytes.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }
}

impl fmt::Debug for RgbImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RgbImage({}x{})", self.size.width, self.size.height)
    }
}
