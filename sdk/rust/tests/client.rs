//! The client against a daemon of its own making: every answer is scripted, so that lost connections, cut streams and
//! half uploads can be had at will. The real daemon is tested with the real binary.

#[path = "client/mock.rs"]
mod mock;

use std::time::Duration;

use easel_sdk::{Code, Easel, Error, EventKind, Target, proto, reason};
use mock::{Mock, Script, accepted, progress, succeeded};

const CHUNK: usize = 1024 * 1024;

fn kinds(events: &[easel_sdk::Event]) -> Vec<u64> {
    events.iter().map(|event| event.sequence).collect()
}

async fn all(mut stream: easel_sdk::GenerationStream) -> Result<Vec<easel_sdk::Event>, Error> {
    let mut events = Vec::new();
    while let Some(event) = stream.next().await {
        events.push(event?);
    }
    Ok(events)
}

#[tokio::test]
async fn events_come_typed_and_end_with_the_last() {
    let mock = Mock::start(Script::one_run(vec![accepted(1), progress(2, 1), mock::preview(), succeeded(3)])).await;
    let easel = mock.client().await;
    let stream = easel.generate("a red circle").seed(7).size(128, 96).start().await.expect("started");
    let events = all(stream).await.expect("all events");
    assert_eq!(kinds(&events), [1, 2, 0, 3]);
    assert!(matches!(&events[0].kind, EventKind::Accepted(generation) if generation.id == "gen_1"));
    assert!(matches!(&events[1].kind, EventKind::Progress(at) if at.done == 1));
    assert!(matches!(&events[2].kind, EventKind::Preview(preview) if preview.number == 1));
    assert!(matches!(&events[3].kind, EventKind::Succeeded(done) if done.images.len() == 1));
    let spec = mock.script.runs()[0].spec.clone().expect("a spec");
    assert_eq!((spec.mode(), spec.prompt.as_str(), spec.seed), (proto::Mode::Generate, "a red circle", Some(7)));
    assert_eq!((spec.width, spec.height), (Some(128), Some(96)));
}

#[tokio::test]
async fn a_cut_connection_is_taken_up_after_the_last_event_seen() {
    let mut script = Script::one_run(vec![accepted(1), progress(2, 1)]);
    script.hang_after_run = true;
    // The second view repeats an event, as a daemon may that counts otherwise; it must not be given twice.
    script.watches = vec![vec![progress(2, 1), progress(3, 2), succeeded(4)]].into();
    let mock = Mock::start(script).await;
    let easel = mock.client().await;
    let mut stream = easel.generate("x").keep_when_disconnected().start().await.expect("started");
    for expected in [1, 2] {
        assert_eq!(stream.next().await.expect("an event").expect("no error").sequence, expected);
    }
    mock.cut();
    let rest = all(stream).await.expect("the stream comes back");
    assert_eq!(kinds(&rest), [3, 4]);
    let watch = mock.script.watched()[0].clone();
    assert_eq!((watch.id.as_str(), watch.after_sequence), ("gen_1", 2));
}

#[tokio::test]
async fn a_stream_that_ends_before_its_first_event_is_started_again_under_the_same_request_id() {
    let mut script = Script::one_run(Vec::new());
    script.runs.push_back(vec![accepted(1), succeeded(2)]);
    let mock = Mock::start(script).await;
    let easel = mock.client().await;
    let stream = easel.generate("x").start().await.expect("started");
    assert_eq!(kinds(&all(stream).await.expect("all events")), [1, 2]);
    let ids: Vec<_> = mock.script.runs().iter().map(|run| run.policy.clone().expect("a policy").request_id).collect();
    assert_eq!(ids.len(), 2);
    assert!(!ids[0].is_empty() && ids[0] == ids[1], "{ids:?}");
}

#[tokio::test]
async fn a_reader_that_was_cut_for_lagging_comes_back() {
    let mut script = Script::one_run(vec![accepted(1), Err(mock::refusal(Code::ResourceExhausted, "STREAM_LAGGED"))]);
    script.watches = vec![vec![mock::snapshot_of_success(9)]].into();
    let mock = Mock::start(script).await;
    let done = mock.client().await.generate("x").start().await.expect("started").finish().await.expect("a result");
    assert_eq!(done.images.len(), 1);
    assert_eq!(done.total, Duration::from_secs(3));
}

#[tokio::test]
async fn a_failure_ends_the_stream_with_the_daemons_reason() {
    let mock = Mock::start(Script::one_run(vec![accepted(1), mock::failed(2)])).await;
    let stream = mock.client().await.generate("x").start().await.expect("started");
    let error = stream.finish().await.expect_err("it failed");
    assert_eq!((error.code, error.reason.as_str()), (Code::Internal, "ENGINE_FAULT"));
    assert_eq!(error.resource.as_ref().map(|about| about.name.as_str()), Some("gen_1"));
    assert_eq!(mock.script.watched().len(), 0);
}

#[tokio::test]
async fn an_error_status_is_given_once_and_not_tried_again() {
    let refusal = mock::refusal(Code::ResourceExhausted, "QUEUE_FULL");
    let mock = Mock::start(Script::one_run(vec![Err(refusal)])).await;
    let mut stream = mock.client().await.generate("x").start().await.expect("started");
    let error = stream.next().await.expect("an answer").expect_err("refused");
    assert_eq!(error.reason, "QUEUE_FULL");
    assert!(error.is_busy() && !error.is_connection());
    assert!(stream.next().await.is_none());
    assert_eq!(mock.script.runs().len(), 1);
}

#[tokio::test]
async fn a_daemon_that_stays_away_is_an_error_in_the_end() {
    let mut script = Script::one_run(vec![accepted(1)]);
    script.hang_after_run = true;
    let mock = Mock::start(script).await;
    let mut stream = mock.client().await.generate("x").start().await.expect("started");
    assert!(stream.next().await.expect("an event").is_ok());
    mock.cut_for_good();
    // From here on only the pauses between attempts take time.
    tokio::time::pause();
    let error = stream.next().await.expect("an answer").expect_err("lost");
    assert!(error.is_connection(), "{error:?}");
}

#[tokio::test]
async fn a_large_source_is_uploaded_and_a_small_one_goes_along() {
    let mut script = Script::one_run(vec![accepted(1), succeeded(2)]);
    script.runs.push_back(vec![accepted(1), succeeded(2)]);
    let mock = Mock::start(script).await;
    let easel = mock.client().await;
    let large = vec![7; 2 * CHUNK + 100];
    easel.edit(large.clone(), "x").start().await.expect("started").finish().await.expect("done");
    easel.edit(vec![1, 2, 3], "x").start().await.expect("started").finish().await.expect("done");
    let sources: Vec<_> =
        mock.script.runs().iter().map(|run| run.spec.clone().and_then(|s| s.image).and_then(|i| i.source)).collect();
    let Some(proto::image_source::Source::Sha256(hash)) = &sources[0] else { panic!("{sources:?}") };
    assert_eq!(mock.script.blob(hash).as_deref(), Some(&large[..]));
    assert!(matches!(&sources[1], Some(proto::image_source::Source::Inline(bytes)) if bytes[..] == [1, 2, 3]));
    assert_eq!(mock.script.appends(), [0, CHUNK as u64, 2 * CHUNK as u64]);
}

#[tokio::test]
async fn an_upload_goes_on_where_it_stopped_and_skips_what_is_there() {
    let mock = Mock::start(Script::default()).await;
    let easel = mock.client().await;
    let bytes: Vec<u8> = (0..2 * CHUNK).map(|i| (i % 251) as u8).collect();
    mock.script.half_upload(&bytes[..CHUNK]);
    let hash = easel.upload(&bytes).await.expect("uploaded");
    assert_eq!(mock.script.appends(), [CHUNK as u64]);
    assert_eq!(easel.upload(&bytes).await.expect("known"), hash);
    assert_eq!(mock.script.appends().len(), 1, "nothing is sent twice");
    assert_eq!(easel.download(&hash).await.expect("downloaded"), bytes);
}

#[tokio::test]
async fn a_damaged_download_is_noticed() {
    let mock = Mock::start(Script::default()).await;
    let easel = mock.client().await;
    let hash = easel.upload(b"a picture").await.expect("uploaded");
    mock.script.damage(&hash);
    assert_eq!(easel.download(&hash).await.expect_err("damaged").code, Code::DataLoss);
}

#[tokio::test]
async fn the_token_goes_along_over_tcp_and_is_not_shown() {
    let mock = Mock::start(Script::default()).await;
    let address = mock.tcp().await;
    let target = Target::tcp(address, Some("s3cret".to_owned()));
    assert!(!format!("{target:?} {target}").contains("s3cret"));
    let easel = Easel::connect(&target).await.expect("connected");
    easel.models().await.expect("models");
    assert_eq!(mock.script.authorizations().last().expect("a call").as_deref(), Some("Bearer s3cret"));
    let easel = mock.client().await;
    easel.models().await.expect("models");
    assert_eq!(mock.script.authorizations().last().expect("a call"), &None);
}

#[tokio::test]
async fn nobody_there_is_said_with_the_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("nobody.sock");
    let error = Easel::connect(&Target::unix(&socket)).await.err().expect("nobody");
    assert_eq!(error.reason, reason::CANNOT_CONNECT);
    assert!(error.message.contains("nobody.sock"), "{}", error.message);
    let error = Easel::connect_discovered(&folder.path().join("daemon.json")).await.err().expect("nobody");
    assert_eq!(error.reason, reason::CANNOT_CONNECT);
    let error = Easel::connect(&Target::tcp("not an address", None)).await.err().expect("wrong");
    assert_eq!(error.reason, reason::CLIENT_SETUP);
}

#[tokio::test]
async fn discovery_falls_back_to_tcp_when_the_socket_is_gone() {
    let mock = Mock::start(Script::default()).await;
    let address = mock.tcp().await;
    let folder = tempfile::tempdir().expect("a folder");
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "abc\n").expect("written");
    let discovery = easel_sdk::Discovery {
        pid: std::process::id(),
        version: "0.1.0".to_owned(),
        protocol_version: 1,
        addresses: vec![address.clone()],
        port: None,
        socket: folder.path().join("gone.sock"),
        token_file,
        start_time_ms: 0,
    };
    let file = folder.path().join("daemon.json");
    std::fs::write(&file, serde_json::to_vec(&discovery).expect("json")).expect("written");
    let easel = Easel::connect_discovered(&file).await.expect("connected");
    assert_eq!(easel.target().to_string(), address);
}
