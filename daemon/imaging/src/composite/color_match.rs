//! Fits the colours of what was drawn to the surroundings of the selection. A model shifts the colours of everything that it
//! redraws; how it did so around the selection, where the source is known, tells what to take back inside.

use easel_domain::{ColorMatch, Edges, Error, Rect};

use super::Put;
use crate::canvas::Canvas;
use crate::colour::Colour;

/// Width of the ring that is looked at, in pixels of the canvas: an eighth of the selection within these.
const RING_PX: (u32, u32) = (16, 64);
/// Fewer pixels tell too little.
const LEAST_PIXELS: u64 = 64;
/// How far contrasts may be stretched or squeezed; beyond, the two rings show different things.
const GAIN: (f64, f64) = (0.5, 2.0);
/// A standard deviation below this is flat colour, whose contrast says nothing.
const FLAT: f64 = 1e-3;

/// An affine map of three channels in the space of the method; the default leaves colours as they are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fit {
    method: ColorMatch,
    gain: [f32; 3],
    offset: [f32; 3],
}

impl Fit {
    /// Compares the patch with the canvas in a ring around the mask; `None` when nothing is asked or too little is there. Transparent
    /// pixels do not count.
    pub(super) fn measure(canvas: &Canvas, put: &Put<'_>) -> Result<Option<Self>, Error> {
        let method = put.color_match;
        let Some(bounds) = put.mask.bounds().filter(|_| method != ColorMatch::None) else { return Ok(None) };
        let ring_px = (bounds.width.max(bounds.height) / 8).clamp(RING_PX.0, RING_PX.1);
        let around = put.mask.shaped(Edges { grow_px: ring_px as i32, ..Edges::default() });
        let area = around.bounds().and_then(|ring| ring.intersect(put.patch.rect()));
        let Some(area) = area.and_then(|area| area.intersect(Rect::of(canvas.size()))) else { return Ok(None) };
        let mut colour = Colour::new(canvas)?;
        let (mut source, mut drawn) = (Moments::default(), Moments::default());
        let (mut here, mut there) = (vec![0.0; area.width as usize * 3], vec![0.0; area.width as usize * 3]);
        for y in area.y..area.bottom() as i32 {
            colour.read_srgb(canvas, (area.x as usize, y as usize), &mut here);
            put.patch.read((area.x, y), &mut there);
            for (x, (here, there)) in (area.x..).zip(here.chunks_exact(3).zip(there.chunks_exact(3))) {
                let in_ring = put.mask.at(x, y) == 0 && around.at(x, y) > 0;
                if in_ring && canvas.alpha_at(x as usize, y as usize) > 0.0 {
                    source.add(to_space(method, here));
                    drawn.add(to_space(method, there));
                }
            }
        }
        if source.count < LEAST_PIXELS {
            return Ok(None);
        }
        let mut fit = Self { method, ..Self::default() };
        for i in 0..3 {
            let ((mean, deviation), (drawn_mean, drawn_deviation)) = (source.of(i), drawn.of(i));
            let flat = deviation < FLAT || drawn_deviation < FLAT;
            let gain = if flat { 1.0 } else { (deviation / drawn_deviation).clamp(GAIN.0, GAIN.1) };
            fit.gain[i] = gain as f32;
            fit.offset[i] = (mean - drawn_mean * gain) as f32;
        }
        Ok(Some(fit))
    }

    /// Maps encoded sRGB, 3 floats for each pixel.
    pub(super) fn apply(&self, srgb: &mut [f32]) {
        if self.method == ColorMatch::None {
            return;
        }
        for pixel in srgb.chunks_exact_mut(3) {
            let mut values = to_space(self.method, pixel);
            for (i, value) in values.iter_mut().enumerate() {
                *value = *value * self.gain[i] + self.offset[i];
            }
            pixel.copy_from_slice(&from_space(self.method, values));
        }
    }
}

/// Sums for mean and standard deviation.
#[derive(Default)]
struct Moments {
    count: u64,
    sum: [f64; 3],
    squares: [f64; 3],
}

impl Moments {
    fn add(&mut self, values: [f32; 3]) {
        self.count += 1;
        for (i, value) in values.map(f64::from).into_iter().enumerate() {
            self.sum[i] += value;
            self.squares[i] += value * value;
        }
    }

    fn of(&self, i: usize) -> (f64, f64) {
        let count = self.count.max(1) as f64;
        let mean = self.sum[i] / count;
        (mean, (self.squares[i] / count - mean * mean).max(0.0).sqrt())
    }
}

fn to_space(method: ColorMatch, srgb: &[f32]) -> [f32; 3] {
    let linear = [decode(srgb[0]), decode(srgb[1]), decode(srgb[2])];
    if method == ColorMatch::Perceptual { to_oklab(linear) } else { linear }
}

fn from_space(method: ColorMatch, values: [f32; 3]) -> [f32; 3] {
    let linear = if method == ColorMatch::Perceptual { from_oklab(values) } else { values };
    linear.map(encode)
}

/// IEC 61966-2-1: an encoded value to linear light.
fn decode(value: f32) -> f32 {
    if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
}

/// And back, within 0 to 1.
fn encode(value: f32) -> f32 {
    let value = value.clamp(0.0, 1.0);
    if value <= 0.003_130_8 { value * 12.92 } else { 1.055 * value.powf(1.0 / 2.4) - 0.055 }
}

/// OKLab as Björn Ottosson gives it (2020): linear sRGB to cone responses, their cube roots, then lightness and two axes.
#[rustfmt::skip]
const TO_CONES: [[f32; 3]; 3] = [
    [0.412_221_46, 0.536_332_55, 0.051_445_995],
    [0.211_903_5, 0.680_699_5, 0.107_396_96],
    [0.088_302_46, 0.281_718_85, 0.629_978_7],
];
#[rustfmt::skip]
const TO_LAB: [[f32; 3]; 3] = [
    [0.210_454_26, 0.793_617_8, -0.004_072_047],
    [1.977_998_5, -2.428_592_2, 0.450_593_7],
    [0.025_904_037, 0.782_771_77, -0.808_675_77],
];
#[rustfmt::skip]
const FROM_LAB: [[f32; 3]; 3] = [
    [1.0, 0.396_337_78, 0.215_803_76],
    [1.0, -0.105_561_346, -0.063_854_17],
    [1.0, -0.089_484_18, -1.291_485_5],
];
#[rustfmt::skip]
const FROM_CONES: [[f32; 3]; 3] = [
    [4.076_741_7, -3.307_711_6, 0.230_969_94],
    [-1.268_438, 2.609_757_4, -0.341_319_38],
    [-0.004_196_086_3, -0.703_418_6, 1.707_614_7],
];

fn times(matrix: &[[f32; 3]; 3], v: [f32; 3]) -> [f32; 3] {
    matrix.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2])
}

fn to_oklab(linear: [f32; 3]) -> [f32; 3] {
    times(&TO_LAB, times(&TO_CONES, linear).map(f32::cbrt))
}

fn from_oklab(lab: [f32; 3]) -> [f32; 3] {
    times(&FROM_CONES, times(&FROM_LAB, lab).map(|v| v * v * v))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_come_back_from_either_space() {
        for method in [ColorMatch::Linear, ColorMatch::Perceptual] {
            for i in 0..=512_u16 {
                let rgb = [i % 9, i / 9 % 9, i / 81].map(|v| f32::from(v) / 8.0);
                let back = from_space(method, to_space(method, &rgb));
                for (a, b) in rgb.iter().zip(back) {
                    assert!((a - b).abs() < 1e-3, "{method:?} {rgb:?} {back:?}");
                }
            }
        }
    }

    #[test]
    fn oklab_has_the_values_of_its_publication() {
        let [l, a, b] = to_space(ColorMatch::Perceptual, &[1.0, 1.0, 1.0]);
        assert!((l - 1.0).abs() < 1e-4 && a.abs() < 1e-4 && b.abs() < 1e-4);
        let [l, a, b] = to_space(ColorMatch::Perceptual, &[1.0, 0.0, 0.0]);
        assert!((l - 0.627_96).abs() < 1e-4 && (a - 0.224_86).abs() < 1e-4 && (b - 0.125_85).abs() < 1e-4);
    }
}
