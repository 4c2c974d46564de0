//! A daemon that ends in the middle and comes back: nothing that was acknowledged is lost, and the same pictures come out.

use std::path::Path;
use std::time::Duration;

use easel_domain::event::{CancelOutcome, EventKind, Stage, State};
use easel_domain::{
    Area, BlobHash, DisconnectPolicy, GenerationRequest, PreviewKind, Reason, RestartPolicy, RunPolicy, Selection,
};
use easel_runtime::drill::DrillConfig;
use easel_runtime::{Runtime, RuntimeConfig};

use crate::helpers::*;

fn config(folder: &Path) -> RuntimeConfig {
    RuntimeConfig { state_dir: Some(folder.to_owned()), drain_timeout: Duration::from_millis(50), ..Default::default() }
}

fn start_in(folder: &Path, drill: DrillConfig) -> Runtime {
    start_with(drill, config(folder)).0
}

fn kept() -> RunPolicy {
    RunPolicy { on_disconnect: DisconnectPolicy::Keep, ..policy() }
}

fn pictures(snapshot: &easel_domain::event::Snapshot) -> Vec<(BlobHash, Vec<u8>)> {
    let images = snapshot.images.iter();
    images.map(|made| (made.image.hash.expect("a result has a hash"), made.image.bytes.to_vec())).collect()
}

/// Drops the runtime without a drain, as a kill would, and waits until its threads have let go of the store.
async fn kill(runtime: Runtime) {
    drop(runtime);
}

#[tokio::test]
async fn what_was_finished_is_there_with_its_exact_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = start_in(folder.path(), quick());
    let image = source(&runtime, 80, 64).await;
    let asked = GenerationRequest { image: Some(image), num_images: Some(2), ..request("make it blue") };
    let run = RunPolicy { request_id: "r-1".parse().ok(), ..kept() };
    let first = end(&runtime, runtime.run(asked.clone(), run.clone()).await.expect("there is room")).await;
    let ended = end(&runtime, runtime.run(request("gone"), policy()).await.expect("there is room")).await;
    kill(runtime).await;

    let runtime = start_in(folder.path(), quick());
    let again = runtime.get(&first.id).await.expect("it is kept");
    assert_eq!((again.state, again.sequence), (State::Succeeded, first.sequence));
    assert_eq!(pictures(&again), pictures(&first));
    for (hash, bytes) in pictures(&first) {
        assert_eq!(runtime.blob(hash).await.expect("it is kept").bytes.to_vec(), bytes);
    }
    for after in 0..first.sequence {
        let mut watch = runtime.watch(&first.id, after).await.expect("it is kept");
        let events = read_all(&mut watch).await;
        assert_eq!((events[0].sequence, events.len() as u64), (after + 1, first.sequence - after));
    }
    let created = runtime.create(asked.clone(), run.clone()).await.expect("it is known");
    assert!(created.existed && created.snapshot.id == first.id, "the request id is remembered");
    let other = runtime.create(request("another"), run).await.expect_err("other content");
    assert_eq!(other.reason, Reason::RequestIdConflict);
    let (listed, _) = runtime.list(10, None, &[State::Succeeded]).await.expect("a list");
    let summary = listed.iter().find(|summary| summary.id == first.id).expect("it is listed");
    for (made, listed) in first.images.iter().zip(&summary.images) {
        assert_eq!((listed.image.hash, listed.image.size_bytes), (made.image.hash, made.image.size_bytes));
    }
    assert_eq!(listed.iter().map(|s| s.id.clone()).collect::<Vec<_>>(), [ended.id, first.id.clone()]);
    let outcome = runtime.cancel(&first.id, easel_domain::engine::Interrupt::Cancelled).await;
    assert_eq!(outcome, Ok(CancelOutcome::WasFinished));
}

#[tokio::test]
async fn what_was_under_way_runs_again_to_the_same_picture_and_its_watchers_go_on() {
    for stage in [Stage::EncodePrompt, Stage::EncodeImage, Stage::Denoise, Stage::Decode] {
        let folder = tempfile::tempdir().expect("a folder");
        let slow = match stage {
            Stage::EncodePrompt => DrillConfig { encode_layer: ENDLESS, ..quick() },
            Stage::Denoise => DrillConfig { denoise_step: ENDLESS, ..quick() },
            _ => DrillConfig { vae_strip: ENDLESS, ..quick() },
        };
        let runtime = start_in(folder.path(), slow);
        let image = match stage {
            Stage::EncodeImage => Some(source(&runtime, 80, 64).await),
            _ => None,
        };
        let asked = GenerationRequest { image, seed: None, ..request("a boat") };
        let mut watch = runtime.run(asked.clone(), kept()).await.expect("there is room");
        until_stage(&mut watch, stage).await;
        let seen = runtime.get(watch.id()).await.expect("it is there");
        let id = watch.id().clone();
        drop(watch);
        kill(runtime).await;

        let runtime = start_in(folder.path(), quick());
        let mut watch = runtime.watch(&id, seen.sequence).await.expect("it is kept");
        let events = read_all(&mut watch).await;
        assert_eq!(events[0].sequence, seen.sequence + 1, "no number is missing and none is told twice");
        let mut from_start = runtime.watch(&id, 0).await.expect("it is kept");
        assert_eq!(read_all(&mut from_start).await.len() as u64, events.last().expect("an end").sequence);
        let done = runtime.get(&id).await.expect("it is kept");
        assert_eq!((done.state, done.plan.seed), (State::Succeeded, seen.plan.seed), "{stage:?}: {:?}", done.error);
        let same = GenerationRequest { seed: Some(seen.plan.seed), ..asked };
        assert_eq!(pictures(&make(&runtime, same).await), pictures(&done), "{stage:?}");
        assert_at_rest(&runtime).await;
    }
}

#[tokio::test]
async fn a_selection_runs_again_to_the_same_bytes_with_the_mask_that_was_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = start_in(folder.path(), DrillConfig { denoise_step: ENDLESS, ..quick() });
    let (image, mask) = (source(&runtime, 80, 64).await, source(&runtime, 30, 20).await);
    let area = Area::Mask { image: mask, offset: Some((-4, 7)) };
    let mut selection = Selection::of(area);
    selection.edges.feather_px = 3;
    let asked = GenerationRequest { image: Some(image), selection: Some(selection), ..request("make it blue") };
    let mut watch = runtime.run(asked.clone(), kept()).await.expect("there is room");
    until_stage(&mut watch, Stage::Denoise).await;
    let (id, crop) = (watch.id().clone(), runtime.get(watch.id()).await.expect("it is there").plan.crop);
    drop(watch);
    kill(runtime).await;

    let runtime = start_in(folder.path(), quick());
    let watch = runtime.watch(&id, 0).await.expect("it is kept");
    let done = end(&runtime, watch).await;
    assert_eq!((done.state, done.plan.crop), (State::Succeeded, crop), "{:?}", done.error);
    assert!(done.images[0].changed.is_some());
    assert_eq!(pictures(&make(&runtime, asked).await), pictures(&done));
    kill(runtime).await;

    let runtime = start_in(folder.path(), quick());
    let again = runtime.get(&id).await.expect("it is kept");
    assert_eq!(again.images[0].changed, done.images[0].changed, "the store knows what changed");
}

#[tokio::test]
async fn a_drain_leaves_what_it_does_not_finish_to_the_next_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = start_in(folder.path(), DrillConfig { denoise_step: ENDLESS, ..quick() });
    let mut running = runtime.run(request("runs"), policy()).await.expect("there is room");
    until_stage(&mut running, Stage::Denoise).await;
    let mut ids = vec![running.id().clone()];
    for prompt in ["waits", "waits too"] {
        ids.push(runtime.create(request(prompt), kept()).await.expect("there is room").snapshot.id);
    }
    let seen = runtime.get(&ids[0]).await.expect("it is there").sequence;
    soon(runtime.drain()).await;
    let told = loop {
        match soon(running.next()).await {
            Some(Err(error)) => break error,
            Some(Ok(_)) => {}
            None => panic!("the watcher is told to come back"),
        }
    };
    assert_eq!(told.reason, Reason::Draining);
    drop(running);
    kill(runtime).await;

    let runtime = start_in(folder.path(), quick());
    let mut watch = runtime.watch(&ids[0], seen).await.expect("it is kept");
    read_all(&mut watch).await;
    for id in ids {
        let mut watch = runtime.watch(&id, 0).await.expect("it is kept");
        let events = read_all(&mut watch).await;
        assert!(matches!(events.last().expect("an end").kind, EventKind::Succeeded { .. }), "{events:?}");
    }
}

#[tokio::test]
async fn who_does_not_want_to_run_again_fails_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = start_in(folder.path(), DrillConfig { denoise_step: ENDLESS, ..quick() });
    let run = RunPolicy { on_restart: RestartPolicy::Fail, ..kept() };
    let mut watch = runtime.run(request("a boat"), run).await.expect("there is room");
    until_stage(&mut watch, Stage::Denoise).await;
    let id = watch.id().clone();
    drop(watch);
    kill(runtime).await;
    let runtime = start_in(folder.path(), quick());
    let mut watch = runtime.watch(&id, 0).await.expect("it is kept");
    read_all(&mut watch).await;
    let snapshot = runtime.get(&id).await.expect("it is kept");
    assert_eq!(snapshot.error.map(|error| error.reason), Some(Reason::DaemonRestarted));
    assert_at_rest(&runtime).await;
}

#[tokio::test]
async fn a_time_limit_goes_on_while_the_daemon_is_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = start_in(folder.path(), DrillConfig { denoise_step: ENDLESS, ..quick() });
    let run = RunPolicy { timeout: Some(Duration::from_millis(400)), ..kept() };
    let mut watch = runtime.run(request("a boat"), run).await.expect("there is room");
    until_stage(&mut watch, Stage::Denoise).await;
    let (id, created) = (watch.id().clone(), runtime.get(watch.id()).await.expect("there").create_time);
    drop(watch);
    kill(runtime).await;
    while created.elapsed().unwrap_or_default() < Duration::from_millis(400) {
        tokio::task::yield_now().await;
    }
    let runtime = start_in(folder.path(), DrillConfig { denoise_step: ENDLESS, ..quick() });
    let mut watch = runtime.watch(&id, 0).await.expect("it is kept");
    read_all(&mut watch).await;
    let snapshot = runtime.get(&id).await.expect("it is kept");
    assert_eq!(snapshot.error.map(|error| error.reason), Some(Reason::DeadlineExceeded));
}

#[tokio::test]
async fn who_ends_with_the_last_watcher_waits_a_while_for_one_to_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let endless = DrillConfig { denoise_step: ENDLESS, ..quick() };
    let runtime = start_in(folder.path(), endless.clone());
    let left = runtime.run(request("a boat"), policy()).await.expect("there is room");
    let mut found = runtime.run(request("a house"), policy()).await.expect("there is room");
    until_stage(&mut found, Stage::EncodePrompt).await;
    kill(runtime).await;

    let short = RuntimeConfig { recovery_grace: Duration::from_millis(100), ..config(folder.path()) };
    let runtime = start_with(endless, short).0;
    let _watcher = runtime.watch(found.id(), 0).await.expect("it is kept");
    let ended = async {
        loop {
            let polled = runtime.poll(left.id(), 0, 0, Duration::from_secs(30)).await.expect("it is kept");
            if polled.done {
                return runtime.get(left.id()).await.expect("it is kept");
            }
            tokio::task::yield_now().await;
        }
    };
    let ended = soon(ended).await;
    assert_eq!(ended.error.map(|error| error.reason), Some(Reason::WatcherGone));
    let outcome = runtime.cancel(found.id(), easel_domain::engine::Interrupt::Cancelled).await.expect("it is there");
    assert_ne!(outcome, CancelOutcome::WasFinished, "its watcher came back in time");
}

/// A generation that takes the daemon down with it must not do so for ever.
#[tokio::test]
async fn a_generation_that_may_be_the_cause_is_given_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = start_in(folder.path(), DrillConfig { denoise_step: ENDLESS, ..quick() });
    let mut watch = runtime.run(request("a bomb"), kept()).await.expect("there is room");
    until_stage(&mut watch, Stage::Denoise).await;
    let id = watch.id().clone();
    drop(watch);
    let mut runtime = runtime;
    for run in 2.. {
        kill(runtime).await;
        runtime = start_in(folder.path(), DrillConfig { denoise_step: ENDLESS, ..quick() });
        let after = runtime.get(&id).await.expect("it is kept").sequence;
        let mut watch = runtime.watch(&id, after).await.expect("it is kept");
        let last = loop {
            let Some(next) = event(&mut watch).await else { break None };
            match &next.kind {
                EventKind::Progress(progress) if progress.stage == Stage::Denoise => break Some(next),
                kind if kind.is_last() => break None,
                _ => {}
            }
        };
        if last.is_none() {
            assert!(run > 3, "it had its chances");
            break;
        }
        assert!(run < 10, "it goes on for ever");
    }
    let snapshot = runtime.get(&id).await.expect("it is kept");
    assert_eq!(snapshot.error.map(|error| error.reason), Some(Reason::DaemonRestarted));
}

#[tokio::test]
async fn previews_of_the_next_run_say_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = start_in(folder.path(), DrillConfig { denoise_step: ENDLESS, ..quick() });
    let run = RunPolicy { previews: previews(PreviewKind::Projection), ..kept() };
    let mut watch = runtime.run(request("a boat"), run).await.expect("there is room");
    until_stage(&mut watch, Stage::Denoise).await;
    let id = watch.id().clone();
    drop(watch);
    kill(runtime).await;
    let runtime = start_in(folder.path(), DrillConfig { denoise_step: Duration::from_millis(30), ..quick() });
    let polled = async {
        let mut after = 0;
        loop {
            let polled = runtime.poll(&id, after, 0, Duration::from_secs(30)).await.expect("it is kept");
            if let Some(preview) = polled.preview {
                return preview.epoch;
            }
            assert!(!polled.done, "no preview came");
            after = polled.events.last().map_or(after, |event| event.sequence);
        }
    };
    assert_eq!(soon(polled).await, 2);
}
