//! From the bytes of a file to RGB, as `diffusers.utils.load_image` has it: orientation by EXIF, then Pillow's
//! `convert("RGB")`. Alpha is dropped, not blended. The header is checked against the limits before anything is decoded.

mod colour;
mod jpeg;
mod orientation;

pub(crate) use jpeg::is_cmyk as jpeg_is_cmyk;
pub(crate) use orientation::{of as orientation_of, swaps_sides};

use std::io::Cursor;
use std::panic::catch_unwind;

use easel_domain::limits::{MAX_DECODE_BYTES, MAX_ICC_BYTES, MAX_SOURCE_EDGE_PX, MAX_SOURCE_PIXELS};
use easel_domain::{Error, Reason, RgbImage, Size};
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

/// The field that violations name; pictures come in one place of a request only.
const FIELD: &str = "spec.image";

const FORMATS: &str = "PNG, JPEG, WebP, TIFF, GIF or BMP";

/// What the header of a picture says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Name of the file format, for example "png".
    pub format: &'static str,
    /// Width and height after the EXIF orientation.
    pub size: Size,
}

/// Reads the header only. Fails with `InvalidImage` when the bytes are no picture of a known format, and with
/// `ImageTooLarge` when it is over the limits of [`easel_domain::limits`].
pub fn probe(bytes: &[u8]) -> Result<Probe, Error> {
    guarded(|| {
        let (format, mut decoder) = open(bytes)?;
        let (width, height) = decoder.dimensions();
        let size = match swaps_sides(orientation::of(format, &mut decoder)) {
            true => Size { width: height, height: width },
            false => Size { width, height },
        };
        Ok(Probe { format, size })
    })
}

/// Decodes a picture of at most `MAX_SOURCE_PIXELS` pixels; of an animation the first picture. Fails as [`probe`] does, and
/// with `InvalidImage` when the file is cut or damaged, or of a kind that is not read (see the message).
pub fn load(bytes: &[u8]) -> Result<RgbImage, Error> {
    guarded(|| {
        let (format, mut decoder) = open(bytes)?;
        check_end(format, bytes)?;
        let orientation = orientation::of(format, &mut decoder);
        let picture = DynamicImage::from_decoder(decoder).map_err(|error| unreadable(format, &error))?;
        let mut picture = colour::rgb(picture, format == "png" && is_grey_png(bytes));
        picture.apply_orientation(orientation);
        RgbImage::new(picture.width(), picture.height(), picture.into_rgb8().into_raw())
    })
}

/// A JPEG without its end would come out with grey in place of what is missing.
pub(crate) fn check_end(format: &str, bytes: &[u8]) -> Result<(), Error> {
    if format == "jpeg" && !jpeg::is_complete(bytes) {
        return Err(invalid("is cut: the end of the JPEG is missing: save or send it again".to_owned()));
    }
    Ok(())
}

/// The decoders read what strangers send and are not ours: a panic in one of them is a damaged file, not a fault of the
/// daemon. Nothing outlives the closure that the panic could leave half done.
pub(crate) fn guarded<T>(read: impl FnOnce() -> Result<T, Error> + std::panic::UnwindSafe) -> Result<T, Error> {
    catch_unwind(read).unwrap_or_else(|_| Err(invalid("is damaged: save it again".to_owned())))
}

pub(crate) fn invalid(description: String) -> Error {
    field(Reason::InvalidImage, description)
}

pub(crate) fn field(reason: Reason, description: String) -> Error {
    Error::field(reason, FIELD, description)
}

pub(crate) fn unreadable(format: &str, error: &ImageError) -> Error {
    let cause = error.to_string().replace(['\r', '\n'], " ");
    match error {
        ImageError::Limits(_) => Error::field(
            Reason::ImageTooLarge,
            FIELD,
            format!("needs more than {MAX_DECODE_BYTES} bytes of memory to decode: make it smaller"),
        ),
        ImageError::Unsupported(_) => {
            invalid(format!("is a {format} file of a kind that is not read ({cause}): convert it to 8-bit RGB"))
        }
        _ => invalid(format!("is cut or damaged ({format}: {cause}): save it again")),
    }
}

pub(crate) fn open(bytes: &[u8]) -> Result<(&'static str, impl ImageDecoder + '_), Error> {
    if bytes.is_empty() {
        return Err(invalid(format!("has no bytes: give a {FORMATS} file")));
    }
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| unreadable("picture", &e.into()))?;
    let format = match reader.format() {
        Some(ImageFormat::Png) => "png",
        Some(ImageFormat::Jpeg) => "jpeg",
        Some(ImageFormat::WebP) => "webp",
        Some(ImageFormat::Tiff) => "tiff",
        Some(ImageFormat::Gif) => "gif",
        Some(ImageFormat::Bmp) => "bmp",
        _ => return Err(invalid(format!("is no picture that can be read: give a {FORMATS} file"))),
    };
    // The size is checked below, where the message can name it; opening a file allocates nothing of the picture's size.
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODE_BYTES);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(|error| unreadable(format, &error))?;
    let (width, height) = decoder.dimensions();
    check_size(Size { width, height })?;
    if decoder.total_bytes() > MAX_DECODE_BYTES {
        return Err(too_large(Size { width, height }));
    }
    limits.max_image_width = Some(MAX_SOURCE_EDGE_PX);
    limits.max_image_height = Some(MAX_SOURCE_EDGE_PX);
    decoder.set_limits(limits).map_err(|error| unreadable(format, &error))?;
    Ok((format, decoder))
}

pub(crate) fn check_size(size: Size) -> Result<(), Error> {
    if size.width == 0 || size.height == 0 {
        return Err(invalid(format!("is {size}, which has no pixels: save it again")));
    }
    if size.width > MAX_SOURCE_EDGE_PX || size.height > MAX_SOURCE_EDGE_PX || size.pixels() > MAX_SOURCE_PIXELS {
        return Err(too_large(size));
    }
    Ok(())
}

fn too_large(size: Size) -> Error {
    let limits = format!("{MAX_SOURCE_PIXELS} pixels and {MAX_SOURCE_EDGE_PX} on a side");
    Error::field(Reason::ImageTooLarge, FIELD, format!("is {size}; at most {limits} are read: make it smaller"))
}

/// The ICC profile of a TIFF, read as bytes whatever their type is; larger ones than are used are left out.
pub(crate) fn tiff_icc(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut limits = tiff::decoder::Limits::default();
    // The crate holds each byte as a value of its own.
    limits.ifd_value_size = MAX_ICC_BYTES * 32;
    let mut decoder = tiff::decoder::Decoder::new(Cursor::new(bytes)).ok()?.with_limits(limits);
    decoder.get_tag_u8_vec(tiff::tags::Tag::IccProfile).ok()
}

/// Whether the header of a PNG says grey without alpha, whatever a transparent value makes of it later.
fn is_grey_png(bytes: &[u8]) -> bool {
    const COLOUR_TYPE_AT: usize = 25;
    bytes.get(COLOUR_TYPE_AT) == Some(&0)
}
