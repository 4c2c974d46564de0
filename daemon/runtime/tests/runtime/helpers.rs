//! What the tests share: quick engines, requests, and waiting for states.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use easel_domain::event::{Event, EventKind, Snapshot, Stage, State, Watched};
use easel_domain::{
    BlobHash, DisconnectPolicy, GenerationRequest, ImageFormat, PreviewKind, PreviewPolicy, Priority, RestartPolicy,
    RgbImage, RunPolicy,
};
use easel_runtime::drill::{DrillConfig, DrillEngine};
use easel_runtime::{Runtime, RuntimeConfig, Watch};

/// Far longer than anything takes that is not stuck.
const STUCK: Duration = Duration::from_secs(60);

/// A stage that takes this long is still under way when the test is over.
pub(crate) const ENDLESS: Duration = Duration::from_secs(3600);

pub(crate) fn quick() -> DrillConfig {
    let ms = Duration::from_millis(1);
    DrillConfig {
        load: ms,
        encode_layer: ms,
        encode_layers: 4,
        denoise_step: ms,
        vae_strip: ms,
        vae_strips: 2,
        native_px: 64,
        ..DrillConfig::default()
    }
}

pub(crate) fn start(drill: DrillConfig) -> Runtime {
    start_with(drill, RuntimeConfig::default()).0
}

pub(crate) fn start_with(drill: DrillConfig, config: RuntimeConfig) -> (Runtime, Arc<DrillEngine>) {
    let engine = Arc::new(DrillEngine::new(drill));
    (Runtime::start(Arc::clone(&engine), config).expect("the runtime starts"), engine)
}

pub(crate) fn request(prompt: &str) -> GenerationRequest {
    GenerationRequest {
        mode: None,
        model: None,
        prompt: prompt.to_owned(),
        negative_prompt: String::new(),
        image: None,
        selection: None,
        tiling: None,
        width: None,
        height: None,
        num_inference_steps: None,
        sigmas: Vec::new(),
        guidance_scale: None,
        image_guidance_scale: None,
        loras: Vec::new(),
        seed: Some(7),
        seeds: Vec::new(),
        num_images: None,
        output_format: ImageFormat::Png,
        provenance: None,
    }
}

pub(crate) fn policy() -> RunPolicy {
    RunPolicy {
        previews: None,
        priority: Priority::Interactive,
        on_disconnect: DisconnectPolicy::Cancel,
        timeout: None,
        request_id: None,
        keep_until: None,
        on_restart: RestartPolicy::Rerun,
        keep_alive: None,
    }
}

pub(crate) fn previews(kind: PreviewKind) -> Option<PreviewPolicy> {
    Some(PreviewPolicy { kind, longest_edge_px: Some(20), format: ImageFormat::Jpeg, every_n_steps: 1 })
}

/// A picture of `width` x `height` in the store.
pub(crate) async fn source(runtime: &Runtime, width: u32, height: u32) -> BlobHash {
    let pixels: Vec<u8> = (0..width * height * 3).map(|at| (at * 7 % 251) as u8).collect();
    let picture = RgbImage::new(width, height, pixels).expect("the sides fit the bytes");
    let file = easel_imaging::encode(&picture, ImageFormat::Png).expect("a picture can be a PNG");
    runtime.put_blob(file.into()).await.expect("there is room")
}

/// Fails the test instead of waiting for ever.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(STUCK, future).await.expect("this comes to an end")
}

/// The next state event.
pub(crate) async fn event(watch: &mut Watch) -> Option<Arc<Event>> {
    loop {
        match soon(watch.next()).await?.expect("the watch does not lag") {
            Watched::Event(event) => return Some(event),
            Watched::Preview(_) => {}
            Watched::Snapshot(_) => panic!("all events are kept"),
        }
    }
}

/// Waits until a stage is under way.
pub(crate) async fn until_stage(watch: &mut Watch, stage: Stage) {
    while let Some(event) = event(watch).await {
        if matches!(event.kind, EventKind::Progress(progress) if progress.stage == stage) {
            return;
        }
        assert!(!event.kind.is_last(), "it has ended before {stage:?}: {:?}", event.kind);
    }
}

/// Reads to the end; checks that the numbers have no gaps and that the last event is the only last one.
pub(crate) async fn read_all(watch: &mut Watch) -> Vec<Arc<Event>> {
    let mut events: Vec<Arc<Event>> = Vec::new();
    while let Some(event) = event(watch).await {
        if let Some(before) = events.last() {
            assert_eq!(event.sequence, before.sequence + 1, "events have no gaps");
            assert!(!before.kind.is_last(), "nothing comes after the end");
        }
        events.push(event);
    }
    assert!(events.last().is_some_and(|event| event.kind.is_last()), "the last event comes");
    events
}

/// Reads to the end and returns how the generation stands then.
pub(crate) async fn end(runtime: &Runtime, mut watch: Watch) -> Snapshot {
    read_all(&mut watch).await;
    runtime.get(watch.id()).await.expect("it is kept")
}

/// Runs a generation that must succeed.
pub(crate) async fn make(runtime: &Runtime, request: GenerationRequest) -> Snapshot {
    let watch = runtime.run(request, policy()).await.expect("there is room");
    let snapshot = end(runtime, watch).await;
    assert_eq!(snapshot.state, State::Succeeded, "{:?}", snapshot.error);
    snapshot
}

/// Nothing of any generation is left.
pub(crate) async fn assert_at_rest(runtime: &Runtime) {
    let status = runtime.status().await;
    assert_eq!((status.queued, status.running, status.memory.stage_value_bytes), (0, 0, 0));
    assert!(status.stages.iter().all(|stage| stage.generation.is_none() && stage.waiting == 0));
}
