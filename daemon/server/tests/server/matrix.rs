//! The clean-up matrix: every way of asking × every way of ending × every moment. Whatever happens, nothing is left: no
//! generation, no stage value, no watcher, no work with an actor, as the status tells; and the log of cells says how each ended.
//!
//! Half-open connections are noticed by the keep-alive, which the test shortens.

use std::time::Duration;

use easel_domain::limits;
use easel_proto::v1;
use easel_proto::v1::edit_session_request::Request as Asked;
use easel_proto::v1::generation_service_client::GenerationServiceClient;
use easel_proto::v1::session_service_client::SessionServiceClient;
use easel_runtime::drill::{DrillConfig, DrillFault, DrillStage, Fault};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use crate::support::{Daemon, TOKEN, quick};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Unary,
    Stream,
    Bidi,
    Poll,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Complete,
    Cancel,
    Deadline,
    Error,
    Drain,
    ClientKilled,
    HalfOpen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Queued,
    Encoding,
    Step,
    Decoding,
    Sending,
}

const WAYS: [Way; 4] = [Way::Unary, Way::Stream, Way::Bidi, Way::Poll];
const ENDS: [End; 7] =
    [End::Complete, End::Cancel, End::Deadline, End::Error, End::Drain, End::ClientKilled, End::HalfOpen];
const MOMENTS: [Moment; 5] = [Moment::Queued, Moment::Encoding, Moment::Step, Moment::Decoding, Moment::Sending];

/// Longest wait for a state.
const STUCK: Duration = Duration::from_secs(60);
const ENDLESS: Duration = Duration::from_secs(600);
const BRIEF: Duration = Duration::from_millis(5);

/// A cell that cannot be: what is queued runs into no fault of a stage, and what is finished into none and no deadline.
fn exists(end: End, moment: Moment) -> bool {
    !matches!((end, moment), (End::Error, Moment::Queued) | (End::Error | End::Deadline, Moment::Sending))
}

/// A drill in which the moment lasts until somebody ends it, or a little when it is to complete.
fn drill(end: End, moment: Moment) -> DrillConfig {
    let long = if end == End::Complete { BRIEF } else { ENDLESS };
    let fault = |stage| match end {
        End::Error => {
            vec![DrillFault { stage, part: 1, fault: Fault::Panic, times: None, prompt_contains: Some("cell".into()) }]
        }
        _ => Vec::new(),
    };
    // A stage that fails has to get there.
    let long = if end == End::Error { BRIEF } else { long };
    match moment {
        Moment::Queued => DrillConfig { encode_layer: ENDLESS, ..quick() },
        Moment::Encoding => DrillConfig { encode_layer: long, faults: fault(DrillStage::Encode), ..quick() },
        Moment::Step => DrillConfig { denoise_step: long, faults: fault(DrillStage::Denoise), ..quick() },
        Moment::Decoding => DrillConfig { vae_strip: long, faults: fault(DrillStage::Decode), ..quick() },
        Moment::Sending => quick(),
    }
}

/// A wire to the daemon that can be cut, or held so that neither side hears of it.
struct Wire {
    channel: Channel,
    pump: JoinHandle<()>,
    held: tokio::sync::watch::Sender<bool>,
}

impl Wire {
    async fn new(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (held, mut hold) = tokio::sync::watch::channel(false);
        let pump = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut daemon = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut daemon) => {}
                // Both sockets stay open, and nothing goes through.
                () = until_held(&mut hold) => std::future::pending().await,
            }
        });
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Self { channel, pump, held }
    }
}

async fn until_held(hold: &mut tokio::sync::watch::Receiver<bool>) {
    let _ = hold.wait_for(|hold| *hold).await;
}

fn with_token<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    request
}

/// What keeps the asking alive: streams that nobody reads any more.
type Asking = Box<dyn std::any::Any + Send>;

/// Asks in a way; the id of the generation.
async fn ask(way: Way, end: End, wire: &Wire, session: &str) -> (String, Asking) {
    let timeout = (end == End::Deadline).then_some(prost_types::Duration { seconds: 0, nanos: 300_000_000 });
    let policy = Some(v1::RunPolicy { timeout, ..Default::default() });
    let spec =
        Some(v1::GenerationSpec { prompt: "cell".into(), mode: v1::Mode::Generate.into(), ..Default::default() });
    let mut generations = GenerationServiceClient::new(wire.channel.clone());
    match way {
        Way::Unary | Way::Poll => {
            let request = with_token(v1::CreateGenerationRequest { spec, policy });
            let id = generations.create_generation(request).await.unwrap().into_inner().generation.unwrap().id;
            let polled = id.clone();
            let polling = tokio::spawn(async move {
                let wait = Some(prost_types::Duration { seconds: 60, nanos: 0 });
                let mut after_sequence = 0;
                if way == Way::Unary {
                    return;
                }
                loop {
                    let request =
                        v1::PollGenerationRequest { id: polled.clone(), after_sequence, after_preview: 0, wait };
                    let Ok(answer) = generations.poll_generation(with_token(request)).await else { return };
                    let answer = answer.into_inner();
                    after_sequence = answer.events.last().map_or(after_sequence, |event| event.sequence);
                    if answer.done {
                        return;
                    }
                }
            });
            (id, Box::new(polling))
        }
        Way::Stream => {
            let request = with_token(v1::RunGenerationRequest { spec, policy });
            let mut stream = generations.run_generation(request).await.unwrap().into_inner();
            let id = stream.message().await.unwrap().unwrap().event.unwrap().generation_id;
            (id, Box::new(stream))
        }
        Way::Bidi => {
            let (ask, requests) = tokio::sync::mpsc::channel(4);
            let attach = Asked::Attach(v1::AttachSession { session_id: session.to_owned(), seen: Vec::new() });
            let edit = Asked::Edit(v1::SessionEdit { spec, policy, ..Default::default() });
            for request in [attach, edit] {
                let request = v1::EditSessionRequest { tag: String::new(), request: Some(request) };
                ask.send(request).await.unwrap();
            }
            let mut sessions = SessionServiceClient::new(wire.channel.clone());
            let mut stream =
                sessions.edit_session(with_token(ReceiverStream::new(requests))).await.unwrap().into_inner();
            let id = loop {
                use v1::edit_session_answer::Outcome;
                use v1::edit_session_response::Response;
                let told = stream.message().await.unwrap().unwrap().response.unwrap();
                if let Response::Answer(answer) = told
                    && let Some(Outcome::Generation(generation)) = answer.outcome
                {
                    break generation.id;
                }
            };
            (id, Box::new((ask, stream)))
        }
    }
}

async fn get(daemon: &Daemon, id: &str) -> v1::Generation {
    let request = v1::GetGenerationRequest { id: id.into() };
    daemon.generations().get_generation(request).await.unwrap().into_inner().generation.unwrap()
}

/// Waits until a generation satisfies `holds`, by polls that are no watching.
async fn until(
    daemon: &Daemon,
    id: &str,
    what: &(Way, End, Moment),
    holds: impl Fn(&v1::Generation) -> bool,
) -> v1::Generation {
    let begin = std::time::Instant::now();
    loop {
        let found = get(daemon, id).await;
        if holds(&found) {
            return found;
        }
        assert!(begin.elapsed() < STUCK, "{what:?}: {found:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn is_end(generation: &v1::Generation) -> bool {
    generation.end_time.is_some()
}

async fn cancel(daemon: &Daemon, id: &str) {
    daemon.generations().cancel_generation(v1::CancelGenerationRequest { id: id.into() }).await.unwrap();
}

/// Whether a client that is gone takes its generation with it.
fn ends_with_client(way: Way) -> bool {
    way == Way::Stream
}

async fn cell(way: Way, end: End, moment: Moment) -> String {
    let what = (way, end, moment);
    let daemon = Daemon::start_with(drill(end, moment), |config| {
        config.keepalive_interval = Duration::from_millis(300);
        config.keepalive_timeout = Duration::from_millis(300);
    })
    .await;
    let runtime = daemon.runtime.clone();
    let mut sessions = SessionServiceClient::new(daemon.channel());
    let session = sessions.create_session(v1::CreateSessionRequest::default()).await.unwrap().into_inner().session;
    let blocker = match moment {
        Moment::Queued => Some(crate::support::create(&mut daemon.generations(), "blocker").await),
        _ => None,
    };
    if let Some(blocker) = &blocker {
        until(&daemon, blocker, &what, |found| found.state() == v1::GenerationState::Running).await;
    }
    let wire = Wire::new(daemon.port).await;
    let (id, asking) = ask(way, end, &wire, &session.unwrap().id).await;
    let stage = |found: &v1::Generation| found.progress.as_ref().map(v1::Progress::stage);
    let reached = |found: &v1::Generation| match moment {
        Moment::Queued => found.state() == v1::GenerationState::Queued,
        Moment::Encoding => stage(found) == Some(v1::Stage::EncodePrompt),
        Moment::Step => stage(found) == Some(v1::Stage::Denoise),
        Moment::Decoding => stage(found) == Some(v1::Stage::Decode),
        Moment::Sending => is_end(found),
    };
    // A moment that is brief may be over.
    until(&daemon, &id, &what, |found| reached(found) || is_end(found)).await;
    match end {
        End::Complete => {
            if let Some(blocker) = &blocker {
                cancel(&daemon, blocker).await;
                // Behind the blocker is another endless stage: who is queued completes by being let go.
                cancel(&daemon, &id).await;
            }
        }
        End::Cancel => cancel(&daemon, &id).await,
        End::Deadline | End::Error => {}
        End::ClientKilled => wire.pump.abort(),
        End::HalfOpen => {
            wire.held.send_replace(true);
        }
        End::Drain => {
            let serving = daemon.stop();
            serving.await.unwrap().unwrap();
            let status = runtime.status().await;
            assert_eq!((status.queued, status.running, status.memory.stage_value_bytes), (0, 0, 0), "{what:?}");
            drop(asking);
            return format!("{way:?} {end:?} {moment:?}: stopped");
        }
    }
    let gone = matches!(end, End::ClientKilled | End::HalfOpen);
    if gone && !ends_with_client(way) && moment != Moment::Sending {
        // Whoever created it is not missed; it goes on until somebody ends it.
        until_watchers(&runtime, 0, &what).await;
        assert!(!is_end(&get(&daemon, &id).await), "{what:?}: it goes on without its client");
        cancel(&daemon, &id).await;
    }
    let ended = until(&daemon, &id, &what, is_end).await;
    let reason = ended.error.as_ref().map(|error| error.reason.clone()).unwrap_or_default();
    let expected = match (end, moment) {
        (_, Moment::Sending) => "",
        (End::Complete, Moment::Queued) | (End::Cancel, _) => "CANCELLED",
        (End::Complete, _) => "",
        (End::Deadline, _) => "DEADLINE_EXCEEDED",
        (End::Error, _) => "ENGINE_FAULT",
        _ if ends_with_client(way) => "WATCHER_GONE",
        _ => "CANCELLED",
    };
    assert_eq!(reason, expected, "{what:?}");
    if let Some(blocker) = &blocker {
        cancel(&daemon, blocker).await;
    }
    drop(asking);
    drop(wire);
    until_watchers(&runtime, 0, &what).await;
    let at_rest = async {
        loop {
            let status = runtime.status().await;
            let idle = status.stages.iter().all(|stage| stage.generation.is_none() && stage.waiting == 0);
            let held = (status.queued, status.running, status.memory.stage_value_bytes, status.blobs.uploads);
            if idle && held == (0, 0, 0, 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(STUCK, at_rest).await.unwrap_or_else(|_| panic!("{what:?}: something is left"));
    format!("{way:?} {end:?} {moment:?}: {}", if reason.is_empty() { "succeeded" } else { &reason })
}

async fn until_watchers(runtime: &easel_runtime::Runtime, count: u32, what: &(Way, End, Moment)) {
    let begin = std::time::Instant::now();
    while runtime.status().await.watchers != count {
        assert!(begin.elapsed() < STUCK, "{what:?}: a watcher is left");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_ends_however_at_whatever_moment_leaves_nothing() {
    assert!(limits::KEEPALIVE_TIMEOUT > Duration::ZERO);
    let mut cells = Vec::new();
    for way in WAYS {
        for end in ENDS {
            cells.extend(MOMENTS.into_iter().filter(|moment| exists(end, *moment)).map(|moment| (way, end, moment)));
        }
    }
    let count = cells.len();
    let mut ended = Vec::new();
    for some in cells.chunks(8) {
        let running: Vec<_> = some.iter().map(|(way, end, moment)| tokio::spawn(cell(*way, *end, *moment))).collect();
        for cell in running {
            ended.push(cell.await.unwrap());
        }
    }
    assert_eq!((ended.len(), count), (128, 128), "4 ways, 7 ends, 5 moments, without the 3 that cannot be in each way");
}
