//! Pictures against the reference: what diffusers and Pillow made of the same files, read from the manifest.
#![allow(clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};

use easel_domain::{RgbImage, Size};
use easel_imaging::{Filter, load, probe, resize};
use safetensors::SafeTensors;
use serde_json::Value;

/// `goldens/` of EASEL_REFERENCE, else of ../shared/reference beside the workspace, else of tests/goldens in the tree.
fn goldens() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let named = std::env::var_os("EASEL_REFERENCE").map(PathBuf::from);
    let found = [workspace.join("../shared/reference"), workspace.join("tests/goldens")];
    let root = named.or_else(|| found.into_iter().find(|f| f.join("goldens/manifest.json").is_file()));
    root.expect("a reference folder: set EASEL_REFERENCE or keep tests/goldens").join("goldens")
}

/// Runs `check` on every case of a kind; a kind that the folder lacks is reported as absent.
fn each_case(kind: &str, check: impl Fn(&Path, &Value, &SafeTensors<'_>)) {
    let root = goldens();
    let manifest: Value =
        serde_json::from_slice(&fs::read(root.join("manifest.json")).expect("a manifest")).expect("valid JSON");
    let cases = manifest["cases"].as_array().expect("a list of cases");
    assert!(!cases.is_empty(), "the manifest has no cases");
    let mut count = 0;
    for case in cases.iter().filter(|case| case["kind"] == kind) {
        let file = root.join(case["file"].as_str().expect("a file"));
        let bytes = fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        check(&root, case, &SafeTensors::deserialize(&bytes).expect("safetensors"));
        count += 1;
    }
    match count {
        0 => println!("golden kind {kind} is absent from {}", root.display()),
        _ => println!("{kind}: {count} cases"),
    }
}

/// A picture of the reference: bytes of shape (height, width, 3).
fn wanted(tensors: &SafeTensors<'_>, name: &str) -> RgbImage {
    let tensor = tensors.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
    let [height, width, 3] = *tensor.shape() else { panic!("{name} is no picture") };
    RgbImage::new(width as u32, height as u32, tensor.data().to_vec()).expect("a picture")
}

fn source(root: &Path, case: &Value) -> RgbImage {
    let path = root.join(case["inputs"]["image"].as_str().expect("an image"));
    load(&fs::read(path).expect("the picture is there")).expect("it can be read")
}

fn largest_difference(a: &RgbImage, b: &RgbImage) -> u8 {
    assert_eq!(a.size(), b.size());
    a.pixels().iter().zip(b.pixels()).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

#[test]
fn golden_load_image() {
    each_case("load_image", |root, case, tensors| {
        for name in case["tensors"].as_object().expect("tensors").keys() {
            let bytes =
                fs::read(root.join(case["inputs"]["images"].as_str().expect("a pattern").replace("<key>", name)));
            let bytes = bytes.unwrap_or_else(|e| panic!("{name}: {e}"));
            let (made, wanted) = (load(&bytes).expect("it can be read"), wanted(tensors, name));
            let allowed = if name.ends_with(".jpg") { 3 } else { 0 };
            let off = largest_difference(&made, &wanted);
            println!("{name}: off by {off} of {allowed}");
            assert!(off <= allowed, "{name} is off by {off}");
            assert_eq!(probe(&bytes).expect("a header").size, wanted.size());
        }
    });
}

#[test]
fn golden_preprocess_vae() {
    each_case("preprocess_vae", |root, case, tensors| {
        let wanted = wanted(tensors, "pixels_u8");
        let asked = |key: &str| case["inputs"][key].as_u64().expect("a length") as u32 / 16 * 16;
        let size = Size { width: asked("width"), height: asked("height") };
        let made = resize(&source(root, case), size, Filter::Lanczos);
        assert_eq!(largest_difference(&made, &wanted), 0, "{}", case["case"]);
    });
}

#[test]
fn golden_preprocess_encoder_resize() {
    each_case("preprocess_encoder", |root, case, tensors| {
        let wanted = wanted(tensors, "resized_512_u8");
        let made = resize(&source(root, case), wanted.size(), Filter::Lanczos);
        let off = largest_difference(&made, &wanted);
        println!("{}: off by {off} of 1", case["case"]);
        assert!(off <= 1, "{} is off by {off}", case["case"]);
    });
}
