//! Many clients at once.

use std::time::Duration;

use easel_proto::v1;
use easel_proto::v1::generation_event::Event;
use easel_proto::v1::generation_service_client::GenerationServiceClient;
use easel_runtime::drill::DrillConfig;
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tonic::Request;

use crate::support::{Daemon, TOKEN, quick, run_request};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_clients_get_their_own_pictures() {
    let ms = Duration::from_millis(1);
    let daemon = Daemon::start(DrillConfig { encode_layer: ms, denoise_step: ms, vae_strip: ms, ..quick() }).await;
    let mut clients = JoinSet::new();
    for i in 0..50u64 {
        let channel = if i % 2 == 0 { daemon.tcp_channel() } else { daemon.unix_channel() };
        clients.spawn(async move {
            let mut message = run_request(&format!("client {i}"));
            message.spec.as_mut().unwrap().seed = Some(i);
            let mut request = Request::new(message);
            request.metadata_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
            let stream = GenerationServiceClient::new(channel).run_generation(request).await.unwrap().into_inner();
            let events: Vec<_> = stream.map(|item| item.unwrap().event.unwrap()).collect().await;
            let numbers: Vec<_> = events.iter().map(|event| event.sequence).collect();
            assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "client {i}: {numbers:?}");
            match events.into_iter().last().unwrap().event {
                Some(Event::Succeeded(v1::Succeeded { images, .. })) => {
                    assert_eq!(images[0].seed, i);
                    images[0].image.as_ref().unwrap().sha256.clone()
                }
                other => panic!("client {i}: {other:?}"),
            }
        });
    }
    let mut pictures = clients.join_all().await;
    pictures.sort();
    pictures.dedup();
    assert_eq!(pictures.len(), 50);
}
