//! Puts what a model has drawn back into a canvas: in the canvas's colours and depth, by the mask. Where the mask is zero every
//! sample stays bit for bit; only the changed rectangle is touched.

mod color_match;

use easel_domain::{AlphaMode, ColorMatch, Error, Rect, Size};

use crate::canvas::{Canvas, Channels, Samples};
use crate::colour::Colour;
use crate::mask::{FULL, Mask};
use crate::patch::Patch;
use color_match::Fit;

/// What is put where, and how.
#[derive(Clone, Copy, Debug)]
pub struct Put<'a> {
    /// What was drawn.
    pub patch: &'a Patch,
    /// How much of it is taken. It has the canvas's size; what of it lies outside of the patch counts as zero.
    pub mask: &'a Mask,
    /// Whether colours are fitted to the surroundings first.
    pub color_match: ColorMatch,
    /// What becomes of alpha.
    pub alpha: AlphaMode,
}

/// What a composition has done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placed {
    /// The rectangle around all pixels that may differ from the source; `None`: none does.
    pub changed: Option<Rect>,
    /// What a person should know: lower case, without a full stop.
    pub notes: Vec<String>,
}

/// Puts a patch into the canvas. Samples are mixed as they are encoded, as painting programs do: `source + (result - source) * mask`;
/// with [`AlphaMode::Paint`] as opaque paint over straight alpha. Integer samples are rounded, floats are not. Fails with `Internal` when
/// the mask is for a canvas of another size.
pub fn composite(canvas: &mut Canvas, put: &Put<'_>) -> Result<Placed, Error> {
    let Some((changed, fit, mut placed)) = prepare(canvas, put)? else { return Ok(Placed::default()) };
    let mut colour = Colour::new(canvas)?;
    let mut srgb = vec![0.0; changed.width as usize * 3];
    let (channels, width) = (canvas.channels(), canvas.size().width as usize);
    for y in changed.y..changed.bottom() as i32 {
        put.patch.read((changed.x, y), &mut srgb);
        fit.apply(&mut srgb);
        let colours = colour.own_of_srgb(&srgb);
        let weights = &put.mask.row(y)[(changed.x - put.mask.bounds().map_or(0, |b| b.x)) as usize..];
        let at = (y as usize * width + changed.x as usize) * channels.count();
        let range = at..at + changed.width as usize * channels.count();
        let row = Row { channels, alpha: put.alpha, colours, weights };
        match canvas.samples_mut() {
            Samples::U8(v) => row.mix(&mut v[range]),
            Samples::U16(v) => row.mix(&mut v[range]),
            Samples::F32(v) => row.mix(&mut v[range]),
        }
    }
    placed.changed = Some(changed);
    Ok(placed)
}

/// The patch as a layer of its own: the size of the changed rectangle, in the canvas's depth and profile, with the mask as its alpha
/// (times the canvas's alpha with [`AlphaMode::Keep`]). Laid over an opaque source at that rectangle it gives what [`composite`]
/// does. `None` when the mask changes nothing. Fails as [`composite`] does.
pub fn layer(canvas: &Canvas, put: &Put<'_>) -> Result<Option<(Canvas, Placed)>, Error> {
    let Some((changed, fit, mut placed)) = prepare(canvas, put)? else { return Ok(None) };
    let mut colour = Colour::new(canvas)?;
    let mut srgb = vec![0.0; changed.width as usize * 3];
    let source = canvas.channels();
    let made = if source.colours() == 1 { Channels::GreyAlpha } else { Channels::Rgba };
    let mut values = Vec::with_capacity(changed.size().pixels() as usize * made.count());
    for y in changed.y..changed.bottom() as i32 {
        put.patch.read((changed.x, y), &mut srgb);
        fit.apply(&mut srgb);
        let weights = &put.mask.row(y)[(changed.x - put.mask.bounds().map_or(0, |b| b.x)) as usize..];
        for (x, (pixel, &weight)) in colour.own_of_srgb(&srgb).chunks_exact(source.colours()).zip(weights).enumerate() {
            values.extend_from_slice(pixel);
            let keeps = put.alpha == AlphaMode::Keep && source.has_alpha();
            let below = if keeps { canvas.alpha_at(changed.x as usize + x, y as usize) } else { 1.0 };
            values.push(share(weight) * below);
        }
    }
    let samples = match canvas.samples() {
        Samples::U8(_) => Samples::U8(values.into_iter().map(Sample::of).collect()),
        Samples::U16(_) => Samples::U16(values.into_iter().map(Sample::of).collect()),
        Samples::F32(_) => Samples::F32(values),
    };
    placed.changed = Some(changed);
    let size = Size { width: changed.width, height: changed.height };
    Ok(Some((Canvas::new(size, made, samples)?.with_profile(canvas.icc()), placed)))
}

/// Where something changes, and how colours are fitted; `None` when nothing does.
fn prepare(canvas: &Canvas, put: &Put<'_>) -> Result<Option<(Rect, Fit, Placed)>, Error> {
    if put.mask.canvas() != canvas.size() {
        let text = format!("a mask for {} does not fit a canvas of {}", put.mask.canvas(), canvas.size());
        return Err(Error::new(easel_domain::Reason::Internal, text));
    }
    let patch = put.patch.rect().intersect(Rect::of(canvas.size()));
    let Some(changed) = put.mask.bounds().and_then(|bounds| bounds.intersect(patch?)) else { return Ok(None) };
    let mut placed = Placed::default();
    let fit = Fit::measure(canvas, put)?;
    if fit.is_none() && put.color_match != ColorMatch::None {
        placed.notes.push("colours are not matched: too little lies around the selection to measure".to_owned());
    }
    Ok(Some((changed, fit.unwrap_or_default(), placed)))
}

/// A weight as a share of one; exactly 0 and 1 at its ends.
fn share(weight: u16) -> f32 {
    f32::from(weight) / f32::from(FULL)
}

/// One row of the changed rectangle.
struct Row<'a> {
    channels: Channels,
    alpha: AlphaMode,
    /// What was drawn, in the canvas's colours.
    colours: &'a [f32],
    weights: &'a [u16],
}

impl Row<'_> {
    fn mix<T: Sample>(&self, samples: &mut [T]) {
        let (all, colours) = (self.channels.count(), self.channels.colours());
        let paints = self.alpha == AlphaMode::Paint && self.channels.has_alpha();
        let pixels = samples.chunks_exact_mut(all).zip(self.colours.chunks_exact(colours)).zip(self.weights);
        for ((pixel, drawn), &weight) in pixels {
            if weight == 0 {
                continue;
            }
            let share = share(weight);
            if paints {
                paint(pixel, drawn, share);
                continue;
            }
            for (sample, &drawn) in pixel.iter_mut().zip(drawn) {
                *sample = sample.toward(drawn, share);
            }
        }
    }
}

/// Opaque paint of this share over a pixel whose last sample is straight alpha.
fn paint<T: Sample>(pixel: &mut [T], drawn: &[f32], share: f32) {
    let last = pixel.len() - 1;
    let below = pixel[last].value().clamp(0.0, 1.0);
    let alpha = share + below * (1.0 - share);
    for (sample, &drawn) in pixel.iter_mut().zip(drawn) {
        *sample = sample.toward(drawn, share / alpha);
    }
    pixel[last] = pixel[last].toward(1.0, share);
}

/// One sample of a canvas.
pub(crate) trait Sample: Copy {
    /// 0 to 1 for its range.
    fn value(self) -> f32;
    /// The nearest to a value.
    fn of(value: f32) -> Self;
    /// Mixed with a value of 0 to 1 by a share of it.
    fn toward(self, value: f32, share: f32) -> Self;
}

macro_rules! integer_sample {
    ($kind:ty, $white:literal) => {
        impl Sample for $kind {
            fn value(self) -> f32 {
                f32::from(self) / $white
            }

            fn of(value: f32) -> Self {
                // `as` cuts to the range and makes zero of what is no number.
                (value * $white).round() as Self
            }

            fn toward(self, value: f32, share: f32) -> Self {
                let own = f32::from(self);
                (own + (value.clamp(0.0, 1.0) * $white - own) * share).round() as Self
            }
        }
    };
}

integer_sample!(u8, 255.0);
integer_sample!(u16, 65535.0);

impl Sample for f32 {
    fn value(self) -> f32 {
        self
    }

    fn of(value: f32) -> Self {
        value
    }

    fn toward(self, value: f32, share: f32) -> Self {
        // From what is no number there is no way to anywhere.
        if share >= 1.0 || !self.is_finite() { value } else { self + (value - self) * share }
    }
}
