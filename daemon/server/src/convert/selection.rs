//! Selections and rectangles, in both directions.

use easel_domain::crop::TilePlan;
use easel_domain::limits::{MAX_PADDING_PX, MAX_SELECTION_EDGE_PX, MAX_SOURCE_EDGE_PX, MAX_TILES};
use easel_domain::{Area, BlobHash, Edges, Rect, Selection, Size};
use easel_proto::v1;

use super::request::{Brought, source};
use super::{Check, names};

/// A selection below `path`, also that of a draft; with a mask that is no stored file yet.
pub(super) fn read(check: &mut Check, path: &str, wanted: v1::Selection) -> (Option<Selection>, Option<Brought>) {
    let at = |field: &str| format!("{path}.{field}");
    for (field, width, most) in [
        ("grow_px", wanted.grow_px, MAX_SELECTION_EDGE_PX),
        ("feather_px", wanted.feather_px, MAX_SELECTION_EDGE_PX),
        ("blend_px", wanted.blend_px, MAX_SELECTION_EDGE_PX),
        ("context_px", wanted.context_px, MAX_PADDING_PX),
    ] {
        check.range(&at(field), width.unwrap_or(0), 0, most);
    }
    let color_match = check.known(at("color_match"), wanted.color_match, "ColorMatch").map(names::color_match);
    let result = check.known(at("result"), wanted.result, "SelectionResult").map(names::selection_result);
    let (area, inline) = area(check, path, wanted.area);
    let selected = area.map(|area| Selection {
        area,
        edges: Edges {
            grow_px: wanted.grow_px.map_or(0, |px| i32::try_from(px).unwrap_or(i32::MAX)),
            feather_px: wanted.feather_px.unwrap_or(0),
            blend_px: wanted.blend_px.unwrap_or(0),
        },
        context_px: wanted.context_px,
        color_match: color_match.unwrap_or_default(),
        denoise_mask: wanted.denoise_mask,
        result: result.unwrap_or_default(),
    });
    (selected, inline)
}

fn area(check: &mut Check, path: &str, wanted: Option<v1::selection::Area>) -> (Option<Area>, Option<Brought>) {
    use v1::selection::Area as Wire;
    let at = |field: &str| format!("{path}.{field}");
    match wanted {
        None => {
            check.wrong(path, "selects nothing: set `rectangle` or `mask`");
            (None, None)
        }
        Some(Wire::Rectangle(rectangle)) => {
            let v1::PixelRect { x, y, width, height } = rectangle;
            if width == 0 || height == 0 {
                check.wrong(at("rectangle"), "is empty: give a width and a height of 1 pixel at least");
            }
            let fits = |start: u32, length: u32| start.checked_add(length).is_some_and(|end| end <= MAX_SOURCE_EDGE_PX);
            if !fits(x, width) || !fits(y, height) {
                check.wrong(at("rectangle"), format!("reaches beyond {MAX_SOURCE_EDGE_PX} pixels"));
                return (None, None);
            }
            let place = |v: u32| i32::try_from(v).unwrap_or(0);
            (Some(Area::Rectangle(Rect { x: place(x), y: place(y), width, height })), None)
        }
        Some(Wire::Mask(mask)) => {
            if mask.image.is_none() {
                check.wrong(at("mask.image"), "is missing: give the mask inline or by its hash");
            }
            let (hash, inline) = source(check, &at("mask.image"), mask.image);
            let offset = mask.offset.map(|offset| (offset.x, offset.y));
            let far = |value: i32| value.unsigned_abs() > MAX_SOURCE_EDGE_PX;
            if offset.is_some_and(|(x, y)| far(x) || far(y)) {
                check.wrong(at("mask.offset"), format!("is further than {MAX_SOURCE_EDGE_PX} pixels from the canvas"));
            }
            (Some(Area::Mask { image: hash.unwrap_or(BlobHash([0; 32])), offset }), inline)
        }
    }
}

/// A selection on its way out.
pub(super) fn wire(selection: &Selection) -> v1::Selection {
    use v1::selection::Area as Wire;
    let area = match selection.area {
        Area::Rectangle(rect) => Wire::Rectangle(wire_rect(rect)),
        Area::Mask { image, offset } => Wire::Mask(v1::SelectionMask {
            image: Some(v1::ImageSource { source: Some(v1::image_source::Source::Sha256(image.to_string())) }),
            offset: offset.map(|(x, y)| v1::PixelOffset { x, y }),
        }),
    };
    let given = |px: u32| Some(px).filter(|px| *px > 0);
    v1::Selection {
        area: Some(area),
        grow_px: given(u32::try_from(selection.edges.grow_px).unwrap_or(0)),
        feather_px: given(selection.edges.feather_px),
        blend_px: given(selection.edges.blend_px),
        context_px: selection.context_px,
        color_match: names::wire_color_match(selection.color_match).into(),
        denoise_mask: selection.denoise_mask,
        result: names::wire_selection_result(selection.result).into(),
    }
}

/// A rectangle within a canvas on its way out.
pub(super) fn wire_rect(rect: Rect) -> v1::PixelRect {
    let Rect { x, y, width, height } = rect;
    v1::PixelRect { x: u32::try_from(x).unwrap_or(0), y: u32::try_from(y).unwrap_or(0), width, height }
}

/// A rectangle of a replay, below `path`.
pub(super) fn rect(check: &mut Check, path: &str, wire: v1::PixelRect) -> Option<Rect> {
    let v1::PixelRect { x, y, width, height } = wire;
    let end = |start: u32, length: u32| start.checked_add(length).is_some_and(|end| end <= MAX_SOURCE_EDGE_PX);
    if width == 0 || height == 0 || !end(x, width) || !end(y, height) {
        check.wrong(path, format!("is empty or reaches beyond {MAX_SOURCE_EDGE_PX} pixels"));
        return None;
    }
    Some(Rect { x: i32::try_from(x).ok()?, y: i32::try_from(y).ok()?, width, height })
}

/// The tiles of a replay, below `path`: the plan whose rectangles they are.
pub(super) fn tile_plan(check: &mut Check, path: &str, resolved: &v1::Resolved) -> Option<TilePlan> {
    let first = resolved.tiles.first()?;
    let ends = |starts: &mut Vec<u32>| {
        starts.sort_unstable();
        starts.dedup();
    };
    let mut columns: Vec<u32> = resolved.tiles.iter().take(MAX_TILES).map(|tile| tile.x).collect();
    let mut rows: Vec<u32> = resolved.tiles.iter().take(MAX_TILES).map(|tile| tile.y).collect();
    ends(&mut columns);
    ends(&mut rows);
    let plan = TilePlan {
        canvas: Size { width: resolved.width, height: resolved.height },
        columns,
        rows,
        tile: Size { width: first.width, height: first.height },
        working: Size { width: resolved.working_width, height: resolved.working_height },
    };
    if plan.len() > MAX_TILES || !plan.rects().map(wire_rect).eq(resolved.tiles.iter().copied()) {
        check.wrong(path, "are no grid of tiles of one size, row by row");
        return None;
    }
    Some(plan)
}
