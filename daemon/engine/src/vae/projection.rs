//! The cheap preview: a linear map from a latent position to the mean colour of its pixels. It is fitted by least squares
//! to what the checkpoint's own encoder makes of synthetic pictures, so that it suits every VAE.

use candle_core::{Device, Tensor};
use easel_domain::RgbImage;
use easel_domain::engine::StageControl;

use super::TinyVae;
use crate::error::{EngineError, Result};
use crate::pass::Pass;

/// Side of the synthetic picture in latent positions.
const SIDE: usize = 24;
/// Patches of one colour have this many latent positions along a side, so that most positions see no edge.
const PATCH: usize = 3;
/// Keeps the system solvable when a latent channel says nothing about colour.
const RIDGE: f64 = 1e-3;

/// A linear map from latents to colours.
pub struct Projection {
    /// For each colour channel: one weight for each latent channel, then the offset.
    rows: [Vec<f64>; 3],
}

impl Projection {
    /// Fits the map for a VAE: one picture of many plain patches goes through the encoder.
    pub fn fit(vae: &TinyVae, control: &StageControl) -> Result<Self> {
        let scale = vae.config.scale_factor() as usize;
        let colours: Vec<[f64; 3]> =
            (0..SIDE * SIDE).map(|i| colour((i / SIDE / PATCH) * SIDE + i % SIDE / PATCH)).collect();
        let side = SIDE * scale;
        let mut pixels = vec![0f32; 3 * side * side];
        for (i, value) in pixels.iter_mut().enumerate() {
            let (channel, y, x) = (i / (side * side), i / side % side, i % side);
            *value = colours[y / scale * SIDE + x / scale][channel] as f32;
        }
        let pixels = Tensor::from_vec(pixels, (1, 3, side, side), &vae.device)?;
        let latents = vae.encode(&pixels, &mut Pass::new(control))?;
        let columns = columns(&latents)?;
        if columns[0].len() != colours.len() {
            return Err(candle_core::Error::Msg("the encoder's scale is not what its configuration says".into()).into());
        }
        let fit = |channel: usize| least_squares(&columns, &colours.iter().map(|c| c[channel]).collect::<Vec<_>>());
        Ok(Self { rows: [fit(0), fit(1), fit(2)] })
    }

    /// Latents `(1, c, h, w)` to a picture of `w` by `h` pixels. Fails when a latent is not finite.
    pub fn project(&self, latents: &Tensor) -> Result<RgbImage> {
        let (_, _, height, width) = latents.dims4()?;
        let columns = columns(latents)?;
        let mut bytes = Vec::with_capacity(height * width * 3);
        for i in 0..height * width {
            for row in &self.rows {
                let value: f64 = columns.iter().zip(row).map(|(column, weight)| column[i] * weight).sum();
                bytes.push(((value * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8);
            }
        }
        Ok(RgbImage::new(width as u32, height as u32, bytes)?)
    }
}

/// The latents channel by channel, and a channel of ones for the offset.
fn columns(latents: &Tensor) -> Result<Vec<Vec<f64>>> {
    let (_, _, height, width) = latents.dims4()?;
    let channels: Vec<Vec<f32>> = latents.squeeze(0)?.flatten_from(1)?.to_device(&Device::Cpu)?.to_vec2()?;
    if channels.iter().flatten().any(|value| !value.is_finite()) {
        return Err(EngineError::NotFinite("the latents"));
    }
    let mut columns: Vec<Vec<f64>> = channels.into_iter().map(|c| c.into_iter().map(f64::from).collect()).collect();
    columns.push(vec![1.0; height * width]);
    Ok(columns)
}

/// Colours that cover the cube evenly, in -1..=1: a Weyl sequence with the powers of the plastic number's kin.
/// Source: Roberts, "The Unreasonable Effectiveness of Quasirandom Sequences" (2018), three dimensions.
fn colour(i: usize) -> [f64; 3] {
    const G: f64 = 1.220_744_084_605_759_5;
    [1.0 / G, 1.0 / (G * G), 1.0 / (G * G * G)].map(|step| (0.5 + step * (i + 1) as f64).fract() * 2.0 - 1.0)
}

/// Weights `w` that minimise `|sum_k w_k column_k - target|^2 + ridge |w|^2`, by the normal equations and elimination with
/// pivots.
fn least_squares(columns: &[Vec<f64>], target: &[f64]) -> Vec<f64> {
    let n = columns.len();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let mut rows: Vec<Vec<f64>> = (0..n)
        .map(|i| {
            let mut row: Vec<f64> =
                (0..n).map(|j| dot(&columns[i], &columns[j]) + if i == j { RIDGE } else { 0.0 }).collect();
            row.push(dot(&columns[i], target));
            row
        })
        .collect();
    for i in 0..n {
        let pivot = (i..n).max_by(|a, b| rows[*a][i].abs().total_cmp(&rows[*b][i].abs())).unwrap_or(i);
        rows.swap(i, pivot);
        let lead = rows[i].clone();
        for (_, row) in rows.iter_mut().enumerate().filter(|(k, _)| *k != i) {
            let factor = row[i] / lead[i];
            row.iter_mut().zip(&lead).for_each(|(value, above)| *value -= factor * above);
        }
    }
    (0..n).map(|i| rows[i][n] / rows[i][i]).collect()
}
