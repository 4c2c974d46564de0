//! Edits of a part of a picture over gRPC: rectangles, masks, layers, sessions and drafts.

use easel_proto::v1;
use easel_proto::v1::image_source::Source;
use easel_proto::v1::selection::Area;
use easel_proto::v1::session_service_client::SessionServiceClient;
use tonic::transport::Channel;

use crate::support::{Daemon, ended, png, quick, sha256, spec, told};

fn inline(file: &[u8]) -> Option<v1::ImageSource> {
    Some(v1::ImageSource { source: Some(Source::Inline(file.to_vec().into())) })
}

fn by_hash(file: &[u8]) -> Option<v1::ImageSource> {
    Some(v1::ImageSource { source: Some(Source::Sha256(sha256(file))) })
}

fn rectangle(x: u32, y: u32, width: u32, height: u32) -> v1::Selection {
    let area = Some(Area::Rectangle(v1::PixelRect { x, y, width, height }));
    v1::Selection { area, ..Default::default() }
}

/// A grey mask in which a disc is white.
fn disc(width: u32, height: u32) -> Vec<u8> {
    let inside = |x: u32, y: u32| {
        let (x, y) = (f64::from(x) - f64::from(width) / 2.0, f64::from(y) - f64::from(height) / 2.0);
        (x * x + y * y).sqrt() < f64::from(width.min(height)) / 3.0
    };
    let mask = image::GrayImage::from_fn(width, height, |x, y| image::Luma([if inside(x, y) { 255 } else { 0 }]));
    let mut file = std::io::Cursor::new(Vec::new());
    mask.write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

async fn make(daemon: &Daemon, spec: v1::GenerationSpec) -> v1::Generation {
    let mut client = daemon.generations();
    let request = v1::CreateGenerationRequest { spec: Some(spec), policy: None };
    let accepted = client.create_generation(request).await.unwrap().into_inner().generation.unwrap();
    let generation = ended(&mut client, &accepted.id).await;
    assert_eq!(generation.state(), v1::GenerationState::Succeeded, "{:?}", generation.error);
    generation
}

/// Pixels that differ, as the rectangle around them.
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

#[tokio::test]
async fn a_rectangle_and_a_mask_change_nothing_outside_and_the_answer_says_where() {
    let daemon = Daemon::start(quick()).await;
    let (file, mask) = (png(120, 90), disc(40, 40));
    let masked = v1::Selection {
        area: Some(Area::Mask(v1::SelectionMask {
            image: inline(&mask),
            offset: Some(v1::PixelOffset { x: 60, y: -10 }),
        })),
        feather_px: Some(2),
        grow_px: Some(1),
        color_match: v1::ColorMatch::Perceptual.into(),
        ..Default::default()
    };
    // The disc ends 13 pixels from its middle at 80,10; it grows by 1 and is feathered by 2.
    for (selection, bounds) in [(rectangle(10, 20, 30, 25), (10, 20, 39, 44)), (masked, (64, 0, 96, 26))] {
        let asked = v1::GenerationSpec { image: inline(&file), selection: Some(selection), ..spec("make it blue") };
        let generation = make(&daemon, asked).await;
        let resolved = generation.resolved.unwrap();
        assert_eq!((resolved.width, resolved.height), (120, 90));
        let (crop, changed) = (resolved.crop.unwrap(), generation.images[0].changed.unwrap());
        let (left, top, right, bottom) = bounds;
        let told = v1::PixelRect { x: left, y: top, width: right - left + 1, height: bottom - top + 1 };
        assert_eq!(changed, told);
        assert!(crop.x <= left && crop.y <= top && crop.x + crop.width > right && crop.y + crop.height > bottom);
        let made = generation.images[0].image.as_ref().unwrap();
        let found = differing(&file, &made.inline).expect("something has changed");
        assert!(found.0 >= left && found.1 >= top && found.2 <= right && found.3 <= bottom, "{found:?} in {bounds:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_named_by_its_field() {
    let daemon = Daemon::start(quick()).await;
    let file = png(60, 40);
    let mask = |image| v1::Selection {
        area: Some(Area::Mask(v1::SelectionMask { image, offset: None })),
        ..Default::default()
    };
    let cases = [
        (rectangle(50, 0, 11, 5), "spec.selection.rectangle"),
        (mask(inline(&disc(61, 40))), "spec.selection.mask.image"),
        (mask(inline(b"no picture")), "spec.selection.mask.image"),
        (v1::Selection { grow_px: Some(513), ..rectangle(0, 0, 5, 5) }, "spec.selection.grow_px"),
    ];
    for (selection, field) in cases {
        let asked = v1::GenerationSpec { image: inline(&file), selection: Some(selection), ..spec("make it blue") };
        let request = v1::CreateGenerationRequest { spec: Some(asked), policy: None };
        let error = daemon.generations().create_generation(request).await.unwrap_err();
        assert_eq!(told(&error).2, [field], "{error:?}");
    }
}

/// The same pixels in another layout, with rows that are longer than their pixels.
fn raw(rgba: &[u16], width: u32, order: v1::ChannelOrder, samples: v1::SampleType) -> v1::RawPixels {
    let mut bytes = Vec::new();
    for row in rgba.chunks_exact(width as usize * 4) {
        for pixel in row.chunks_exact(4) {
            let pixel = match order {
                v1::ChannelOrder::Bgra => [pixel[2], pixel[1], pixel[0], pixel[3]],
                _ => [pixel[0], pixel[1], pixel[2], pixel[3]],
            };
            for value in pixel {
                match samples {
                    v1::SampleType::U16Photoshop => {
                        let value = u16::try_from((u32::from(value) * 32_768 + 32_767) / 65_535).unwrap();
                        bytes.extend(value.to_le_bytes());
                    }
                    v1::SampleType::U16 => bytes.extend(value.to_le_bytes()),
                    v1::SampleType::F32 => bytes.extend((f32::from(value) / 65_535.0).to_le_bytes()),
                    _ => bytes.push(u8::try_from((u32::from(value) + 128) / 257).unwrap()),
                }
            }
        }
        bytes.extend([0xee; 12]);
    }
    let row = bytes.len() / (rgba.len() / width as usize / 4);
    v1::RawPixels {
        data: Some(v1::raw_pixels::Data::Inline(bytes.into())),
        width,
        height: u32::try_from(rgba.len()).unwrap() / width / 4,
        layout: Some(v1::RawLayout {
            channels: order.into(),
            samples: samples.into(),
            stride_bytes: Some(u32::try_from(row).unwrap()),
        }),
        icc_profile: Vec::new().into(),
    }
}

#[tokio::test]
async fn raw_pixels_of_all_layouts_are_read_and_outside_of_the_selection_come_back() {
    let daemon = Daemon::start(quick()).await;
    let (width, height) = (50_u32, 40_u32);
    // Values that Photoshop's range can hold exactly, so that they come back.
    let values: Vec<u16> = (0..width * height * 4)
        .map(|i| u16::try_from((((i * 7919) % 32_769) * 65_535 + 16_384) / 32_768).unwrap())
        .collect();
    for (order, samples, deep) in [
        (v1::ChannelOrder::Rgba, v1::SampleType::U8, false),
        (v1::ChannelOrder::Bgra, v1::SampleType::U8, false),
        (v1::ChannelOrder::Bgra, v1::SampleType::U16, true),
        (v1::ChannelOrder::Rgba, v1::SampleType::U16Photoshop, true),
        (v1::ChannelOrder::Rgba, v1::SampleType::F32, true),
    ] {
        let pixels = raw(&values, width, order, samples);
        let image = Some(v1::ImageSource { source: Some(Source::Raw(pixels)) });
        let asked = v1::GenerationSpec { image, selection: Some(rectangle(5, 5, 20, 10)), ..spec("make it blue") };
        let generation = make(&daemon, asked).await;
        let made = &generation.images[0].image.as_ref().unwrap().inline;
        let picture = image::load_from_memory(made).unwrap();
        assert_eq!(picture.color(), if deep { image::ColorType::Rgba16 } else { image::ColorType::Rgba8 });
        let picture = picture.to_rgba16();
        for (x, y, pixel) in picture.enumerate_pixels().filter(|(x, y, _)| *x < 5 || *y < 5 || *x >= 25 || *y >= 15) {
            let at = ((y * width + x) * 4) as usize;
            for (value, &source) in pixel.0.iter().zip(&values[at..at + 4]) {
                let source = if deep { u32::from(source) } else { (u32::from(source) + 128) / 257 * 257 };
                assert_eq!(u32::from(*value), source, "{order:?} {samples:?} at {x},{y}");
            }
        }
    }
    let short = v1::RawPixels { height: height + 1, ..raw(&values, width, v1::ChannelOrder::Rgba, v1::SampleType::U8) };
    let nothing = v1::RawPixels { data: None, ..short.clone() };
    for (pixels, field) in [(short, "spec.image.raw"), (nothing, "spec.image.raw")] {
        let image = Some(v1::ImageSource { source: Some(Source::Raw(pixels)) });
        let request = v1::CreateGenerationRequest {
            spec: Some(v1::GenerationSpec { image, ..spec("make it blue") }),
            policy: None,
        };
        let error = daemon.generations().create_generation(request).await.unwrap_err();
        assert_eq!(told(&error).2, [field], "{error:?}");
    }
}

async fn edited(
    daemon: &Daemon,
    client: &mut SessionServiceClient<Channel>,
    session_id: &str,
    spec: Option<v1::GenerationSpec>,
) -> (v1::Generation, v1::Revision, v1::Revision) {
    let edit = Some(v1::SessionEdit { spec, ..Default::default() });
    let request = v1::CreateSessionEditRequest { session_id: session_id.to_owned(), edit };
    let generation = client.create_session_edit(request).await.unwrap().into_inner().generation.unwrap();
    let generation = ended(&mut daemon.generations(), &generation.id).await;
    assert_eq!(generation.state(), v1::GenerationState::Succeeded, "{:?}", generation.error);
    let head = client.get_session(v1::GetSessionRequest { session_id: session_id.to_owned() }).await.unwrap();
    let revision_id = head.into_inner().session.unwrap().head_revision_id;
    let head = revision(client, session_id, &revision_id).await;
    let parent = revision(client, session_id, &head.parent_revision_id).await;
    (generation, head, parent)
}

async fn revision(client: &mut SessionServiceClient<Channel>, session: &str, revision: &str) -> v1::Revision {
    let request = v1::GetRevisionRequest { session_id: session.to_owned(), revision_id: revision.to_owned() };
    client.get_revision(request).await.unwrap().into_inner().revision.unwrap()
}

#[tokio::test]
async fn a_session_goes_on_from_whole_canvases_and_its_draft_selects() {
    let daemon = Daemon::start(quick()).await;
    let mut client = SessionServiceClient::new(daemon.channel());
    let create = v1::CreateSessionRequest { image: inline(&png(100, 80)), ..Default::default() };
    let session = client.create_session(create).await.unwrap().into_inner().session.unwrap();

    let layer = v1::Selection { result: v1::SelectionResult::Layer.into(), ..rectangle(5, 6, 30, 20) };
    let asked = v1::GenerationSpec { selection: Some(layer.clone()), ..spec("make it blue") };
    let (generation, head, parent) = edited(&daemon, &mut client, &session.id, Some(asked)).await;
    let made = generation.images[0].image.as_ref().unwrap();
    assert_eq!((made.width, made.height), (30, 20), "the answer is the layer");
    let (head_image, parent_image) = (head.image.unwrap(), parent.image.unwrap());
    assert_eq!((head_image.width, head_image.height), (100, 80), "the revision is the canvas");
    assert_eq!(
        differing(&parent_image.inline, &head_image.inline).map(|found| found.0 >= 5 && found.3 <= 25),
        Some(true)
    );
    assert_eq!(head.spec.unwrap().selection, Some(layer));
    assert_eq!(head.resolved.unwrap().crop, generation.resolved.unwrap().crop);

    // A mask of a draft has to be there, and stays while it is named.
    let mask = disc(100, 80);
    let selection = v1::Selection {
        area: Some(Area::Mask(v1::SelectionMask { image: by_hash(&mask), offset: None })),
        ..Default::default()
    };
    let draft = v1::Draft { instruction: "a boat".into(), seed: Some(3), selection: Some(selection.clone()) };
    let update =
        |draft| v1::UpdateSessionRequest { session_id: session.id.clone(), draft: Some(draft), ..Default::default() };
    let missing = client.update_session(update(draft.clone())).await.unwrap_err();
    assert_eq!(told(&missing).1, "BLOB_NOT_FOUND");
    let upload = v1::GenerationSpec { image: inline(&mask), ..spec("keep this") };
    make(&daemon, upload).await;
    let kept = client.update_session(update(draft.clone())).await.unwrap().into_inner().session.unwrap();
    assert_eq!(kept.draft, Some(draft));
    let (generation, head, _) = edited(&daemon, &mut client, &session.id, None).await;
    assert!(generation.images[0].changed.is_some());
    let spec = head.spec.unwrap();
    assert_eq!((spec.prompt.as_str(), spec.seed, spec.selection), ("a boat", Some(3), Some(selection)));

    // A replay names the mask by its hash and is taken back.
    let export = v1::ExportReplayRequest { session_id: session.id.clone(), ..Default::default() };
    let replay = client.export_replay(export).await.unwrap().into_inner().replay.unwrap();
    let import = v1::ImportReplayRequest { replay: Some(replay.clone()), ..Default::default() };
    let copy = client.import_replay(import).await.unwrap().into_inner().session.unwrap();
    let export = v1::ExportReplayRequest { session_id: copy.id, ..Default::default() };
    let again = client.export_replay(export).await.unwrap().into_inner().replay.unwrap();
    assert_eq!(again.steps, replay.steps);
}
