//! From what the model has drawn to the file of a result: scaled to the size that was promised, or put into the canvas.

use std::sync::Arc;

use easel_domain::crop::TilePlan;
use easel_domain::event::{EncodedImage, ResultImage};
use easel_domain::{AlphaMode, ColorMatch, Error, Plan, Reason, Rect, RgbImage, Selection, SelectionResult};
use easel_imaging::{Canvas, Channels, Filter, Mask, Output, Patch, Put, Samples};

use super::selection::Edited;
use crate::provenance::Maker;
use crate::stop::StopToken;

/// One picture of a generation on its way into a file.
pub(crate) struct Finish {
    pub(crate) plan: Arc<Plan>,
    /// Which picture, from 0.
    pub(crate) image: u32,
    /// Present exactly when the plan has a selection.
    pub(crate) edited: Option<Arc<Edited>>,
    /// Says what the file tells of its making.
    pub(crate) maker: Arc<Maker>,
    pub(crate) stop: StopToken,
}

impl Finish {
    /// Makes the result of what was decoded. Says as well what the hash of its file is.
    /// With tiles `drawn` has all of them, else one picture.
    pub(crate) fn make(&self, drawn: &[RgbImage]) -> Result<ResultImage, Error> {
        self.check()?;
        if let Some(tiles) = &self.plan.tiles {
            let whole = join(tiles, drawn)?;
            self.check()?;
            return Ok(self.result(self.file(&whole, &self.plan)?));
        }
        let drawn = drawn.first().ok_or_else(|| broken("a picture is missing"))?;
        if let (Some(edited), Some(selection)) = (&self.edited, &self.plan.selection) {
            return self.put_back(drawn, edited, selection);
        }
        let scaled = easel_imaging::resize(drawn, self.plan.output, Filter::Lanczos);
        self.check()?;
        Ok(self.result(self.file(&Canvas::from(&scaled), &self.plan)?))
    }

    /// Scales what was drawn back and puts it into the canvas by the mask.
    fn put_back(&self, drawn: &RgbImage, edited: &Edited, selection: &Selection) -> Result<ResultImage, Error> {
        let crop = self.plan.crop.ok_or_else(|| broken("a selection has no crop"))?;
        let patch = Patch::new(drawn, crop);
        self.check()?;
        let put = Put { patch: &patch, mask: &edited.mask, color_match: selection.color_match, alpha: AlphaMode::Keep };
        let as_layer = selection.result == SelectionResult::Layer;
        let (mut changed, mut layer, mut whole) = (edited.selected(), None, None);
        if as_layer {
            // A layer stands for itself: what shines through it is the mask's to say alone.
            let put = Put { alpha: AlphaMode::Paint, ..put };
            let made = easel_imaging::layer(&edited.canvas, &put)?.ok_or_else(|| broken("a layer has no pixel"))?;
            changed = made.1.changed;
            layer = Some(self.file(&made.0, &self.plan)?);
            self.check()?;
        }
        if !as_layer || edited.for_session {
            let mut canvas = edited.canvas.clone();
            changed = easel_imaging::composite(&mut canvas, &put)?.changed;
            self.check()?;
            // Beside a layer it is a result of its own, which can be made again by itself.
            let selection = Selection { result: SelectionResult::Canvas, ..*selection };
            let plan = Plan { selection: Some(selection), output: canvas.size(), ..self.plan.as_ref().clone() };
            whole = Some(self.file(&canvas, &plan)?);
        }
        let (image, canvas) = match (layer, whole) {
            (Some(layer), whole) => (layer, whole),
            (None, Some(whole)) => (whole, None),
            (None, None) => return Err(broken("an edit has no result")),
        };
        Ok(ResultImage { changed, canvas, ..self.result(image) })
    }

    fn result(&self, image: EncodedImage) -> ResultImage {
        let seed = self.plan.seed_of(self.image);
        ResultImage { index: self.image, seed, image, changed: None, canvas: None }
    }

    /// Every file of a result is written here. `plan` is what its parameters say.
    fn file(&self, canvas: &Canvas, plan: &Plan) -> Result<EncodedImage, Error> {
        let (format, size) = (plan.output_format, canvas.size());
        let parameters = self.maker.parameters(plan, self.image)?;
        let output = Output { format, jpeg_quality: Output::JPEG_QUALITY, parameters: parameters.as_deref() };
        let bytes: Arc<[u8]> = easel_imaging::write(canvas, &output)?.into();
        let hash = Some(super::hash(&bytes));
        Ok(EncodedImage::new(format, (size.width, size.height), hash, bytes))
    }

    fn check(&self) -> Result<(), Error> {
        self.stop.check().map_err(|_| Error::new(Reason::Cancelled, "the generation was told to stop"))
    }
}

/// Tiles with blended seams, as 8-bit sRGB.
fn join(tiles: &TilePlan, drawn: &[RgbImage]) -> Result<Canvas, Error> {
    let patch = easel_imaging::blend_tiles(tiles, drawn)?;
    let blank = vec![0; usize::try_from(tiles.canvas.pixels() * 3).unwrap_or(usize::MAX)];
    let mut canvas = Canvas::new(tiles.canvas, Channels::Rgb, Samples::U8(blank))?;
    let mask = Mask::rectangle(Rect::of(tiles.canvas), tiles.canvas);
    let put = Put { patch: &patch, mask: &mask, color_match: ColorMatch::None, alpha: AlphaMode::Keep };
    easel_imaging::composite(&mut canvas, &put)?;
    Ok(canvas)
}

fn broken(what: &str) -> Error {
    Error::new(Reason::Internal, format!("{what}; report it with the daemon's log"))
}
