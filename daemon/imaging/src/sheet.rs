//! A contact sheet: several pictures side by side on one, each with a line beneath it.

use easel_domain::limits::{MAX_NUM_IMAGES, MAX_SHEET_EDGE_PX};
use easel_domain::{Error, Reason, RgbImage, Size};

use crate::resample::{Filter, resize};

mod font;

/// One picture of a sheet.
#[derive(Clone, Copy, Debug)]
pub struct Cell<'a> {
    /// The picture.
    pub picture: &'a RgbImage,
    /// What stands beneath it, for example its seed; empty: nothing. Digits, letters and some signs are drawn, in capitals; others
    /// are left blank.
    pub caption: &'a str,
}

const GAP_PX: u32 = 8;
const BACKGROUND: u8 = 24;
const INK: u8 = 230;

/// Lays pictures out row by row in `columns` (0: as near to a square as it goes), each at most `cell_px` wide and high (16 to the limit
/// of the sheet); they are made smaller, never larger. A sheet whose longest edge would be over `MAX_SHEET_EDGE_PX` gets smaller
/// cells. Fails with `Internal` without pictures or with more than `MAX_NUM_IMAGES`.
pub fn contact_sheet(cells: &[Cell<'_>], columns: u32, cell_px: u32) -> Result<RgbImage, Error> {
    let count = cells.len() as u32;
    if count == 0 || count > MAX_NUM_IMAGES {
        return Err(Error::new(Reason::Internal, format!("{count} pictures are no contact sheet")));
    }
    let columns = if columns == 0 { f64::from(count).sqrt().ceil() as u32 } else { columns.min(count) };
    let rows = count.div_ceil(columns);
    let caption = if cells.iter().all(|cell| cell.caption.is_empty()) { 0 } else { font::LINE_PX };
    let room = |count: u32, more: u32| (MAX_SHEET_EDGE_PX - GAP_PX) / count - GAP_PX - more;
    let cell_px = cell_px.max(16).min(room(columns, 0)).min(room(rows, caption));
    let pictures: Vec<_> = cells.iter().map(|cell| within(cell.picture, cell_px)).collect();
    let widest = pictures.iter().map(RgbImage::width).max().unwrap_or(1);
    let highest = pictures.iter().map(RgbImage::height).max().unwrap_or(1);
    let width = columns * (widest + GAP_PX) + GAP_PX;
    let height = rows * (highest + caption + GAP_PX) + GAP_PX;
    let mut pixels = vec![BACKGROUND; width as usize * height as usize * 3];
    for (i, (picture, cell)) in (0..).zip(pictures.iter().zip(cells)) {
        let left = GAP_PX + (i % columns) * (widest + GAP_PX);
        let top = GAP_PX + (i / columns) * (highest + caption + GAP_PX);
        let stride = picture.width() as usize * 3;
        for (y, row) in (top..).zip(picture.pixels().chunks_exact(stride)) {
            let at = (y as usize * width as usize + left as usize) * 3;
            pixels[at..at + stride].copy_from_slice(row);
        }
        for (x, y) in font::dots(cell.caption, widest) {
            let at = ((top + highest + y) as usize * width as usize + (left + x) as usize) * 3;
            pixels[at..at + 3].fill(INK);
        }
    }
    RgbImage::new(width, height, pixels)
}

fn within(picture: &RgbImage, cell_px: u32) -> RgbImage {
    let longest = picture.width().max(picture.height());
    if longest <= cell_px {
        return picture.clone();
    }
    let side = |length: u32| (u64::from(length) * u64::from(cell_px) / u64::from(longest)).max(1) as u32;
    let size = Size { width: side(picture.width()), height: side(picture.height()) };
    resize(picture, size, Filter::Lanczos)
}
