//! Easel.
fn main() {}
