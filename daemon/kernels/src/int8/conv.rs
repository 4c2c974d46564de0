//! 3x3 convolutions in 8 bits, and nearest-neighbour doubling followed by one: output channels are rows, panels hold pixels,
//! and each tap is a product by itself, since every pixel has its own step. Nothing is copied for a tap: it reads the rounded
//! line from its own place on.
//!
//! A chain of convolutions goes down the picture row by row. Each keeps the last three rounded rows of its input, so that
//! what lies between two of them never goes to memory.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::bytes::Bytes;
use super::finish::{self, Channel, Place};
use super::pointwise::{offset_of, signed};
use super::quantise::Pixels;
use super::quantise::round;
use super::sums::{COLUMNS, FILL, Panel, ROWS, Rows, Sums, depth_of, empty_sums, sums};
use super::{LONGEST, step_of};
use crate::dispatch::Level;
use crate::gemm::Target;
use crate::op::{apply, ensure, refuse};

/// Rows of the input that a task goes down: at its ends a chain computes some rows twice.
const STRIP: usize = 64;

/// A 3x3 convolution with 8-bit weights, stride 1 and a border of zeros.
#[derive(Debug)]
pub struct Int8Conv3x3 {
    /// `[phase][output filled up][tap][depth][4]`
    weight: Bytes,
    /// `(phase, output)`
    channels: Vec<Channel>,
    /// `(phase, tap, output)`: what the offset of the pixels adds to each sum.
    offsets: Vec<i32>,
    input: usize,
    output: usize,
    /// True: each pixel is doubled first, see [`UpsampleConv3x3`](crate::UpsampleConv3x3).
    doubles: bool,
}

/// The last three rows of a convolution's input, rounded.
struct Ring {
    quads: Vec<[u8; 4]>,
    sizes: Vec<f32>,
    /// Groups of a line: a pixel on the left, the row, and what panels read beyond it.
    line: usize,
    depth: usize,
}

/// What a task computes with.
struct Scratch {
    rings: Vec<Ring>,
    /// A row on its way into the next ring.
    row: Pixels,
    numbers: Box<Sums>,
    totals: [Vec<[f32; COLUMNS]>; 2],
}

impl Int8Conv3x3 {
    /// Rounds `weight (output, input, 3, 3)` to 255 steps for each output channel: what [`from_packed`](Self::from_packed) reads.
    pub fn pack(weight: &[f32], [output, input]: [usize; 2]) -> Vec<u8> {
        assert!(weight.len() == output * input * 9 && input > 0 && input <= LONGEST);
        pack_phases(weight, [1, output, input, 9])
    }

    /// The same for doubling and convolution: four phases of four summed taps.
    pub fn pack_doubling(weight: &[f32], shape: [usize; 2]) -> Vec<u8> {
        let phases = crate::upsample::phases_of(weight);
        pack_phases(&phases, [4, shape[0], shape[1], 4])
    }

    /// Bytes of a packed layer.
    pub fn packed_len([output, input]: [usize; 2], doubles: bool) -> usize {
        let (phases, taps) = if doubles { (4, 4) } else { (1, 9) };
        4 * phases * (output.next_multiple_of(FILL) * taps * depth_of(input) + output)
    }

    /// A layer that reads packed weights where they are; `bias (output)`. `None` when they have another length.
    pub fn from_packed(
        packed: &Bytes,
        bias: Option<&[f32]>,
        [output, input]: [usize; 2],
        doubles: bool,
    ) -> Option<Self> {
        let lengths = packed.len() == Self::packed_len([output, input], doubles) && (1..=LONGEST).contains(&input);
        if !lengths || output == 0 || bias.is_some_and(|bias| bias.len() != output) {
            return None;
        }
        let (phases, taps) = if doubles { (4, 4) } else { (1, 9) };
        let (weight, scales) = packed.split_floats(packed.len() - 4 * phases * output)?;
        let channel = |(at, scale): (usize, &f32)| Channel {
            scale: *scale,
            offset: 0,
            bias: bias.map_or(0.0, |bias| bias[at % output]),
        };
        let channels = scales.iter().enumerate().map(channel).collect();
        let depth = depth_of(input);
        let rows: Vec<&[[i8; 4]]> = signed(weight.as_slice()).chunks_exact(depth).collect();
        let filled = output.next_multiple_of(FILL);
        let mut offsets = Vec::with_capacity(phases * taps * output);
        for phase in 0..phases {
            for tap in 0..taps {
                offsets.extend((0..output).map(|row| offset_of(rows[(phase * filled + row) * taps + tap])));
            }
        }
        Some(Self { weight, channels, offsets, input, output, doubles })
    }

    /// A layer from `weight (output, input, 3, 3)`, rounded, and `bias (output)` as it is.
    pub fn from_slices(weight: &[f32], bias: Option<&[f32]>, shape: [usize; 2], doubles: bool) -> Self {
        let packed = if doubles { Self::pack_doubling(weight, shape) } else { Self::pack(weight, shape) };
        Self::from_packed(&packed.into(), bias, shape, doubles).expect("packed just now")
    }

    /// Bytes that the layer holds or reads where they are mapped.
    pub fn bytes(&self) -> usize {
        self.weight.len() + size_of_val(&self.channels[..]) + size_of_val(&self.offsets[..])
    }

    /// The taps of a phase: how many in each direction, and how far up and left of a pixel the first lies.
    fn window(&self, phase: usize) -> (usize, [usize; 2]) {
        if self.doubles { (2, [1 - phase / 2, 1 - phase % 2]) } else { (3, [1, 1]) }
    }

    /// Sums of all taps of one phase for [`COLUMNS`] pixels from `x` on of row `y`, and the channels `rows`.
    fn sum(
        &self,
        level: Level,
        (phase, rows): (usize, std::ops::Range<usize>),
        (ring, y, x): (&Ring, isize, usize),
        numbers: &mut Sums,
        totals: &mut [[f32; COLUMNS]],
    ) {
        let (side, [top, left]) = self.window(phase);
        let (taps, depth) = (side * side, ring.depth);
        let filled = self.output.next_multiple_of(FILL);
        let weight = &signed(self.weight.as_slice())[(phase * filled + rows.start) * taps * depth..];
        for tap in 0..taps {
            let (quads, sizes) = ring.row(y + (tap / side) as isize - top as isize);
            let first = x + 1 + tap % side - left;
            let panel = Panel { quads: &quads[first..], line: ring.line };
            let rows_of_tap = Rows { quads: &weight[tap * depth..], line: taps * depth };
            sums(level, panel, rows_of_tap, [rows.len(), depth], numbers);
            let offsets = &self.offsets[(phase * taps + tap) * self.output..][rows.clone()];
            finish::tap(level, &numbers[..rows.len()], offsets, &sizes[first..], tap == 0, totals);
        }
    }

    /// Row `y` of the convolution, `width` pixels of all channels, which are rows of the target.
    ///
    /// The memory behind the place is the caller's alone; see [`Place`].
    fn row(
        &self,
        level: Level,
        (ring, y, width): (&Ring, isize, usize),
        (numbers, totals): (&mut Sums, &mut [Vec<[f32; COLUMNS]>; 2]),
        place: &Place<'_>,
    ) {
        for start in (0..self.output).step_by(ROWS) {
            let rows = start..self.output.min(start + ROWS);
            for x in (0..width).step_by(COLUMNS) {
                let totals = &mut totals[0][..rows.len()];
                self.sum(level, (0, rows.clone()), (ring, y, x), numbers, totals);
                let columns = COLUMNS.min(width - x);
                finish::taps(level, totals, &self.channels[rows.clone()], &place.part(start, x, columns));
            }
        }
    }

    /// The two rows that row `y` becomes by doubling; `places` are theirs.
    fn doubled_rows(
        &self,
        level: Level,
        (ring, y, width): (&Ring, isize, usize),
        (numbers, totals): (&mut Sums, &mut [Vec<[f32; COLUMNS]>; 2]),
        places: &[Place<'_>; 2],
    ) {
        for (odd, place) in places.iter().enumerate() {
            for start in (0..self.output).step_by(ROWS) {
                let rows = start..self.output.min(start + ROWS);
                for x in (0..width).step_by(COLUMNS) {
                    for (phase, totals) in totals.iter_mut().enumerate() {
                        let totals = &mut totals[..rows.len()];
                        self.sum(level, (2 * odd + phase, rows.clone()), (ring, y, x), numbers, totals);
                    }
                    let channels = [0, 1].map(|phase| &self.channels[(2 * odd + phase) * self.output..][rows.clone()]);
                    let totals = [0, 1].map(|phase| &totals[phase][..rows.len()]);
                    let columns = COLUMNS.min(width - x);
                    finish::doubled_taps(level, totals, channels, &place.part(start, 2 * x, 2 * columns));
                }
            }
        }
    }

    /// `x (b, in, h, w)` -> `(b, out, h, w)`, or of twice the height and width when the layer doubles.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Int8Chain::new(&[self], false, false)
            .map_or_else(|| refuse("int8_conv3x3", "a layer", x.shape()), |chain| chain.forward(x))
    }
}

/// Convolutions one after the other, with ReLU between them.
pub struct Int8Chain<'a> {
    convs: Vec<&'a Int8Conv3x3>,
    /// The input is added to the result.
    residual: bool,
    /// ReLU after the last one too.
    relu: bool,
}

impl<'a> Int8Chain<'a> {
    /// `None` when the convolutions do not fit one another. Only a single one may double.
    pub fn new(convs: &[&'a Int8Conv3x3], residual: bool, relu: bool) -> Option<Self> {
        let (first, last) = (convs.first()?, convs.last()?);
        let fit = convs.windows(2).all(|pair| pair[0].output == pair[1].input);
        let double = convs.iter().any(|conv| conv.doubles);
        let fit = fit && (!double || convs.len() == 1) && (!residual || (first.input == last.output && !double));
        fit.then(|| Self { convs: convs.to_vec(), residual, relu })
    }

    fn ends(&self) -> (&'a Int8Conv3x3, &'a Int8Conv3x3) {
        (self.convs[0], self.convs[self.convs.len() - 1])
    }

    fn scratch(&self, width: usize) -> Scratch {
        let wide = width.next_multiple_of(COLUMNS);
        let widest = self.convs.iter().map(|conv| conv.input.max(conv.output)).max().unwrap_or(1);
        let totals = [0, 1].map(|_| vec![[0f32; COLUMNS]; widest.min(ROWS)]);
        Scratch {
            rings: self.convs.iter().map(|conv| Ring::new(conv.input, wide)).collect(),
            row: Pixels::new(widest, wide),
            numbers: empty_sums(),
            totals,
        }
    }

    /// `x (batch, in, height, width)` -> `out (batch, out, height', width')`; `size` is `[height, width]`.
    pub fn forward_slice(&self, level: Level, x: &[f32], [height, width]: [usize; 2], out: &mut [f32]) {
        let (first, last) = self.ends();
        let scale = if last.doubles { 2 } else { 1 };
        let (pixels, out_pixels) = (height * width, height * width * scale * scale);
        if out.is_empty() {
            return;
        }
        assert!(out.len().is_multiple_of(last.output * out_pixels));
        let batch = out.len() / (last.output * out_pixels);
        assert_eq!(x.len(), batch * first.input * pixels);
        let strips = height.div_ceil(STRIP);
        let target = Target::new(out, out_pixels);
        (0..batch * strips).into_par_iter().for_each_init(
            || self.scratch(width),
            |scratch, task| {
                let (sample, begin) = (task / strips, (task % strips * STRIP) as isize);
                let x = &x[sample * first.input * pixels..][..first.input * pixels];
                let target = target.at(sample * last.output * out_pixels);
                let end = (begin + STRIP as isize).min(height as isize);
                self.strip(level, (x, [height, width]), [begin, end], scratch, target);
            },
        );
    }

    /// Rows `begin..end` of one sample.
    fn strip(
        &self,
        level: Level,
        (x, [height, width]): (&[f32], [usize; 2]),
        [begin, end]: [isize; 2],
        scratch: &mut Scratch,
        target: Target,
    ) {
        let count = self.convs.len() as isize;
        let outside = |y: isize| y < 0 || y >= height as isize;
        let Scratch { rings, row, numbers, totals } = scratch;
        for newest in begin - count..end + count {
            match outside(newest) {
                true => rings[0].push_zeros(newest),
                false => {
                    row.load(self.ends().0.input, &x[newest as usize * width..], height * width, width);
                    rings[0].push(level, newest, row);
                }
            }
            for (at, conv) in self.convs.iter().enumerate() {
                let (y, behind) = (newest - 1 - at as isize, count - 1 - at as isize);
                if y < begin - behind || y >= end + behind {
                    continue;
                }
                let work = (numbers.as_mut(), &mut *totals);
                if behind > 0 && outside(y) {
                    rings[at + 1].push_zeros(y);
                } else if behind > 0 {
                    let (line, values) = row.lines(conv.output);
                    let place = Place::new(Target::new(values, line), width, None, true);
                    conv.row(level, (&rings[at], y, width), work, &place);
                    rings[at + 1].push(level, y, row);
                } else if conv.doubles {
                    let places = [0, 1].map(|odd| {
                        Place::new(target.at((2 * y as usize + odd) * 2 * width), 2 * width, None, self.relu)
                    });
                    conv.doubled_rows(level, (&rings[at], y, width), work, &places);
                } else {
                    let first = y as usize * width;
                    let residual = self.residual.then(|| (&x[first..], height * width));
                    let place = Place::new(target.at(first), width, residual, self.relu);
                    // The memory is borrowed mutably by `forward_slice`, and its rows belong to one task.
                    conv.row(level, (&rings[at], y, width), work, &place);
                }
            }
        }
    }

    /// `x (b, in, h, w)` -> `(b, out, h, w)`, or of twice the height and width when it doubles.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        const NAME: &str = "int8_conv3x3";
        let (batch, input, height, width) = x.dims4()?;
        let (first, last) = self.ends();
        ensure(input == first.input, NAME, &format!("{} channels", first.input), x.shape())?;
        let scale = if last.doubles { 2 } else { 1 };
        apply(NAME, x, (batch, last.output, scale * height, scale * width), |x, out| {
            self.forward_slice(Level::best(), x, [height, width], out);
            Ok(())
        })
    }
}

impl Ring {
    /// Room for rows of `input` channels and `wide` pixels, a multiple of [`COLUMNS`].
    fn new(input: usize, wide: usize) -> Self {
        let (depth, line) = (depth_of(input), (wide + 2).next_multiple_of(COLUMNS));
        Self { quads: vec![[128; 4]; 3 * depth * line], sizes: vec![0f32; 3 * line], line, depth }
    }

    fn slot(y: isize) -> usize {
        y.rem_euclid(3) as usize
    }

    /// The lines of row `y`, one of the last three, and the sizes of its pixels' steps.
    fn row(&self, y: isize) -> (&[[u8; 4]], &[f32]) {
        let (slot, extent) = (Self::slot(y), self.depth * self.line);
        (&self.quads[slot * extent..][..extent], &self.sizes[slot * self.line..][..self.line])
    }

    /// A row beyond the edge.
    fn push_zeros(&mut self, y: isize) {
        self.sizes[Self::slot(y) * self.line..][..self.line].fill(0.0);
    }

    fn push(&mut self, level: Level, y: isize, row: &Pixels) {
        let (slot, extent) = (Self::slot(y), self.depth * self.line);
        let quads = &mut self.quads[slot * extent..][..extent];
        let sizes = &mut self.sizes[slot * self.line..][..self.line];
        let wide = row.width();
        row.round(level, &mut sizes[1..=wide], &mut quads[1..], [COLUMNS, self.line]);
    }
}

/// Rounds `weight (phases, output, input, taps)` to signed bytes, one scale for each phase and channel.
fn pack_phases(weight: &[f32], [phases, output, input, taps]: [usize; 4]) -> Vec<u8> {
    let (depth, filled) = (depth_of(input) * 4, output.next_multiple_of(FILL));
    let mut packed = vec![0u8; phases * filled * taps * depth];
    let mut scales = Vec::with_capacity(4 * phases * output);
    for phase in 0..phases {
        for channel in 0..output {
            let kernel = &weight[(phase * output + channel) * input * taps..][..input * taps];
            let (step, inverse) = step_of(kernel);
            scales.extend(step.to_le_bytes());
            let packed = &mut packed[(phase * filled + channel) * taps * depth..][..taps * depth];
            for (place, weight) in kernel.iter().enumerate() {
                packed[place % taps * depth + place / taps] = round(weight * inverse) as u8;
            }
        }
    }
    packed.extend(scales);
    packed
}
