//! Compiles the protos with protox (no `protoc` needed) and keeps the descriptor set for reflection.
use std::{env, fs, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 7] = [
    "easel/v1/access.proto",
    "easel/v1/image.proto",
    "easel/v1/generation.proto",
    "easel/v1/blob.proto",
    "easel/v1/model.proto",
    "easel/v1/session.proto",
    "easel/v1/system.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=easel");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("easel_descriptor.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
