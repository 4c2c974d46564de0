//! Every kernel against a plain computation in f64, at every instruction set that this processor has, over odd shapes.

mod activation;
mod attention;
mod blocks;
mod common;
mod conv;
mod depthwise;
mod group_norm;
mod int8;
mod int8_pixels;
mod layout;
mod linear;
mod pointwise;
mod token_norm;
