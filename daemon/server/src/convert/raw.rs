//! Raw pixels: how they lie, and where they are.

use easel_domain::limits::{MAX_INLINE_ICC_BYTES, MAX_SOURCE_EDGE_PX};
use easel_domain::{ChannelOrder, RawLayout, SampleType};
use easel_proto::v1;

use super::Check;
use super::request::{BroughtPixels, inline_bytes};

/// Raw pixels below `path`; `None` when something is wrong with where they are.
pub(super) fn pixels(check: &mut Check, path: String, raw: v1::RawPixels) -> Option<BroughtPixels> {
    use v1::raw_pixels::Data;
    let at = |field: &str| format!("{path}.{field}");
    check.range(&at("width"), raw.width, 1, MAX_SOURCE_EDGE_PX);
    check.range(&at("height"), raw.height, 1, MAX_SOURCE_EDGE_PX);
    let wire = raw.layout.unwrap_or_default();
    let (channels, samples) = layout(check, &at("layout"), &wire);
    if raw.icc_profile.len() > MAX_INLINE_ICC_BYTES {
        check.wrong(at("icc_profile"), format!("has more than {MAX_INLINE_ICC_BYTES} bytes"));
    }
    let data = match raw.data {
        None => {
            check.wrong(path, "holds no pixels: set `inline` or `sha256`");
            return None;
        }
        Some(Data::Inline(bytes)) => {
            inline_bytes(check, at("inline"), &bytes);
            Ok(bytes)
        }
        Some(Data::Sha256(text)) => Err(check.hash(&at("sha256"), &text)?),
    };
    let layout = RawLayout {
        width: raw.width,
        height: raw.height,
        stride_bytes: wire.stride_bytes.unwrap_or(0).into(),
        order: channels?,
        sample: samples?,
    };
    Some(BroughtPixels { data, layout, icc: raw.icc_profile, field: path })
}

/// Channels and samples of a layout below `path`.
pub(super) fn layout(
    check: &mut Check,
    path: &str,
    layout: &v1::RawLayout,
) -> (Option<ChannelOrder>, Option<SampleType>) {
    use v1::{ChannelOrder as Wire, SampleType as Sample};
    let channels: Option<Wire> = check.known(format!("{path}.channels"), layout.channels, "ChannelOrder");
    let samples: Option<Sample> = check.known(format!("{path}.samples"), layout.samples, "SampleType");
    if layout.stride_bytes == Some(0) {
        check.wrong(format!("{path}.stride_bytes"), "is 0: give the bytes from one row to the next, or leave it out");
    }
    let order = channels.map(|wire| match wire {
        Wire::Unspecified | Wire::Rgba => ChannelOrder::Rgba,
        Wire::Bgra => ChannelOrder::Bgra,
        Wire::Rgb => ChannelOrder::Rgb,
        Wire::Grey => ChannelOrder::Grey,
        Wire::GreyAlpha => ChannelOrder::GreyAlpha,
    });
    let sample = samples.map(|wire| match wire {
        Sample::Unspecified | Sample::U8 => SampleType::U8,
        Sample::U16 => SampleType::U16,
        Sample::U16Photoshop => SampleType::U16Photoshop,
        Sample::F32 => SampleType::F32,
    });
    (order, sample)
}
