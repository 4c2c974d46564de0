//! `easel edit` with a selection: what lies outside of it keeps its bits.

use std::io::Write as _;

use crate::world::{World, png_size};

/// The rectangle around the pixels of two files that differ: left, upper edge, right, lower edge.
fn differing(one: &[u8], other: &[u8]) -> Option<(u32, u32, u32, u32)> {
    let (one, other) = (image::load_from_memory(one).unwrap(), image::load_from_memory(other).unwrap());
    assert_eq!((one.color(), one.width(), one.height()), (other.color(), other.width(), other.height()));
    let (one, other) = (one.to_rgba16(), other.to_rgba16());
    let places = one.enumerate_pixels().filter(|(x, y, pixel)| *pixel != other.get_pixel(*x, *y));
    places.map(|(x, y, _)| (x, y)).fold(None, |found, (x, y)| {
        let (left, top, right, bottom) = found.unwrap_or((x, y, x, y));
        Some((left.min(x), top.min(y), right.max(x), bottom.max(y)))
    })
}

/// A picture of 16 bits with alpha.
fn deep(width: u32, height: u32) -> Vec<u8> {
    let value = |x: u32, y: u32, factor: u32| u16::try_from((x * factor + y * 977) % 65_536).unwrap();
    let picture = image::ImageBuffer::from_fn(width, height, |x, y| {
        image::Rgba([value(x, y, 311), value(x, y, 29), value(x, y, 7), value(x, y, 5)])
    });
    let mut file = std::io::Cursor::new(Vec::new());
    image::DynamicImage::ImageRgba16(picture).write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

#[test]
fn a_rectangle_and_a_mask_keep_what_lies_outside() {
    let world = World::new();
    world.write("in.png", &deep(150, 100));
    let run = world.ok(&["edit", "in.png", "make it blue", "--select", "20,30,40,50", "-o", "out.png"]);
    assert!(run.stderr.contains("changed 40x50 at 20,30"), "{}", run.stderr);
    let found = differing(&world.read("in.png"), &world.read("out.png")).expect("something has changed");
    assert!(found.0 >= 20 && found.1 >= 30 && found.2 < 60 && found.3 < 80, "{found:?}");

    let mask = image::GrayImage::from_fn(150, 100, |x, y| image::Luma([if x > 100 && y < 40 { 255 } else { 0 }]));
    let mut file = std::io::Cursor::new(Vec::new());
    mask.write_to(&mut file, image::ImageFormat::Png).unwrap();
    world.write("mask.png", &file.into_inner());
    let args = ["edit", "in.png", "make it blue", "--mask", "mask.png", "--feather", "4", "--match", "perceptual"];
    let run = world.ok(&[&args[..], &["-o", "masked.png", "--json"]].concat());
    let result = run.json().into_iter().find(|line| line["event"] == "result").expect("a result");
    assert_eq!(result["changed"], serde_json::json!([97, 0, 53, 44]));
    let found = differing(&world.read("in.png"), &world.read("masked.png")).expect("something has changed");
    assert!(found.0 >= 97 && found.3 < 44, "{found:?}");

    world.ok(&["edit", "in.png", "x", "--select", "20,30,40,50", "--result", "layer", "-o", "layer.png"]);
    assert_eq!(png_size(&world.read("layer.png")), (40, 50));
}

#[test]
fn a_wrong_selection_is_told_before_and_after_the_daemon_sees_it() {
    let world = World::new();
    world.write("in.png", &deep(30, 20));
    for (args, part) in [
        (&["--select", "1,2,3"][..], "40,30,200,150"),
        (&["--feather", "3"][..], "--select"),
        (&["--select", "0,0,4,4", "--mask", "in.png"][..], "--mask"),
    ] {
        let run = world.easel(&[&["edit", "in.png", "x", "-o", "out.png"][..], args].concat());
        assert!(run.code == 2 && run.stderr.contains(part), "{args:?}: {} {}", run.code, run.stderr);
    }
    let run = world.easel(&["edit", "in.png", "x", "--select", "0,0,31,4", "-o", "out.png"]);
    assert!(run.code == 3 && run.stderr.contains("spec.selection.rectangle"), "{}", run.stderr);
    assert!(!world.exists("out.png"));
}

/// Mean step of the values from the last pixel outside of a rectangle to the first one inside, along its left and upper edges.
#[cfg(feature = "dreamlite")]
fn seam(file: &[u8], (x, y, width, height): (u32, u32, u32, u32)) -> f64 {
    let picture = image::load_from_memory(file).unwrap().to_rgb8();
    let step = |one: (u32, u32), other: (u32, u32)| {
        let (one, other) = (picture.get_pixel(one.0, one.1).0, picture.get_pixel(other.0, other.1).0);
        one.iter().zip(other).map(|(a, b)| f64::from(a.abs_diff(b))).sum::<f64>() / 3.0
    };
    let upper = (x..x + width).map(|x| step((x, y - 1), (x, y)));
    let left = (y..y + height).map(|y| step((x - 1, y), (x, y)));
    upper.chain(left).sum::<f64>() / f64::from(width + height)
}

#[cfg(feature = "dreamlite")]
#[test]
fn holding_the_embedded_model_to_the_picture_makes_the_seam_smaller() {
    let world = World::with_engine("dreamlite");
    world.ok(&["generate", "a red circle on a white background", "--seed", "3", "-o", "in.png"]);
    let edit = ["edit", "in.png", "make the background green", "--select", "32,32,64,64", "--seed", "1"];
    world.ok(&[&edit[..], &["-o", "free.png"]].concat());
    world.ok(&[&edit[..], &["--hold", "-o", "held.png"]].concat());
    let area = (32, 32, 64, 64);
    let (free, held) = (seam(&world.read("free.png"), area), seam(&world.read("held.png"), area));
    let _ = writeln!(std::io::stderr(), "mean step across the seam: {free:.1} free, {held:.1} held");
    assert!(free > 20.0, "the edit has changed what lies at the edge");
    assert!(held < 0.75 * free, "{held} held, {free} free");
}
