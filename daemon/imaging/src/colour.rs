//! Between the colour space of a canvas and the 8-bit sRGB of the model, by ICC profiles. A canvas without a profile is sRGB.

use std::sync::Arc;

use easel_domain::limits::MAX_ICC_BYTES;
use easel_domain::{Error, NamedSpace, Reason};
use moxcms::{
    ColorProfile, DataColorSpace, Layout, LocalizableString, ProfileText, TransformExecutor, TransformOptions,
};

use crate::canvas::{Canvas, Channels, Samples};

type Transform = Arc<dyn TransformExecutor<f32> + Send + Sync>;

/// Rows are converted with these; one for each thread that works.
pub(crate) struct Colour {
    channels: Channels,
    transforms: Option<(Transform, Transform)>,
    buffer: Vec<f32>,
}

impl Colour {
    /// For a canvas whose profile was found good by [`check`].
    pub(crate) fn new(canvas: &Canvas) -> Result<Self, Error> {
        let transforms = canvas.icc().map(|icc| transforms(icc, canvas.channels())).transpose();
        let transforms =
            transforms.map_err(|why| Error::new(Reason::Internal, format!("the colour profile fails: {why}")))?;
        Ok(Self { channels: canvas.channels(), transforms, buffer: Vec::new() })
    }

    /// The pixels from `(x, y)` on, as many as `out` holds, as encoded sRGB: 3 floats each, 0 to 1 within the gamut.
    pub(crate) fn read_srgb(&mut self, canvas: &Canvas, (x, y): (usize, usize), out: &mut [f32]) {
        let (all, colours) = (self.channels.count(), self.channels.colours());
        let at = (y * canvas.size().width as usize + x) * all;
        let range = at..at + out.len() / 3 * all;
        self.buffer.clear();
        match canvas.samples() {
            Samples::U8(v) => pick(&v[range], all, colours, &mut self.buffer, |v| f32::from(v) / 255.0),
            Samples::U16(v) => pick(&v[range], all, colours, &mut self.buffer, |v| f32::from(v) / 65535.0),
            Samples::F32(v) => pick(&v[range], all, colours, &mut self.buffer, finite),
        }
        let converted = self.transforms.as_ref().is_some_and(|(to, _)| to.transform(&self.buffer, out).is_ok());
        match (converted, colours) {
            (true, _) => {}
            (false, 3) => out.copy_from_slice(&self.buffer),
            (false, _) => out.chunks_exact_mut(3).zip(&self.buffer).for_each(|(pixel, &grey)| pixel.fill(grey)),
        }
    }

    /// Encoded sRGB, 3 floats for each pixel, to the colours of the canvas: 1 or 3 floats for each pixel, 0 to 1 for its range.
    pub(crate) fn own_of_srgb(&mut self, srgb: &[f32]) -> &[f32] {
        let colours = self.channels.colours();
        self.buffer.clear();
        self.buffer.resize(srgb.len() / 3 * colours, 0.0);
        let converted =
            self.transforms.as_ref().is_some_and(|(_, from)| from.transform(srgb, &mut self.buffer).is_ok());
        match (converted, colours) {
            (true, _) => {}
            (false, 3) => self.buffer.copy_from_slice(srgb),
            (false, _) => self.buffer.iter_mut().zip(srgb.chunks_exact(3)).for_each(|(grey, p)| *grey = luma(p)),
        }
        &self.buffer
    }
}

fn pick<T: Copy>(from: &[T], all: usize, colours: usize, to: &mut Vec<f32>, read: impl Fn(T) -> f32) {
    for pixel in from.chunks_exact(all) {
        to.extend(pixel[..colours].iter().map(|&v| read(v)));
    }
}

/// Infinite values and those that are no number would spoil what is computed from them.
pub(crate) fn finite(value: f32) -> f32 {
    if value.is_finite() { value } else { 0.0 }
}

/// Brightness of encoded values, ITU-R BT.601, as Pillow's `convert("L")`.
pub(crate) fn luma(rgb: &[f32]) -> f32 {
    rgb[0] * 0.299 + rgb[1] * 0.587 + rgb[2] * 0.114
}

/// Whether a profile can be used for such pixels; else why not.
pub(crate) fn check(icc: &[u8], channels: Channels) -> Result<(), String> {
    if icc.len() > MAX_ICC_BYTES {
        return Err(format!("has {} bytes, {MAX_ICC_BYTES} are read", icc.len()));
    }
    transforms(icc, channels).map(drop)
}

fn transforms(icc: &[u8], channels: Channels) -> Result<(Transform, Transform), String> {
    // The profile comes from a stranger's file, and the crate's code is not ours: a panic there is a broken profile.
    std::panic::catch_unwind(|| build(icc, channels)).unwrap_or_else(|_| Err("it is damaged".to_owned()))
}

fn build(icc: &[u8], channels: Channels) -> Result<(Transform, Transform), String> {
    let profile = ColorProfile::new_from_slice(icc).map_err(|error| error.to_string())?;
    let (space, layout) = match channels.colours() {
        1 => (DataColorSpace::Gray, Layout::Gray),
        _ => (DataColorSpace::Rgb, Layout::Rgb),
    };
    if profile.color_space != space {
        return Err(format!("it is for {:?}, the pixels are {space:?}", profile.color_space));
    }
    let srgb = ColorProfile::new_srgb();
    // As the ICC's own tags say, which is what other programs go by.
    let options = TransformOptions { allow_use_cicp_transfer: false, ..TransformOptions::default() };
    let there = profile.create_transform_f32(layout, &srgb, Layout::Rgb, options).map_err(|error| error.to_string())?;
    let back = srgb.create_transform_f32(Layout::Rgb, &profile, layout, options).map_err(|error| error.to_string())?;
    Ok((there, back))
}

/// The profile of a named space, always the same bytes; `None` where none is needed or none can be written.
pub(crate) fn profile_of(space: NamedSpace, channels: Channels) -> Option<Vec<u8>> {
    let linear = ColorProfile::new_gray_with_gamma(1.0).gray_trc;
    let (mut profile, name) = match (space, channels.colours()) {
        (NamedSpace::Srgb, _) | (NamedSpace::DisplayP3, 1) => return None,
        (NamedSpace::LinearSrgb, 1) => (ColorProfile::new_gray_with_gamma(1.0), "linear grey"),
        (NamedSpace::AdobeRgb, 1) => (ColorProfile::new_gray_with_gamma(ADOBE_GAMMA), "grey gamma 2.2"),
        (NamedSpace::LinearSrgb, _) => (ColorProfile::new_srgb(), "linear sRGB"),
        (NamedSpace::DisplayP3, _) => (ColorProfile::new_display_p3(), "Display P3"),
        (NamedSpace::AdobeRgb, _) => (ColorProfile::new_adobe_rgb(), "Adobe RGB (1998) compatible"),
    };
    if space == NamedSpace::LinearSrgb && channels.colours() == 3 {
        (profile.red_trc, profile.green_trc, profile.blue_trc) = (linear.clone(), linear.clone(), linear);
    }
    // The curves and primaries say all; a code point beside them could only contradict.
    profile.cicp = None;
    profile.description =
        Some(ProfileText::Localizable(vec![LocalizableString::new("en".into(), "US".into(), name.into())]));
    let mut bytes = profile.encode().ok()?;
    // ICC.1, 7.2.8: when the profile was made. A fixed day, so that the same picture gives the same file.
    const CREATED_AT: std::ops::Range<usize> = 24..36;
    bytes.get_mut(CREATED_AT)?.copy_from_slice(&[0x07, 0xd0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]);
    Some(bytes)
}

/// 563/256, as the specification of Adobe RGB (1998) has it.
const ADOBE_GAMMA: f32 = 2.199_219;
