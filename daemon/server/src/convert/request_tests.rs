//! Tests of the conversion of requests: defaults, and that everything wrong is named at once under its path.

use easel_domain::{Mode, PreviewKind, Priority};
use easel_proto::v1::image_source::Source;

use super::*;

fn spec() -> v1::GenerationSpec {
    v1::GenerationSpec { prompt: "a red circle".into(), ..Default::default() }
}

fn convert(spec: v1::GenerationSpec, policy: v1::RunPolicy) -> Result<Submission, Error> {
    submission(Some(spec), Some(policy), DisconnectPolicy::Cancel, None)
}

fn fields(error: &Error) -> Vec<&str> {
    error.violations.iter().map(|violation| violation.field.as_str()).collect()
}

fn wrong(spec: v1::GenerationSpec, policy: v1::RunPolicy) -> Vec<String> {
    fields(&convert(spec, policy).unwrap_err()).into_iter().map(str::to_owned).collect()
}

fn span(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos })
}

fn picture(source: Source) -> Option<v1::ImageSource> {
    Some(v1::ImageSource { source: Some(source) })
}

#[test]
fn what_is_not_said_has_the_documented_default() {
    let made = convert(spec(), v1::RunPolicy::default()).unwrap();
    assert_eq!((made.request.mode, made.request.model, made.request.image), (None, None, None));
    assert_eq!((made.request.seed, made.request.num_images), (None, None));
    assert_eq!(made.request.output_format, ImageFormat::Png);
    assert_eq!(made.policy.priority, Priority::Interactive);
    assert_eq!(made.policy.on_disconnect, DisconnectPolicy::Cancel);
    assert_eq!((made.policy.previews, made.policy.timeout, made.policy.request_id), (None, None, None));
    let created = submission(Some(spec()), None, DisconnectPolicy::Keep, None).unwrap();
    assert_eq!(created.policy.on_disconnect, DisconnectPolicy::Keep);
}

#[test]
fn loras_arrive_by_name_or_hash_with_their_weights() {
    let lora = |source, weight| v1::Lora { source, weight };
    let name = |name: &str| Some(v1::lora::Source::Name(name.into()));
    let hash = |hash: &str| Some(v1::lora::Source::Sha256(hash.into()));
    let loras = vec![lora(name("ink"), None), lora(hash(&"ab".repeat(32)), Some(0.0))];
    let made = convert(v1::GenerationSpec { loras, ..spec() }, v1::RunPolicy::default()).unwrap();
    let expected = [
        LoraUse { id: LoraId::Name("ink".into()), weight: 1.0 },
        LoraUse { id: LoraId::Sha256(BlobHash([0xab; 32])), weight: 0.0 },
    ];
    assert_eq!(made.request.loras, expected);
    let loras = vec![lora(None, None), lora(hash("ab"), None), lora(name("x"), Some(f32::INFINITY))];
    let fields = wrong(v1::GenerationSpec { loras, ..spec() }, v1::RunPolicy::default());
    for field in ["spec.loras[0]", "spec.loras[1].sha256", "spec.loras[2].weight"] {
        assert!(fields.iter().any(|found| found == field), "{field}: {fields:?}");
    }
}

#[test]
fn what_is_said_arrives() {
    let spec = v1::GenerationSpec {
        mode: v1::Mode::Edit.into(),
        model: "nano".into(),
        image: picture(Source::Sha256("ab".repeat(32))),
        width: Some(96),
        height: Some(64),
        num_inference_steps: Some(2),
        sigmas: vec![1.0, 0.5],
        guidance_scale: Some(0.0),
        seed: Some(0),
        num_images: Some(3),
        output_format: v1::ImageFormat::Webp.into(),
        ..spec()
    };
    let policy = v1::RunPolicy {
        previews: Some(v1::PreviewPolicy {
            kind: v1::PreviewKind::Decoded.into(),
            longest_edge_px: Some(64),
            every_n_steps: Some(2),
            ..Default::default()
        }),
        priority: v1::Priority::Live.into(),
        on_disconnect: v1::DisconnectPolicy::Keep.into(),
        timeout: span(1, 500_000_000),
        request_id: "a-1".into(),
        ..Default::default()
    };
    let made = convert(spec, policy).unwrap();
    assert_eq!(made.request.mode, Some(Mode::Edit));
    assert_eq!(made.request.image, Some(BlobHash([0xab; 32])));
    assert_eq!((made.request.seed, made.request.guidance_scale), (Some(0), Some(0.0)));
    assert_eq!(made.request.output_format, ImageFormat::WebP);
    let previews = made.policy.previews.unwrap();
    assert_eq!((previews.kind, previews.format, previews.every_n_steps), (PreviewKind::Decoded, ImageFormat::Jpeg, 2));
    assert_eq!(made.policy.timeout, Some(Duration::from_millis(1500)));
    assert_eq!(made.policy.request_id.unwrap().as_str(), "a-1");
}

#[test]
fn everything_wrong_is_named_at_once() {
    let spec = v1::GenerationSpec {
        mode: 42,
        prompt: String::new(),
        image: picture(Source::Sha256("XY".into())),
        width: Some(0),
        height: Some(100_000),
        guidance_scale: Some(f32::NAN),
        image_guidance_scale: Some(-1.0),
        sigmas: vec![1.0, f32::INFINITY],
        num_images: Some(0),
        output_format: -1,
        ..Default::default()
    };
    let policy = v1::RunPolicy {
        previews: Some(v1::PreviewPolicy { kind: 9, longest_edge_px: Some(1), format: 77, every_n_steps: Some(0) }),
        priority: 9,
        on_disconnect: 9,
        timeout: span(-1, 0),
        request_id: "no spaces".into(),
        ..Default::default()
    };
    let found = wrong(spec, policy);
    let expected = [
        "spec.mode",
        "spec.image.sha256",
        "spec.guidance_scale",
        "spec.sigmas[1]",
        "spec.output_format",
        "policy.priority",
        "policy.on_disconnect",
        "policy.previews.kind",
        "policy.previews.longest_edge_px",
        "policy.previews.every_n_steps",
        "policy.previews.format",
        "policy.timeout",
        "policy.request_id",
        "spec.prompt",
        "spec.image_guidance_scale",
        "spec.num_images",
    ];
    assert_eq!(found, expected);
}

#[test]
fn pictures_are_checked_for_their_size_and_hash() {
    let cases = [
        (picture(Source::Inline(Bytes::new())), "spec.image.inline"),
        (picture(Source::Inline(vec![0; MAX_INLINE_IMAGE_BYTES + 1].into())), "spec.image.inline"),
        (picture(Source::Sha256("AB".repeat(32))), "spec.image.sha256"),
        (picture(Source::Sha256(String::new())), "spec.image.sha256"),
        (Some(v1::ImageSource { source: None }), "spec.image"),
    ];
    for (image, field) in cases {
        assert_eq!(wrong(v1::GenerationSpec { image, ..spec() }, v1::RunPolicy::default()), [field]);
    }
    let whole = picture(Source::Inline(vec![7; MAX_INLINE_IMAGE_BYTES].into()));
    let made = convert(v1::GenerationSpec { image: whole, ..spec() }, v1::RunPolicy::default()).unwrap();
    assert!(matches!(made.inline.image, Some(Brought::File(bytes)) if bytes.len() == MAX_INLINE_IMAGE_BYTES));
}

#[test]
fn a_picture_that_is_wrong_in_itself_still_is_a_picture() {
    let edit =
        v1::GenerationSpec { mode: v1::Mode::Edit.into(), image: picture(Source::Inline(Bytes::new())), ..spec() };
    assert_eq!(wrong(edit, v1::RunPolicy::default()), ["spec.image.inline"]);
}

#[test]
fn timeouts_are_between_a_millisecond_and_a_day() {
    let day = 24 * 60 * 60;
    for timeout in [span(0, 0), span(0, 999_999), span(day, 1), span(-1, 0), span(1, -1), span(0, 1_000_000_000)] {
        assert_eq!(wrong(spec(), v1::RunPolicy { timeout, ..Default::default() }), ["policy.timeout"], "{timeout:?}");
    }
    for extreme in [span(i64::MIN, i32::MIN), span(i64::MAX, i32::MAX)] {
        assert_eq!(wrong(spec(), v1::RunPolicy { timeout: extreme, ..Default::default() }), ["policy.timeout"]);
    }
    for timeout in [span(0, 1_000_000), span(day, 0)] {
        assert!(convert(spec(), v1::RunPolicy { timeout, ..Default::default() }).is_ok());
    }
}

#[test]
fn the_shorter_of_timeout_and_deadline_counts() {
    let timeout = |asked, deadline| {
        let policy = v1::RunPolicy { timeout: asked, ..Default::default() };
        submission(Some(spec()), Some(policy), DisconnectPolicy::Cancel, deadline).unwrap().policy.timeout
    };
    let seconds = |n| Some(Duration::from_secs(n));
    assert_eq!(timeout(None, seconds(5)), seconds(5));
    assert_eq!(timeout(span(3, 0), seconds(5)), seconds(3));
    assert_eq!(timeout(span(9, 0), seconds(5)), seconds(5));
    assert_eq!(timeout(None, seconds(u64::MAX)), Some(MAX_TIMEOUT));
    assert_eq!(timeout(None, Some(Duration::ZERO)), Some(MIN_TIMEOUT));
}

#[test]
fn a_flood_of_wrong_fields_is_cut() {
    let flood = v1::GenerationSpec { sigmas: vec![f32::NAN; 100_000], ..spec() };
    assert_eq!(wrong(flood, v1::RunPolicy::default()).len(), 16);
}

#[test]
fn what_an_artist_asks_for_is_checked_in_full() {
    use v1::selection::Area;
    let rectangle = |x, width| Area::Rectangle(v1::PixelRect { x, y: 0, width, height: 8 });
    let mask = |image| Area::Mask(v1::SelectionMask { image, offset: Some(v1::PixelOffset { x: i32::MIN, y: 0 }) });
    let select = |area| Some(v1::Selection { area, grow_px: Some(9999), color_match: 9, ..Default::default() });
    let cases = [
        (None, "spec.selection"),
        (Some(rectangle(0, 0)), "spec.selection.rectangle"),
        (Some(rectangle(u32::MAX, 9)), "spec.selection.rectangle"),
        (Some(mask(None)), "spec.selection.mask.image"),
        (Some(mask(picture(Source::Inline(Bytes::new())))), "spec.selection.mask.image.inline"),
    ];
    for (area, field) in cases {
        let found = wrong(v1::GenerationSpec { selection: select(area), ..spec() }, v1::RunPolicy::default());
        for expected in [field, "spec.selection.grow_px", "spec.selection.color_match"] {
            assert!(found.iter().any(|found| found == expected), "{expected} is not in {found:?}");
        }
    }
    let wide = v1::GenerationSpec {
        seed: Some(1),
        seeds: vec![1; 17],
        provenance: 9,
        contact_sheet: Some(v1::ContactSheet { columns: Some(0), cell_edge_px: Some(1) }),
        tile_overlap_px: Some(1),
        output_raw: Some(v1::RawLayout { channels: 99, samples: 99, stride_bytes: Some(0) }),
        output_pixels: 9,
        ..spec()
    };
    let expected = [
        "spec.seeds",
        "spec.seeds",
        "spec.contact_sheet.columns",
        "spec.contact_sheet.cell_edge_px",
        "spec.tile_overlap_px",
        "spec.tile_overlap_px",
        "spec.output_raw.channels",
        "spec.output_raw.samples",
        "spec.output_raw.stride_bytes",
        "spec.output_raw",
        "spec.output_pixels",
        "spec.provenance",
    ];
    assert_eq!(wrong(wide, v1::RunPolicy::default()), expected);
}
