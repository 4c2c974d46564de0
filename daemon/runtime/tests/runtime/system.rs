//! Models, uploads, limits and the end.

use std::time::Duration;

use easel_domain::event::{Stage, State};
use easel_domain::{Reason, RunPolicy};
use easel_runtime::drill::DrillConfig;
use easel_runtime::{ModelState, RuntimeConfig, UploadState};
use sha2::{Digest, Sha256};

use crate::helpers::*;

#[tokio::test]
async fn a_model_is_read_with_progress_and_dropped_again() {
    let runtime = start(quick());
    assert_eq!(runtime.models().await.len(), 1);
    assert_eq!(
        runtime.model("drill").await.map(|model| (model.state, model.default)),
        Ok((ModelState::Unloaded, true))
    );
    let mut load = runtime.load_model("drill").await.expect("it is known");
    let mut shares = Vec::new();
    let mut last = None;
    while let Some(news) = soon(load.next()).await {
        let (model, share) = news.expect("it can be read");
        shares.push(share);
        last = Some(model);
    }
    let model = last.expect("there was news");
    assert_eq!(model.state, ModelState::Loaded);
    assert!(model.resident_bytes > 0);
    assert!(shares.is_sorted() && shares.last().is_some_and(|share| (share - 1.0).abs() < 1e-6), "{shares:?}");
    let model = soon(runtime.unload_model("drill")).await.expect("it is known");
    assert_eq!((model.state, model.resident_bytes), (ModelState::Unloaded, 0));
    make(&runtime, request("a boat")).await;
    assert_eq!(runtime.load_model("none").await.map(drop).map_err(|error| error.reason), Err(Reason::ModelNotFound));
    assert_eq!(runtime.unload_model("none").await.map_err(|error| error.reason), Err(Reason::ModelNotFound));
}

#[tokio::test]
async fn a_folder_becomes_a_model() {
    let runtime = start(quick());
    let folder = tempfile::tempdir().expect("a folder");
    let path = || folder.path().to_owned();
    let added = runtime.add_model(path(), Some("other".to_owned())).await.expect("it is a folder");
    assert_eq!((added.info.name.as_str(), added.default), ("other", false));
    let taken = runtime.add_model(path(), Some("other".to_owned())).await.expect_err("the name is taken");
    assert_eq!(taken.reason, Reason::NameTaken);
    let wrong = runtime.add_model(path(), Some("a/b".to_owned())).await.expect_err("it is no name");
    assert_eq!(wrong.reason, Reason::InvalidRequest);
    let request = easel_domain::GenerationRequest { model: Some("other".to_owned()), ..request("a boat") };
    assert_eq!(make(&runtime, request).await.plan.model, "other");
}

#[tokio::test]
async fn an_upload_goes_through_the_handle() {
    let runtime = start(quick());
    let bytes = b"some bytes".to_vec();
    let hash = easel_domain::BlobHash(Sha256::digest(&bytes).into());
    assert_eq!(runtime.begin_upload(hash, 10).await, Ok(UploadState { exists: false, offset: 0 }));
    assert_eq!(runtime.status().await.blobs.uploads, 1);
    assert_eq!(runtime.append_upload(hash, 0, bytes.clone()).await, Ok(10));
    assert_eq!(runtime.finish_upload(hash).await.map(|info| info.hash), Ok(hash));
    assert_eq!(runtime.blob(hash).await.map(|blob| blob.bytes.to_vec()), Ok(bytes));
    assert_eq!(runtime.begin_upload(hash, 10).await, Ok(UploadState { exists: true, offset: 10 }));
}

#[tokio::test]
async fn a_full_queue_refuses_and_takes_again() {
    let config = RuntimeConfig { max_queued_generations: 1, ..RuntimeConfig::default() };
    let (runtime, _) = start_with(DrillConfig { denoise_step: ENDLESS, ..quick() }, config);
    let watch = runtime.run(request("first"), policy()).await.expect("there is room");
    let error = runtime.create(request("second"), policy()).await.expect_err("there is no room");
    assert_eq!(error.reason, Reason::QueueFull);
    assert!(error.retry_after.is_some());
    runtime.cancel(watch.id(), easel_domain::engine::Interrupt::Cancelled).await.expect("it is there");
    end(&runtime, watch).await;
    runtime.create(request("second"), policy()).await.expect("there is room again");
}

#[tokio::test]
async fn draining_finishes_what_runs_and_takes_no_more() {
    let runtime = start(DrillConfig { denoise_step: Duration::from_millis(30), ..quick() });
    let mut running = runtime.run(request("runs"), policy()).await.expect("there is room");
    until_stage(&mut running, Stage::Denoise).await;
    let draining = tokio::spawn({
        let runtime = runtime.clone();
        async move { runtime.drain().await }
    });
    let mut ready = runtime.ready();
    soon(ready.wait_for(|ready| !ready)).await.expect("the runtime is there");
    let refused = runtime.create(request("late"), policy()).await.expect_err("no more is taken");
    assert_eq!(refused.reason, Reason::Draining);
    soon(draining).await.expect("it does not panic");
    let snapshot = end(&runtime, running).await;
    assert_eq!(snapshot.state, State::Succeeded, "it had the time to finish");
    assert!(runtime.status().await.draining);
    soon(runtime.drain()).await;
}

#[tokio::test]
async fn draining_cancels_what_does_not_finish() {
    let config = RuntimeConfig { drain_timeout: Duration::from_millis(30), ..RuntimeConfig::default() };
    let (runtime, _) = start_with(DrillConfig { encode_layer: ENDLESS, ..quick() }, config);
    let mut running = runtime.run(request("runs"), policy()).await.expect("there is room");
    until_stage(&mut running, Stage::EncodePrompt).await;
    let waiting = runtime.run(request("waits"), RunPolicy { ..policy() }).await.expect("there is room");
    soon(runtime.drain()).await;
    for watch in [running, waiting] {
        let snapshot = end(&runtime, watch).await;
        assert_eq!((snapshot.state, snapshot.error.map(|e| e.reason)), (State::Cancelled, Some(Reason::Draining)));
    }
    assert_at_rest(&runtime).await;
}

#[tokio::test]
async fn a_burst_of_clients_leaves_nothing_behind() {
    let runtime = start(quick());
    let clients: Vec<_> = (0..50)
        .map(|number| {
            let runtime = runtime.clone();
            tokio::spawn(async move {
                let watch = runtime.run(request(&format!("client {number}")), policy()).await.expect("there is room");
                if number % 5 == 0 {
                    drop(watch);
                    return;
                }
                assert_eq!(end(&runtime, watch).await.state, State::Succeeded);
            })
        })
        .collect();
    for client in clients {
        soon(client).await.expect("no client panics");
    }
    // Those who left took their generations with them, as soon as the runtime has noticed.
    while runtime.status().await.running + runtime.status().await.queued > 0 {
        tokio::task::yield_now().await;
    }
    let status = runtime.status().await;
    assert_eq!(status.ended.succeeded + status.ended.cancelled, 50);
    assert!(status.ended.succeeded >= 40);
    assert_eq!(status.watchers, 0);
    assert_at_rest(&runtime).await;
}

#[tokio::test]
async fn a_preparation_reads_prompt_and_source_and_leaves_nothing_to_ask_for() {
    let runtime = start(quick());
    let image = Some(source(&runtime, 40, 24).await);
    let typing = easel_domain::GenerationRequest { image, ..request("") };
    let prepared = soon(runtime.prepare(typing)).await.expect("an empty prompt can be prepared");
    let stages: Vec<_> = prepared.timings.iter().map(|timing| timing.stage).collect();
    assert_eq!(stages, [Stage::EncodePrompt, Stage::EncodeImage]);
    assert_eq!(runtime.list(10, None, &[]).await.expect("a list").0, []);
    assert_eq!(runtime.status().await.ended.succeeded, 0, "no picture was made");
    assert_at_rest(&runtime).await;
    let wrong = easel_domain::GenerationRequest { model: Some("none".to_owned()), ..request("") };
    assert_eq!(runtime.prepare(wrong).await.expect_err("no such model").reason, Reason::ModelNotFound);
    assert_eq!(runtime.clear_kept(Some("none")).expect_err("no such model").reason, Reason::ModelNotFound);
}

#[tokio::test]
async fn a_preparation_that_is_given_up_stops() {
    let runtime = start(DrillConfig { encode_layer: ENDLESS, ..quick() });
    let preparing = runtime.prepare(request("a boat"));
    assert!(tokio::time::timeout(Duration::from_millis(50), preparing).await.is_err());
    let stopped = async {
        while runtime.status().await.running > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon(stopped).await;
    assert_at_rest(&runtime).await;
}
