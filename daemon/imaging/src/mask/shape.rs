//! Growing, feathering and blending of masks. Integers throughout, so that zero stays zero and full stays full.

use easel_domain::{Edges, Rect};

use super::{FULL, Mask};

pub(super) fn shaped(mask: &Mask, edges: Edges) -> Mask {
    let mut made = mask.clone();
    if edges.grow_px > 0 {
        made = grown(&made, edges.grow_px.unsigned_abs());
    } else if edges.grow_px < 0 {
        made = shrunk(&made, edges.grow_px.unsigned_abs());
    }
    if edges.feather_px > 0 {
        made = feathered(&made, edges.feather_px);
    }
    if edges.blend_px > 0 {
        made = blended(&made, edges.blend_px);
    }
    made
}

/// Weights of an area of the canvas, while they are worked on.
struct Plane {
    area: Rect,
    weights: Vec<u16>,
}

impl Plane {
    /// The mask with `margin` pixels around its bounds, as far as the canvas reaches.
    fn of(mask: &Mask, margin: u32) -> Option<Self> {
        let area = mask.bounds()?.expanded(margin, Rect::of(mask.canvas))?;
        let (width, bounds) = (area.width as usize, mask.bounds);
        let mut weights = vec![0; width * area.height as usize];
        let left = (bounds.x - area.x) as usize;
        for y in 0..bounds.height as i32 {
            let at = (bounds.y - area.y + y) as usize * width + left;
            weights[at..at + bounds.width as usize].copy_from_slice(mask.row(bounds.y + y));
        }
        Some(Self { area, weights })
    }

    fn into_mask(self, mask: &Mask) -> Mask {
        Mask::trimmed(mask.canvas, self.area, self.weights)
    }

    fn invert(&mut self) {
        self.weights.iter_mut().for_each(|w| *w = FULL - *w);
    }
}

/// Each weight the largest within a disc of `radius`.
fn grown(mask: &Mask, radius: u32) -> Mask {
    let Some(mut plane) = Plane::of(mask, radius) else { return mask.clone() };
    plane.weights = largest_in_disc(&plane, radius);
    plane.into_mask(mask)
}

/// Each weight the smallest within a disc of `radius`. Beyond the canvas nothing is looked at.
fn shrunk(mask: &Mask, radius: u32) -> Mask {
    // One pixel of the unselected around it is enough to shrink from.
    let Some(mut plane) = Plane::of(mask, 1) else { return mask.clone() };
    plane.invert();
    plane.weights = largest_in_disc(&plane, radius);
    plane.invert();
    plane.into_mask(mask)
}

/// The disc as rows: for each row above and below its middle, how far it reaches to either side.
fn disc(radius: u32) -> Vec<usize> {
    let r = f64::from(radius);
    // Half a pixel more than the radius rounds the tips; without it they would be single pixels.
    let reach = |dy: u32| ((r + 0.5).powi(2) - f64::from(dy).powi(2)).sqrt().floor().min(r) as usize;
    (0..=radius).map(reach).collect()
}

/// A row is widened step by step, and at every width it is laid onto the rows that the disc reaches from it at this width: four
/// operations for each pixel and step of the radius, all of them along rows.
fn largest_in_disc(plane: &Plane, radius: u32) -> Vec<u16> {
    let width = plane.area.width as usize;
    let rows = plane.area.height as usize;
    let reach = disc(radius);
    let mut out = vec![0_u16; plane.weights.len()];
    let (mut wide, mut next) = (vec![0_u16; width], vec![0_u16; width]);
    for (y, row) in plane.weights.chunks_exact(width).enumerate() {
        if row.iter().all(|&w| w == 0) {
            continue;
        }
        wide.copy_from_slice(row);
        let mut half = 0;
        for dy in (0..=radius as usize).rev() {
            while half < reach[dy] {
                widen(&wide, &mut next);
                std::mem::swap(&mut wide, &mut next);
                half += 1;
            }
            let above = y.checked_sub(dy);
            let below = (dy > 0 && y + dy < rows).then_some(y + dy);
            for target in above.into_iter().chain(below) {
                let target = &mut out[target * width..][..width];
                target.iter_mut().zip(&wide).for_each(|(t, &w)| *t = (*t).max(w));
            }
        }
    }
    out
}

/// Each value the largest of itself and its two neighbours.
fn widen(row: &[u16], out: &mut [u16]) {
    out.copy_from_slice(row);
    if row.len() > 1 {
        let last = row.len() - 1;
        out[1..].iter_mut().zip(&row[..last]).for_each(|(o, &w)| *o = (*o).max(w));
        out[..last].iter_mut().zip(&row[1..]).for_each(|(o, &w)| *o = (*o).max(w));
    }
}

/// Three box filters of radii that sum to `radius`, along rows and columns. Their standard deviation is about
/// `radius * 0.34` (each box of radius r has a variance of ((2r + 1)^2 - 1) / 12), and their shape within 3 percent of a Gaussian's.
fn feathered(mask: &Mask, radius: u32) -> Mask {
    let Some(mut plane) = Plane::of(mask, radius) else { return mask.clone() };
    let (width, canvas) = (plane.area.width as usize, Rect::of(mask.canvas));
    // At the border of the canvas the last pixel goes on; elsewhere zero does, which the margin holds.
    debug_assert!(canvas.contains(plane.area));
    let radii = [radius.div_ceil(3), (radius + 1) / 3, radius / 3];
    let mut line = vec![0; width.max(plane.area.height as usize)];
    for radius in radii.into_iter().filter(|&r| r > 0).map(|r| r as usize) {
        for row in plane.weights.chunks_exact_mut(width) {
            line[..width].copy_from_slice(row);
            box_filter(&line[..width], radius, |x, value| row[x] = value);
        }
        columns(&mut plane.weights, width, radius);
    }
    plane.into_mask(mask)
}

/// A running mean over `2 * radius + 1` values; beyond the ends the last value goes on.
fn box_filter(line: &[u16], radius: usize, mut put: impl FnMut(usize, u16)) {
    let last = line.len() - 1;
    let at = |i: isize| u32::from(line[i.clamp(0, last as isize) as usize]);
    let (reach, count) = (radius as isize, 2 * radius as u32 + 1);
    let mut sum: u32 = (-reach..=reach).map(at).sum();
    for x in 0..line.len() {
        put(x, mean(sum, count));
        sum = sum + at(x as isize + reach + 1) - at(x as isize - reach);
    }
}

/// Rounded, but never to zero from above it, so that the edge is where the kernel's is.
fn mean(sum: u32, count: u32) -> u16 {
    (((sum + count / 2) / count) as u16).max(u16::from(sum > 0))
}

/// The same filter along columns, all of them at a time.
fn columns(weights: &mut [u16], width: usize, radius: usize) {
    let source = weights.to_vec();
    let last = source.len() / width - 1;
    let row = |y: isize| &source[y.clamp(0, last as isize) as usize * width..][..width];
    let (reach, count) = (radius as isize, 2 * radius as u32 + 1);
    let mut sums = vec![0_u32; width];
    for y in -reach..=reach {
        sums.iter_mut().zip(row(y)).for_each(|(sum, &w)| *sum += u32::from(w));
    }
    for (y, out) in weights.chunks_exact_mut(width).enumerate() {
        out.iter_mut().zip(&sums).for_each(|(out, &sum)| *out = mean(sum, count));
        let (enters, leaves) = (row(y as isize + reach + 1), row(y as isize - reach));
        for ((sum, &enters), &leaves) in sums.iter_mut().zip(enters).zip(leaves) {
            *sum = *sum + u32::from(enters) - u32::from(leaves);
        }
    }
}

/// A ramp along the inside of the edge: no weight is larger than its distance to the nearest pixel outside, as a share of
/// `width_px` + 1.
fn blended(mask: &Mask, width_px: u32) -> Mask {
    let Some(mut plane) = Plane::of(mask, 1) else { return mask.clone() };
    let nearest = distances(&plane, width_px);
    let full = f32::from(FULL);
    for (weight, distance) in plane.weights.iter_mut().zip(nearest) {
        let ramp = (distance / (width_px + 1) as f32).min(1.0);
        let most = (ramp * full).round() as u16;
        *weight = (*weight).min(most);
    }
    plane.into_mask(mask)
}

/// For each pixel the distance to the nearest one of weight zero, exactly up to `most` + 1: the distance transform of Felzenszwalb and
/// Huttenlocher (2012) in the plain form, one pass along columns and one along rows.
fn distances(plane: &Plane, most: u32) -> Vec<f32> {
    let width = plane.area.width as usize;
    let rows = plane.area.height as usize;
    let far = most as usize + 1;
    // Along columns: how many rows to the nearest zero.
    let mut steps = vec![far; plane.weights.len()];
    for y in 0..rows {
        for x in 0..width {
            let above = if y > 0 { steps[(y - 1) * width + x] } else { far };
            steps[y * width + x] = if plane.weights[y * width + x] == 0 { 0 } else { (above + 1).min(far) };
        }
    }
    for y in (0..rows.saturating_sub(1)).rev() {
        for x in 0..width {
            let below = steps[(y + 1) * width + x];
            let own = &mut steps[y * width + x];
            *own = (*own).min(below + 1);
        }
    }
    let mut out = vec![0.0; plane.weights.len()];
    let mut hull = Hull::default();
    for (row, out) in steps.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        hull.lowest(row, out);
    }
    out
}

/// The lower envelope of parabolas over a row.
#[derive(Default)]
struct Hull {
    places: Vec<usize>,
    starts: Vec<f64>,
}

impl Hull {
    /// `out[x]`: the root of the smallest `(x - i)^2 + row[i]^2`.
    fn lowest(&mut self, row: &[usize], out: &mut [f32]) {
        self.places.clear();
        self.starts.clear();
        let height = |i: usize| (row[i] * row[i] + i * i) as f64;
        for i in 0..row.len() {
            let start = loop {
                let (Some(&place), Some(&start)) = (self.places.last(), self.starts.last()) else {
                    break f64::NEG_INFINITY;
                };
                let crossing = (height(i) - height(place)) / (2.0 * (i - place) as f64);
                if crossing > start {
                    break crossing;
                }
                self.places.pop();
                self.starts.pop();
            };
            self.places.push(i);
            self.starts.push(start);
        }
        let mut k = 0;
        for (x, out) in out.iter_mut().enumerate() {
            while k + 1 < self.starts.len() && self.starts[k + 1] < x as f64 {
                k += 1;
            }
            let place = self.places[k];
            let across = x.abs_diff(place);
            *out = ((across * across + row[place] * row[place]) as f64).sqrt() as f32;
        }
    }
}
