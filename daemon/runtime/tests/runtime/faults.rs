//! Stages that panic, fail, return what is not finite, or freeze.

use std::time::Duration;

use easel_domain::event::State;
use easel_domain::{Reason, limits};
use easel_runtime::drill::{DrillConfig, DrillFault, DrillStage, Fault};
use easel_runtime::{ModelState, RuntimeConfig, StageHealth};

use crate::helpers::*;

fn fault(stage: DrillStage, part: u32, fault: Fault, times: Option<u32>) -> DrillConfig {
    let prompt_contains = (stage != DrillStage::Load && stage != DrillStage::EncodeImage).then(|| "bad".to_owned());
    DrillConfig { faults: vec![DrillFault { stage, part, fault, times, prompt_contains }], ..quick() }
}

#[tokio::test]
async fn a_fault_costs_one_generation_and_the_network_is_built_again() {
    let cases = [
        (DrillStage::Encode, Fault::Panic, 0),
        (DrillStage::Encode, Fault::Error, 0),
        (DrillStage::Denoise, Fault::Panic, 1),
        (DrillStage::Denoise, Fault::Nan, 2),
        (DrillStage::Decode, Fault::Panic, 2),
        (DrillStage::Decode, Fault::Nan, 2),
    ];
    for (stage, kind, actor) in cases {
        let runtime = start(fault(stage, 2, kind, Some(1)));
        let bad = runtime.run(request("bad"), policy()).await.expect("there is room");
        let good = runtime.run(request("good"), policy()).await.expect("there is room");
        let snapshot = end(&runtime, bad).await;
        let error = snapshot.error.expect("it fails");
        assert_eq!((snapshot.state, error.reason), (State::Failed, Reason::EngineFault), "{stage:?} {kind:?}");
        assert!(error.message.contains("incident "), "{}", error.message);
        assert_eq!(end(&runtime, good).await.state, State::Succeeded, "{stage:?} {kind:?}");
        make(&runtime, request("bad, but the fault is spent")).await;
        let stages = runtime.status().await.stages;
        assert_eq!((stages[actor].restarts, stages[actor].health), (1, StageHealth::Ready));
        assert!(*runtime.ready().borrow());
        assert_at_rest(&runtime).await;
    }
}

#[tokio::test]
async fn restarts_have_a_budget() {
    let runtime = start(fault(DrillStage::Decode, 1, Fault::Panic, None));
    for _ in 0..=limits::MAX_RESTARTS {
        let watch = runtime.run(request("bad"), policy()).await.expect("the budget is not used up");
        assert_eq!(end(&runtime, watch).await.state, State::Failed);
    }
    let mut ready = runtime.ready();
    soon(ready.wait_for(|ready| !ready)).await.expect("the runtime is there");
    let error = runtime.create(request("good"), policy()).await.expect_err("the VAE is out of order");
    assert_eq!(error.reason, Reason::EngineUnavailable);
    assert!(error.retry_after.is_some());
    assert_eq!(runtime.status().await.stages[2].health, StageHealth::Failed);
}

#[tokio::test]
async fn a_model_that_cannot_be_read_is_remembered_and_tried_again() {
    let runtime = start(fault(DrillStage::Load, 1, Fault::Error, Some(1)));
    let watch = runtime.run(request("a boat"), policy()).await.expect("there is room");
    let snapshot = end(&runtime, watch).await;
    assert_eq!((snapshot.state, snapshot.error.map(|error| error.reason)), (State::Failed, Some(Reason::ModelInvalid)));
    let model = runtime.model("drill").await.expect("it is known");
    assert_eq!(model.state, ModelState::Failed);
    assert!(model.problem.is_some_and(|problem| problem.contains("cannot be read")));
    make(&runtime, request("a boat")).await;
    let model = runtime.model("drill").await.expect("it is known");
    assert_eq!((model.state, model.problem), (ModelState::Loaded, None));
    assert!(*runtime.ready().borrow(), "a bad folder is not our fault");
}

#[tokio::test]
async fn a_frozen_stage_is_noticed() {
    let config = RuntimeConfig { stall_limit: Duration::from_millis(300), ..RuntimeConfig::default() };
    let (runtime, _) = start_with(fault(DrillStage::Denoise, 2, Fault::Freeze, None), config);
    let _watch = runtime.run(request("bad"), policy()).await.expect("there is room");
    assert_eq!(soon(runtime.wait_stalled()).await, "denoiser");
    assert!(!*runtime.ready().borrow());
    assert_eq!(runtime.status().await.stages[1].health, StageHealth::Failed);
}
