//! Sums of integers become numbers again. No multiplication is fused with an addition. Differences wrap, since a check of each
//! would keep the loops from becoming vector code; they fit, see [`LONGEST`](super::LONGEST).

use super::quantise::Step;
use super::sums::COLUMNS;
use crate::dispatch::multiversion;
use crate::gemm::Target;
use crate::math;

/// Where the numbers of a tile go, and what is added to them on the way.
pub(super) struct Place<'a> {
    /// First element of the tile.
    pub(super) target: Target,
    /// Columns that there are, at most [`COLUMNS`].
    pub(super) columns: usize,
    /// Of the same layout as the target, from its first element on, and how far its rows are apart.
    pub(super) residual: Option<(&'a [f32], usize)>,
    /// Negative results become zero.
    pub(super) relu: bool,
}

impl<'a> Place<'a> {
    pub(super) fn new(target: Target, columns: usize, residual: Option<(&'a [f32], usize)>, relu: bool) -> Self {
        Self { target, columns, residual, relu }
    }

    /// The part that begins at a row and column.
    pub(super) fn part(&self, row: usize, column: usize, columns: usize) -> Self {
        let residual = self.residual.map(|(residual, line)| (&residual[row * line + column..], line));
        Self { target: self.target.at(row * self.target.row() + column), columns, residual, relu: self.relu }
    }

    /// # Safety
    /// The memory behind the target is alive, and nobody else reads or writes these elements meanwhile.
    #[inline(always)]
    unsafe fn put<const N: usize>(&self, row: usize, mut values: [f32; N]) {
        let residual = self.residual.map(|(residual, line)| &residual[row * line..][..self.columns]);
        // SAFETY: the caller's promise.
        let out = unsafe { self.target.slice(row, self.columns) };
        // Not a number stays what it is.
        let relu = |value: f32| if value < 0.0 { 0.0 } else { value };
        let Some(whole) = out.first_chunk_mut::<N>() else {
            for (at, out) in out.iter_mut().enumerate() {
                let value = values[at] + residual.map_or(0.0, |residual| residual[at]);
                *out = if self.relu { relu(value) } else { value };
            }
            return;
        };
        if let Some(residual) = residual.and_then(|residual| residual.first_chunk::<N>()) {
            for i in 0..N {
                values[i] += residual[i];
            }
        }
        if self.relu {
            for value in &mut values {
                *value = relu(*value);
            }
        }
        *whole = values;
    }
}

#[inline(always)]
fn columns_of(values: &[f32]) -> &[f32; COLUMNS] {
    values.first_chunk().expect("filled up to whole panels")
}

/// One row of a product of tokens (rows) and channels (columns).
#[inline(always)]
fn token_row(sums: &[i32; COLUMNS], step: &Step, scale: &[f32; COLUMNS], bias: &[f32; COLUMNS]) -> [f32; COLUMNS] {
    let mut values = [0f32; COLUMNS];
    for i in 0..COLUMNS {
        values[i] = sums[i].wrapping_sub(step.offset) as f32 * step.size * scale[i] + bias[i];
    }
    values
}

/// Rows are tokens, columns channels with a `scale` and a `bias` each.
///
/// The memory behind the place is the caller's alone, see [`Place`].
#[inline(always)]
fn tokens_body<const FMA: bool>(
    sums: &[[i32; COLUMNS]],
    steps: &[Step],
    scale: &[f32],
    bias: &[f32],
    place: &Place<'_>,
) {
    let (scale, bias) = (columns_of(scale), columns_of(bias));
    for (row, (sums, step)) in sums.iter().zip(steps).enumerate() {
        let values = token_row(sums, step, scale, bias);
        // SAFETY: the caller's promise.
        unsafe { place.put(row, values) };
    }
}
multiversion!(
    pub(super) fn tokens(
        sums: &[[i32; COLUMNS]],
        steps: &[Step],
        scale: &[f32],
        bias: &[f32],
        place: &Place<'_>,
    ) = tokens_body
);

/// How a channel was rounded, when channels are the rows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Channel {
    pub(super) scale: f32,
    /// 128 times the sum of the integers.
    pub(super) offset: i32,
    pub(super) bias: f32,
}

/// One channel of a product of channels (rows) and pixels (columns) with the size of a step each.
///
/// The memory behind the place is the caller's alone, see [`Place`].
#[inline(always)]
fn pixels_body<const FMA: bool>(sums: &[i32; COLUMNS], channel: &Channel, sizes: &[f32], place: &Place<'_>) {
    let sizes = columns_of(sizes);
    let mut values = [0f32; COLUMNS];
    for i in 0..COLUMNS {
        values[i] = sums[i].wrapping_sub(channel.offset) as f32 * channel.scale * sizes[i] + channel.bias;
    }
    // SAFETY: the caller's promise.
    unsafe { place.put(0, values) };
}
multiversion!(
    pub(super) fn pixels(
        sums: &[i32; COLUMNS],
        channel: &Channel,
        sizes: &[f32],
        place: &Place<'_>,
    ) = pixels_body
);

/// Adds one tap of a convolution: `total += (sums - offset) * size`.
#[inline(always)]
fn tap_body<const FMA: bool>(
    sums: &[[i32; COLUMNS]],
    offsets: &[i32],
    sizes: &[f32],
    begin: bool,
    totals: &mut [[f32; COLUMNS]],
) {
    let sizes = columns_of(sizes);
    for ((sums, offset), totals) in sums.iter().zip(offsets).zip(totals) {
        let mut values = if begin { [0f32; COLUMNS] } else { *totals };
        for i in 0..COLUMNS {
            values[i] += sums[i].wrapping_sub(*offset) as f32 * sizes[i];
        }
        *totals = values;
    }
}
multiversion!(
    pub(super) fn tap(
        sums: &[[i32; COLUMNS]],
        offsets: &[i32],
        sizes: &[f32],
        begin: bool,
        totals: &mut [[f32; COLUMNS]],
    ) = tap_body
);

/// The numbers of a convolution whose taps are summed.
///
/// The memory behind the place is the caller's alone, see [`Place`].
#[inline(always)]
fn taps_body<const FMA: bool>(totals: &[[f32; COLUMNS]], channels: &[Channel], place: &Place<'_>) {
    for (row, (totals, channel)) in totals.iter().zip(channels).enumerate() {
        let mut values = [0f32; COLUMNS];
        for i in 0..COLUMNS {
            values[i] = totals[i] * channel.scale + channel.bias;
        }
        // SAFETY: the caller's promise.
        unsafe { place.put(row, values) };
    }
}
multiversion!(pub(super) fn taps(totals: &[[f32; COLUMNS]], channels: &[Channel], place: &Place<'_>) = taps_body);

/// The same for two phases, whose results lie side by side.
///
/// The memory behind the place is the caller's alone, see [`Place`].
#[inline(always)]
fn doubled_taps_body<const FMA: bool>(totals: [&[[f32; COLUMNS]]; 2], channels: [&[Channel]; 2], place: &Place<'_>) {
    for row in 0..totals[0].len() {
        let mut values = [0f32; 2 * COLUMNS];
        for phase in 0..2 {
            let (totals, channel) = (&totals[phase][row], &channels[phase][row]);
            for i in 0..COLUMNS {
                values[2 * i + phase] = totals[i] * channel.scale + channel.bias;
            }
        }
        // SAFETY: the caller's promise.
        unsafe { place.put(row, values) };
    }
}
multiversion!(
    pub(super) fn doubled_taps(
        totals: [&[[f32; COLUMNS]]; 2],
        channels: [&[Channel]; 2],
        place: &Place<'_>,
    ) = doubled_taps_body
);

/// A panel of values and its panel of gates: `out[row] = value * gelu(gate)`, rows of `out` are `line` apart.
#[inline(always)]
fn gated_body<const FMA: bool>(
    sums: [&[[i32; COLUMNS]]; 2],
    steps: &[Step],
    scales: [&[f32]; 2],
    biases: [&[f32]; 2],
    out: &mut [f32],
    line: usize,
) {
    let (scales, biases) = (scales.map(columns_of), biases.map(columns_of));
    for (row, step) in steps.iter().enumerate() {
        let mut values = token_row(&sums[0][row], step, scales[0], biases[0]);
        let gates = token_row(&sums[1][row], step, scales[1], biases[1]);
        for i in 0..COLUMNS {
            values[i] *= math::gelu_erf::<FMA>(gates[i]);
        }
        out[row * line..][..COLUMNS].copy_from_slice(&values);
    }
}
multiversion!(
    pub(super) fn gated(
        sums: [&[[i32; COLUMNS]]; 2],
        steps: &[Step],
        scales: [&[f32]; 2],
        biases: [&[f32]; 2],
        out: &mut [f32],
        line: usize,
    ) = gated_body
);
