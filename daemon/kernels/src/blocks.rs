//! Linear layers whose weights are rounded in blocks of 32 inputs, in 8 or 4 bits, with activations rounded in the same
//! blocks to 8 bits. An outlier among the activations then costs its own block alone, which language models need.
//!
//! Sums of a block are exact integers; what they are worth is added up in f32, in the same order at every level and with one
//! rounding for each block, so that results are equal to the bit.

mod format;
mod linear;
mod rounding;
mod sums;
mod tokens;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use format::BlockFormat;
pub use linear::BlockLinear;
pub use tokens::BlockTokens;

/// Inputs of a block.
const BLOCK: usize = 32;
/// Groups of four inputs in a block.
const QUADS: usize = BLOCK / 4;
/// Output channels of a panel.
const COLUMNS: usize = 32;
/// Tokens that are summed at one time.
const ROWS: usize = 6;
