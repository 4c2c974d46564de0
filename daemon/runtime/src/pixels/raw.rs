//! Raw pixels become files without loss when they come, so that everything after that knows pictures only.

use easel_domain::{Error, ImageFormat, RawLayout, Reason};
use easel_imaging::{Canvas, Channels, Output, Samples};

/// A file that holds the same samples, alpha and profile: TIFF, which costs a copy, and PNG for what TIFF has no place for (grey with
/// alpha). Grey floats become colours. Errors name `field`.
pub(crate) fn file_of_raw(bytes: &[u8], layout: &RawLayout, icc: &[u8], field: &str) -> Result<Vec<u8>, Error> {
    let canvas = Canvas::from_raw(bytes, layout).map_err(|error| error.in_field(field))?;
    let canvas = canvas.with_profile(Some(icc).filter(|icc| !icc.is_empty()));
    if let Some(why) = canvas.notes().first() {
        return Err(Error::field(Reason::InvalidImage, format!("{field}.icc_profile"), why.clone()));
    }
    let grey = canvas.channels().colours() == 1;
    let format = match canvas.samples() {
        Samples::F32(_) => ImageFormat::Tiff,
        _ if canvas.channels() == Channels::GreyAlpha => ImageFormat::Png,
        _ => ImageFormat::Tiff,
    };
    let canvas = if grey && matches!(canvas.samples(), Samples::F32(_)) { coloured(&canvas)? } else { canvas };
    easel_imaging::write(&canvas, &Output { format, jpeg_quality: Output::JPEG_QUALITY, parameters: None })
}

/// Grey floats as three equal colours. Their profile goes: it is one of grey.
fn coloured(canvas: &Canvas) -> Result<Canvas, Error> {
    let (from, alpha) = (canvas.channels().count(), canvas.channels().has_alpha());
    let Samples::F32(values) = canvas.samples() else { return Ok(canvas.clone()) };
    let mut samples = Vec::with_capacity(values.len() * 3);
    for pixel in values.chunks_exact(from) {
        samples.extend([pixel[0]; 3]);
        samples.extend(&pixel[1..]);
    }
    Canvas::new(canvas.size(), if alpha { Channels::Rgba } else { Channels::Rgb }, Samples::F32(samples))
}
