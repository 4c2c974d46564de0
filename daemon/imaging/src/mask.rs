//! Which pixels of a canvas an edit may change, and how much: a rectangle or a grey picture, grown, feathered and blended. What lies
//! outside is exactly zero.

mod shape;

use easel_domain::{Edges, Rect, Size};

use crate::canvas::{Canvas, Channels, Samples};
use crate::colour::{finite, luma};

/// A mask that changes a pixel wholly.
pub(crate) const FULL: u16 = u16::MAX;

/// A weight for each pixel of a canvas: 0 keeps the source bit for bit, 65535 takes the result. Only the rectangle around the pixels
/// above zero is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    canvas: Size,
    /// Within the canvas; empty when nothing is selected.
    bounds: Rect,
    weights: Vec<u16>,
}

impl Mask {
    /// The part of `rect` that lies on the canvas.
    pub fn rectangle(rect: Rect, canvas: Size) -> Self {
        let nothing = Rect { width: 0, height: 0, ..Rect::of(canvas) };
        let bounds = rect.intersect(Rect::of(canvas)).unwrap_or(nothing);
        Self { canvas, bounds, weights: vec![FULL; bounds.width as usize * bounds.height as usize] }
    }

    /// From a picture that lies on the canvas with its top left corner at `offset`; outside of it nothing is selected. White selects,
    /// black does not; where the picture has alpha, brightness times alpha counts. Of colours the brightness counts.
    pub fn from_picture(picture: &Canvas, offset: (i32, i32), canvas: Size) -> Self {
        let placed = Rect { x: offset.0, y: offset.1, ..Rect::of(picture.size()) };
        let Some(part) = placed.intersect(Rect::of(canvas)) else {
            return Self::rectangle(Rect { width: 0, height: 0, ..placed }, canvas);
        };
        let channels = picture.channels();
        let mut weights = Vec::with_capacity(part.width as usize * part.height as usize);
        for y in 0..part.height as usize {
            let (from_x, from_y) = ((part.x - placed.x) as usize, (part.y - placed.y) as usize + y);
            let at = (from_y * picture.size().width as usize + from_x) * channels.count();
            let range = at..at + part.width as usize * channels.count();
            match picture.samples() {
                Samples::U8(v) => weigh(&v[range], channels, &mut weights, |v| f32::from(v) / 255.0),
                Samples::U16(v) => weigh(&v[range], channels, &mut weights, |v| f32::from(v) / 65535.0),
                Samples::F32(v) => weigh(&v[range], channels, &mut weights, |v| finite(v).clamp(0.0, 1.0)),
            }
        }
        Self::trimmed(canvas, part, weights)
    }

    /// Grown, feathered and blended, in this order; the widths are cut to their ranges. See [`Edges`] for what each does. The cost grows
    /// with the pixels of the mask and, for growing, with the radius.
    #[must_use]
    pub fn shaped(&self, edges: Edges) -> Self {
        shape::shaped(self, edges.clamped())
    }

    /// The smallest rectangle around all that may change; `None` when nothing may.
    pub fn bounds(&self) -> Option<Rect> {
        (!self.bounds.is_empty()).then_some(self.bounds)
    }

    /// Size of the canvas.
    pub fn canvas(&self) -> Size {
        self.canvas
    }

    /// The weight of a pixel; zero outside of the canvas.
    pub fn at(&self, x: i32, y: i32) -> u16 {
        let inside = Rect { x, y, width: 1, height: 1 };
        if !self.bounds.contains(inside) {
            return 0;
        }
        self.row(y)[(x - self.bounds.x) as usize]
    }

    /// For each cell of a grid of `size` over `part` of the canvas the largest weight of the pixels that the cell touches, 0 to 1,
    /// row by row: what a model may redraw, when it works on `part` at this size. Cells outside of the mask are exactly 0.
    pub fn reach(&self, part: Rect, size: Size) -> Vec<f32> {
        let spans = |cells: u32, length: u32| {
            let (cells, length) = (u64::from(cells), u64::from(length));
            (0..cells).map(move |i| ((i * length / cells) as i64, ((i + 1) * length).div_ceil(cells) as i64))
        };
        let columns: Vec<_> = spans(size.width, part.width).collect();
        let mut out = Vec::with_capacity(columns.len() * size.height as usize);
        for (top, bottom) in spans(size.height, part.height) {
            let rows = self.clip(i64::from(part.y), (top, bottom), i64::from(self.bounds.y), self.bounds.height);
            for &(left, right) in &columns {
                let range = self.clip(i64::from(part.x), (left, right), i64::from(self.bounds.x), self.bounds.width);
                let width = self.bounds.width as usize;
                let most = rows.clone().flat_map(|y| &self.weights[y * width..][range.clone()]).max();
                out.push(f32::from(most.copied().unwrap_or(0)) / f32::from(FULL));
            }
        }
        out
    }

    /// A span that is given from `origin`, as indices into what begins at `start` and has `length`.
    fn clip(&self, origin: i64, (from, to): (i64, i64), start: i64, length: u32) -> std::ops::Range<usize> {
        let index = |v: i64| (origin + v - start).clamp(0, i64::from(length)) as usize;
        index(from)..index(to)
    }

    /// The weights of a row of the bounds.
    pub(crate) fn row(&self, y: i32) -> &[u16] {
        let width = self.bounds.width as usize;
        let at = (y - self.bounds.y) as usize * width;
        &self.weights[at..at + width]
    }

    /// Cuts away what is zero on all sides.
    fn trimmed(canvas: Size, area: Rect, weights: Vec<u16>) -> Self {
        let width = area.width as usize;
        let (mut left, mut right, mut top, mut bottom) = (width, 0, usize::MAX, 0);
        for (y, row) in weights.chunks_exact(width.max(1)).enumerate() {
            let Some(first) = row.iter().position(|&w| w > 0) else { continue };
            let last = row.iter().rposition(|&w| w > 0).unwrap_or(first);
            (left, right) = (left.min(first), right.max(last + 1));
            (top, bottom) = (top.min(y), y + 1);
        }
        if right == 0 {
            return Self::rectangle(Rect { width: 0, height: 0, ..area }, canvas);
        }
        let bounds = Rect {
            x: area.x + left as i32,
            y: area.y + top as i32,
            width: (right - left) as u32,
            height: (bottom - top) as u32,
        };
        if bounds == area {
            return Self { canvas, bounds, weights };
        }
        let rows = weights.chunks_exact(width).skip(top).take(bottom - top);
        Self { canvas, bounds, weights: rows.flat_map(|row| &row[left..right]).copied().collect() }
    }
}

fn weigh<T: Copy>(row: &[T], channels: Channels, out: &mut Vec<u16>, read: impl Fn(T) -> f32) {
    for pixel in row.chunks_exact(channels.count()) {
        let bright = match channels.colours() {
            1 => read(pixel[0]),
            _ => luma(&[read(pixel[0]), read(pixel[1]), read(pixel[2])]),
        };
        let alpha = if channels.has_alpha() { read(pixel[channels.colours()]) } else { 1.0 };
        out.push((bright * alpha * f32::from(FULL)).round() as u16);
    }
}
