//! candle multiplies matrices with the crate `gemm`, whose AVX-512 kernels are behind a feature that candle does not ask for.
//! We do, and it would be lost without a word if candle moved to another version of that crate.

#[test]
fn matrix_products_may_use_avx512() {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .other_options(["--locked".to_owned()])
        .exec()
        .unwrap();
    let resolve = metadata.resolve.unwrap();
    for name in ["gemm", "gemm-common", "gemm-f32"] {
        let ids: Vec<_> =
            metadata.packages.iter().filter(|package| package.name == name).map(|package| &package.id).collect();
        assert_eq!(ids.len(), 1, "one version of {name}, ours and candle's");
        let node = resolve.nodes.iter().find(|node| node.id == *ids[0]).unwrap();
        assert!(node.features.iter().any(|feature| feature.as_str() == "x86-v4"), "{name} without x86-v4");
    }
}
