//! Canvases of every depth: exact outside of the mask, the same through files and raw layouts, and bounded on what strangers send.

use easel_domain::crop::{WorkingLimits, crop_for, tiles_for};
use easel_domain::{
    AlphaMode, ChannelOrder, ColorMatch, Edges, ImageFormat, NamedSpace, Padding, RawLayout, Reason, Rect, RgbImage,
    SampleType, Size,
};
use easel_imaging::{
    Canvas, Cell, Channels, Found, Mask, Output, Patch, Put, Samples, blend_tiles, composite, contact_sheet,
    find_parameters, layer, write,
};
use proptest::prelude::*;

const CHANNELS: [Channels; 4] = [Channels::Grey, Channels::GreyAlpha, Channels::Rgb, Channels::Rgba];
const FORMATS: [ImageFormat; 4] = [ImageFormat::Png, ImageFormat::Tiff, ImageFormat::WebP, ImageFormat::Jpeg];
const LIMITS: WorkingLimits =
    WorkingLimits { native_pixels: 256 * 256, multiple_px: 16, min_edge_px: 64, max_edge_px: 1024 };

fn noise(seed: u32) -> impl FnMut() -> u32 {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    }
}

fn canvas(size: Size, channels: Channels, depth: u32, seed: u32) -> Canvas {
    let mut next = noise(seed);
    let count = size.pixels() as usize * channels.count();
    let samples = match depth {
        8 => Samples::U8((0..count).map(|_| next() as u8).collect()),
        16 => Samples::U16((0..count).map(|_| next() as u16).collect()),
        // Values beyond what a display shows belong to the canvas as well.
        _ => Samples::F32((0..count).map(|_| next() as f32 / u32::MAX as f32 * 1.5 - 0.2).collect()),
    };
    Canvas::new(size, channels, samples).unwrap()
}

fn drawn(size: Size, seed: u32) -> RgbImage {
    let mut next = noise(seed);
    RgbImage::new(size.width, size.height, (0..size.pixels() * 3).map(|_| next() as u8).collect::<Vec<_>>()).unwrap()
}

/// The bits of every sample.
fn bits(canvas: &Canvas) -> Vec<u32> {
    match canvas.samples() {
        Samples::U8(v) => v.iter().map(|&v| v.into()).collect(),
        Samples::U16(v) => v.iter().map(|&v| v.into()).collect(),
        Samples::F32(v) => v.iter().map(|v| v.to_bits()).collect(),
    }
}

fn assert_exact_outside(source: &Canvas, made: &Canvas, mask: &Mask, changed: Option<Rect>) {
    let (before, after, count) = (bits(source), bits(made), source.channels().count());
    let width = source.size().width as usize;
    for (i, (a, b)) in before.chunks(count).zip(after.chunks(count)).enumerate() {
        let (x, y) = ((i % width) as i32, (i / width) as i32);
        if mask.at(x, y) == 0 {
            assert_eq!(a, b, "{x},{y}");
        } else {
            let inside = changed.is_some_and(|r| r.contains(Rect { x, y, width: 1, height: 1 }));
            assert!(inside || a == b, "{x},{y} changed outside of {changed:?}");
        }
    }
}

#[test]
fn outside_of_the_mask_every_bit_stays_for_every_size_depth_and_format() {
    let sizes = [(1, 1), (1, 40), (40, 1), (7, 5), (33, 64), (97, 31), (150, 20), (64, 64)];
    let shapes = [(0, 0, 9, 9), (-5, -5, 8, 60), (3, 2, 1, 1), (10, 4, 500, 7), (0, 0, 1000, 1000), (60, 60, 9, 9)];
    for (i, (width, height)) in sizes.into_iter().enumerate() {
        let size = Size { width, height };
        for (j, (x, y, w, h)) in shapes.into_iter().enumerate() {
            let rect = Rect { x, y, width: w, height: h };
            let edges = Edges { grow_px: j as i32 - 2, feather_px: (i % 4) as u32, blend_px: (j % 3) as u32 };
            let mask = Mask::rectangle(rect, size).shaped(edges);
            for channels in CHANNELS {
                for depth in [8, 16, 32] {
                    check_one(&canvas(size, channels, depth, (i * 7 + j) as u32), &mask, j);
                }
            }
        }
    }
}

fn check_one(source: &Canvas, mask: &Mask, turn: usize) {
    let size = source.size();
    let matches = [ColorMatch::None, ColorMatch::Linear, ColorMatch::Perceptual];
    let put_rect = mask.bounds().and_then(|b| crop_for(b, size, Padding::default(), &LIMITS));
    let Some(crop) = put_rect else { return };
    let patch = Patch::new(&drawn(crop.working, 3), crop.rect);
    let alpha = if turn.is_multiple_of(2) { AlphaMode::Keep } else { AlphaMode::Paint };
    let put = Put { patch: &patch, mask, color_match: matches[turn % 3], alpha };
    let mut made = source.clone();
    let placed = composite(&mut made, &put).unwrap();
    assert_eq!(placed.changed, mask.bounds());
    assert_exact_outside(source, &made, mask, placed.changed);
    if alpha == AlphaMode::Keep && source.channels().has_alpha() {
        let count = source.channels().count();
        let alphas = |c: &Canvas| bits(c).into_iter().skip(count - 1).step_by(count).collect::<Vec<_>>();
        assert_eq!(alphas(source), alphas(&made));
    }
    // Exact also in the file, where the format holds the depth.
    let output = Output { format: ImageFormat::Tiff, jpeg_quality: 90, parameters: None };
    let again = Canvas::open(&write(&made, &output).unwrap());
    if let Ok(again) = again {
        assert_exact_outside(source, &again, mask, placed.changed);
    }
}

#[test]
fn a_full_mask_takes_the_result_and_a_layer_over_the_source_is_the_composition() {
    let size = Size { width: 20, height: 12 };
    let picture = drawn(size, 5);
    let patch = Patch::new(&picture, Rect::of(size));
    let mask = Mask::rectangle(Rect { x: 2, y: 3, width: 9, height: 6 }, size);
    let put = Put { patch: &patch, mask: &mask, color_match: ColorMatch::None, alpha: AlphaMode::Keep };
    let source = canvas(size, Channels::Rgb, 8, 1);
    let mut made = source.clone();
    composite(&mut made, &put).unwrap();
    let view = made.view(mask.bounds().unwrap()).unwrap();
    let at = (3 * 20 + 2) * 3;
    assert_eq!(view.pixels()[..27], picture.pixels()[at..at + 27]);
    let (layer, placed) = layer(&source, &put).unwrap().unwrap();
    assert_eq!((layer.channels(), placed.changed), (Channels::Rgba, mask.bounds()));
    let Samples::U8(pixels) = layer.samples() else { panic!("another depth") };
    assert!(pixels.chunks(4).zip(view.pixels().chunks(3)).all(|(l, v)| l[..3] == *v && l[3] == 255));
}

#[test]
fn colours_that_the_model_has_shifted_are_brought_back() {
    let size = Size { width: 80, height: 80 };
    let mut next = noise(4);
    let source: Vec<u8> = (0..80 * 80 * 3).map(|_| (100 + next() % 60) as u8).collect();
    let shifted: Vec<u8> = source.iter().map(|v| v + 40).collect();
    let canvas = Canvas::new(size, Channels::Rgb, Samples::U8(source.clone())).unwrap();
    let patch = Patch::new(&RgbImage::new(80, 80, shifted).unwrap(), Rect::of(size));
    let mask = Mask::rectangle(Rect { x: 30, y: 30, width: 20, height: 20 }, size);
    let off = |color_match| {
        let mut made = canvas.clone();
        composite(&mut made, &Put { patch: &patch, mask: &mask, color_match, alpha: AlphaMode::Keep }).unwrap();
        let Samples::U8(made) = made.samples() else { panic!("another depth") };
        made.iter().zip(&source).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>() / (20 * 20 * 3)
    };
    assert_eq!(off(ColorMatch::None), 40);
    assert!(off(ColorMatch::Linear) <= 5 && off(ColorMatch::Perceptual) <= 5);
}

#[test]
fn parameters_and_profiles_come_back_from_every_format() {
    let json = "{\"prompt\": \"a \\\"naïve\\\" 猫 🐱\", \"seed\": 7}";
    for format in FORMATS {
        for depth in [8, 16, 32] {
            let source =
                canvas(Size { width: 9, height: 6 }, Channels::Rgba, depth, 2).with_space(NamedSpace::AdobeRgb);
            let output = Output { format, jpeg_quality: 95, parameters: Some(json) };
            let file = write(&source, &output).unwrap();
            assert_eq!(file, write(&source, &output).unwrap());
            let Found::Text(text) = find_parameters(&file) else { panic!("{format:?} {depth}") };
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(read, serde_json::from_str::<serde_json::Value>(json).unwrap(), "{format:?}");
            let again = Canvas::open(&file).unwrap();
            assert!(again.icc() == source.icc(), "{format:?} {depth}: {:?}", again.notes());
            let lossless = format == ImageFormat::Tiff
                || (format == ImageFormat::Png && depth < 32)
                || (format == ImageFormat::WebP && depth == 8);
            assert!(!lossless || bits(&again) == bits(&source), "{format:?} {depth}");
        }
    }
}

#[test]
fn a_profile_leads_to_srgb_and_back_and_a_broken_one_is_noted() {
    let size = Size { width: 16, height: 16 };
    for (space, channels) in [
        (NamedSpace::AdobeRgb, Channels::Rgb),
        (NamedSpace::DisplayP3, Channels::Rgba),
        (NamedSpace::LinearSrgb, Channels::Rgb),
        (NamedSpace::LinearSrgb, Channels::Grey),
    ] {
        let plain = canvas(size, channels, 16, 3);
        let source = plain.clone().with_space(space);
        assert!(source.icc().is_some() && source.notes().is_empty(), "{space:?} {:?}", source.notes());
        let view = source.view(Rect::of(size)).unwrap();
        assert_ne!(view, plain.view(Rect::of(size)).unwrap());
        let mut made = source.clone();
        let patch = Patch::new(&view, Rect::of(size));
        let mask = Mask::rectangle(Rect::of(size), size);
        let put = Put { patch: &patch, mask: &mask, color_match: ColorMatch::None, alpha: AlphaMode::Keep };
        composite(&mut made, &put).unwrap();
        let again = made.view(Rect::of(size)).unwrap();
        let off = again.pixels().iter().zip(view.pixels()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(off <= 1, "{space:?} is off by {off}");
    }
    let broken = canvas(size, Channels::Rgb, 8, 3).with_profile(Some(b"no profile at all"));
    assert!(broken.icc().is_none() && broken.notes()[0].contains("taken as sRGB"));
}

#[test]
fn raw_layouts_come_back_bit_for_bit_and_wrong_ones_say_what_is_wrong() {
    let rows = [[3_u8, 2, 1, 9, 6, 5, 4, 8], [7; 8]].concat();
    let layout = RawLayout { width: 1, height: 2, stride_bytes: 8, order: ChannelOrder::Bgra, sample: SampleType::U8 };
    let read = Canvas::from_raw(&rows, &layout).unwrap();
    assert_eq!(read.samples(), &Samples::U8(vec![1, 2, 3, 9, 7, 7, 7, 7]));
    assert_eq!(read.to_raw(ChannelOrder::Bgra, SampleType::U8).1, [3, 2, 1, 9, 7, 7, 7, 7]);
    let photoshop = RawLayout {
        width: 32_768 / 8,
        height: 8,
        stride_bytes: 0,
        order: ChannelOrder::Grey,
        sample: SampleType::U16Photoshop,
    };
    let values: Vec<u8> = (1..=32_768_u16).flat_map(u16::to_le_bytes).collect();
    let read = Canvas::from_raw(&values, &photoshop).unwrap();
    assert_eq!(read.to_raw(ChannelOrder::Grey, SampleType::U16Photoshop).1, values);
    let mut high = values;
    high[0..2].copy_from_slice(&40_000_u16.to_le_bytes());
    let wrong = [
        (Canvas::from_raw(&high, &photoshop), "40000"),
        (Canvas::from_raw(&rows[..8], &layout), "8 bytes"),
        (Canvas::from_raw(&rows, &RawLayout { stride_bytes: 3, ..layout }), "stride"),
        (Canvas::from_raw(&rows, &RawLayout { width: 0, ..layout }), "no pixels"),
    ];
    for (read, word) in wrong {
        let error = read.unwrap_err();
        assert!(error.reason == Reason::InvalidImage && error.message.contains(word), "{}", error.message);
    }
    let huge = RawLayout { width: 30_000, height: 30_000, ..layout };
    assert_eq!(Canvas::from_raw(&rows, &huge).unwrap_err().reason, Reason::ImageTooLarge);
    let most = RawLayout { width: 1, height: 2, stride_bytes: u64::MAX, ..layout };
    assert_eq!(Canvas::from_raw(&rows, &most).unwrap_err().reason, Reason::InvalidImage);
}

#[test]
fn files_of_other_programs_are_opened_as_they_are_and_cmyk_is_refused() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let open = |name: &str| Canvas::open(&std::fs::read(folder.join(name)).unwrap());
    for (name, channels, deep) in [
        ("rgb.png", Channels::Rgb, false),
        ("rgba16.png", Channels::Rgba, true),
        ("grey_alpha16.png", Channels::GreyAlpha, true),
        ("grey16.tiff", Channels::Grey, true),
        ("rgba.tiff", Channels::Rgba, false),
        ("lossless_alpha.webp", Channels::Rgba, false),
        ("grey.jpg", Channels::Grey, false),
    ] {
        let read = open(name).unwrap();
        assert_eq!((read.channels(), matches!(read.samples(), Samples::U16(_))), (channels, deep), "{name}");
    }
    for turn in 2..=8 {
        let name = format!("exif{turn}.png");
        let bytes = std::fs::read(folder.join(&name)).unwrap();
        let read = open(&name).unwrap();
        assert!(read.was_turned(), "{name}");
        assert_eq!(read.view(Rect::of(read.size())).unwrap(), easel_imaging::load(&bytes).unwrap(), "{name}");
    }
    for name in ["cmyk.jpg", "cmyk.tiff"] {
        let error = open(name).unwrap_err();
        assert!(error.message.contains("CMYK") && error.message.contains("convert it"), "{name}: {}", error.message);
    }
}

#[test]
fn tiles_join_into_what_they_were_cut_from() {
    for (width, height) in [(600, 400), (257, 256), (256, 256), (1000, 50), (300, 1200)] {
        let plan = tiles_for(Size { width, height }, 32, &LIMITS);
        let picture = drawn(plan.canvas, 9);
        let whole = Canvas::new(plan.canvas, Channels::Rgb, Samples::U8(picture.pixels().to_vec())).unwrap();
        let tiles: Vec<_> = (0..plan.len()).map(|i| whole.view(plan.crop(i).unwrap().rect).unwrap()).collect();
        assert_eq!(blend_tiles(&plan, &tiles).unwrap(), Patch::new(&picture, Rect::of(plan.canvas)));
    }
}

#[test]
fn a_sheet_has_room_for_all() {
    let picture = drawn(Size { width: 300, height: 200 }, 1);
    let cells = [Cell { picture: &picture, caption: "seed 42" }; 5];
    let sheet = contact_sheet(&cells, 0, 128).unwrap();
    assert_eq!(sheet.size(), Size { width: 3 * 136 + 8, height: 2 * (85 + 16 + 8) + 8 });
    assert!(sheet.pixels().contains(&230) && contact_sheet(&[], 0, 64).is_err());
    let many = [Cell { picture: &picture, caption: "" }; 16];
    assert!(contact_sheet(&many, 1, 4000).unwrap().height() <= 4096);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_masks_leave_the_rest(
        (width, height) in (1_u32..50, 1_u32..50), which in 0_usize..4, depth in prop::sample::select(vec![8, 16, 32]),
        offset in (-20_i32..40, -20_i32..40), (grow, feather, blend) in (-6_i32..7, 0_u32..7, 0_u32..5), seed: u32,
    ) {
        let size = Size { width, height };
        let mut next = noise(seed);
        let spots = (0..25 * 25).map(|_| if next().is_multiple_of(9) { next() as u16 } else { 0 }).collect();
        let grey = Canvas::new(Size { width: 25, height: 25 }, Channels::Grey, Samples::U16(spots)).unwrap();
        let plain = Mask::from_picture(&grey, offset, size);
        let mask = plain.shaped(Edges { grow_px: grow, feather_px: feather, blend_px: blend });
        let reach = grow.max(0) + feather as i32;
        for y in 0..height as i32 {
            for x in 0..width as i32 {
                let near = (-reach..=reach).any(|dy| (-reach..=reach).any(|dx| plain.at(x + dx, y + dy) > 0));
                prop_assert!(near || mask.at(x, y) == 0, "{x},{y}");
            }
        }
        check_one(&canvas(size, CHANNELS[which], depth, seed), &mask, seed as usize % 6);
    }

    #[test]
    fn crops_hold_the_selection_and_fit_the_model(
        (width, height) in (1_u32..9000, 1_u32..9000), (x, y) in (-100_i32..9000, -100_i32..9000),
        (w, h) in (1_u32..5000, 1_u32..5000), share in 0.0_f32..2.0,
    ) {
        let (size, selection) = (Size { width, height }, Rect { x, y, width: w, height: h });
        let inside = selection.intersect(Rect::of(size));
        let crop = crop_for(selection, size, Padding { share, px: 8 }, &LIMITS);
        prop_assert_eq!(crop.is_some(), inside.is_some());
        let (Some(crop), Some(inside)) = (crop, inside) else { return Ok(()) };
        prop_assert!(Rect::of(size).contains(crop.rect) && crop.rect.contains(inside));
        for edge in [crop.working.width, crop.working.height] {
            prop_assert!(edge % 16 == 0 && (64..=1024).contains(&edge));
        }
        let plan = tiles_for(size, 32, &LIMITS);
        prop_assert!(plan.len() <= 64 && plan.crop(plan.len()).is_none());
        let end = plan.crop(plan.len() - 1).unwrap().rect;
        prop_assert_eq!((end.right(), end.bottom()), (i64::from(width), i64::from(height)));
    }

    #[test]
    fn damaged_files_get_an_answer(which in 0_usize..4, cut in 0.3_f64..1.0, flips in prop::collection::vec((0.0_f64..1.0, any::<u8>()), 0..6)) {
        let source = canvas(Size { width: 20, height: 14 }, Channels::Rgba, 16, 8).with_space(NamedSpace::DisplayP3);
        let output = Output { format: FORMATS[which], jpeg_quality: 80, parameters: Some("{\"seed\":1}") };
        let mut file = write(&source, &output).unwrap();
        for (place, value) in flips {
            let at = (place * file.len() as f64) as usize;
            file[at] ^= value;
        }
        file.truncate((cut * file.len() as f64) as usize);
        let _ = find_parameters(&file);
        match Canvas::open(&file) {
            Ok(read) => drop(read.view(Rect::of(read.size())).unwrap()),
            Err(error) => prop_assert!(matches!(error.reason, Reason::InvalidImage | Reason::ImageTooLarge)),
        }
    }
}
