//! From a canvas to the bytes of a file: its depth, alpha and profile as far as the format holds them. The same canvas gives the same
//! bytes.

use std::borrow::Cow;
use std::io::Cursor;

use easel_domain::{Error, ImageFormat, Reason};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError};
use tiff::encoder::colortype::{ColorType, Gray8, Gray16, Gray32Float, RGB8, RGB16, RGB32Float};
use tiff::encoder::{TiffEncoder, TiffValue};
use tiff::tags::{ExtraSamples, Tag};

use crate::canvas::{Canvas, Channels, Samples};
use crate::colour::Colour;
use crate::composite::Sample;
use crate::{encode, metadata};

/// How a canvas is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output<'a> {
    /// The file format.
    pub format: ImageFormat,
    /// Quality of a JPEG, 1 to 100; values outside are cut to that.
    pub jpeg_quality: u8,
    /// JSON that is kept in the file and read again by [`crate::find_parameters`]; at most `MAX_PARAMETERS_BYTES`.
    pub parameters: Option<&'a str>,
}

impl Output<'_> {
    /// The default quality of JPEG files.
    pub const JPEG_QUALITY: u8 = encode::JPEG_QUALITY;
}

/// Encodes a canvas. PNG holds 8 and 16 bits (floats become 16), TIFF all depths, WebP and JPEG 8 bits. JPEG has no alpha: the picture
/// is laid over white. WebP has no grey: it becomes sRGB. Everything but JPEG is without loss at the depth that the format has. Fails
/// with `InvalidRequest` when the format cannot hold the size (WebP ends at 16,383 pixels on a side, JPEG at 65,535) or the
/// parameters are too long.
pub fn write(canvas: &Canvas, output: &Output<'_>) -> Result<Vec<u8>, Error> {
    let parameters = output.parameters.map(metadata::ascii).transpose()?;
    let written = match output.format {
        ImageFormat::Png => png(canvas, output.parameters),
        ImageFormat::Jpeg => jpeg(canvas, output.jpeg_quality.clamp(1, 100), parameters.as_deref()),
        ImageFormat::WebP => webp(canvas, parameters.as_deref()),
        ImageFormat::Tiff => tiff(canvas, parameters.as_deref()),
    };
    written.map_err(|why| {
        let text = format!("cannot hold a picture of {} ({why}): choose PNG or TIFF", canvas.size());
        Error::field(Reason::InvalidRequest, "spec.output_format", text)
    })
}

/// What a file of this format does not hold of a canvas, as sentences for a person; empty when it holds everything.
pub fn losses(canvas: &Canvas, format: ImageFormat) -> Vec<String> {
    let (alpha, grey) = (canvas.channels().has_alpha(), canvas.channels().colours() == 1);
    let deep = !matches!(canvas.samples(), Samples::U8(_));
    let float = matches!(canvas.samples(), Samples::F32(_));
    let told = match format {
        ImageFormat::Png => [float.then_some("PNG holds no floats: the result has 16 bits"), None],
        ImageFormat::Tiff => [None, None],
        ImageFormat::WebP => [
            deep.then_some("WebP holds 8 bits: the result is rounded to them"),
            grey.then_some("WebP holds no grey: the result is sRGB"),
        ],
        ImageFormat::Jpeg => [
            Some("JPEG is not exact: pixels outside of the selection change by its compression"),
            alpha.then_some("JPEG has no alpha: the result is laid over white"),
        ],
    };
    told.into_iter().flatten().map(str::to_owned).collect()
}

fn text(error: ImageError) -> String {
    error.to_string()
}

/// Samples as bytes of 8 bits.
fn eight_bits(samples: &Samples) -> Cow<'_, [u8]> {
    match samples {
        Samples::U8(v) => Cow::Borrowed(v),
        Samples::U16(v) => v.iter().map(|&v| ((u32::from(v) + 128) / 257) as u8).collect(),
        Samples::F32(v) => v.iter().map(|&v| u8::of(v)).collect(),
    }
}

fn png(canvas: &Canvas, parameters: Option<&str>) -> Result<Vec<u8>, String> {
    let deep: Vec<u8>;
    let (bytes, deep_samples): (&[u8], bool) = match canvas.samples() {
        Samples::U8(v) => (v, false),
        Samples::U16(v) => {
            deep = v.iter().flat_map(|v| v.to_ne_bytes()).collect();
            (&deep, true)
        }
        Samples::F32(v) => {
            deep = v.iter().flat_map(|&v| u16::of(v).to_ne_bytes()).collect();
            (&deep, true)
        }
    };
    let color = match (canvas.channels(), deep_samples) {
        (Channels::Grey, false) => ExtendedColorType::L8,
        (Channels::GreyAlpha, false) => ExtendedColorType::La8,
        (Channels::Rgb, false) => ExtendedColorType::Rgb8,
        (Channels::Rgba, false) => ExtendedColorType::Rgba8,
        (Channels::Grey, true) => ExtendedColorType::L16,
        (Channels::GreyAlpha, true) => ExtendedColorType::La16,
        (Channels::Rgb, true) => ExtendedColorType::Rgb16,
        (Channels::Rgba, true) => ExtendedColorType::Rgba16,
    };
    let mut out = Vec::new();
    let mut encoder = PngEncoder::new_with_quality(&mut out, CompressionType::Fast, FilterType::Adaptive);
    if let Some(icc) = canvas.icc() {
        encoder.set_icc_profile(icc.to_vec()).map_err(|error| error.to_string())?;
    }
    encoder.write_image(bytes, canvas.size().width, canvas.size().height, color).map_err(text)?;
    match parameters {
        Some(parameters) => Ok(metadata::into_png(&out, parameters)),
        None => Ok(out),
    }
}

fn jpeg(canvas: &Canvas, quality: u8, parameters: Option<&str>) -> Result<Vec<u8>, String> {
    let (channels, bytes) = (canvas.channels(), eight_bits(canvas.samples()));
    let bytes = if channels.has_alpha() { Cow::Owned(over_white(&bytes, channels.colours())) } else { bytes };
    let color = if channels.colours() == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let mut out = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut out, quality);
    if let Some(icc) = canvas.icc() {
        encoder.set_icc_profile(icc.to_vec()).map_err(|error| error.to_string())?;
    }
    if let Some(parameters) = parameters {
        encoder.set_exif_metadata(metadata::exif(parameters)).map_err(|error| error.to_string())?;
    }
    encoder.write_image(&bytes, canvas.size().width, canvas.size().height, color).map_err(text)?;
    Ok(out)
}

/// Colours with alpha behind them, laid over white.
fn over_white(bytes: &[u8], colours: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() / (colours + 1) * colours);
    for pixel in bytes.chunks_exact(colours + 1) {
        let alpha = u32::from(pixel[colours]);
        let over = |v: &u8| ((u32::from(*v) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        out.extend(pixel[..colours].iter().map(over));
    }
    out
}

fn webp(canvas: &Canvas, parameters: Option<&str>) -> Result<Vec<u8>, String> {
    let grey = canvas.channels().colours() == 1;
    let bytes = if grey { Cow::Owned(colours_of_grey(canvas)?) } else { eight_bits(canvas.samples()) };
    let color = if canvas.channels().has_alpha() { ExtendedColorType::Rgba8 } else { ExtendedColorType::Rgb8 };
    let mut out = Vec::new();
    let mut encoder = WebPEncoder::new_lossless(&mut out);
    if let Some(icc) = canvas.icc().filter(|_| !grey) {
        encoder.set_icc_profile(icc.to_vec()).map_err(|error| error.to_string())?;
    }
    if let Some(parameters) = parameters {
        encoder.set_exif_metadata(metadata::exif(parameters)).map_err(|error| error.to_string())?;
    }
    encoder.write_image(&bytes, canvas.size().width, canvas.size().height, color).map_err(text)?;
    Ok(out)
}

/// A grey canvas in 8-bit sRGB, with its alpha.
fn colours_of_grey(canvas: &Canvas) -> Result<Vec<u8>, String> {
    let mut colour = Colour::new(canvas).map_err(|error| error.to_string())?;
    let alpha = canvas.channels().has_alpha();
    let mut row = vec![0.0; canvas.size().width as usize * 3];
    let mut out = Vec::new();
    for y in 0..canvas.size().height as usize {
        colour.read_srgb(canvas, (0, y), &mut row);
        for (x, pixel) in row.chunks_exact(3).enumerate() {
            out.extend(pixel.iter().map(|&v| u8::of(v)));
            if alpha {
                out.push(u8::of(canvas.alpha_at(x, y)));
            }
        }
    }
    Ok(out)
}

fn tiff(canvas: &Canvas, parameters: Option<&str>) -> Result<Vec<u8>, String> {
    let grey = canvas.channels().colours() == 1;
    match canvas.samples() {
        Samples::U8(v) if grey => tiff_of::<Gray8>(canvas, v, parameters),
        Samples::U8(v) => tiff_of::<RGB8>(canvas, v, parameters),
        Samples::U16(v) if grey => tiff_of::<Gray16>(canvas, v, parameters),
        Samples::U16(v) => tiff_of::<RGB16>(canvas, v, parameters),
        Samples::F32(v) if grey => tiff_of::<Gray32Float>(canvas, v, parameters),
        Samples::F32(v) => tiff_of::<RGB32Float>(canvas, v, parameters),
    }
}

fn tiff_of<C: ColorType>(canvas: &Canvas, samples: &[C::Inner], parameters: Option<&str>) -> Result<Vec<u8>, String>
where
    [C::Inner]: TiffValue,
{
    let mut out = Cursor::new(Vec::new());
    let write = |out: &mut Cursor<Vec<u8>>| {
        let mut encoder = TiffEncoder::new(out)?;
        let mut picture = encoder.new_image::<C>(canvas.size().width, canvas.size().height)?;
        if canvas.channels().has_alpha() {
            picture.extra_samples(&[ExtraSamples::UnassociatedAlpha])?;
        }
        if let Some(icc) = canvas.icc() {
            // As bytes of no type (ICC.1, annex B.4), which is what other programs look for.
            picture.encoder().write_tag(Tag::IccProfile, metadata::Undefined(icc))?;
        }
        if let Some(parameters) = parameters {
            picture.encoder().write_tag(Tag::ImageDescription, parameters)?;
        }
        picture.write_data(samples)
    };
    write(&mut out).map_err(|error| error.to_string())?;
    Ok(out.into_inner())
}
