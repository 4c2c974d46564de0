//! From RGB to the bytes of a file. The same picture gives the same bytes.

use std::io::Cursor;

use easel_domain::{Error, ImageFormat, Reason, RgbImage};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::tiff::TiffEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};

/// Quality of JPEG files, 1 to 100.
pub(crate) const JPEG_QUALITY: u8 = 92;

/// Encodes a picture: PNG, WebP and TIFF without loss, JPEG at quality 92. Fails with `InvalidRequest` when the format cannot
/// hold a picture of that size (WebP ends at 16,383 pixels on a side, JPEG at 65,535).
pub fn encode(picture: &RgbImage, format: ImageFormat) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let (width, height, color) = (picture.width(), picture.height(), ExtendedColorType::Rgb8);
    let written = match format {
        ImageFormat::Png => PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive)
            .write_image(picture.pixels(), width, height, color),
        ImageFormat::Jpeg => {
            JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).write_image(picture.pixels(), width, height, color)
        }
        ImageFormat::WebP => WebPEncoder::new_lossless(&mut bytes).write_image(picture.pixels(), width, height, color),
        ImageFormat::Tiff => {
            TiffEncoder::new(Cursor::new(&mut bytes)).write_image(picture.pixels(), width, height, color)
        }
    };
    written.map_err(|error| {
        let size = picture.size();
        Error::field(
            Reason::InvalidRequest,
            "spec.output_format",
            format!("cannot hold a picture of {size} ({error}): choose PNG"),
        )
    })?;
    Ok(bytes)
}
