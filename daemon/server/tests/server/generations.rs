//! Run, create, get, list, cancel: the life of generations as a client sees it.

use std::time::Duration;

use easel_proto::v1;
use easel_proto::v1::generation_event::Event;
use easel_runtime::drill::{DrillConfig, DrillFault, DrillStage, Fault};
use tokio_stream::StreamExt as _;
use tonic::{Code, Request};

use crate::support::{Daemon, create, create_request, ended, endless, png, quick, run_request, sha256, spec, told};

#[tokio::test]
async fn a_run_tells_everything_and_ends_with_the_picture() {
    let daemon = Daemon::start(quick()).await;
    let stream = daemon.generations().run_generation(run_request("a red circle")).await.unwrap().into_inner();
    let events: Vec<_> = stream.map(|item| item.unwrap().event.unwrap()).collect().await;

    let numbered: Vec<_> = events.iter().map(|event| event.sequence).collect();
    let last = u64::try_from(numbered.len()).unwrap();
    assert_eq!(numbered, (1..=last).collect::<Vec<_>>());
    let Some(Event::Accepted(accepted)) = &events[0].event else { panic!("{events:?}") };
    let generation = accepted.generation.as_ref().unwrap();
    let resolved = generation.resolved.as_ref().unwrap();
    assert!(events.iter().all(|event| event.generation_id == generation.id && event.time.is_some()));
    assert_eq!((resolved.model.as_str(), resolved.mode()), ("drill", v1::Mode::Generate));
    assert_eq!((resolved.width, resolved.height, resolved.num_inference_steps), (64, 64, 4));
    let stages = [v1::Stage::EncodePrompt, v1::Stage::Denoise, v1::Stage::Decode, v1::Stage::Finish];
    assert_eq!(resolved.stages, stages.map(i32::from));

    let Some(Event::Succeeded(end)) = &events[events.len() - 1].event else { panic!("{events:?}") };
    assert!(!end.timings.is_empty() && end.total.is_some());
    let made = end.images[0].image.as_ref().unwrap();
    assert_eq!(end.images[0].seed, resolved.seed);
    assert_eq!((made.format(), made.sha256.clone()), (v1::ImageFormat::Png, sha256(&made.inline)));
    let picture = image::load_from_memory(&made.inline).unwrap();
    assert_eq!((picture.width(), picture.height()), (64, 64));
}

#[tokio::test]
async fn an_edit_takes_a_picture_inline_or_by_its_hash() {
    let daemon = Daemon::start(quick()).await;
    let mut client = daemon.generations();
    let file = png(80, 48);
    let inline = v1::image_source::Source::Inline(file.clone().into());
    let by_hash = v1::image_source::Source::Sha256(sha256(&file));
    let mut pictures = Vec::new();
    for source in [inline, by_hash] {
        let image = Some(v1::ImageSource { source: Some(source) });
        let request = v1::CreateGenerationRequest {
            spec: Some(v1::GenerationSpec { image, seed: Some(5), ..spec("make it blue") }),
            policy: None,
        };
        let accepted = client.create_generation(request).await.unwrap().into_inner().generation.unwrap();
        let resolved = accepted.resolved.as_ref().unwrap();
        assert_eq!((resolved.mode(), resolved.width, resolved.height), (v1::Mode::Edit, 80, 48));
        let generation = ended(&mut client, &accepted.id).await;
        assert_eq!(generation.state(), v1::GenerationState::Succeeded, "{:?}", generation.error);
        pictures.push(generation.images[0].image.as_ref().unwrap().sha256.clone());
    }
    assert_eq!(pictures[0], pictures[1]);
}

#[tokio::test]
async fn previews_come_while_the_denoiser_works() {
    let drill = DrillConfig { denoise_step: Duration::from_millis(60), ..quick() };
    let daemon = Daemon::start(drill).await;
    for (kind, edge) in [(v1::PreviewKind::Projection, 8), (v1::PreviewKind::Decoded, 32)] {
        let policy = v1::RunPolicy {
            previews: Some(v1::PreviewPolicy {
                kind: kind.into(),
                longest_edge_px: (kind == v1::PreviewKind::Decoded).then_some(32),
                ..Default::default()
            }),
            ..Default::default()
        };
        let request = v1::RunGenerationRequest { policy: Some(policy), ..run_request("a red circle") };
        let stream = daemon.generations().run_generation(request).await.unwrap().into_inner();
        let events: Vec<_> = stream.map(|item| item.unwrap().event.unwrap()).collect().await;
        let previews: Vec<_> = events
            .iter()
            .filter_map(|event| match &event.event {
                Some(Event::Preview(preview)) => Some((event.sequence, preview)),
                _ => None,
            })
            .collect();
        assert!(!previews.is_empty(), "{kind:?}: no preview among {} events", events.len());
        for (sequence, preview) in &previews {
            assert_eq!((*sequence, preview.kind(), preview.epoch), (0, kind, 1));
            let image = preview.image.as_ref().unwrap();
            assert_eq!(image.format(), v1::ImageFormat::Jpeg);
            let picture = image::load_from_memory(&image.inline).unwrap();
            assert_eq!((picture.width(), picture.height()), (edge, edge));
        }
        assert!(previews.windows(2).all(|pair| pair[0].1.number < pair[1].1.number));
    }
}

#[tokio::test]
async fn a_lost_stream_cancels_and_a_created_generation_goes_on() {
    let daemon = Daemon::start(endless()).await;
    let mut client = daemon.generations();
    let mut stream = client.run_generation(run_request("lost")).await.unwrap().into_inner();
    let id = stream.message().await.unwrap().unwrap().event.unwrap().generation_id;
    drop(stream);
    let lost = ended(&mut client, &id).await;
    assert_eq!(lost.state(), v1::GenerationState::Cancelled);
    assert_eq!(lost.error.unwrap().reason, "WATCHER_GONE");

    let daemon = Daemon::start(quick()).await;
    let mut client = daemon.generations();
    let id = create(&mut client, "kept").await;
    let watch = v1::WatchGenerationRequest { id: id.clone(), after_sequence: 0 };
    drop(client.watch_generation(watch).await.unwrap());
    assert_eq!(ended(&mut client, &id).await.state(), v1::GenerationState::Succeeded);
}

#[tokio::test]
async fn a_deadline_stops_the_work_and_not_only_the_answer() {
    let daemon = Daemon::start(endless()).await;
    let mut client = daemon.generations();
    let keep = v1::RunPolicy { on_disconnect: v1::DisconnectPolicy::Keep.into(), ..Default::default() };
    let mut request = Request::new(v1::RunGenerationRequest { policy: Some(keep), ..run_request("late") });
    request.set_timeout(Duration::from_millis(300));
    let mut stream = client.run_generation(request).await.unwrap().into_inner();
    let id = stream.message().await.unwrap().unwrap().event.unwrap().generation_id;
    let late = ended(&mut client, &id).await;
    assert_eq!(late.state(), v1::GenerationState::Cancelled);
    let error = late.error.unwrap();
    assert_eq!((error.code, error.reason.as_str()), (i32::from(Code::DeadlineExceeded), "DEADLINE_EXCEEDED"));
}

#[tokio::test]
async fn a_cancellation_says_what_it_hit() {
    let daemon = Daemon::start(endless()).await;
    let mut client = daemon.generations();
    let mut ids = Vec::new();
    for i in 0..12 {
        ids.push(create(&mut client, &format!("number {i}")).await);
    }
    let mut stream = client
        .watch_generation(v1::WatchGenerationRequest { id: ids[0].clone(), after_sequence: 0 })
        .await
        .unwrap()
        .into_inner();
    loop {
        let event = stream.message().await.unwrap().unwrap().event.unwrap().event;
        if matches!(event, Some(Event::Progress(ref at)) if at.progress.unwrap().stage() == v1::Stage::Denoise) {
            break;
        }
    }
    let mut cancel = async |id: &str| {
        let request = v1::CancelGenerationRequest { id: id.into() };
        client.cancel_generation(request).await.unwrap().into_inner()
    };
    let running = cancel(&ids[0]).await;
    assert_eq!(running.outcome(), v1::CancelOutcome::WasRunning);
    assert_eq!(running.at.unwrap().stage(), v1::Stage::Denoise);
    assert_eq!(cancel(&ids[11]).await.outcome(), v1::CancelOutcome::WasQueued);
    assert_eq!(cancel(&ids[11]).await.outcome(), v1::CancelOutcome::WasFinished);
    let end = ended(&mut daemon.generations(), &ids[0]).await;
    assert_eq!((end.state(), end.error.unwrap().reason.as_str()), (v1::GenerationState::Cancelled, "CANCELLED"));
}

#[tokio::test]
async fn lists_have_pages_and_states_and_no_pictures_inline() {
    let daemon = Daemon::start(quick()).await;
    let mut client = daemon.generations();
    let mut ids = Vec::new();
    for i in 0..5 {
        let id = create(&mut client, &format!("number {i}")).await;
        ended(&mut client, &id).await;
        ids.insert(0, id);
    }
    let mut found = Vec::new();
    let mut request = v1::ListGenerationsRequest { page_size: Some(2), ..Default::default() };
    loop {
        let page = client.list_generations(request.clone()).await.unwrap().into_inner();
        assert!(page.generations.len() <= 2);
        for generation in page.generations {
            let image = generation.images[0].image.as_ref().unwrap();
            assert!(image.inline.is_empty() && image.size_bytes > 0 && image.sha256.len() == 64);
            found.push(generation.id);
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(found, ids);
    let failed = v1::ListGenerationsRequest { states: vec![v1::GenerationState::Failed.into()], ..Default::default() };
    assert!(client.list_generations(failed).await.unwrap().into_inner().generations.is_empty());
}

#[tokio::test]
async fn a_request_id_makes_creating_idempotent() {
    let daemon = Daemon::start(quick()).await;
    let mut client = daemon.generations();
    let request = |prompt: &str| v1::CreateGenerationRequest {
        policy: Some(v1::RunPolicy { request_id: "mine-1".into(), ..Default::default() }),
        ..create_request(prompt)
    };
    let first = client.create_generation(request("one")).await.unwrap().into_inner();
    let again = client.create_generation(request("one")).await.unwrap().into_inner();
    assert_eq!((first.existed, again.existed), (false, true));
    assert_eq!(first.generation.unwrap().id, again.generation.unwrap().id);
    let other = client.create_generation(request("two")).await.unwrap_err();
    assert_eq!(told(&other).0, Code::AlreadyExists);
    assert_eq!(told(&other).1, "REQUEST_ID_CONFLICT");
}

#[tokio::test]
async fn a_fault_fails_its_generation_and_nobody_elses() {
    let fault = DrillFault {
        stage: DrillStage::Denoise,
        part: 2,
        fault: Fault::Panic,
        times: Some(1),
        prompt_contains: Some("bad".into()),
    };
    let daemon = Daemon::start(DrillConfig { faults: vec![fault], ..quick() }).await;
    let mut client = daemon.generations();
    let id = create(&mut client, "bad").await;
    let failed = ended(&mut client, &id).await;
    assert_eq!(failed.state(), v1::GenerationState::Failed);
    let error = failed.error.unwrap();
    assert_eq!((error.code, error.reason.as_str()), (i32::from(Code::Internal), "ENGINE_FAULT"));
    let id = create(&mut client, "good").await;
    assert_eq!(ended(&mut client, &id).await.state(), v1::GenerationState::Succeeded);
}
