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

/// Encodes as [`encode`] does and writes texts beside the pixels, pairs of a keyword and a text, in that order. Only PNG holds
/// them (as `iTXt`, UTF-8); other formats leave them out. A keyword has 1 to 79 printable ASCII characters and neither it nor the
/// text holds a zero; else it fails with `Internal`.
pub fn encode_with_texts(picture: &RgbImage, format: ImageFormat, texts: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
    let bytes = encode(picture, format)?;
    if format != ImageFormat::Png || texts.is_empty() {
        return Ok(bytes);
    }
    with_texts(&bytes, texts)
}

/// The bytes of a PNG with texts in it.
pub(crate) fn with_texts(bytes: &[u8], texts: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
    /// The signature and the IHDR chunk, which must come first.
    const HEAD_BYTES: usize = 8 + 12 + 13;
    let (head, rest) = bytes.split_at(HEAD_BYTES);
    let mut out = head.to_vec();
    for (keyword, text) in texts {
        out.extend(text_chunk(keyword, text)?);
    }
    out.extend_from_slice(rest);
    Ok(out)
}

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

/// An `iTXt` chunk, not compressed, without language (PNG specification, 11.3.3.4).
fn text_chunk(keyword: &str, text: &str) -> Result<Vec<u8>, Error> {
    let printable = keyword.bytes().all(|b| (b' '..=b'~').contains(&b));
    let body_bytes = u32::try_from(keyword.len() + 5 + text.len()).ok().filter(|&n| n <= i32::MAX as u32);
    let Some(body_bytes) =
        body_bytes.filter(|_| printable && (1..=79).contains(&keyword.len()) && !text.contains('\0'))
    else {
        return Err(Error::new(Reason::Internal, format!("{keyword:?} cannot be written into a PNG")));
    };
    let mut chunk = body_bytes.to_be_bytes().to_vec();
    chunk.extend(b"iTXt");
    chunk.extend(keyword.as_bytes());
    chunk.extend([0; 5]);
    chunk.extend(text.as_bytes());
    let checksum = crc32(&chunk[4..]);
    chunk.extend(checksum.to_be_bytes());
    Ok(chunk)
}

/// CRC-32 as PNG has it (annex D), bit by bit: texts are short.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}
