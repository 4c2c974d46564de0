//! What an artist adds to a request: selection, raw pixels, lists of seeds, the shape of the answer.

use easel_domain::limits::{
    MAX_INLINE_ICC_BYTES, MAX_NUM_IMAGES, MAX_PADDING_PX, MAX_SELECTION_EDGE_PX, MAX_SOURCE_EDGE_PX,
};
use easel_proto::v1;

use super::Check;
use super::request::source;

/// Checks the fields; none of them is carried out yet, so that a request with one is refused.
pub(super) fn fields(check: &mut Check, spec: &v1::GenerationSpec) {
    if let Some(wanted) = &spec.selection {
        selection(check, "spec.selection", wanted);
        if spec.width.is_some() || spec.height.is_some() {
            check.wrong("spec.width", "is set beside a selection: the result has the size of the canvas");
        }
    }
    if spec.seeds.len() > MAX_NUM_IMAGES as usize {
        check.wrong("spec.seeds", format!("has {} seeds, {MAX_NUM_IMAGES} are allowed", spec.seeds.len()));
    }
    if !spec.seeds.is_empty() && (spec.seed.is_some() || spec.num_images.is_some()) {
        check.wrong("spec.seeds", "is set beside `seed` or `num_images`: the list says both");
    }
    if let Some(sheet) = &spec.contact_sheet {
        check.range("spec.contact_sheet.columns", sheet.columns.unwrap_or(1), 1, MAX_NUM_IMAGES);
        check.range("spec.contact_sheet.cell_edge_px", sheet.cell_edge_px.unwrap_or(256), 16, 1024);
    }
    let whole = check.known::<v1::WholeCanvas>("spec.whole_canvas", spec.whole_canvas, "WholeCanvas");
    if let Some(overlap) = spec.tile_overlap_px {
        check.range("spec.tile_overlap_px", overlap, 16, 512);
        if whole != Some(v1::WholeCanvas::Tiled) {
            check.wrong("spec.tile_overlap_px", "is for tiled edits: set `whole_canvas`, or leave it out");
        }
    }
    if let Some(layout) = &spec.output_raw {
        raw_layout(check, "spec.output_raw", layout);
        if spec.output_format != v1::ImageFormat::Raw as i32 {
            check.wrong("spec.output_raw", "is for raw results: set `output_format` to IMAGE_FORMAT_RAW");
        }
    }
    check.known::<v1::OutputPixels>("spec.output_pixels", spec.output_pixels, "OutputPixels");
    if check.is_clean() {
        refuse(check, spec);
    }
}

/// Says of each field that is not carried out yet that it is not.
fn refuse(check: &mut Check, spec: &v1::GenerationSpec) {
    let given = [
        ("spec.selection", spec.selection.is_some()),
        ("spec.contact_sheet", spec.contact_sheet.is_some()),
        ("spec.whole_canvas", spec.whole_canvas == v1::WholeCanvas::Tiled as i32),
        ("spec.output_format", spec.output_format == v1::ImageFormat::Raw as i32),
        ("spec.output_pixels", spec.output_pixels == v1::OutputPixels::AsSource as i32),
    ];
    for (field, _) in given.iter().filter(|(_, given)| *given) {
        check.wrong(*field, "is not carried out by this version of the daemon: leave it out");
    }
}

/// A selection below `path`, also that of a draft.
pub(super) fn selection(check: &mut Check, path: &str, wanted: &v1::Selection) {
    use v1::selection::Area;
    let at = |field: &str| format!("{path}.{field}");
    match &wanted.area {
        None => check.wrong(path, "selects nothing: set `rectangle` or `mask`"),
        Some(Area::Rectangle(rectangle)) => {
            if rectangle.width == 0 || rectangle.height == 0 {
                check.wrong(at("rectangle"), "is empty: give a width and a height of 1 pixel at least");
            }
            let fits = |start: u32, length: u32| start.checked_add(length).is_some_and(|end| end <= MAX_SOURCE_EDGE_PX);
            if !fits(rectangle.x, rectangle.width) || !fits(rectangle.y, rectangle.height) {
                check.wrong(at("rectangle"), format!("reaches beyond {MAX_SOURCE_EDGE_PX} pixels"));
            }
        }
        Some(Area::Mask(mask)) => {
            if mask.image.is_none() {
                check.wrong(at("mask.image"), "is missing: give the mask inline or by its hash");
            }
            source(check, &at("mask.image"), mask.image.clone());
            let far = |value: i32| value.unsigned_abs() > MAX_SOURCE_EDGE_PX;
            if mask.offset.as_ref().is_some_and(|offset| far(offset.x) || far(offset.y)) {
                check.wrong(at("mask.offset"), format!("is further than {MAX_SOURCE_EDGE_PX} pixels from the canvas"));
            }
        }
    }
    for (field, width, most) in [
        ("grow_px", wanted.grow_px, MAX_SELECTION_EDGE_PX),
        ("feather_px", wanted.feather_px, MAX_SELECTION_EDGE_PX),
        ("blend_px", wanted.blend_px, MAX_SELECTION_EDGE_PX),
        ("context_px", wanted.context_px, MAX_PADDING_PX),
    ] {
        check.range(&at(field), width.unwrap_or(0), 0, most);
    }
    check.known::<v1::ColorMatch>(at("color_match"), wanted.color_match, "ColorMatch");
    check.known::<v1::SelectionResult>(at("result"), wanted.result, "SelectionResult");
}

/// Raw pixels below `path`.
pub(super) fn raw_pixels(check: &mut Check, path: &str, raw: &v1::RawPixels) {
    let at = |field: &str| format!("{path}.{field}");
    check.range(&at("width"), raw.width, 1, MAX_SOURCE_EDGE_PX);
    check.range(&at("height"), raw.height, 1, MAX_SOURCE_EDGE_PX);
    let layout = raw.layout.unwrap_or_default();
    raw_layout(check, &at("layout"), &layout);
    if raw.icc_profile.len() > MAX_INLINE_ICC_BYTES {
        check.wrong(at("icc_profile"), format!("has more than {MAX_INLINE_ICC_BYTES} bytes"));
    }
}

fn raw_layout(check: &mut Check, path: &str, layout: &v1::RawLayout) {
    check.known::<v1::ChannelOrder>(format!("{path}.channels"), layout.channels, "ChannelOrder");
    check.known::<v1::SampleType>(format!("{path}.samples"), layout.samples, "SampleType");
    if layout.stride_bytes == Some(0) {
        check.wrong(format!("{path}.stride_bytes"), "is 0: give the bytes from one row to the next, or leave it out");
    }
}
