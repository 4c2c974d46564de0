//! Pixels without a file around them, in the layouts of the hosts: in and out, without a change of value.

use easel_domain::limits::MAX_DECODE_BYTES;
use easel_domain::{ChannelOrder, Error, RawLayout, Reason, SampleType, Size};

use super::{Canvas, Channels, Samples};
use crate::colour::luma;
use crate::composite::Sample;
use crate::decode;

/// Photoshop's white, and ours.
const PHOTOSHOP_WHITE: u32 = 32_768;
const WHITE: u32 = 65_535;

impl Canvas {
    /// Reads raw pixels. Photoshop's 16 bits are stretched to the full range, from which [`Canvas::to_raw`] gives back the very
    /// same values. Fails with `InvalidImage` or `ImageTooLarge`, saying which number is wrong.
    pub fn from_raw(bytes: &[u8], layout: &RawLayout) -> Result<Self, Error> {
        let size = Size { width: layout.width, height: layout.height };
        decode::check_size(size)?;
        let stored = size.pixels() * (layout.order.channels() * layout.sample.bytes()) as u64;
        if stored > MAX_DECODE_BYTES {
            let text = format!("has {stored} bytes of pixels, {MAX_DECODE_BYTES} are read: make it smaller");
            return Err(decode::field(Reason::ImageTooLarge, text));
        }
        let Some(least) = layout.least_bytes() else {
            let text = format!(
                "has a stride of {} bytes, a row has {}: give 0 or more than a row",
                layout.stride(),
                layout.row_bytes()
            );
            return Err(decode::invalid(text));
        };
        if (bytes.len() as u64) < least {
            return Err(decode::invalid(format!(
                "has {} bytes, its layout asks for {least}: send all rows",
                bytes.len()
            )));
        }
        let rows = (0..u64::from(layout.height)).map(|y| {
            let at = (y * layout.stride()) as usize;
            &bytes[at..at + layout.row_bytes() as usize]
        });
        let samples = match layout.sample {
            SampleType::U8 => Samples::U8(gather(rows, layout, |[v]: [u8; 1]| v)),
            SampleType::U16 => Samples::U16(gather(rows, layout, u16::from_le_bytes)),
            SampleType::U16Photoshop => {
                let values = gather(rows, layout, u16::from_le_bytes);
                if let Some(high) = values.iter().find(|&&v| u32::from(v) > PHOTOSHOP_WHITE) {
                    let text = format!(
                        "has a sample of {high}, its layout ends at {PHOTOSHOP_WHITE}: send it as full-range 16 bits"
                    );
                    return Err(decode::invalid(text));
                }
                Samples::U16(values.into_iter().map(stretch).collect())
            }
            SampleType::F32 => Samples::F32(gather(rows, layout, f32::from_le_bytes)),
        };
        let channels = match layout.order {
            ChannelOrder::Grey => Channels::Grey,
            ChannelOrder::GreyAlpha => Channels::GreyAlpha,
            ChannelOrder::Rgb | ChannelOrder::Bgr => Channels::Rgb,
            ChannelOrder::Rgba | ChannelOrder::Bgra => Channels::Rgba,
        };
        Self::new(size, channels, samples)
    }

    /// The samples as raw pixels without padding, and how they lie. Where order and type are the canvas's own every value is as it
    /// is there. Alpha that is wanted but not there is opaque; alpha that is not wanted is dropped; grey becomes three equal colours,
    /// colours their brightness (ITU-R BT.601). Fewer bits are rounded, floats cut to 0..1 for them.
    pub fn to_raw(&self, order: ChannelOrder, sample: SampleType) -> (RawLayout, Vec<u8>) {
        let layout = RawLayout { width: self.size.width, height: self.size.height, stride_bytes: 0, order, sample };
        let bytes = match &self.samples {
            Samples::U8(v) => lay(v, self.channels, &layout),
            Samples::U16(v) => lay(v, self.channels, &layout),
            Samples::F32(v) => lay(v, self.channels, &layout),
        };
        (layout, bytes)
    }
}

fn stretch(value: u16) -> u16 {
    ((u32::from(value) * WHITE + PHOTOSHOP_WHITE / 2) / PHOTOSHOP_WHITE) as u16
}

/// The samples in our order.
fn gather<'a, T: Copy, const N: usize>(
    rows: impl Iterator<Item = &'a [u8]>,
    layout: &RawLayout,
    read: impl Fn([u8; N]) -> T,
) -> Vec<T> {
    let channels = layout.order.channels();
    let mut out = Vec::with_capacity(layout.width as usize * layout.height as usize * channels);
    for row in rows {
        out.extend(row.as_chunks().0.iter().map(|&sample| read(sample)));
    }
    if matches!(layout.order, ChannelOrder::Bgr | ChannelOrder::Bgra) {
        for pixel in out.chunks_exact_mut(channels) {
            pixel.swap(0, 2);
        }
    }
    out
}

/// Pixels in another order and type. A sample goes through a float, which holds 16 bits exactly.
fn lay<T: Sample>(values: &[T], channels: Channels, layout: &RawLayout) -> Vec<u8> {
    let mut out = Vec::with_capacity(values.len() / channels.count() * layout.order.channels() * layout.sample.bytes());
    for pixel in values.chunks_exact(channels.count()) {
        let (colours, alpha) = pixel.split_at(channels.colours());
        let (red, green, blue) = if let [red, green, blue] = colours {
            (red.value(), green.value(), blue.value())
        } else {
            (pixel[0].value(), pixel[0].value(), pixel[0].value())
        };
        let grey = || if channels.colours() == 1 { red } else { luma(&[red, green, blue]) };
        let alpha = alpha.first().map_or(1.0, |alpha| alpha.value());
        let ordered = match layout.order {
            ChannelOrder::Grey | ChannelOrder::GreyAlpha => [grey(), alpha, 0.0, 0.0],
            ChannelOrder::Rgb | ChannelOrder::Rgba => [red, green, blue, alpha],
            ChannelOrder::Bgr | ChannelOrder::Bgra => [blue, green, red, alpha],
        };
        for &value in &ordered[..layout.order.channels()] {
            match layout.sample {
                SampleType::U8 => out.push(u8::of(value)),
                SampleType::U16 => out.extend(u16::of(value).to_le_bytes()),
                SampleType::U16Photoshop => out.extend(shrink(u16::of(value)).to_le_bytes()),
                SampleType::F32 => out.extend(value.to_le_bytes()),
            }
        }
    }
    out
}

/// The inverse of [`stretch`].
fn shrink(value: u16) -> u16 {
    ((u32::from(value) * PHOTOSHOP_WHITE + WHITE / 2) / WHITE) as u16
}
