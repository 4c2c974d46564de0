//! Real files in every mode that Pillow writes, against the RGB that Pillow reads from them; `make_fixtures.py` is their
//! generator.
#![allow(clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};

use easel_domain::{Reason, Size};
use easel_imaging::{Filter, load, probe, resize};
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn listed(what: &str) -> Vec<Value> {
    let listing: Value = serde_json::from_slice(&fs::read(folder().join("fixtures.json")).unwrap()).unwrap();
    let rows = listing[what].as_array().unwrap().clone();
    assert!(rows.len() > 10, "{} {what}", rows.len());
    rows
}

#[test]
fn every_file_is_read_as_pillow_reads_it() {
    let mut wrong = Vec::new();
    for row in listed("files") {
        let name = row["file"].as_str().unwrap();
        let bytes = fs::read(folder().join(name)).unwrap();
        let wanted = fs::read(folder().join(format!("{name}.rgb"))).unwrap();
        let size = (row["width"].as_u64().unwrap() as u32, row["height"].as_u64().unwrap() as u32);
        let picture = match load(&bytes) {
            Ok(picture) => picture,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        let probed = probe(&bytes).unwrap().size;
        assert_eq!((probed.width, probed.height), size, "{name}");
        assert_eq!((picture.width(), picture.height()), size, "{name}");
        assert_eq!(picture.pixels().len(), wanted.len(), "{name}");
        let off = picture.pixels().iter().zip(&wanted).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        if off > 0 {
            println!("{name}: off by {off} of {}", row["tolerance"]);
        }
        if u64::from(off) > row["tolerance"].as_u64().unwrap() {
            wrong.push(format!("{name} is off by {off}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_size_is_made_as_pillow_makes_it() {
    let source = load(&fs::read(folder().join("rgb.png")).unwrap()).unwrap();
    for row in listed("resizes") {
        let size =
            Size { width: row["width"].as_u64().unwrap() as u32, height: row["height"].as_u64().unwrap() as u32 };
        let wanted = fs::read(folder().join(format!("resize_{size}.rgb"))).unwrap();
        let made = [Filter::Lanczos, Filter::Triangle].map(|filter| resize(&source, size, filter).pixels().to_vec());
        assert!(made.concat() == wanted, "{size} differs");
    }
}

#[test]
fn a_file_that_is_cut_in_its_pixels_is_refused_and_its_header_still_read() {
    for name in ["rgb.png", "420.jpg", "progressive.jpg", "lossless.webp", "lossy.webp", "plain.gif", "rgb.bmp"] {
        let bytes = fs::read(folder().join(name)).unwrap();
        let cut = &bytes[..bytes.len() * 9 / 10];
        let error = load(cut).expect_err(name);
        assert_eq!(error.reason, Reason::InvalidImage, "{name}: {error}");
        assert!(error.message.contains("again"), "{name}: {error}");
    }
    let tiff = fs::read(folder().join("rgb.tiff")).unwrap();
    assert_eq!(load(&tiff[..tiff.len() / 2]).unwrap_err().reason, Reason::InvalidImage);
}

#[test]
fn kinds_that_are_not_read_say_how_to_mend_it() {
    for name in ["refused_palette.tiff", "refused_grey_alpha.tiff"] {
        let error = load(&fs::read(folder().join(name)).unwrap()).expect_err(name);
        assert_eq!(error.reason, Reason::InvalidImage, "{name}");
        assert!(error.message.contains("convert it to 8-bit RGB"), "{name}: {error}");
    }
}

/// A cut of every length, and every byte changed in two ways: an answer each time, never a panic.
#[test]
fn no_damage_to_a_small_file_goes_without_an_answer() {
    for name in ["grey_4bit.png", "interlaced_tiny.png", "lossless.webp", "plain.gif", "p.bmp", "1.tiff", "exif6.webp"]
    {
        let bytes = fs::read(folder().join(name)).unwrap();
        for at in 0..bytes.len() {
            let _ = load(&bytes[..at]).map_err(|e| assert_caller(name, &e));
            for flip in [0x01, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let _ = load(&damaged).map_err(|e| assert_caller(name, &e));
                let _ = probe(&damaged).map_err(|e| assert_caller(name, &e));
            }
        }
    }
}

fn assert_caller(name: &str, error: &easel_domain::Error) {
    assert!(matches!(error.reason, Reason::InvalidImage | Reason::ImageTooLarge), "{name}: {error:?}");
    assert_eq!(error.violations[0].field, "spec.image", "{name}");
}
