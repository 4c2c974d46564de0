//! Pictures come out: the way of a request, sizes, seeds, previews, and stages that overlap.

use std::time::{Duration, Instant};

use easel_domain::event::{EventKind, Stage, State, Watched};
use easel_domain::{ImageFormat, Mode, PreviewKind, Reason, Size};
use easel_runtime::RuntimeConfig;
use easel_runtime::drill::DrillConfig;

use crate::helpers::*;

#[tokio::test]
async fn a_generation_becomes_a_picture() {
    let runtime = start(quick());
    let mut watch = runtime.run(request("a boat"), policy()).await.expect("there is room");
    let events = read_all(&mut watch).await;
    assert!(matches!(events[0].kind, EventKind::Accepted(_)));
    let Some(EventKind::Succeeded { images, timings, .. }) = events.last().map(|event| &event.kind) else {
        panic!("it succeeds: {:?}", events.last());
    };
    let picture = easel_imaging::load(&images[0].image.bytes).expect("the result is a picture");
    assert_eq!(picture.size(), Size { width: 64, height: 64 });
    assert_eq!(images[0].seed, 7);
    assert_eq!(
        timings.iter().map(|timing| timing.stage).collect::<Vec<_>>(),
        [Stage::EncodePrompt, Stage::Denoise, Stage::Decode, Stage::Finish]
    );
    assert!(timings.iter().all(|timing| !timing.computed.is_zero()));
    let hash = images[0].image.hash.expect("results have a hash");
    assert_eq!(runtime.blob(hash).await.expect("the result is a blob").bytes, images[0].image.bytes);
    assert_at_rest(&runtime).await;
}

#[tokio::test]
async fn an_edit_comes_back_at_the_size_of_its_source() {
    let runtime = start(quick());
    let image = Some(source(&runtime, 100, 37).await);
    let snapshot = make(&runtime, easel_domain::GenerationRequest { image, ..request("at night") }).await;
    assert_eq!(snapshot.plan.mode, Mode::Edit);
    assert_eq!((snapshot.images[0].image.width, snapshot.images[0].image.height), (100, 37));
    let stages: Vec<_> = snapshot.timings.iter().map(|timing| timing.stage).collect();
    assert!(stages.contains(&Stage::EncodeImage), "{stages:?}");
}

#[tokio::test]
async fn a_seed_means_the_same_picture_alone_and_in_a_row() {
    let runtime = start(quick());
    let row = make(&runtime, easel_domain::GenerationRequest { num_images: Some(3), ..request("a boat") }).await;
    assert_eq!(row.images.iter().map(|image| (image.index, image.seed)).collect::<Vec<_>>(), [(0, 7), (1, 8), (2, 9)]);
    let alone = make(&runtime, easel_domain::GenerationRequest { seed: Some(8), ..request("a boat") }).await;
    assert_eq!(alone.images[0].image.bytes, row.images[1].image.bytes);
    assert_ne!(alone.images[0].image.bytes, row.images[0].image.bytes);
    let list = easel_domain::GenerationRequest { seed: None, seeds: vec![9, 8, 9], ..request("a boat") };
    let list = make(&runtime, list).await;
    assert_eq!(list.images.iter().map(|image| image.seed).collect::<Vec<_>>(), [9, 8, 9]);
    assert_eq!(list.images[1].image.bytes, alone.images[0].image.bytes);
    assert!([0, 2].into_iter().all(|at| list.images[at].image.bytes == row.images[2].image.bytes));
}

#[tokio::test]
async fn seeds_that_nobody_chose_differ() {
    let runtime = start(quick());
    let drawn = easel_domain::GenerationRequest { seed: None, ..request("a boat") };
    let (one, other) = (make(&runtime, drawn.clone()).await, make(&runtime, drawn).await);
    assert_ne!(one.plan.seed, other.plan.seed);
    assert!(one.id < other.id, "ids sort by time");
}

#[tokio::test]
async fn previews_of_both_kinds_come_small_and_numbered() {
    for kind in [PreviewKind::Projection, PreviewKind::Decoded] {
        // Steps take longer than a preview, so that some are seen; how many is a matter of speed.
        let runtime = start(DrillConfig { denoise_step: Duration::from_millis(40), ..quick() });
        let run = easel_domain::RunPolicy { previews: previews(kind), ..policy() };
        let mut watch = runtime.run(request("a boat"), run).await.expect("there is room");
        let mut numbers = Vec::new();
        while let Some(watched) = soon(watch.next()).await {
            if let Watched::Preview(preview) = watched.expect("the watch does not lag") {
                assert_eq!((preview.kind, preview.image.format), (kind, ImageFormat::Jpeg));
                assert!(preview.image.width.max(preview.image.height) <= 20);
                assert!(preview.step < 4, "the last step is the picture itself");
                numbers.push(preview.number);
            }
        }
        assert!(!numbers.is_empty(), "a preview is seen");
        assert!(numbers.is_sorted());
        assert_at_rest(&runtime).await;
    }
}

#[tokio::test]
async fn stages_of_different_generations_overlap() {
    let ms = Duration::from_millis;
    let drill = DrillConfig {
        encode_layer: ms(20),
        encode_layers: 5,
        denoise_step: ms(25),
        vae_strip: ms(25),
        vae_strips: 4,
        ..quick()
    };
    let (runtime, engine) = start_with(drill, RuntimeConfig { cpu_slots: 3, ..RuntimeConfig::default() });
    make(&runtime, request("first, to read the model")).await;
    let before = engine.intervals().len();

    let start = Instant::now();
    let mut watches = Vec::new();
    for prompt in ["one", "two", "three"] {
        watches.push(runtime.run(request(prompt), policy()).await.expect("there is room"));
    }
    for watch in watches {
        assert_eq!(end(&runtime, watch).await.state, State::Succeeded);
    }
    let wall = start.elapsed();

    let intervals = engine.intervals().split_off(before);
    let sum: Duration = intervals.iter().map(|interval| interval.end - interval.start).sum();
    let overlaps = intervals.iter().any(|one| {
        intervals.iter().any(|other| {
            one.stage != other.stage && one.prompt != other.prompt && one.start < other.end && other.start < one.end
        })
    });
    assert!(overlaps, "stages of different generations compute at the same time");
    // Three jobs of 100 + 100 + 100 ms: 900 ms one after the other, 500 ms as a pipeline.
    assert!(wall < sum.mul_f64(0.75), "three jobs took {wall:?}, their stages together {sum:?}");
}

#[tokio::test]
async fn wrong_requests_name_their_fields_and_cost_nothing() {
    let runtime = start(quick());
    let wrong =
        easel_domain::GenerationRequest { width: Some(7), height: Some(7), num_images: Some(99), ..request("") };
    let error = runtime.create(wrong, policy()).await.expect_err("it is wrong in many ways");
    assert_eq!(error.reason, Reason::InvalidRequest);
    assert!(error.violations.len() >= 3, "{error:?}");

    let no_model = easel_domain::GenerationRequest { model: Some("none".to_owned()), ..request("a boat") };
    assert_eq!(runtime.create(no_model, policy()).await.map_err(|e| e.reason), Err(Reason::ModelNotFound));

    let no_blob = easel_domain::GenerationRequest { image: Some(easel_domain::BlobHash([1; 32])), ..request("night") };
    assert_eq!(runtime.create(no_blob, policy()).await.map_err(|e| e.reason), Err(Reason::BlobNotFound));

    let text = runtime.put_blob(b"no picture at all".as_slice().into()).await.expect("there is room");
    let no_picture = easel_domain::GenerationRequest { image: Some(text), ..request("night") };
    let error = runtime.create(no_picture, policy()).await.expect_err("it is no picture");
    assert_eq!((error.reason, error.violations[0].field.as_str()), (Reason::InvalidImage, "spec.image"));

    let (all, _) = runtime.list(10, None, &[]).await.expect("an empty list");
    assert!(all.is_empty());
    assert!(*runtime.ready().borrow(), "a client's mistake is not ours");
}
