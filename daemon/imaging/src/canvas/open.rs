//! From the bytes of a file to a canvas: depth, alpha and profile stay, the orientation is applied.

use easel_domain::limits::MAX_ICC_BYTES;
use easel_domain::{Error, Size};
use image::metadata::Orientation;
use image::{DynamicImage, ExtendedColorType, ImageDecoder};

use super::{Canvas, Channels, Samples};
use crate::decode;

impl Canvas {
    /// Decodes a file of at most `MAX_SOURCE_PIXELS` pixels: PNG, JPEG, WebP, TIFF, GIF or BMP; of an animation the first picture. Fails
    /// as [`crate::load`] does, and for CMYK, which no profile can bring to the model and back, with `InvalidImage`.
    pub fn open(bytes: &[u8]) -> Result<Self, Error> {
        decode::guarded(|| {
            let (format, mut decoder) = decode::open(bytes)?;
            decode::check_end(format, bytes)?;
            let cmyk = matches!(decoder.original_color_type(), ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16);
            if cmyk || format == "jpeg" && decode::jpeg_is_cmyk(bytes) {
                return Err(decode::invalid("is CMYK, which is not edited: convert it to RGB or grey".to_owned()));
            }
            let orientation = decode::orientation_of(format, &mut decoder);
            let icc = if format == "tiff" { decode::tiff_icc(bytes) } else { decoder.icc_profile().ok().flatten() };
            let picture = DynamicImage::from_decoder(decoder).map_err(|error| decode::unreadable(format, &error))?;
            let size = Size { width: picture.width(), height: picture.height() };
            let (channels, samples) = samples_of(picture);
            let canvas = Self::new(size, channels, samples)?;
            Ok(canvas.turn(orientation).with_embedded(icc))
        })
    }

    fn with_embedded(mut self, icc: Option<Vec<u8>>) -> Self {
        match icc {
            Some(bytes) if bytes.len() > MAX_ICC_BYTES => {
                let text = format!("has {} bytes, {MAX_ICC_BYTES} are read", bytes.len());
                self.notes.push(format!("the colour profile is left out ({text}): colours are taken as sRGB"));
                self
            }
            other => self.with_profile(other.as_deref()),
        }
    }

    /// Applies an EXIF orientation to the pixels.
    fn turn(mut self, orientation: Orientation) -> Self {
        if orientation == Orientation::NoTransforms {
            return self;
        }
        let channels = self.channels.count();
        let size = self.size;
        self.samples = match self.samples {
            Samples::U8(v) => Samples::U8(turned(&v, size, channels, orientation)),
            Samples::U16(v) => Samples::U16(turned(&v, size, channels, orientation)),
            Samples::F32(v) => Samples::F32(turned(&v, size, channels, orientation)),
        };
        if decode::swaps_sides(orientation) {
            self.size = Size { width: size.height, height: size.width };
        }
        self.turned = true;
        self.notes.push("the orientation that the file asks for is applied".to_owned());
        self
    }
}

fn samples_of(picture: DynamicImage) -> (Channels, Samples) {
    match picture {
        DynamicImage::ImageLuma8(p) => (Channels::Grey, Samples::U8(p.into_raw())),
        DynamicImage::ImageLumaA8(p) => (Channels::GreyAlpha, Samples::U8(p.into_raw())),
        DynamicImage::ImageRgb8(p) => (Channels::Rgb, Samples::U8(p.into_raw())),
        DynamicImage::ImageRgba8(p) => (Channels::Rgba, Samples::U8(p.into_raw())),
        DynamicImage::ImageLuma16(p) => (Channels::Grey, Samples::U16(p.into_raw())),
        DynamicImage::ImageLumaA16(p) => (Channels::GreyAlpha, Samples::U16(p.into_raw())),
        DynamicImage::ImageRgb16(p) => (Channels::Rgb, Samples::U16(p.into_raw())),
        DynamicImage::ImageRgba16(p) => (Channels::Rgba, Samples::U16(p.into_raw())),
        DynamicImage::ImageRgb32F(p) => (Channels::Rgb, Samples::F32(p.into_raw())),
        other => (Channels::Rgba, Samples::F32(other.into_rgba32f().into_raw())),
    }
}

/// The picture after the turn. `size` is that before it.
fn turned<T: Copy>(values: &[T], size: Size, channels: usize, orientation: Orientation) -> Vec<T> {
    let (width, height) = (size.width as usize, size.height as usize);
    let (new_width, new_height) = if decode::swaps_sides(orientation) { (height, width) } else { (width, height) };
    let mut out = Vec::with_capacity(values.len());
    for y in 0..new_height {
        for x in 0..new_width {
            // Where the pixel comes from.
            let (from_x, from_y) = match orientation {
                Orientation::NoTransforms => (x, y),
                Orientation::FlipHorizontal => (width - 1 - x, y),
                Orientation::Rotate180 => (width - 1 - x, height - 1 - y),
                Orientation::FlipVertical => (x, height - 1 - y),
                Orientation::Rotate90 => (y, height - 1 - x),
                Orientation::Rotate270 => (width - 1 - y, x),
                Orientation::Rotate90FlipH => (y, x),
                Orientation::Rotate270FlipH => (width - 1 - y, height - 1 - x),
            };
            let at = (from_y * width + from_x) * channels;
            out.extend_from_slice(&values[at..at + channels]);
        }
    }
    out
}
