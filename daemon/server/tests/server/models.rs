//! Models, capabilities and status.

use easel_domain::limits;
use easel_proto::v1;
use easel_proto::v1::model_service_client::ModelServiceClient;
use tokio_stream::StreamExt as _;
use tonic::{Code, Request};

use crate::support::{Daemon, TOKEN, create, ended, quick, told};

#[tokio::test]
async fn a_model_is_listed_loaded_used_and_unloaded() {
    let daemon = Daemon::start(quick()).await;
    let mut client = daemon.models();
    let models = client.list_models(v1::ListModelsRequest {}).await.unwrap().into_inner().models;
    assert_eq!(models.len(), 1);
    let model = &models[0];
    assert_eq!((model.name.as_str(), model.default, model.demonstration), ("drill", true, true));
    assert_eq!(
        (model.state(), model.native_width, model.default_num_inference_steps),
        (v1::ModelState::Unloaded, 64, 4)
    );
    assert_eq!(model.modes, [v1::Mode::Generate, v1::Mode::Edit].map(i32::from));
    assert_eq!(model.default_guidance_scale, None);

    let name = || "drill".to_owned();
    let stream = client.load_model(v1::LoadModelRequest { name: name() }).await.unwrap().into_inner();
    let news: Vec<_> = stream.map(Result::unwrap).collect().await;
    let last = news.last().unwrap();
    assert_eq!((last.model.as_ref().unwrap().state(), last.fraction), (v1::ModelState::Loaded, 1.0));
    assert!(news.iter().all(|message| (0.0..=1.0).contains(&message.fraction)));
    let unloaded = client.unload_model(v1::UnloadModelRequest { name: name() }).await.unwrap().into_inner();
    assert_eq!(unloaded.model.unwrap().name, "drill");
    let unknown = client.load_model(v1::LoadModelRequest { name: "nobody".into() }).await.unwrap_err();
    assert_eq!((told(&unknown).0, told(&unknown).1.as_str()), (Code::NotFound, "MODEL_NOT_FOUND"));
}

#[tokio::test]
async fn models_are_added_over_the_socket_only() {
    let daemon = Daemon::start(quick()).await;
    let request = v1::AddModelRequest { folder: daemon.folder().display().to_string(), name: "mine".into() };
    let mut over_tcp = ModelServiceClient::new(daemon.tcp_channel());
    let mut with_token = Request::new(request.clone());
    with_token.metadata_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    let refused = over_tcp.add_model(with_token).await.unwrap_err();
    assert_eq!((told(&refused).0, told(&refused).1.as_str()), (Code::PermissionDenied, "PERMISSION_DENIED"));

    let mut over_socket = ModelServiceClient::new(daemon.unix_channel());
    let added = over_socket.add_model(request.clone()).await.unwrap().into_inner().model.unwrap();
    assert_eq!((added.name.as_str(), added.default), ("mine", false));
    let again = over_socket.add_model(request).await.unwrap_err();
    assert_eq!((told(&again).0, told(&again).1.as_str()), (Code::AlreadyExists, "NAME_TAKEN"));
    let missing = v1::AddModelRequest { folder: "/no/such/folder".into(), name: "other".into() };
    let missing = over_socket.add_model(missing).await.unwrap_err();
    assert_eq!((told(&missing).0, told(&missing).1.as_str()), (Code::FailedPrecondition, "MODEL_INVALID"));
}

#[tokio::test]
async fn capabilities_are_the_limits_that_are_kept() {
    let daemon = Daemon::start_with(quick(), |config| config.max_queued_generations = 7).await;
    let mut client = daemon.system();
    let told = client.get_capabilities(v1::GetCapabilitiesRequest {}).await.unwrap().into_inner();
    assert_eq!((told.version.as_str(), told.protocol_version), ("1.2.3", easel_proto::PROTOCOL_VERSION));
    let bounds = told.limits.unwrap();
    assert_eq!(usize::try_from(bounds.max_prompt_bytes).unwrap(), limits::MAX_PROMPT_BYTES);
    assert_eq!((bounds.max_queued_generations, bounds.max_blob_bytes), (7, limits::MAX_BLOB_BYTES));
    assert_eq!((told.output_formats.len(), told.preview_kinds.len(), told.models.len()), (4, 3, 1));
    let version = client.get_version(v1::GetVersionRequest {}).await.unwrap().into_inner();
    assert_eq!(version.version, "1.2.3");
}

#[tokio::test]
async fn status_counts_what_happened() {
    let daemon = Daemon::start(quick()).await;
    let mut client = daemon.generations();
    let id = create(&mut client, "counted").await;
    ended(&mut client, &id).await;
    let status = daemon.system().get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.queued, status.running, status.draining), (0, 0, false));
    assert_eq!(status.ended.unwrap().succeeded, 1);
    assert!(status.blobs.unwrap().count >= 1 && status.start_time.is_some());
    let names: Vec<_> = status.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["encoder", "denoiser", "vae"]);
    assert!(status.stages.iter().all(|stage| stage.health() == v1::StageHealth::Ready && stage.device == "cpu"));
}

#[tokio::test]
async fn what_is_kept_can_be_prepared_listed_and_cleared() {
    let daemon = Daemon::start(quick()).await;
    let mut client = daemon.system();
    let request = v1::PrepareConditioningRequest { spec: Some(v1::GenerationSpec::default()) };
    let answer = client.prepare_conditioning(request).await.unwrap().into_inner();
    assert_eq!(answer.timings.iter().map(v1::StageTiming::stage).collect::<Vec<_>>(), [v1::Stage::EncodePrompt]);
    assert_eq!(answer.timings[0].reused(), v1::Reused::Nothing);
    assert!(answer.total.is_some());

    let spec = v1::GenerationSpec { prompt: "<|image_pad|>".into(), mode: 77, ..v1::GenerationSpec::default() };
    let refused = client.prepare_conditioning(v1::PrepareConditioningRequest { spec: Some(spec) }).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);

    // The drill keeps nothing; what the real engine keeps is tested where it is.
    let listed = client.list_conditioning(v1::ListConditioningRequest {}).await.unwrap().into_inner();
    assert_eq!(listed.caches, []);
    let cleared = client.clear_conditioning(v1::ClearConditioningRequest::default()).await.unwrap().into_inner();
    assert_eq!(cleared.freed_bytes, 0);
    let unknown = client.clear_conditioning(v1::ClearConditioningRequest { model: "none".into() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}
