//! Which sizes a plan has: what the model sees of a source, at which size it works, and how large the result is.

use crate::crop::{Crop, TilePlan, WorkingLimits, crop_for, tiles_for};
use crate::limits::{
    MAX_EDGE_PX, MAX_OUTPUT_PIXELS, MAX_PASSES, MAX_TILE_OVERLAP_PX, MIN_TILE_OVERLAP_PX, SIZE_MULTIPLE_PX,
    WEBP_MAX_EDGE_PX,
};
use crate::{Area, GenerationRequest, ImageFormat, Mode, ModelInfo, Rect, Selection, SelectionResult, Size, Tiling};

use super::{Check, Source};

impl Check {
    /// What the model sees of a canvas and at which size, and the size of the result.
    pub(super) fn selection(
        &mut self,
        request: &GenerationRequest,
        selection: &Selection,
        model: &ModelInfo,
        (mode, source): (Mode, Option<Source>),
    ) -> (Crop, Size) {
        let nothing = (Crop { rect: Rect::of(model.native), working: model.native }, model.native);
        if mode == Mode::Generate {
            self.wrong("spec.selection", "is for edits: leave it out, or give a picture");
        }
        if request.width.is_some() || request.height.is_some() {
            self.wrong("spec.width", "is set beside a selection: the result has the size of the canvas");
        }
        let layer = selection.result == SelectionResult::Layer;
        if layer && request.output_format == ImageFormat::Jpeg {
            self.wrong("spec.output_format", "JPEG has no alpha, which a layer needs: choose PNG, WebP or TIFF");
        }
        let Some(Source { size: canvas, selected }) = source else { return nothing };
        if let Area::Rectangle(rect) = selection.area
            && !Rect::of(canvas).contains(rect)
        {
            self.wrong("spec.selection.rectangle", format!("{rect} reaches beyond the canvas of {canvas}"));
            return nothing;
        }
        if !layer {
            self.fits_format(request, canvas);
        }
        let crop = selected.and_then(|bounds| {
            Some((bounds, crop_for(bounds, canvas, selection.padding(), &WorkingLimits::of(model))?))
        });
        let Some((bounds, crop)) = crop else {
            let field = if selection.mask().is_some() { "spec.selection.mask" } else { "spec.selection" };
            self.wrong(field, "selects nothing of the canvas: a mask selects where it is white");
            return nothing;
        };
        if crop.working != crop.rect.size() {
            self.notes.push(format!("the model works at {} on {}; the result is scaled back", crop.working, crop.rect));
        }
        (crop, if layer { bounds.size() } else { canvas })
    }

    fn fits_format(&mut self, request: &GenerationRequest, canvas: Size) {
        if request.output_format == ImageFormat::WebP && canvas.width.max(canvas.height) > WEBP_MAX_EDGE_PX {
            let text = format!("WebP ends at {WEBP_MAX_EDGE_PX} pixels, the canvas has {canvas}: choose PNG or TIFF");
            self.wrong("spec.output_format", text);
        }
    }

    /// The tiles of a canvas; `None` when it is no larger than what the model works at, and when something is wrong.
    pub(super) fn tiles(
        &mut self,
        request: &GenerationRequest,
        tiling: Tiling,
        model: &ModelInfo,
        (mode, source): (Mode, Option<Source>),
    ) -> Option<TilePlan> {
        let overlap = tiling.overlap_px.unwrap_or((model.native.width.min(model.native.height) / 8).max(1));
        if tiling.overlap_px.is_some() {
            self.range("spec.tile_overlap_px", overlap, MIN_TILE_OVERLAP_PX, MAX_TILE_OVERLAP_PX);
        }
        if mode == Mode::Generate {
            self.wrong("spec.whole_canvas", "is for edits: leave it out, or give a picture");
        }
        if request.selection.is_some() {
            self.wrong("spec.whole_canvas", "is set beside a selection: leave one of the two out");
        }
        if request.width.is_some() || request.height.is_some() {
            self.wrong("spec.width", "is set beside tiles: the result has the size of the canvas");
        }
        let canvas = source?.size;
        self.fits_format(request, canvas);
        let tiles = tiles_for(canvas, overlap, &WorkingLimits::of(model));
        let count = u32::try_from(tiles.len()).unwrap_or(u32::MAX);
        if count < 2 {
            self.notes
                .push("the canvas is no larger than what the model works at: it is edited without tiles".to_owned());
            return None;
        }
        let images = request.num_images.unwrap_or(1).max(u32::try_from(request.seeds.len()).unwrap_or(u32::MAX));
        if count.saturating_mul(images) > MAX_PASSES {
            let text = format!("{images} pictures of {count} tiles are more than {MAX_PASSES} passes: ask for fewer");
            self.wrong("spec.num_images", text);
        }
        self.notes.push(format!("{count} tiles of {} are each worked on at {}", tiles.tile, tiles.working));
        Some(tiles)
    }

    /// Working size and size of the result.
    pub(super) fn sizes(
        &mut self,
        request: &GenerationRequest,
        model: &ModelInfo,
        source: Option<Size>,
    ) -> (Size, Size) {
        let asked = match (request.width, request.height) {
            (Some(width), Some(height)) => Some(Size { width, height }),
            (None, None) => None,
            (given, _) => {
                let missing = if given.is_some() { "spec.height" } else { "spec.width" };
                self.wrong(missing, "give both width and height, or neither");
                None
            }
        };
        let Some(asked) = asked else {
            let Some(source) = source else { return (model.native, model.native) };
            let working = model.working_size_for(source);
            let output = self.result_of_source(source);
            if working != output {
                self.notes.push(format!("the model works at {working}; the result is scaled to {output}"));
            }
            return (working, output);
        };
        let width = self.edge("spec.width", asked.width, model);
        let height = self.edge("spec.height", asked.height, model);
        let working = Size { width, height };
        if working.pixels() > MAX_OUTPUT_PIXELS {
            self.wrong("spec.width", format!("{working} has more than {MAX_OUTPUT_PIXELS} pixels: ask for less"));
        }
        if working != asked {
            self.notes.push(format!("{asked} was rounded to {working}, multiples of {SIZE_MULTIPLE_PX}"));
        }
        (working, working)
    }

    /// An edit without a size has the source's size, made smaller when that is over the limits of a result.
    fn result_of_source(&mut self, source: Size) -> Size {
        let by_pixels = (MAX_OUTPUT_PIXELS as f64 / source.pixels() as f64).sqrt();
        let by_edge = f64::from(MAX_EDGE_PX) / f64::from(source.width.max(source.height));
        let scale = by_pixels.min(by_edge);
        if scale >= 1.0 {
            return source;
        }
        let side = |length: u32| ((f64::from(length) * scale).floor() as u32).max(1);
        let output = Size { width: side(source.width), height: side(source.height) };
        self.notes.push(format!("the source of {source} is larger than a result may be; the result has {output}"));
        output
    }

    fn edge(&mut self, field: &str, length: u32, model: &ModelInfo) -> u32 {
        let (least, most) = (model.min_edge_px, model.max_edge_px.min(MAX_EDGE_PX));
        let multiple = SIZE_MULTIPLE_PX;
        let rounded = (length / multiple + u32::from(length % multiple >= multiple / 2)).saturating_mul(multiple);
        if rounded < least || rounded > most {
            self.wrong(field, format!("{length} is outside of the {least} to {most} pixels of {}", model.name));
        }
        rounded
    }
}
