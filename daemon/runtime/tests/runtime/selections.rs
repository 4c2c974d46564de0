//! Edits of a part of a canvas: what lies outside of the mask stays bit for bit, whatever the size, format and depth.

use easel_domain::event::{ResultImage, State};
use easel_domain::{
    Area, BlobHash, ColorMatch, Edges, GenerationRequest, ImageFormat, Rect, RgbImage, Selection, SelectionResult,
    Size, Tiling,
};
use easel_imaging::{Canvas, Channels, Mask, Output, Samples};
use easel_runtime::Runtime;

use crate::helpers::{assert_at_rest, make, policy, quick, request, start};

/// Numbers that look random.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ (z >> 29)
    }

    fn below(&mut self, end: u32) -> u32 {
        (self.next() % u64::from(end.max(1))) as u32
    }
}

#[derive(Clone, Copy, Debug)]
enum Depth {
    U8,
    U16,
    F32,
}

/// A canvas of noise, floats also below 0 and above 1.
fn canvas(size: Size, channels: Channels, depth: Depth, seed: u64) -> Canvas {
    let mut numbers = Numbers(seed);
    let count = size.pixels() as usize * channels.count();
    let samples = match depth {
        Depth::U8 => Samples::U8((0..count).map(|_| numbers.next() as u8).collect()),
        Depth::U16 => Samples::U16((0..count).map(|_| numbers.next() as u16).collect()),
        Depth::F32 => Samples::F32((0..count).map(|_| numbers.below(3000) as f32 / 2000.0 - 0.25).collect()),
    };
    Canvas::new(size, channels, samples).expect("the samples fit")
}

fn file(canvas: &Canvas, format: ImageFormat) -> Vec<u8> {
    easel_imaging::write(canvas, &Output { format, jpeg_quality: 92, parameters: None }).expect("it can be written")
}

async fn put(runtime: &Runtime, file: Vec<u8>) -> BlobHash {
    runtime.put_blob(file.into()).await.expect("there is room")
}

fn rectangle(x: i32, y: i32, width: u32, height: u32) -> Selection {
    Selection::of(Area::Rectangle(Rect { x, y, width, height }))
}

fn edit(image: BlobHash, selection: Selection) -> GenerationRequest {
    GenerationRequest { image: Some(image), selection: Some(selection), ..request("make it blue") }
}

/// All samples of a pixel as bits.
fn pixel(canvas: &Canvas, x: u32, y: u32) -> Vec<u32> {
    let count = canvas.channels().count();
    let at = (y as usize * canvas.size().width as usize + x as usize) * count;
    match canvas.samples() {
        Samples::U8(v) => v[at..at + count].iter().map(|&v| v.into()).collect(),
        Samples::U16(v) => v[at..at + count].iter().map(|&v| v.into()).collect(),
        Samples::F32(v) => v[at..at + count].iter().map(|v| v.to_bits()).collect(),
    }
}

/// Compares every pixel: outside of the mask nothing differs, all alpha stays, and what differs lies in the rectangle that was told.
/// Gives the number of pixels that differ.
fn assert_exact(what: &str, source: &Canvas, result: &Canvas, mask: &Mask, changed: Option<Rect>) -> u64 {
    assert_eq!((result.size(), result.channels()), (source.size(), source.channels()), "{what}");
    assert_eq!(result.icc(), source.icc(), "{what}");
    let changed = changed.expect("something may have changed");
    assert!(Rect::of(source.size()).contains(changed), "{what}: {changed} lies within the canvas");
    let mut differ = 0;
    for y in 0..source.size().height {
        for x in 0..source.size().width {
            let (before, after) = (pixel(source, x, y), pixel(result, x, y));
            if source.channels().has_alpha() {
                assert_eq!(before.last(), after.last(), "{what}: alpha at {x},{y}");
            }
            if before == after {
                continue;
            }
            differ += 1;
            assert!(mask.at(x as i32, y as i32) > 0, "{what}: {x},{y} lies outside of the mask and has changed");
            let one = Rect { x: x as i32, y: y as i32, width: 1, height: 1 };
            assert!(changed.contains(one), "{what}: {x},{y} lies outside of {changed} and has changed");
        }
    }
    differ
}

fn only(mut images: Vec<ResultImage>) -> ResultImage {
    assert_eq!(images.len(), 1);
    images.pop().expect("there is one")
}

#[tokio::test]
async fn sizes_and_selections_of_all_kinds_keep_what_lies_outside() {
    let runtime = start(quick());
    let sizes = [(1, 1), (1, 40), (300, 2), (7, 5), (17, 200), (64, 64), (129, 63), (400, 33), (250, 310)];
    let mut cases = 0;
    for (i, (width, height)) in sizes.into_iter().enumerate() {
        let size = Size { width, height };
        let (w, h) = (width as i32, height as i32);
        let selections = [
            (0, 0, width, height),
            (0, 0, 1, 1),
            (w - 1, h - 1, 1, 1),
            (w / 3, h / 4, width.div_ceil(3), height.div_ceil(2)),
            (0, h / 2, width, 1),
        ];
        for (j, (x, y, width, height)) in selections.into_iter().enumerate() {
            let (channels, depth, format) = match (i + j) % 4 {
                0 => (Channels::Rgb, Depth::U8, ImageFormat::Png),
                1 => (Channels::Rgba, Depth::U16, ImageFormat::Png),
                2 => (Channels::Rgba, Depth::F32, ImageFormat::Tiff),
                _ => (Channels::Rgba, Depth::U8, ImageFormat::WebP),
            };
            let source = canvas(size, channels, depth, (i * 10 + j) as u64);
            let image = put(&runtime, file(&source, format)).await;
            let mut selection = rectangle(x, y, width, height);
            selection.edges = Edges { grow_px: (j % 3) as i32, feather_px: (i % 4) as u32, blend_px: (j % 2) as u32 };
            let asked = GenerationRequest { output_format: format, ..edit(image, selection) };
            let made = only(make(&runtime, asked).await.images);
            let result = Canvas::open(&made.image.bytes).expect("a result is a picture");
            let Area::Rectangle(rect) = selection.area else { unreachable!() };
            let mask = Mask::rectangle(rect, size).shaped(selection.edges);
            let what = format!("{rect} of {size} as {format:?} {depth:?}");
            assert_eq!(made.changed, mask.bounds(), "{what}");
            let differ = assert_exact(&what, &source, &result, &mask, made.changed);
            // A single pixel of noise may be what it was; thousands are not.
            assert!(differ > 0 || rect.size().pixels() < 20, "{what}: the edit has changed something");
            cases += 1;
        }
    }
    assert_eq!(cases, 45);
    assert_at_rest(&runtime).await;
}

#[tokio::test]
async fn random_masks_formats_and_depths_keep_what_lies_outside() {
    let runtime = start(quick());
    let mut numbers = Numbers(11);
    for case in 0..60_u64 {
        let size = Size { width: 1 + numbers.below(150), height: 1 + numbers.below(150) };
        let (format, depth) = match numbers.below(5) {
            0 => (ImageFormat::Png, Depth::U8),
            1 => (ImageFormat::Png, Depth::U16),
            2 => (ImageFormat::WebP, Depth::U8),
            3 => (ImageFormat::Tiff, Depth::U16),
            _ => (ImageFormat::Tiff, Depth::F32),
        };
        let channels = match (format, numbers.below(4)) {
            (ImageFormat::Png, 0) => Channels::Grey,
            (ImageFormat::Png, 1) => Channels::GreyAlpha,
            (_, 2) => Channels::Rgba,
            _ => Channels::Rgb,
        };
        let source = canvas(size, channels, depth, case);
        let (masked, offset) = match numbers.below(2) {
            0 => (size, None),
            _ => {
                let part = Size { width: 1 + numbers.below(80), height: 1 + numbers.below(80) };
                // At least one pixel lies on the canvas.
                let place = |n: &mut Numbers, whole: u32, part: u32| n.below(whole) as i32 - n.below(part) as i32;
                (
                    part,
                    Some((place(&mut numbers, size.width, part.width), place(&mut numbers, size.height, part.height))),
                )
            }
        };
        let mask_channels = [Channels::Grey, Channels::Rgb, Channels::GreyAlpha][numbers.below(3) as usize];
        let mask_depth = if numbers.below(2) == 0 { Depth::U8 } else { Depth::U16 };
        let painted = canvas(masked, mask_channels, mask_depth, case + 1000);
        let edges =
            Edges { grow_px: numbers.below(9) as i32, feather_px: numbers.below(9), blend_px: numbers.below(5) };
        let mask = Mask::from_picture(&painted, offset.unwrap_or((0, 0)), size).shaped(edges);
        if mask.bounds().is_none() {
            continue;
        }
        let color_match = [ColorMatch::None, ColorMatch::Linear, ColorMatch::Perceptual][numbers.below(3) as usize];
        let image = put(&runtime, file(&source, format)).await;
        let area = Area::Mask { image: put(&runtime, file(&painted, ImageFormat::Png)).await, offset };
        let context_px = Some(numbers.below(60)).filter(|px| px % 2 == 0);
        let selection = Selection { edges, color_match, context_px, ..Selection::of(area) };
        let asked = GenerationRequest { output_format: format, ..edit(image, selection) };
        let made = only(make(&runtime, asked).await.images);
        let result = Canvas::open(&made.image.bytes).expect("a result is a picture");
        let what = format!("case {case}: {size} {channels:?} {depth:?} {format:?} {selection:?}");
        assert_eq!(made.changed, mask.bounds(), "{what}");
        assert_exact(&what, &source, &result, &mask, made.changed);
    }
    assert_at_rest(&runtime).await;
}

#[tokio::test]
async fn a_layer_over_its_source_is_the_canvas_and_has_the_size_of_what_changed() {
    let runtime = start(quick());
    let size = Size { width: 120, height: 90 };
    let source = canvas(size, Channels::Rgb, Depth::U8, 4);
    let image = put(&runtime, file(&source, ImageFormat::Png)).await;
    let mut selection = rectangle(30, 20, 40, 30);
    selection.edges = Edges { feather_px: 6, ..Edges::default() };
    let whole = only(make(&runtime, edit(image, selection)).await.images);
    selection.result = SelectionResult::Layer;
    let snapshot = make(&runtime, edit(image, selection)).await;
    let layer = only(snapshot.images);
    let changed = layer.changed.expect("something changed");
    assert_eq!((layer.changed, layer.canvas.is_none()), (whole.changed, true));
    assert_eq!((layer.image.width, layer.image.height), (changed.width, changed.height));
    assert_eq!(snapshot.plan.output, changed.size(), "the plan told it before");
    let (layer, whole) = (Canvas::open(&layer.image.bytes).unwrap(), Canvas::open(&whole.image.bytes).unwrap());
    assert_eq!(layer.channels(), Channels::Rgba);
    for y in 0..changed.height {
        for x in 0..changed.width {
            let (over, at) = (pixel(&layer, x, y), (x + changed.x as u32, y + changed.y as u32));
            for (channel, &after) in pixel(&whole, at.0, at.1).iter().enumerate() {
                let below = pixel(&source, at.0, at.1)[channel] as f32;
                let laid = below + (over[channel] as f32 - below) * over[3] as f32 / 255.0;
                assert!((laid - after as f32).abs() <= 2.0, "{x},{y}: {laid} is not {after}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_selection_is_named() {
    let runtime = start(quick());
    let size = Size { width: 60, height: 40 };
    let image = put(&runtime, file(&canvas(size, Channels::Rgb, Depth::U8, 1), ImageFormat::Png)).await;
    let grey = |size, value| {
        let pixels = vec![value; (size as Size).pixels() as usize];
        file(&Canvas::new(size, Channels::Grey, Samples::U8(pixels)).unwrap(), ImageFormat::Png)
    };
    let mask = |image, offset| Selection::of(Area::Mask { image, offset });
    let small = put(&runtime, grey(Size { width: 20, height: 20 }, 255)).await;
    let black = put(&runtime, grey(size, 0)).await;
    let text = put(&runtime, b"no picture at all".to_vec()).await;
    let layer = Selection { result: SelectionResult::Layer, ..rectangle(0, 0, 9, 9) };
    let cases = [
        (edit(image, rectangle(50, 0, 11, 10)), "spec.selection.rectangle"),
        (edit(image, rectangle(0, 30, 10, 11)), "spec.selection.rectangle"),
        (edit(image, mask(small, None)), "spec.selection.mask.image"),
        (edit(image, mask(black, None)), "spec.selection.mask"),
        (edit(image, mask(small, Some((60, 0)))), "spec.selection.mask"),
        (edit(image, mask(text, None)), "spec.selection.mask.image"),
        (GenerationRequest { width: Some(64), height: Some(64), ..edit(image, rectangle(0, 0, 9, 9)) }, "spec.width"),
        (GenerationRequest { image: None, ..edit(image, rectangle(0, 0, 9, 9)) }, "spec.selection"),
        (GenerationRequest { output_format: ImageFormat::Jpeg, ..edit(image, layer) }, "spec.output_format"),
    ];
    for (asked, field) in cases {
        let error = runtime.create(asked.clone(), policy()).await.expect_err("it is refused");
        let named = error.violations.iter().any(|violation| violation.field == field);
        assert!(named, "{asked:?}: {field} is not named in {error:?}");
    }
    let lost = runtime.create(edit(image, mask(BlobHash([7; 32]), None)), policy()).await.expect_err("it is not there");
    assert_eq!(lost.reason, easel_domain::Reason::BlobNotFound);
    assert_at_rest(&runtime).await;
}

#[tokio::test]
async fn the_same_selection_gives_the_same_bytes_and_each_picture_its_own() {
    let runtime = start(quick());
    let size = Size { width: 90, height: 70 };
    let image = put(&runtime, file(&canvas(size, Channels::Rgba, Depth::U16, 5), ImageFormat::Png)).await;
    let asked = |seed, count| GenerationRequest {
        seed: Some(seed),
        num_images: Some(count),
        ..edit(image, rectangle(20, 10, 30, 30))
    };
    let two = make(&runtime, asked(7, 2)).await;
    let second = make(&runtime, asked(8, 1)).await;
    assert_eq!(two.state, State::Succeeded);
    assert_ne!(two.images[0].image.hash, two.images[1].image.hash);
    assert_eq!(two.images[1].image.hash, second.images[0].image.hash);
    assert_eq!(two.plan.crop, second.plan.crop);
}

#[tokio::test]
async fn a_jpeg_says_that_it_is_not_exact_and_an_edit_without_selection_is_as_it_was() {
    let runtime = start(quick());
    let size = Size { width: 64, height: 64 };
    let source = canvas(size, Channels::Rgba, Depth::U8, 9);
    let image = put(&runtime, file(&source, ImageFormat::Png)).await;
    let asked = GenerationRequest { output_format: ImageFormat::Jpeg, ..edit(image, rectangle(0, 0, 20, 20)) };
    let made = make(&runtime, asked).await;
    assert!(made.plan.notes.iter().any(|note| note.contains("JPEG is not exact")), "{:?}", made.plan.notes);
    let plain = GenerationRequest { image: Some(image), ..request("make it blue") };
    let made = only(make(&runtime, plain).await.images);
    assert_eq!((made.changed, made.canvas), (None, None));
    let picture: RgbImage = easel_imaging::load(&made.image.bytes).expect("a result is a picture");
    assert_eq!(picture.size(), size);
}

#[tokio::test]
async fn whole_canvases_of_all_shapes_are_edited_in_tiles() {
    let runtime = start(quick());
    for (width, height, tiles) in [(200, 64, 4), (64, 150, 3), (130, 100, 6), (700, 10, 15), (40, 30, 0), (64, 64, 0)] {
        let size = Size { width, height };
        let image = put(&runtime, file(&canvas(size, Channels::Rgb, Depth::U8, 3), ImageFormat::Png)).await;
        let asked = |seed, count| GenerationRequest {
            image: Some(image),
            tiling: Some(Tiling { overlap_px: Some(16) }),
            seed: Some(seed),
            num_images: Some(count),
            ..request("make it blue")
        };
        let made = make(&runtime, asked(7, 2)).await;
        let planned = made.plan.tiles.as_ref().map_or(0, |plan| plan.len());
        assert_eq!(planned, tiles, "{size}: {:?}", made.plan.tiles);
        assert_eq!((made.plan.output, made.images.len()), (size, 2));
        for (i, image) in made.images.iter().enumerate() {
            assert_eq!((image.image.width, image.image.height, image.index), (width, height, i as u32));
            assert_eq!(image.changed, None, "everything may have changed");
        }
        let second = make(&runtime, asked(8, 1)).await;
        assert_eq!(made.images[1].image.hash, second.images[0].image.hash, "{size}: a picture is the same alone");
        assert_ne!(made.images[0].image.hash, made.images[1].image.hash);
    }
    assert_at_rest(&runtime).await;
}

#[tokio::test]
async fn more_passes_than_are_taken_and_tiles_beside_a_selection_are_refused() {
    let runtime = start(quick());
    let size = Size { width: 300, height: 300 };
    let image = put(&runtime, file(&canvas(size, Channels::Rgb, Depth::U8, 3), ImageFormat::Png)).await;
    let tiled = |overlap_px| GenerationRequest {
        image: Some(image),
        tiling: Some(Tiling { overlap_px }),
        ..request("make it blue")
    };
    let cases = [
        (GenerationRequest { num_images: Some(16), ..tiled(None) }, "spec.num_images"),
        (tiled(Some(3)), "spec.tile_overlap_px"),
        (GenerationRequest { selection: Some(rectangle(0, 0, 9, 9)), ..tiled(None) }, "spec.whole_canvas"),
        (GenerationRequest { image: None, ..tiled(None) }, "spec.whole_canvas"),
    ];
    for (asked, field) in cases {
        let error = runtime.create(asked, policy()).await.expect_err("it is refused");
        assert!(error.violations.iter().any(|violation| violation.field == field), "{field}: {error:?}");
    }
}
