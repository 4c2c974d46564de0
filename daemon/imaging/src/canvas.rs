//! A picture with everything an artist cares about: its depth, its alpha, its colour profile. A canvas is what an edit is put back
//! into, and what is written to a file. [`crate::load`] is the other way to read a picture: 8-bit RGB as the reference sees it.

mod open;
mod raw;

use std::sync::Arc;

use easel_domain::{Error, NamedSpace, Reason, Rect, RgbImage, Size};

use crate::colour::{self, Colour};
use crate::composite::Sample;

/// Which samples a pixel has, in this order. Alpha is straight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channels {
    /// Grey.
    Grey,
    /// Grey and alpha.
    GreyAlpha,
    /// Red, green and blue.
    Rgb,
    /// Red, green, blue and alpha.
    Rgba,
}

impl Channels {
    /// Samples of a pixel, alpha included.
    pub fn count(self) -> usize {
        self.colours() + usize::from(self.has_alpha())
    }

    /// Samples of a pixel without alpha: 1 or 3.
    pub fn colours(self) -> usize {
        if matches!(self, Self::Grey | Self::GreyAlpha) { 1 } else { 3 }
    }

    /// Whether alpha is the last sample.
    pub fn has_alpha(self) -> bool {
        matches!(self, Self::GreyAlpha | Self::Rgba)
    }
}

/// The samples of a picture, row by row from the top left, without padding.
#[derive(Clone, Debug, PartialEq)]
pub enum Samples {
    /// 0 to 255.
    U8(Vec<u8>),
    /// 0 to 65535.
    U16(Vec<u16>),
    /// 0 to 1 for what a display shows; any float is kept.
    F32(Vec<f32>),
}

impl Samples {
    /// Number of samples.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::F32(v) => v.len(),
        }
    }

    /// True without samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A picture as its author has it. Cloning copies the pixels.
#[derive(Clone, Debug)]
pub struct Canvas {
    size: Size,
    channels: Channels,
    samples: Samples,
    icc: Option<Arc<[u8]>>,
    turned: bool,
    notes: Vec<String>,
}

impl From<&RgbImage> for Canvas {
    /// The same pixels in 8-bit sRGB.
    fn from(picture: &RgbImage) -> Self {
        Self {
            size: picture.size(),
            channels: Channels::Rgb,
            samples: Samples::U8(picture.pixels().to_vec()),
            icc: None,
            turned: false,
            notes: Vec::new(),
        }
    }
}

impl Canvas {
    /// Wraps samples without a profile, which means sRGB. Fails with `Internal` when a side is zero or the number of samples is not
    /// width x height x channels.
    pub fn new(size: Size, channels: Channels, samples: Samples) -> Result<Self, Error> {
        let expected = size.pixels() * channels.count() as u64;
        if expected == 0 || samples.len() as u64 != expected {
            let text = format!("{} samples are no picture of {size} with {} channels", samples.len(), channels.count());
            return Err(Error::new(Reason::Internal, text));
        }
        Ok(Self { size, channels, samples, icc: None, turned: false, notes: Vec::new() })
    }

    /// The same pixels, said to be of another colour space; `None`: sRGB. A profile that cannot be used is left out and noted.
    #[must_use]
    pub fn with_profile(mut self, icc: Option<&[u8]>) -> Self {
        self.icc = None;
        if let Some(bytes) = icc {
            match colour::check(bytes, self.channels) {
                Ok(()) => self.icc = Some(bytes.into()),
                Err(why) => {
                    self.notes.push(format!("the colour profile is left out ({why}): colours are taken as sRGB"))
                }
            }
        }
        self
    }

    /// The same pixels, said to be of a named space.
    #[must_use]
    pub fn with_space(self, space: NamedSpace) -> Self {
        let profile = colour::profile_of(space, self.channels);
        self.with_profile(profile.as_deref())
    }

    /// Width and height in pixels, each at least 1, after the orientation was applied.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Which samples a pixel has.
    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// The samples: `size.pixels() * channels.count()`.
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// The ICC profile, byte for byte; `None`: sRGB.
    pub fn icc(&self) -> Option<&[u8]> {
        self.icc.as_deref()
    }

    /// True when the file asked for a turn or a reflection, which was applied to the pixels.
    pub fn was_turned(&self) -> bool {
        self.turned
    }

    /// What a person should know of how the picture was read: lower case, without a full stop.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Bytes of the samples.
    pub fn bytes(&self) -> u64 {
        let each = match self.samples {
            Samples::U8(_) => 1,
            Samples::U16(_) => 2,
            Samples::F32(_) => 4,
        };
        self.samples.len() as u64 * each
    }

    /// A part of the canvas as the model sees it: 8-bit sRGB, at the part's own size. Alpha is left out, not blended, as the
    /// reference does; float values are cut to 0..1. Fails with `Internal` when `part` is empty or reaches over the canvas.
    pub fn view(&self, part: Rect) -> Result<RgbImage, Error> {
        if part.is_empty() || !Rect::of(self.size).contains(part) {
            return Err(Error::new(Reason::Internal, format!("{part} is no part of a canvas of {}", self.size)));
        }
        let mut colour = Colour::new(self)?;
        let width = part.width as usize;
        let mut pixels = vec![0; width * part.height as usize * 3];
        let mut row = vec![0.0; width * 3];
        for (y, out) in pixels.chunks_exact_mut(width * 3).enumerate() {
            colour.read_srgb(self, (part.x as usize, part.y as usize + y), &mut row);
            for (byte, value) in out.iter_mut().zip(&row) {
                *byte = (value.clamp(0.0, 1.0) * 255.0).round() as u8;
            }
        }
        RgbImage::new(part.width, part.height, pixels)
    }

    /// Alpha of a pixel, 0 to 1; 1 for a canvas without. The pixel lies within.
    pub(crate) fn alpha_at(&self, x: usize, y: usize) -> f32 {
        if !self.channels.has_alpha() {
            return 1.0;
        }
        let at = (y * self.size.width as usize + x + 1) * self.channels.count() - 1;
        match &self.samples {
            Samples::U8(v) => v[at].value(),
            Samples::U16(v) => v[at].value(),
            Samples::F32(v) => colour::finite(v[at]).clamp(0.0, 1.0),
        }
    }

    pub(crate) fn samples_mut(&mut self) -> &mut Samples {
        &mut self.samples
    }
}
