//! The inner sums: a panel of output channels times a tile of tokens, in exact integers, by three ways that agree.

use crate::dispatch::{Kind, Level};

/// Output channels of a panel.
pub(super) const CHANNELS: usize = 32;
/// Tokens of a tile: with two registers of sums each, 24 of the 32 registers of AVX-512.
pub(super) const ROWS: usize = 12;

/// `[input / 4][CHANNELS][4]` weights.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    quads: &'a [[[u8; 4]; CHANNELS]],
}

impl<'a> Panel<'a> {
    pub(super) fn new(weights: &'a [u8]) -> Self {
        let (quads, rest) = weights.as_chunks::<4>().0.as_chunks::<CHANNELS>();
        assert!(rest.is_empty());
        Self { quads }
    }
}

/// `sums[row][channel]` of the products of `tokens (ROWS, input / 4)` and the panel.
pub(super) fn sums(level: Level, panel: Panel<'_>, tokens: &[[i8; 4]]) -> [[i32; CHANNELS]; ROWS] {
    assert_eq!(tokens.len(), ROWS * panel.quads.len());
    match level.0 {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 if std::is_x86_feature_detected!("avx512vnni") => {
            // SAFETY: the level says that AVX-512 F and BW are there, and VNNI was looked for just now.
            unsafe { x86::vnni(panel, tokens) }
        }
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 | Kind::Avx2 => {
            // SAFETY: both levels say that AVX2 is there.
            unsafe { x86::avx2(panel, tokens) }
        }
        Kind::Portable => portable(panel, tokens),
    }
}

fn portable(panel: Panel<'_>, tokens: &[[i8; 4]]) -> [[i32; CHANNELS]; ROWS] {
    let mut sums = [[0i32; CHANNELS]; ROWS];
    for (sums, token) in sums.iter_mut().zip(tokens.chunks_exact(panel.quads.len())) {
        for (weights, token) in panel.quads.iter().zip(token) {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                let product = |i: usize| i32::from(weight[i]) * i32::from(token[i]);
                *sum += product(0) + product(1) + product(2) + product(3);
            }
        }
    }
    sums
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{CHANNELS, Panel, ROWS};
    use std::arch::x86_64::{
        __m256i, _mm_cvtepi8_epi16, _mm_cvtsi32_si128, _mm_loadu_si128, _mm256_add_epi32, _mm256_broadcastq_epi64,
        _mm256_cvtepu8_epi16, _mm256_madd_epi16, _mm256_setzero_si256, _mm256_storeu_si256, _mm512_dpbusd_epi32,
        _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_storeu_si512,
    };

    /// Four products and their sum in one instruction for each of 16 channels.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn vnni(panel: Panel<'_>, tokens: &[[i8; 4]]) -> [[i32; CHANNELS]; ROWS] {
        let quads = panel.quads.len();
        let tokens = &tokens[..ROWS * quads];
        let mut sums = [[_mm512_setzero_si512(); 2]; ROWS];
        for (at, weights) in panel.quads.iter().enumerate() {
            let weights = weights.as_ptr().cast::<u8>();
            // SAFETY: the 32 channels are 128 bytes, of which these read the first and the second 64.
            let weights = unsafe { [_mm512_loadu_si512(weights.cast()), _mm512_loadu_si512(weights.add(64).cast())] };
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: row < ROWS and at < quads, and there are ROWS * quads tokens.
                let token = unsafe { *tokens.get_unchecked(row * quads + at) };
                let token = _mm512_set1_epi32(i32::from_ne_bytes(token.map(|byte| byte as u8)));
                sums[0] = _mm512_dpbusd_epi32(sums[0], weights[0], token);
                sums[1] = _mm512_dpbusd_epi32(sums[1], weights[1], token);
            }
        }
        let mut out = [[0i32; CHANNELS]; ROWS];
        for (out, sums) in out.iter_mut().zip(&sums) {
            let out = out.as_mut_ptr();
            // SAFETY: 32 sums are twice the 16 that one of these writes.
            unsafe {
                _mm512_storeu_si512(out.cast(), sums[0]);
                _mm512_storeu_si512(out.add(16).cast(), sums[1]);
            }
        }
        out
    }

    /// Widened to 16 bits, in which no sum of two products is too large for its 32. (The instruction that multiplies bytes
    /// keeps 16 bits of the sum and saturates.)
    #[target_feature(enable = "avx2")]
    pub(super) fn avx2(panel: Panel<'_>, tokens: &[[i8; 4]]) -> [[i32; CHANNELS]; ROWS] {
        /// Rows and groups of four channels that are summed at one time.
        const AT_ONCE: usize = 3;
        const GROUPS: usize = 4;
        let quads = panel.quads.len();
        let tokens = &tokens[..ROWS * quads];
        let mut out = [[0i32; CHANNELS]; ROWS];
        for first in (0..ROWS).step_by(AT_ONCE) {
            for group in (0..CHANNELS / 4).step_by(GROUPS) {
                let mut sums = [[_mm256_setzero_si256(); GROUPS]; AT_ONCE];
                for (at, weights) in panel.quads.iter().enumerate() {
                    let mut wide = [_mm256_setzero_si256(); GROUPS];
                    for (place, wide) in wide.iter_mut().enumerate() {
                        let four = &weights[(group + place) * 4..][..4];
                        // SAFETY: four channels are 16 bytes.
                        *wide = _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(four.as_ptr().cast()) });
                    }
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let token = tokens[(first + row) * quads + at].map(|byte| byte as u8);
                        let token = _mm_cvtepi8_epi16(_mm_cvtsi32_si128(i32::from_ne_bytes(token)));
                        let token = _mm256_broadcastq_epi64(token);
                        for (sum, wide) in sums.iter_mut().zip(&wide) {
                            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(*wide, token));
                        }
                    }
                }
                for (row, sums) in sums.iter().enumerate() {
                    for (place, sum) in sums.iter().enumerate() {
                        out[first + row][(group + place) * 4..][..4].copy_from_slice(&pairs(*sum));
                    }
                }
            }
        }
        out
    }

    /// Neighbours added: the two halves of the sum of each channel.
    #[target_feature(enable = "avx2")]
    fn pairs(sum: __m256i) -> [i32; 4] {
        let mut halves = [0i32; 8];
        // SAFETY: eight numbers are what it writes.
        unsafe { _mm256_storeu_si256(halves.as_mut_ptr().cast(), sum) };
        [0, 2, 4, 6].map(|at| halves[at] + halves[at + 1])
    }
}
