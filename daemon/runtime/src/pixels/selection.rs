//! What an edit of a selection changes: the canvas with its depth, alpha and profile, and the mask of what may change.

use std::sync::Arc;

use easel_domain::{Area, BlobHash, Error, Plan, Reason, Rect, RgbImage, Selection, Size};
use easel_imaging::{Canvas, Mask};

/// A canvas and the mask over it. Shared by the pictures of a generation; dropped at its end.
#[derive(Debug)]
pub(crate) struct Edited {
    pub(super) canvas: Canvas,
    pub(super) mask: Mask,
    /// A session goes on from the result: the whole canvas is made beside a layer.
    pub(super) for_session: bool,
}

impl Edited {
    /// Reads the canvas and shapes the mask over it, from the file of a mask picture or from a rectangle. Errors name the
    /// field of the request.
    pub(crate) fn read(
        picture: &[u8],
        mask: Option<&[u8]>,
        selection: &Selection,
        for_session: bool,
    ) -> Result<Self, Error> {
        let canvas = Canvas::open(picture).map_err(|error| error.in_field("spec.image"))?;
        let size = canvas.size();
        let plain = match (selection.area, mask) {
            (Area::Rectangle(rect), _) => Mask::rectangle(rect, size),
            (Area::Mask { offset, .. }, Some(mask)) => mask_of(mask, offset, size)?,
            (Area::Mask { image, .. }, None) => return Err(lost(image)),
        };
        Ok(Self { mask: plain.shaped(selection.edges), canvas, for_session })
    }

    /// The smallest rectangle around all that may change.
    pub(crate) fn selected(&self) -> Option<Rect> {
        self.mask.bounds()
    }

    /// Memory that it holds.
    pub(crate) fn bytes(&self) -> u64 {
        let weights = self.mask.bounds().map_or(0, |bounds| bounds.size().pixels() * 2);
        self.canvas.bytes() + weights
    }

    /// What the model sees of the canvas.
    pub(crate) fn view(&self, crop: Rect) -> Result<RgbImage, Error> {
        self.canvas.view(crop)
    }

    /// How much of each pixel at which the model works on the crop may be redrawn, when the denoiser is held to the source elsewhere.
    pub(crate) fn reach(&self, plan: &Plan) -> Option<Arc<[f32]>> {
        let crop = plan.crop.filter(|_| plan.selection.is_some_and(|selection| selection.denoise_mask))?;
        Some(self.mask.reach(crop, plan.working).into())
    }

    /// What a person should know of the canvas and of what the file of the result cannot hold.
    pub(crate) fn notes(&self, plan: &Plan) -> Vec<String> {
        let lost = easel_imaging::losses(&self.canvas, plan.output_format);
        self.canvas.notes().iter().cloned().chain(lost).collect()
    }
}

fn mask_of(file: &[u8], offset: Option<(i32, i32)>, canvas: Size) -> Result<Mask, Error> {
    const FIELD: &str = "spec.selection.mask.image";
    let picture = Canvas::open(file).map_err(|error| error.in_field(FIELD))?;
    if offset.is_none() && picture.size() != canvas {
        let text =
            format!("has {}, the canvas {canvas}: send a mask of the canvas's size, or give an offset", picture.size());
        return Err(Error::field(Reason::InvalidRequest, FIELD, text));
    }
    Ok(Mask::from_picture(&picture, offset.unwrap_or((0, 0)), canvas))
}

fn lost(image: BlobHash) -> Error {
    Error::new(Reason::BlobNotFound, "the mask is not there: upload it first").about("blob", image.to_string())
}
