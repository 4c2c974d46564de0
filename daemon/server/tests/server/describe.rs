//! Health and reflection, as tools and proxies ask for them.

use easel_proto::v1;
use prost::Message as _;
use tokio_stream::StreamExt as _;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::support::{Daemon, endless, quick, run_request};

const SERVICES: [&str; 9] = [
    "easel.v1.AccessService",
    "easel.v1.BlobService",
    "easel.v1.GenerationService",
    "easel.v1.ModelService",
    "easel.v1.SessionService",
    "easel.v1.SystemService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// Asks over TCP without a token for the list of services and for the file of each.
macro_rules! reflect {
    ($daemon:expr, $version:ident) => {{
        use pb::server_reflection_request::MessageRequest;
        use pb::server_reflection_response::MessageResponse;
        use tonic_reflection::pb::$version as pb;
        let mut client = pb::server_reflection_client::ServerReflectionClient::new($daemon.tcp_channel());
        let mut questions = vec![MessageRequest::ListServices(String::new())];
        questions.extend(SERVICES.map(|name| MessageRequest::FileContainingSymbol(name.to_owned())));
        let requests = questions
            .into_iter()
            .map(|question| pb::ServerReflectionRequest { host: String::new(), message_request: Some(question) });
        let answers = client.server_reflection_info(tokio_stream::iter(requests)).await.unwrap().into_inner();
        let mut listed = Vec::new();
        let mut files = Vec::new();
        for answer in answers.map(Result::unwrap).collect::<Vec<_>>().await {
            match answer.message_response.unwrap() {
                MessageResponse::ListServicesResponse(list) => {
                    listed.extend(list.service.into_iter().map(|service| service.name));
                }
                MessageResponse::FileDescriptorResponse(found) => files.extend(found.file_descriptor_proto),
                other => panic!("{other:?}"),
            }
        }
        (listed, files)
    }};
}

#[tokio::test]
async fn both_versions_of_reflection_list_and_describe_every_service() {
    let daemon = Daemon::start(quick()).await;
    for (mut listed, files) in [reflect!(daemon, v1), reflect!(daemon, v1alpha)] {
        listed.sort();
        assert_eq!(listed, SERVICES);
        let described: Vec<_> = files
            .iter()
            .flat_map(|file| {
                let file = prost_types::FileDescriptorProto::decode(&file[..]).unwrap();
                let package = file.package().to_owned();
                file.service.into_iter().map(move |service| format!("{package}.{}", service.name()))
            })
            .collect();
        assert_eq!(described, SERVICES);
    }
}

async fn health(daemon: &Daemon, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.into() };
    HealthClient::new(daemon.tcp_channel()).check(request).await.unwrap().into_inner().status()
}

#[tokio::test]
async fn health_does_not_mind_the_mistakes_of_clients() {
    let daemon = Daemon::start(quick()).await;
    for service in ["", SERVICES[0], SERVICES[1], SERVICES[2], SERVICES[3], SERVICES[4]] {
        assert_eq!(health(&daemon, service).await, ServingStatus::Serving, "{service}");
    }
    daemon.generations().run_generation(v1::RunGenerationRequest::default()).await.unwrap_err();
    assert_eq!(health(&daemon, "easel.v1.GenerationService").await, ServingStatus::Serving);
    let unknown = HealthCheckRequest { service: "nobody".into() };
    let status = HealthClient::new(daemon.tcp_channel()).check(unknown).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn a_stop_is_told_before_connections_end() {
    let daemon = Daemon::start(quick()).await;
    let channel = daemon.tcp_channel();
    let request = HealthCheckRequest { service: "easel.v1.GenerationService".into() };
    let mut watch = HealthClient::new(channel).watch(request).await.unwrap().into_inner();
    let status = |message: Option<HealthCheckResponse>| message.unwrap().status();
    assert_eq!(status(watch.message().await.unwrap()), ServingStatus::Serving);
    let socket = daemon.socket.clone();
    let serving = daemon.stop();
    assert_eq!(status(watch.message().await.unwrap()), ServingStatus::NotServing);
    drop(watch);
    serving.await.unwrap().unwrap();
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_running_generation_is_told_of_the_stop() {
    let daemon = Daemon::start(endless()).await;
    let mut stream = daemon.generations().run_generation(run_request("cut short")).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    let serving = daemon.stop();
    let last = stream.map(|item| item.unwrap().event.unwrap()).collect::<Vec<_>>().await.pop().unwrap();
    match last.event {
        Some(v1::generation_event::Event::Ended(ended)) => {
            assert_eq!(
                (ended.state(), ended.error.unwrap().reason.as_str()),
                (v1::GenerationState::Cancelled, "DRAINING")
            );
        }
        other => panic!("{other:?}"),
    }
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_time_of_the_lame_duck_still_takes_new_work() {
    let daemon = Daemon::start_with(quick(), |config| config.lame_duck = std::time::Duration::from_secs(3600)).await;
    let (mut before, mut fresh) = (daemon.generations(), daemon.generations());
    let mut watch = {
        let request = HealthCheckRequest { service: String::new() };
        HealthClient::new(daemon.channel()).watch(request).await.unwrap().into_inner()
    };
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    before.run_generation(run_request("before")).await.unwrap();
    let serving = daemon.stop();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    let stream = fresh.run_generation(run_request("in the meantime")).await.unwrap().into_inner();
    let last = stream.map(|item| item.unwrap().event.unwrap()).collect::<Vec<_>>().await.pop().unwrap();
    assert!(matches!(last.event, Some(v1::generation_event::Event::Succeeded(_))), "{last:?}");
    serving.abort();
}
