//! How pixels lie in memory: of canvases and of what clients send and take without a file around it.

use serde::{Deserialize, Serialize};

/// How one sample is stored; more than one byte little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SampleType {
    /// 0 to 255.
    U8,
    /// 0 to 65535.
    U16,
    /// 0 to 32768, as Photoshop has 16 bits per channel unless asked for the full range. A larger value is refused.
    U16Photoshop,
    /// 32-bit float, 0 to 1 for what a display shows; above it where the light is brighter.
    F32,
}

impl SampleType {
    /// Bytes of one sample.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 | Self::U16Photoshop => 2,
            Self::F32 => 4,
        }
    }
}

/// Which samples a pixel has, in which order. Alpha is straight, not multiplied into the colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChannelOrder {
    /// Grey alone; masks as well.
    Grey,
    /// Grey, alpha.
    GreyAlpha,
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue, alpha.
    Rgba,
    /// Blue, green, red.
    Bgr,
    /// Blue, green, red, alpha: Krita's integer documents.
    Bgra,
}

impl ChannelOrder {
    /// Samples of a pixel.
    pub fn channels(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::GreyAlpha => 2,
            Self::Rgb | Self::Bgr => 3,
            Self::Rgba | Self::Bgra => 4,
        }
    }

    /// True when alpha is among them.
    pub fn has_alpha(self) -> bool {
        matches!(self, Self::GreyAlpha | Self::Rgba | Self::Bgra)
    }
}

/// A colour space that needs no ICC profile to be named. The transfer curve and the primaries; the white is D65.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NamedSpace {
    /// sRGB, IEC 61966-2-1.
    #[default]
    Srgb,
    /// The primaries of sRGB in linear light: scene files and Krita's float documents.
    LinearSrgb,
    /// Display P3.
    DisplayP3,
    /// Adobe RGB (1998).
    AdobeRgb,
}

/// How raw pixels lie: rows from the top, `stride_bytes` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RawLayout {
    /// Width in pixels, at least 1.
    pub width: u32,
    /// Height in pixels, at least 1.
    pub height: u32,
    /// Bytes from the start of a row to that of the next; 0: rows without padding. The last row needs no padding.
    pub stride_bytes: u64,
    /// Which samples, in which order.
    pub order: ChannelOrder,
    /// How a sample is stored.
    pub sample: SampleType,
}

impl RawLayout {
    /// Bytes of a row's pixels, without padding; cannot overflow.
    pub fn row_bytes(&self) -> u64 {
        u64::from(self.width) * (self.order.channels() * self.sample.bytes()) as u64
    }

    /// Bytes from row to row, with the default filled in.
    pub fn stride(&self) -> u64 {
        if self.stride_bytes == 0 { self.row_bytes() } else { self.stride_bytes }
    }

    /// Fewest bytes that hold such pixels; `None` when a side or the stride is too small or the number overflows.
    pub fn least_bytes(&self) -> Option<u64> {
        let stride = self.stride();
        if self.width == 0 || self.height == 0 || stride < self.row_bytes() {
            return None;
        }
        stride.checked_mul(u64::from(self.height) - 1)?.checked_add(self.row_bytes())
    }
}
