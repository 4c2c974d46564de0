//! What a picture says of its making: written by default, shown by `inspect`, used by `replay`, and left out where that is asked.

use easel_sdk::proto;
use easel_sdk::proto::image_source::Source;
use easel_sdk::proto::selection::Area;
use serde_json::Value;

use crate::world::World;

/// What `inspect` tells of a file.
fn inspected(world: &World, file: &str) -> Value {
    world.ok(&["--json", "inspect", file]).json().remove(0)
}

/// The bytes of the text chunk of a PNG of ours: it stands right behind the header.
fn text_chunk(png: &[u8]) -> std::ops::Range<usize> {
    const HEAD_BYTES: usize = 33;
    let length = u32::from_be_bytes(png[HEAD_BYTES..HEAD_BYTES + 4].try_into().expect("4 bytes")) as usize;
    assert_eq!(&png[HEAD_BYTES + 4..HEAD_BYTES + 8], b"iTXt");
    HEAD_BYTES..HEAD_BYTES + 12 + length
}

#[test]
fn a_picture_of_every_format_says_how_it_was_made_and_is_made_again() {
    let world = World::new();
    for file in ["a.png", "a.jpg", "a.webp", "a.tiff"] {
        world.ok(&[
            "generate",
            "a \"naïve\" 猫\u{1b}[2J",
            "-o",
            file,
            "--seed",
            "18446744073709551615",
            "--size",
            "160x96",
        ]);
        let told = inspected(&world, file);
        let parameters = &told["parameters"];
        assert_eq!((parameters["prompt"].as_str(), told["problem"].as_str()), (Some("a \"naïve\" 猫\u{1b}[2J"), None));
        assert_eq!(
            (parameters["seed"].as_str(), parameters["width"].as_u64()),
            (Some("18446744073709551615"), Some(160))
        );
        assert_eq!(
            (parameters["mode"].as_str(), parameters["num_inference_steps"].as_u64()),
            (Some("generate"), Some(4))
        );
        assert_eq!(parameters["easel_version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(parameters["model"]["license"], "MIT OR Apache-2.0");
        let shown = world.ok(&["inspect", file]).text();
        assert!(shown.contains("18446744073709551615") && !shown.contains('\u{1b}'), "{shown}");
        let run = world.ok(&["replay", file]);
        assert!(run.text().contains("the same bytes"), "{file}: {}{}", run.text(), run.stderr);
    }
    let read = world.easel_with_input(&["--json", "inspect", "-"], &world.read("a.png"));
    assert_eq!((read.code, read.json()[0]["width"].as_u64()), (0, Some(160)), "{}", read.stderr);
}

#[test]
fn an_edit_is_made_again_from_its_source_wherever_that_is() {
    let world = World::new();
    world.ok(&["generate", "x", "-o", "in.png", "--seed", "1", "--size", "160x96"]);
    world.ok(&["edit", "in.png", "make it blue", "-o", "out.png", "--seed", "2"]);
    let again = world.easel(&["replay", "out.png"]);
    assert_eq!((again.code, again.stderr.contains("--source FILE")), (4, true), "{}", again.stderr);
    let again = world.ok(&["--json", "replay", "out.png", "--source", "in.png", "-o", "again.png"]);
    assert_eq!(again.json().pop().expect("a line")["exact"], true);
    assert_eq!(world.read("again.png"), world.read("out.png"));
    assert_eq!(world.easel(&["replay", "out.png", "--source", "in.png", "-o", "again.png"]).code, 3, "it is kept");

    // The daemon that made it has the source still.
    let daemon = world.serve(&[]);
    world.ok(&["edit", "in.png", "make it blue", "-o", "kept.png", "--seed", "2"]);
    assert!(world.ok(&["replay", "kept.png"]).text().contains("the same bytes"));
    assert_eq!(daemon.terminate(), 0);

    world.ok(&["generate", "x", "-o", "other.png", "--seed", "9", "--size", "160x96"]);
    let other = world.easel(&["replay", "out.png", "--source", "other.png"]);
    assert!(other.stderr.contains("another file than the one that was edited"), "{}", other.stderr);
    assert!(other.stderr.contains("source_sha256 was"), "{}", other.stderr);
}

#[test]
fn a_picture_that_was_changed_or_made_by_another_version_is_told() {
    let world = World::new();
    world.ok(&["generate", "x", "-o", "one.png", "--seed", "1"]);
    world.ok(&["generate", "x", "-o", "two.png", "--seed", "2"]);
    let (one, mut two) = (world.read("one.png"), world.read("two.png"));
    two.splice(text_chunk(&two.clone()), one[text_chunk(&one)].to_vec());
    world.write("two.png", &two);
    let run = world.easel(&["--json", "replay", "two.png"]);
    let last = run.json().into_iter().find(|line| line["event"] == "replayed").expect("the outcome");
    assert_eq!(
        (run.code, last["same"].as_bool(), last["differences"].as_array().map(Vec::len)),
        (1, Some(false), Some(0))
    );

    let mut old = one.clone();
    let at = old.windows(15).position(|w| w == b"\"easel_version\"").expect("it is there") + 17;
    old[at] = b'9';
    world.write("old.png", &old);
    let run = world.easel(&["inspect", "old.png"]);
    assert_eq!((run.code, run.stderr.contains("checksum")), (3, true), "{}", run.stderr);
    assert_eq!(world.easel(&["replay", "old.png"]).code, 3);

    // The same in a file whose text has no checksum.
    world.ok(&["generate", "x", "-o", "old.tiff", "--seed", "1"]);
    let mut old = world.read("old.tiff");
    let at = old.windows(15).position(|w| w == b"\"easel_version\"").expect("it is there") + 17;
    old[at] = b'9';
    world.write("old.tiff", &old);
    let run = world.ok(&["replay", "old.tiff"]);
    assert!(run.text().contains("the same pixels; the files differ"), "{}", run.text());
    assert!(run.stderr.contains("easel_version was \"9"), "{}", run.stderr);
}

#[test]
fn pictures_say_nothing_where_that_is_asked() {
    let world = World::new();
    let plain = |file: &str| {
        let run = world.easel(&["--json", "inspect", file]);
        assert_eq!((run.code, run.json()[0]["parameters"].is_null()), (4, true), "{file}: {}", run.stderr);
        assert!(!world.read(file).windows(14).any(|w| w == b"a secret house"), "{file}");
        assert_eq!(world.easel(&["replay", file]).code, 4);
    };
    for file in ["a.png", "a.jpg", "a.webp", "a.tiff"] {
        world.ok(&["generate", "a secret house", "-o", file, "--seed", "1", "--no-provenance"]);
        plain(file);
    }
    let args = ["generate", "a secret house", "-o", "b.png", "--seed", "1"];
    assert_eq!(world.easel_with_env(&args, &[("EASEL_PROVENANCE", "false")]).code, 0);
    plain("b.png");
    assert_eq!(world.read("a.png"), world.read("b.png"));
    let none = world.easel(&["inspect", "missing.png"]);
    assert_eq!(none.code, 4, "{}", none.stderr);
    world.write("text.png", b"no picture");
    assert_eq!(world.easel(&["inspect", "text.png"]).code, 3);
}

#[test]
fn the_embedded_model_is_named_by_its_weights_and_a_batch_has_the_files_of_its_pictures() {
    let world = World::with_engine("dreamlite");
    world.ok(&["generate", "a red circle", "-o", "batch.png", "--seed", "7", "--num-images", "2", "--size", "64x64"]);
    world.ok(&["generate", "a red circle", "-o", "single.png", "--seed", "8", "--size", "64x64"]);
    assert_eq!(world.read("batch-1.png"), world.read("single.png"));
    let told = inspected(&world, "single.png");
    let model = &told["parameters"]["model"];
    let listed = world.ok(&["--json", "models"]).json().remove(0);
    assert_eq!((&model["sha256"], &model["license"]), (&listed["weights_sha256"], &listed["license"]));
    assert_eq!(model["sha256"].as_str().map(str::len), Some(64), "{told}");
    assert_eq!((model["unet"].as_str(), model["text_encoder"].as_str()), (Some("f32"), Some("f32")));
    assert!(world.ok(&["replay", "batch-1.png"]).text().contains("the same bytes"));
    let args = ["--json", "replay", "batch-1.png", "--tolerance", "255"];
    let run = world.easel_with_env(&args, &[("EASEL_UNET_PRECISION", "int8")]);
    let last = run.json().into_iter().find(|line| line["event"] == "replayed").expect("the outcome");
    assert_eq!(last["differences"][0]["field"], "model.unet", "{last}");
}

/// Makes an edit over the SDK and writes its picture.
async fn edit(easel: &easel_sdk::Easel, world: &World, file: &str, spec: proto::GenerationSpec) {
    let stream = easel.run_spec(spec, proto::RunPolicy::default()).await.expect("it is accepted");
    let done = stream.finish().await.expect("it is made");
    let image = done.images[0].image.clone().expect("a picture");
    world.write(file, &easel.picture(&image).await.expect("its bytes"));
}

#[test]
fn an_edit_of_a_selection_is_made_again_with_its_mask() {
    let world = World::new();
    world.ok(&["generate", "x", "-o", "in.png", "--seed", "1", "--size", "160x96"]);
    world.ok(&["generate", "y", "-o", "mask.png", "--seed", "2", "--size", "160x96"]);
    let daemon = world.serve(&[]);
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("tokio");
    let inline = |file: &str| proto::ImageSource { source: Some(Source::Inline(world.read(file).into())) };
    let rectangle = Area::Rectangle(proto::PixelRect { x: 10, y: 20, width: 64, height: 48 });
    let mask = Area::Mask(proto::SelectionMask { image: Some(inline("mask.png")), offset: None });
    tokio.block_on(async {
        let target = easel_sdk::Target::unix(world.path("state/run/easel.sock"));
        let easel = easel_sdk::Easel::connect(&target).await.expect("the daemon answers");
        for (file, area, result) in [
            ("canvas.png", rectangle, proto::SelectionResult::Canvas),
            ("layer.webp", mask, proto::SelectionResult::Layer),
        ] {
            let webp = file.ends_with("webp");
            let selection = proto::Selection {
                area: Some(area),
                grow_px: Some(3),
                feather_px: Some(4),
                context_px: Some(16),
                color_match: proto::ColorMatch::Linear.into(),
                result: result.into(),
                ..Default::default()
            };
            let spec = proto::GenerationSpec {
                prompt: "make it blue".to_owned(),
                image: Some(inline("in.png")),
                selection: Some(selection),
                seed: Some(5),
                output_format: if webp { proto::ImageFormat::Webp } else { proto::ImageFormat::Png }.into(),
                ..Default::default()
            };
            edit(&easel, &world, file, spec).await;
        }
    });
    assert!(world.ok(&["inspect", "canvas.png"]).text().contains("64x48 at 10,20, grown by 3 px, feathered by 4 px"));
    for file in ["canvas.png", "layer.webp"] {
        assert!(world.ok(&["replay", file]).text().contains("the same bytes"), "{file}");
    }
    assert_eq!(daemon.terminate(), 0);
    let elsewhere = World::new();
    for file in ["in.png", "mask.png", "layer.webp"] {
        elsewhere.write(file, &world.read(file));
    }
    let missing = elsewhere.easel(&["replay", "layer.webp", "--source", "in.png"]);
    assert_eq!((missing.code, missing.stderr.contains("--mask FILE")), (4, true), "{}", missing.stderr);
    let run = elsewhere.ok(&["replay", "layer.webp", "--source", "in.png", "--mask", "mask.png"]);
    assert!(run.text().contains("the same bytes"), "{}", run.stderr);
    let run = elsewhere.easel(&["replay", "layer.webp", "--source", "in.png", "--mask", "in.png"]);
    assert!(run.stderr.contains("another file than the one that was used"), "{}", run.stderr);
}
