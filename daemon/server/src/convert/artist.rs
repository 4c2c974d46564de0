//! What an artist adds to a request: lists of seeds, the shape of the answer.

use easel_domain::Tiling;
use easel_domain::limits::{MAX_NUM_IMAGES, MAX_TILE_OVERLAP_PX, MIN_TILE_OVERLAP_PX};
use easel_proto::v1;

use super::{Check, raw};

/// Checks the fields that change nothing of the request, and refuses what is not carried out yet.
pub(super) fn fields(check: &mut Check, spec: &v1::GenerationSpec) {
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
        check.range("spec.tile_overlap_px", overlap, MIN_TILE_OVERLAP_PX, MAX_TILE_OVERLAP_PX);
        if whole != Some(v1::WholeCanvas::Tiled) {
            check.wrong("spec.tile_overlap_px", "is for tiled edits: set `whole_canvas`, or leave it out");
        }
    }
    if let Some(layout) = &spec.output_raw {
        raw::layout(check, "spec.output_raw", layout);
        if spec.output_format != v1::ImageFormat::Raw as i32 {
            check.wrong("spec.output_raw", "is for raw results: set `output_format` to IMAGE_FORMAT_RAW");
        }
    }
    let pixels = check.known::<v1::OutputPixels>("spec.output_pixels", spec.output_pixels, "OutputPixels");
    if spec.selection.is_some() && pixels == Some(v1::OutputPixels::Srgb8) {
        check.wrong(
            "spec.output_pixels",
            "is 8-bit sRGB beside a selection, whose result keeps what the source has: leave it out",
        );
    }
    if check.is_clean() {
        refuse(check, spec);
    }
}

/// How the whole canvas is cut into tiles, when it is.
pub(super) fn tiling(spec: &v1::GenerationSpec) -> Option<Tiling> {
    let tiled = spec.whole_canvas == v1::WholeCanvas::Tiled as i32;
    tiled.then_some(Tiling { overlap_px: spec.tile_overlap_px })
}

/// Says of each field that is not carried out yet that it is not.
fn refuse(check: &mut Check, spec: &v1::GenerationSpec) {
    let given = [
        ("spec.contact_sheet", spec.contact_sheet.is_some()),
        ("spec.output_format", spec.output_format == v1::ImageFormat::Raw as i32),
        ("spec.output_pixels", spec.output_pixels == v1::OutputPixels::AsSource as i32),
    ];
    for (field, _) in given.iter().filter(|(_, given)| *given) {
        check.wrong(*field, "is not carried out by this version of the daemon: leave it out");
    }
}
