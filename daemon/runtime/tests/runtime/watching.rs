//! Watches and polls: no gaps, late comers, slow readers.

use std::time::Duration;

use easel_domain::event::{EventKind, Stage, State, Watched};
use easel_domain::{DisconnectPolicy, GenerationRequest, PreviewKind, Reason, RunPolicy, limits};
use easel_runtime::drill::DrillConfig;

use crate::helpers::*;

/// A generation with more events than a watcher may lag behind.
fn long() -> GenerationRequest {
    GenerationRequest { num_inference_steps: Some(100), num_images: Some(3), ..request("a long one") }
}

fn instant() -> DrillConfig {
    DrillConfig { denoise_step: Duration::ZERO, ..quick() }
}

#[tokio::test]
async fn a_slow_watcher_is_cut_off_and_comes_back_by_its_number() {
    let runtime = start(instant());
    let mut slow = runtime.run(long(), policy()).await.expect("there is room");
    let first = event(&mut slow).await.expect("the first event");
    let mut quick_one = runtime.watch(slow.id(), 0).await.expect("it is there");
    let events = read_all(&mut quick_one).await;
    assert!(events.len() > limits::MAX_WATCH_LAG);
    let error = soon(slow.next()).await.expect("it is told").expect_err("it is too far behind");
    assert_eq!(error.reason, Reason::StreamLagged);
    assert!(soon(slow.next()).await.is_none());
    let mut back = runtime.watch(slow.id(), first.sequence).await.expect("it is kept");
    assert_eq!(read_all(&mut back).await.len(), events.len() - 1, "what it missed is there");
}

#[tokio::test]
async fn an_ended_generation_can_be_watched_from_any_event() {
    let runtime = start(quick());
    let snapshot = make(&runtime, request("a boat")).await;
    for after in 0..snapshot.sequence {
        let mut watch = runtime.watch(&snapshot.id, after).await.expect("it is kept");
        let events = read_all(&mut watch).await;
        assert_eq!(events[0].sequence, after + 1);
        assert_eq!(events.len() as u64, snapshot.sequence - after);
    }
    let mut nothing = runtime.watch(&snapshot.id, snapshot.sequence).await.expect("it is kept");
    assert!(soon(nothing.next()).await.is_none());
    let beyond = runtime.watch(&snapshot.id, snapshot.sequence + 1).await.expect_err("there is no such event");
    assert_eq!(beyond.reason, Reason::InvalidRequest);
}

#[tokio::test]
async fn a_poll_waits_for_news_and_ends_with_the_last_event() {
    let runtime = start(quick());
    let keep =
        RunPolicy { on_disconnect: DisconnectPolicy::Keep, previews: previews(PreviewKind::Projection), ..policy() };
    let created = runtime.create(request("a boat"), keep).await.expect("there is room");
    let id = created.snapshot.id;
    let (mut after, mut after_preview, mut all) = (0, 0, Vec::new());
    loop {
        let polled = soon(runtime.poll(&id, after, after_preview, Duration::from_secs(30))).await.expect("it is kept");
        all.extend(polled.events.iter().map(|event| event.sequence));
        after = all.last().copied().unwrap_or(after);
        if let Some(preview) = polled.preview {
            assert!(preview.number > after_preview, "an old preview is not sent again");
            after_preview = preview.number;
        }
        if polled.done {
            break;
        }
    }
    assert_eq!(all, (1..=after).collect::<Vec<_>>());
    let again = runtime.poll(&id, after, 0, Duration::from_secs(30)).await.expect("it is kept");
    assert!(again.done && again.events.is_empty(), "there is nothing to wait for");
    let beyond = runtime.poll(&id, after + 1, 0, Duration::ZERO).await.expect_err("there is no such event");
    assert_eq!(beyond.reason, Reason::InvalidRequest);
}

#[tokio::test]
async fn a_poll_without_news_ends_after_its_wait() {
    let runtime = start(DrillConfig { encode_layer: ENDLESS, ..quick() });
    let mut watch = runtime.run(request("a boat"), policy()).await.expect("there is room");
    until_stage(&mut watch, Stage::EncodePrompt).await;
    let sequence = runtime.get(watch.id()).await.expect("it is there").sequence;
    let polled = soon(runtime.poll(watch.id(), sequence, 0, Duration::from_millis(20))).await.expect("it is there");
    assert!(polled.events.is_empty() && !polled.done);
}

#[tokio::test]
async fn unread_previews_give_way_and_are_counted() {
    let runtime = start(DrillConfig { denoise_step: Duration::from_millis(20), ..quick() });
    let run = RunPolicy { previews: previews(PreviewKind::Projection), ..policy() };
    let asked = GenerationRequest { num_inference_steps: Some(12), ..request("a boat") };
    let watch = runtime.run(asked, run).await.expect("there is room");
    // This reader asks for state events only after the end.
    let mut other = runtime.watch(watch.id(), 0).await.expect("it is there");
    let mut seen = 0;
    while let Some(watched) = soon(other.next()).await {
        seen += usize::from(matches!(watched, Ok(Watched::Preview(_))));
    }
    assert!(seen >= 1);
    let mut late = watch;
    let mut last = None;
    while let Some(watched) = soon(late.next()).await {
        last = Some(watched.expect("it is not far behind"));
    }
    assert!(matches!(last, Some(Watched::Event(event)) if matches!(event.kind, EventKind::Succeeded { .. })));
    assert_at_rest(&runtime).await;
}

#[tokio::test]
async fn request_ids_make_creation_idempotent() {
    let runtime = start(quick());
    let run = RunPolicy { request_id: "r-1".parse().ok(), ..policy() };
    let first = runtime.create(request("a boat"), run.clone()).await.expect("there is room");
    let second = runtime.create(request("a boat"), run.clone()).await.expect("it is known");
    assert_eq!((first.existed, second.existed), (false, true));
    assert_eq!(first.snapshot.id, second.snapshot.id);
    let other = runtime.create(request("a car"), run.clone()).await.expect_err("the content differs");
    assert_eq!(other.reason, Reason::RequestIdConflict);
    let watch = runtime.run(request("a boat"), run).await.expect("it is known");
    assert_eq!(end(&runtime, watch).await.id, first.snapshot.id);
}

#[tokio::test]
async fn lists_come_in_pages_newest_first() {
    let runtime = start(quick());
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, make(&runtime, request("a boat")).await.id);
    }
    let mut listed = Vec::new();
    let mut before = None;
    loop {
        let (page, next) = runtime.list(2, before, &[State::Succeeded]).await.expect("a page");
        listed.extend(page.into_iter().map(|snapshot| snapshot.id));
        before = next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(listed, ids);
    let (none, _) = runtime.list(2, None, &[State::Failed]).await.expect("a page");
    assert!(none.is_empty());
}
