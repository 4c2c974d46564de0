//! Watch and poll: coming back after a lost connection.

use easel_proto::v1;
use easel_proto::v1::generation_event::Event;
use tokio_stream::StreamExt as _;
use tonic::Code;

use crate::support::{Daemon, create, ended, endless, quick, told};

async fn watched(daemon: &Daemon, id: &str, after_sequence: u64) -> Vec<v1::GenerationEvent> {
    let request = v1::WatchGenerationRequest { id: id.into(), after_sequence };
    let stream = daemon.generations().watch_generation(request).await.unwrap().into_inner();
    stream.map(|item| item.unwrap().event.unwrap()).collect().await
}

#[tokio::test]
async fn a_watch_goes_on_after_the_number_that_was_seen() {
    let daemon = Daemon::start(quick()).await;
    let id = create(&mut daemon.generations(), "watched").await;
    let all = watched(&daemon, &id, 0).await;
    assert!(matches!(all.last().unwrap().event, Some(Event::Succeeded(_))));
    for seen in [1, 3, all.len() - 1] {
        let rest = watched(&daemon, &id, u64::try_from(seen).unwrap()).await;
        assert_eq!(rest, all[seen..]);
    }
    assert!(watched(&daemon, &id, u64::try_from(all.len()).unwrap()).await.is_empty());
}

#[tokio::test]
async fn a_poll_collects_the_same_events_as_a_watch() {
    let daemon = Daemon::start(quick()).await;
    let mut client = daemon.generations();
    let id = create(&mut client, "polled").await;
    let mut events = Vec::new();
    loop {
        let request = v1::PollGenerationRequest {
            id: id.clone(),
            after_sequence: events.last().map_or(0, |event: &v1::GenerationEvent| event.sequence),
            after_preview: 0,
            wait: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        };
        let polled = client.poll_generation(request).await.unwrap().into_inner();
        events.extend(polled.events);
        if polled.done {
            break;
        }
    }
    assert_eq!(events, watched(&daemon, &id, 0).await);
}

#[tokio::test]
async fn a_poll_that_finds_nothing_returns_at_once_without_a_wait() {
    let daemon = Daemon::start(endless()).await;
    let mut client = daemon.generations();
    let id = create(&mut client, "slow").await;
    // The number of the newest event moves until the denoiser is busy with its endless step.
    let mut stream = client
        .watch_generation(v1::WatchGenerationRequest { id: id.clone(), after_sequence: 0 })
        .await
        .unwrap()
        .into_inner();
    let mut newest = 0;
    loop {
        let event = stream.message().await.unwrap().unwrap().event.unwrap();
        newest = newest.max(event.sequence);
        if matches!(event.event, Some(Event::Progress(ref at)) if at.progress.unwrap().stage() == v1::Stage::Denoise) {
            break;
        }
    }
    let request = v1::PollGenerationRequest { id: id.clone(), after_sequence: newest, ..Default::default() };
    let polled = client.poll_generation(request).await.unwrap().into_inner();
    assert!(!polled.done && polled.preview.is_none());
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let daemon = Daemon::start(quick()).await;
    let mut client = daemon.generations();
    let id = format!("gen_{}", "0".repeat(32));
    let get = client.get_generation(v1::GetGenerationRequest { id: id.clone() }).await.unwrap_err();
    let watch = v1::WatchGenerationRequest { id: id.clone(), after_sequence: 0 };
    let watch = client.watch_generation(watch).await.unwrap_err();
    let poll = v1::PollGenerationRequest { id: id.clone(), ..Default::default() };
    let poll = client.poll_generation(poll).await.unwrap_err();
    let cancel = client.cancel_generation(v1::CancelGenerationRequest { id: "?".repeat(100_000) }).await.unwrap_err();
    for status in [get, watch, poll, cancel] {
        assert_eq!(told(&status), (Code::NotFound, "GENERATION_NOT_FOUND".into(), vec![]));
    }
}

#[tokio::test]
async fn watchers_of_one_generation_see_the_same() {
    let daemon = Daemon::start(quick()).await;
    let id = create(&mut daemon.generations(), "shared").await;
    let (first, second) = tokio::join!(watched(&daemon, &id, 0), watched(&daemon, &id, 0));
    assert_eq!(first, second);
    ended(&mut daemon.generations(), &id).await;
}
