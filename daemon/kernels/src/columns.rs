//! The input of a convolution laid out as the columns of a matrix product, a few channels and rows at a time.

/// Depth of the product of one block of channels: what `gemm` sums in one go.
const DEPTH: usize = 512;

/// How a kernel moves over an input plane.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    /// Taps in each direction.
    pub(crate) kernel: usize,
    /// Steps between two outputs.
    pub(crate) stride: usize,
    /// Rows of zeros above the input; below it there are as many as are needed.
    pub(crate) top: usize,
    /// The same on the left and right.
    pub(crate) left: usize,
    /// Input `[height, width]`.
    pub(crate) input: [usize; 2],
    /// Output `[height, width]`.
    pub(crate) output: [usize; 2],
}

/// How far apart the lines of `width` columns are: lines a power of two apart would fall into the same few sets of the
/// caches and push each other out.
pub(crate) fn line_length(width: usize) -> usize {
    width.next_multiple_of(16) + 16
}

impl Window {
    /// Channels of a block: as even as they come, none larger than the depth allows.
    pub(crate) fn channels_of_a_block(&self, channels: usize) -> usize {
        let most = (DEPTH / (self.kernel * self.kernel)).max(1);
        channels.div_ceil(channels.div_ceil(most).max(1)).max(1)
    }

    /// Output rows of a tile of at most `columns` columns or one row; so many that there is work for eight threads, unless
    /// the tiles would be so small that reading the weights for each of them tells.
    pub(crate) fn rows_of_a_tile(&self, columns: usize) -> usize {
        let [height, width] = self.output;
        let columns = (height * width / 8).clamp(columns.min(128), columns);
        (columns / width.max(1)).clamp(1, height.max(1))
    }

    /// Writes `(channels * kernel * kernel, rows * width)` in lines [`line_length`] apart: row `(c, ky, kx)` holds the value under that tap for each output of
    /// the rows `first..first + rows`. `planes` are the channels of the block.
    pub(crate) fn gather(&self, planes: &[f32], first: usize, rows: usize, columns: &mut [f32]) {
        let [height, width] = self.input;
        let [_, out_width] = self.output;
        let wide = rows * out_width;
        let lines = columns.chunks_exact_mut(line_length(wide)).map(|line| &mut line[..wide]);
        for (line, columns) in lines.enumerate() {
            let (channel, tap) = (line / (self.kernel * self.kernel), line % (self.kernel * self.kernel));
            let (ky, kx) = (tap / self.kernel, tap % self.kernel);
            for (y, columns) in columns.chunks_exact_mut(out_width).enumerate() {
                match ((first + y) * self.stride + ky).checked_sub(self.top).filter(|y| *y < height) {
                    Some(y) => self.line(&planes[(channel * height + y) * width..][..width], kx, columns),
                    None => columns.fill(0.0),
                }
            }
        }
    }

    /// What tap `kx` sees of one input row.
    fn line(&self, row: &[f32], kx: usize, columns: &mut [f32]) {
        // Output x reads x * stride + kx - left, which has to lie within the row.
        let begin = self.left.saturating_sub(kx).div_ceil(self.stride).min(columns.len());
        let end = (row.len() + self.left).saturating_sub(kx).div_ceil(self.stride).clamp(begin, columns.len());
        columns[..begin].fill(0.0);
        columns[end..].fill(0.0);
        if begin == end {
            return;
        }
        let row = &row[begin * self.stride + kx - self.left..];
        let columns = &mut columns[begin..end];
        match self.stride {
            1 => columns.copy_from_slice(&row[..columns.len()]),
            2 => {
                let last = columns.len() - 1;
                let (pairs, _) = row.as_chunks::<2>();
                columns[..last].iter_mut().zip(pairs).for_each(|(to, from)| *to = from[0]);
                columns[last] = row[2 * last];
            }
            stride => columns.iter_mut().zip(row.iter().step_by(stride)).for_each(|(to, from)| *to = *from),
        }
    }
}
