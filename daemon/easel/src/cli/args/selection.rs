//! Arguments of `edit` that select a part of the picture.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use easel_sdk::proto::{self, selection::Area};

use crate::exit::Failure;

use super::super::pictures::read_input;

/// A part of the picture; outside of it every pixel keeps its bits, alpha and 16 bits included.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selection", group = clap::ArgGroup::new("area").args(["select", "mask"]))]
pub(crate) struct SelectionArgs {
    /// Change this rectangle only: left edge, upper edge, width and height in pixels
    #[arg(long, value_name = "X,Y,W,H", value_parser = parse_rectangle)]
    select: Option<proto::PixelRect>,
    /// Change only what is white in this picture of the same size
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,
    /// Make the selection wider first, in pixels, 0 to 512
    #[arg(long, value_name = "PX", requires = "area")]
    grow: Option<u32>,
    /// Then make its edge soft, in pixels to either side, 0 to 512
    #[arg(long, value_name = "PX", requires = "area")]
    feather: Option<u32>,
    /// Then fade the result into the picture from the edge inwards, in pixels, 0 to 512
    #[arg(long, value_name = "PX", requires = "area")]
    blend: Option<u32>,
    /// How much around the selection the model sees, in pixels, 0 to 4096 [default: half of the selection, at least 32]
    #[arg(long, value_name = "PX", requires = "area")]
    context: Option<u32>,
    /// Match the colours of what is drawn to the surroundings
    #[arg(long = "match", value_name = "SPACE", requires = "area")]
    color_match: Option<Space>,
    /// Hold the model to the picture outside of the selection while it draws: smaller seams, less freedom
    #[arg(long, requires = "area")]
    hold: bool,
    /// What to write: the whole canvas, or a layer with the selection as its alpha
    #[arg(long, value_name = "WHAT", requires = "area")]
    result: Option<Wanted>,
}

/// Spaces in which colours are matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Space {
    /// Channel by channel in linear light
    Linear,
    /// Lightness and colour apart, in Oklab
    Perceptual,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wanted {
    /// The whole picture with the edit in it
    Canvas,
    /// What was drawn, of the size of the changed rectangle
    Layer,
}

/// A selection, and the file of its mask.
pub(crate) type Selected = (proto::Selection, Option<Vec<u8>>);

impl SelectionArgs {
    /// The selection, and the file of its mask; `None` without one.
    pub(crate) fn read(&self) -> Result<Option<Selected>, Failure> {
        let mask = self.mask.as_deref().map(read_input).transpose()?;
        if self.select.is_none() && mask.is_none() {
            return Ok(None);
        }
        let color_match = match self.color_match {
            None => proto::ColorMatch::None,
            Some(Space::Linear) => proto::ColorMatch::Linear,
            Some(Space::Perceptual) => proto::ColorMatch::Perceptual,
        };
        let result = match self.result {
            None | Some(Wanted::Canvas) => proto::SelectionResult::Canvas,
            Some(Wanted::Layer) => proto::SelectionResult::Layer,
        };
        let selection = proto::Selection {
            area: self.select.map(Area::Rectangle),
            grow_px: self.grow,
            feather_px: self.feather,
            blend_px: self.blend,
            context_px: self.context,
            color_match: color_match.into(),
            denoise_mask: self.hold,
            result: result.into(),
        };
        Ok(Some((selection, mask)))
    }
}

fn parse_rectangle(text: &str) -> Result<proto::PixelRect, String> {
    let numbers: Option<Vec<u32>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[x, y, width, height]) => Ok(proto::PixelRect { x, y, width, height }),
        _ => Err("give left edge, upper edge, width and height in pixels as 40,30,200,150".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_are_read() {
        let rect = proto::PixelRect { x: 1, y: 2, width: 30, height: 4 };
        assert_eq!(parse_rectangle("1, 2,30,4"), Ok(rect));
        for wrong in ["1,2,3", "1,2,3,4,5", "a,2,3,4", "-1,2,3,4", ""] {
            assert!(parse_rectangle(wrong).is_err(), "{wrong}");
        }
    }
}
