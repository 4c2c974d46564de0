//! Generations that are told to stop: cancelled in every state, late, abandoned.

use std::time::Duration;

use easel_domain::engine::Interrupt;
use easel_domain::event::{CancelOutcome, Stage, State};
use easel_domain::{DisconnectPolicy, GenerationRequest, Reason, RunPolicy};
use easel_runtime::drill::DrillConfig;

use crate::helpers::*;

/// A runtime in which one stage does not end by itself.
fn endless(stage: Stage) -> DrillConfig {
    match stage {
        Stage::EncodePrompt => DrillConfig { encode_layer: ENDLESS, ..quick() },
        Stage::Denoise => DrillConfig { denoise_step: ENDLESS, ..quick() },
        _ => DrillConfig { vae_strip: ENDLESS, ..quick() },
    }
}

#[tokio::test]
async fn a_cancellation_frees_every_stage() {
    for stage in [Stage::EncodePrompt, Stage::EncodeImage, Stage::Denoise, Stage::Decode] {
        let runtime = start(endless(stage));
        let image = if stage == Stage::EncodeImage { Some(source(&runtime, 64, 64).await) } else { None };
        let asked = GenerationRequest { image, ..request("a boat") };
        let mut watch = runtime.run(asked, policy()).await.expect("there is room");
        until_stage(&mut watch, stage).await;
        let outcome = runtime.cancel(watch.id(), Interrupt::Cancelled).await;
        assert!(matches!(outcome, Ok(CancelOutcome::WasRunning(Some(_)))), "{stage:?}: {outcome:?}");
        let snapshot = end(&runtime, watch).await;
        assert_eq!(snapshot.state, State::Cancelled);
        assert_eq!(snapshot.error.map(|error| error.reason), Some(Reason::Cancelled));
        assert_eq!(runtime.cancel(&snapshot.id, Interrupt::Cancelled).await, Ok(CancelOutcome::WasFinished));
        assert_at_rest(&runtime).await;
    }
}

#[tokio::test]
async fn a_cancellation_takes_a_waiting_one_out_of_the_queue() {
    let runtime = start(endless(Stage::EncodePrompt));
    let mut first = runtime.run(request("first"), policy()).await.expect("there is room");
    until_stage(&mut first, Stage::EncodePrompt).await;
    let second = runtime.run(request("second"), policy()).await.expect("there is room");
    assert_eq!(runtime.status().await.queued, 1);
    assert_eq!(runtime.cancel(second.id(), Interrupt::Cancelled).await, Ok(CancelOutcome::WasQueued));
    assert_eq!(end(&runtime, second).await.state, State::Cancelled);
    let status = runtime.status().await;
    assert_eq!((status.queued, status.running), (0, 1), "the other one goes on");
}

#[tokio::test]
async fn a_cancellation_of_nothing_says_so() {
    let runtime = start(quick());
    let id = easel_domain::GenerationId::new("gen_0");
    let error = runtime.cancel(&id, Interrupt::Cancelled).await.expect_err("there is none");
    assert_eq!(error.reason, Reason::GenerationNotFound);
}

#[tokio::test]
async fn a_deadline_stops_inside_of_a_stage_and_in_the_queue() {
    let runtime = start(endless(Stage::EncodePrompt));
    let late = RunPolicy { timeout: Some(Duration::from_millis(30)), ..policy() };
    let running = runtime.run(request("first"), late.clone()).await.expect("there is room");
    let waiting = runtime.run(request("second"), late).await.expect("there is room");
    for watch in [running, waiting] {
        let snapshot = end(&runtime, watch).await;
        assert_eq!(snapshot.state, State::Cancelled);
        assert_eq!(snapshot.error.map(|error| error.reason), Some(Reason::DeadlineExceeded));
    }
    assert_at_rest(&runtime).await;
}

#[tokio::test]
async fn the_last_watcher_takes_the_generation_with_it_or_not() {
    let runtime = start(endless(Stage::Denoise));
    let mut watch = runtime.run(request("gone"), policy()).await.expect("there is room");
    let id = watch.id().clone();
    let mut second = runtime.watch(&id, 0).await.expect("it is there");
    until_stage(&mut watch, Stage::Denoise).await;
    drop(watch);
    until_stage(&mut second, Stage::Denoise).await;
    assert_eq!(runtime.get(&id).await.map(|snapshot| snapshot.state), Ok(State::Running), "somebody still watches");
    drop(second);
    let ended = soon(runtime.poll(&id, 0, 0, Duration::ZERO));
    drop(ended.await);
    let snapshot = poll_to_end(&runtime, &id).await;
    assert_eq!(snapshot.error.map(|error| error.reason), Some(Reason::WatcherGone));

    let keep = RunPolicy { on_disconnect: DisconnectPolicy::Keep, ..policy() };
    let mut watch = runtime.run(request("kept"), keep).await.expect("there is room");
    let id = watch.id().clone();
    until_stage(&mut watch, Stage::Denoise).await;
    drop(watch);
    // A command that is answered after the loss was noticed, whatever came of it.
    runtime.status().await;
    assert_eq!(runtime.get(&id).await.map(|snapshot| snapshot.state), Ok(State::Running));
}

/// Polls do not count as watching.
async fn poll_to_end(
    runtime: &easel_runtime::Runtime,
    id: &easel_domain::GenerationId,
) -> easel_domain::event::Snapshot {
    let mut after = 0;
    loop {
        let polled = soon(runtime.poll(id, after, 0, Duration::from_secs(60))).await.expect("it is kept");
        after = polled.events.last().map_or(after, |event| event.sequence);
        if polled.done {
            return runtime.get(id).await.expect("it is kept");
        }
    }
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_a_disconnect() {
    let runtime = start(endless(Stage::EncodePrompt));
    // The call is given up as soon as it waits for its answer.
    let mut call = Box::pin(runtime.run(request("a boat"), policy()));
    let gave_up = tokio::select! { biased; _ = &mut call => false, () = std::future::ready(()) => true };
    assert!(gave_up);
    drop(call);
    let mut running = runtime.status().await.running;
    while running > 0 {
        tokio::task::yield_now().await;
        running = soon(runtime.status()).await.running;
    }
    let (all, _) = runtime.list(10, None, &[]).await.expect("a list");
    assert!(all.iter().all(|snapshot| snapshot.state == State::Cancelled));
}
