//! A client in virtual time, and what it holds the daemon to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use easel_proto::v1;
use easel_proto::v1::generation_event::Event;
use easel_proto::v1::generation_service_client::GenerationServiceClient;
use easel_proto::v1::session_service_client::SessionServiceClient;
use easel_runtime::Random;
use tokio::time::Instant;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::daemon::{Wire, soon};
use crate::support::{png, told};

/// What came of everything.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) restarts: u64,
    pub(super) asked: u64,
    pub(super) accepted: u64,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    pub(super) expired: u64,
    pub(super) superseded: u64,
    /// Times that a reader came back to a generation.
    pub(super) resumed: u64,
    /// Requests that were sent again, since nobody knew whether they had arrived.
    pub(super) repeated: u64,
    pub(super) refused: u64,
    pub(super) slowest_cancel: Duration,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.restarts += other.restarts;
        self.asked += other.asked;
        self.accepted += other.accepted;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.expired += other.expired;
        self.superseded += other.superseded;
        self.resumed += other.resumed;
        self.repeated += other.repeated;
        self.refused += other.refused;
        self.slowest_cancel = self.slowest_cancel.max(other.slowest_cancel);
    }
}

/// A client outlives the runs of the daemon, with all that it was told.
pub(super) struct Client {
    number: u64,
    asks: Vec<Ask>,
    session: Option<String>,
    tally: Tally,
}

/// A request and what was told about it.
struct Ask {
    spec: v1::GenerationSpec,
    policy: v1::RunPolicy,
    live: bool,
    id: Option<String>,
    /// By their numbers: what was told once stays so.
    events: BTreeMap<u64, v1::GenerationEvent>,
    /// Refused for good, or not known to have arrived and not asked again.
    over: bool,
    /// A cancellation was answered with a hit, in this run of the daemon.
    cancelled: bool,
}

impl Ask {
    fn end(&self) -> Option<&Event> {
        let last = self.events.values().next_back()?.event.as_ref()?;
        matches!(last, Event::Succeeded(_) | Event::Ended(_)).then_some(last)
    }

    fn newest(&self) -> u64 {
        self.events.keys().next_back().copied().unwrap_or(0)
    }

    /// Notes an event, and checks it against what is known.
    fn hear(&mut self, event: v1::GenerationEvent) {
        let id = self.id.get_or_insert_with(|| event.generation_id.clone());
        assert_eq!(*id, event.generation_id, "one request, one generation");
        assert!(!matches!(event.event, Some(Event::Snapshot(_))), "all events are kept");
        if matches!(event.event, Some(Event::Preview(_))) {
            return;
        }
        let sequence = event.sequence;
        if let Some(before) = self.events.get(&sequence) {
            return assert_eq!(*before, event, "a number was told twice, and not alike");
        }
        assert!(self.end().is_none(), "something comes after the end: {event:?}");
        if let Some(Event::Succeeded(_)) = event.event {
            assert!(!self.cancelled, "it was cancelled, and succeeded");
        }
        self.events.insert(sequence, event);
    }

    fn assert_without_gaps(&self) {
        let numbers: Vec<_> = self.events.keys().copied().collect();
        assert_eq!(numbers, (1..=self.newest()).collect::<Vec<_>>(), "{:?}", self.id);
    }
}

impl Client {
    pub(super) fn new(number: u64) -> Self {
        Self { number, asks: Vec::new(), session: None, tally: Tally::default() }
    }

    pub(super) fn count(&self, tally: &mut Tally) {
        let mut mine = Tally { asked: self.asks.len() as u64, ..Tally::default() };
        for ask in &self.asks {
            mine.accepted += u64::from(ask.id.is_some());
            match ask.end() {
                Some(Event::Succeeded(_)) => mine.succeeded += 1,
                Some(Event::Ended(ended)) => match ended.error.as_ref().map_or("", |error| error.reason.as_str()) {
                    "CANCELLED" => mine.cancelled += 1,
                    "DEADLINE_EXCEEDED" => mine.expired += 1,
                    "SUPERSEDED" => mine.superseded += 1,
                    _ => mine.failed += 1,
                },
                _ => {}
            }
        }
        tally.add(&mine);
        tally.add(&self.tally);
    }

    fn ask(&mut self, random: &mut Random) -> usize {
        let number = self.asks.len();
        let word = match random.below(30) {
            0 => "unreadable",
            1 => "panics",
            2 => "infinite",
            _ => "a boat",
        };
        let spec = v1::GenerationSpec {
            prompt: format!("{word} {} {number}", self.number),
            mode: v1::Mode::Generate.into(),
            seed: Some(random.below(100)),
            num_images: Some(1 + u32::try_from(random.below(2)).unwrap()),
            ..Default::default()
        };
        let live = random.one_in(3);
        let priorities = [v1::Priority::Batch, v1::Priority::Interactive, v1::Priority::Live];
        let nanos = i32::try_from(1 + random.below(900)).unwrap() * 1_000_000;
        let policy = v1::RunPolicy {
            priority: if live { v1::Priority::Live } else { priorities[usize::try_from(random.below(3)).unwrap()] }
                .into(),
            on_disconnect: match !live && random.one_in(2) {
                true => v1::DisconnectPolicy::Cancel.into(),
                false => v1::DisconnectPolicy::Keep.into(),
            },
            on_restart: match random.one_in(6) {
                true => v1::RestartPolicy::Fail.into(),
                false => v1::RestartPolicy::Rerun.into(),
            },
            timeout: random.one_in(6).then_some(prost_types::Duration { seconds: 0, nanos }),
            request_id: format!("client-{}-{number}", self.number),
            previews: random
                .one_in(2)
                .then(|| v1::PreviewPolicy { kind: v1::PreviewKind::Projection.into(), ..Default::default() }),
            ..Default::default()
        };
        self.asks.push(Ask { spec, policy, live, id: None, events: BTreeMap::new(), over: false, cancelled: false });
        number
    }
}

type Shared = Arc<Mutex<Client>>;

/// Does `acts` things, one after the other, each over a connection of its own.
pub(super) async fn act(client: Shared, wire: Wire, mut random: Random, acts: u32) {
    // What was cancelled in an earlier run may have been lost with it, and began again.
    client.lock().unwrap().asks.iter_mut().for_each(|ask| ask.cancelled = false);
    for _ in 0..acts {
        match random.below(10) {
            0..=4 => {
                let ask = client.lock().unwrap().ask(&mut random);
                begin(&client, &wire, ask, &mut random).await;
            }
            5 | 6 => come_back(&client, &wire, &mut random).await,
            7 => cancel(&client, &wire, &mut random).await,
            _ => tokio::time::sleep(Duration::from_millis(random.below(1000))).await,
        }
    }
}

/// Asks for a generation, in one of the ways, and reads for as long as it likes.
async fn begin(client: &Shared, wire: &Wire, at: usize, random: &mut Random) {
    let line = wire.line();
    let (spec, policy, live) = {
        let client = client.lock().unwrap();
        let ask = &client.asks[at];
        (Some(ask.spec.clone()), Some(ask.policy.clone()), ask.live)
    };
    let mut generations = GenerationServiceClient::new(line.channel.clone());
    if live {
        let Some(session_id) = session(client, &line.channel).await else { return };
        let edit = Some(v1::SessionEdit { spec, policy, ..Default::default() });
        let request = v1::RunSessionEditRequest { session_id, edit };
        let answer = soon(SessionServiceClient::new(line.channel.clone()).run_session_edit(request)).await;
        return match answer {
            Ok(stream) => {
                let events = stream.into_inner().map(|item| item.map(|item| item.event.unwrap()));
                read(client, at, events, (&line, random)).await;
            }
            Err(status) => refused(client, at, &status),
        };
    }
    if random.one_in(2) {
        return match soon(generations.run_generation(v1::RunGenerationRequest { spec, policy })).await {
            Ok(stream) => {
                let events = stream.into_inner().map(|item| item.map(|item| item.event.unwrap()));
                read(client, at, events, (&line, random)).await;
            }
            Err(status) => refused(client, at, &status),
        };
    }
    match soon(generations.create_generation(v1::CreateGenerationRequest { spec, policy })).await {
        Ok(created) => {
            let generation = created.into_inner().generation.unwrap();
            client.lock().unwrap().asks[at].id = Some(generation.id);
            if random.one_in(2) {
                watch(client, at, &line, random).await;
            } else {
                poll(client, at, &mut generations, random.below(8)).await;
            }
        }
        Err(status) => refused(client, at, &status),
    }
}

/// Goes on with one that has not ended, or asks again for one of which it does not know whether it arrived.
async fn come_back(client: &Shared, wire: &Wire, random: &mut Random) {
    let open: Vec<_> = {
        let client = client.lock().unwrap();
        let open = |(_, ask): &(usize, &Ask)| ask.end().is_none() && !ask.over;
        client.asks.iter().enumerate().filter(open).map(|(at, ask)| (at, ask.id.is_some())).collect()
    };
    if open.is_empty() {
        return;
    }
    let (at, known) = open[usize::try_from(random.below(open.len() as u64)).unwrap()];
    if !known {
        client.lock().unwrap().tally.repeated += 1;
        return begin(client, wire, at, random).await;
    }
    client.lock().unwrap().tally.resumed += 1;
    let line = wire.line();
    if random.one_in(2) {
        watch(client, at, &line, random).await;
    } else {
        poll(client, at, &mut GenerationServiceClient::new(line.channel.clone()), random.below(20)).await;
    }
}

async fn cancel(client: &Shared, wire: &Wire, random: &mut Random) {
    let open: Vec<_> = {
        let client = client.lock().unwrap();
        let open = |(_, ask): &(usize, &Ask)| ask.end().is_none() && ask.id.is_some();
        client.asks.iter().enumerate().filter(open).map(|(at, ask)| (at, ask.id.clone().unwrap())).collect()
    };
    if open.is_empty() {
        return;
    }
    let (at, id) = open[usize::try_from(random.below(open.len() as u64)).unwrap()].clone();
    let line = wire.line();
    let mut generations = GenerationServiceClient::new(line.channel.clone());
    let asked = Instant::now();
    let outcome = match soon(generations.cancel_generation(v1::CancelGenerationRequest { id })).await {
        Ok(answer) => answer.into_inner().outcome(),
        Err(status) => return expected(&status),
    };
    let hit = matches!(outcome, v1::CancelOutcome::WasQueued | v1::CancelOutcome::WasRunning);
    client.lock().unwrap().asks[at].cancelled |= hit;
    if poll(client, at, &mut generations, u64::MAX).await && hit {
        let tally = &mut client.lock().unwrap().tally;
        tally.slowest_cancel = tally.slowest_cancel.max(asked.elapsed());
    }
}

/// Reads what has not ended to its end, and all again from the first number.
pub(super) async fn settle(client: Shared, wire: Wire) {
    let count = client.lock().unwrap().asks.len();
    let line = wire.line();
    let mut generations = GenerationServiceClient::new(line.channel.clone());
    for at in 0..count {
        let Some(id) = client.lock().unwrap().asks[at].id.clone() else { continue };
        assert!(poll(&client, at, &mut generations, u64::MAX).await, "an accepted generation ends");
        let request = v1::WatchGenerationRequest { id, after_sequence: 0 };
        let mut all = generations.watch_generation(request).await.unwrap().into_inner();
        while let Some(item) = soon(all.next()).await {
            client.lock().unwrap().asks[at].hear(item.unwrap().event.unwrap());
        }
        let client = client.lock().unwrap();
        assert!(client.asks[at].end().is_some());
        client.asks[at].assert_without_gaps();
    }
}

async fn watch(client: &Shared, at: usize, line: &super::daemon::Line, random: &mut Random) {
    let (id, after_sequence) = {
        let client = client.lock().unwrap();
        (client.asks[at].id.clone().unwrap(), client.asks[at].newest())
    };
    let request = v1::WatchGenerationRequest { id, after_sequence };
    match soon(GenerationServiceClient::new(line.channel.clone()).watch_generation(request)).await {
        Ok(stream) => {
            let events = stream.into_inner().map(|item| item.map(|item| item.event.unwrap()));
            read(client, at, events, (line, random)).await;
        }
        Err(status) => expected(&status),
    }
}

/// Reads to the end, or until the connection is cut or held.
async fn read(
    client: &Shared,
    at: usize,
    mut events: impl Stream<Item = Result<v1::GenerationEvent, Status>> + Unpin,
    (line, random): (&super::daemon::Line, &mut Random),
) {
    let (mut after, live) = {
        let client = client.lock().unwrap();
        (client.asks[at].newest(), client.asks[at].live)
    };
    // Who draws on does not wait for what came of the last stroke.
    let patience = if !live && random.one_in(2) { u64::MAX } else { random.below(if live { 4 } else { 12 }) };
    for _ in 0..patience {
        if random.one_in(8) {
            tokio::time::sleep(Duration::from_millis(random.below(300))).await;
        }
        match soon(events.next()).await {
            Some(Ok(event)) => {
                let mut client = client.lock().unwrap();
                if !matches!(event.event, Some(Event::Preview(_))) {
                    // A repeated request is told from its first event.
                    assert!(event.sequence == after + 1 || event.sequence == 1, "{after}, then {event:?}");
                    after = event.sequence;
                }
                client.asks[at].hear(event);
            }
            Some(Err(status)) => return expected(&status),
            None => {
                return assert!(client.lock().unwrap().asks[at].end().is_some(), "a stream ends with its generation");
            }
        }
    }
    if !live && random.one_in(3) {
        line.hold();
        tokio::time::sleep(Duration::from_secs(random.below(40))).await;
    }
}

/// Polls at most `times`; true when the generation has ended.
async fn poll(client: &Shared, at: usize, generations: &mut GenerationServiceClient<Channel>, times: u64) -> bool {
    let id = client.lock().unwrap().asks[at].id.clone().unwrap();
    for _ in 0..times {
        let after_sequence = client.lock().unwrap().asks[at].newest();
        let wait = Some(prost_types::Duration { seconds: 20, nanos: 0 });
        let request = v1::PollGenerationRequest { id: id.clone(), after_sequence, after_preview: u64::MAX, wait };
        match soon(generations.poll_generation(request)).await {
            Ok(polled) => {
                let polled = polled.into_inner();
                let mut client = client.lock().unwrap();
                for (event, number) in polled.events.into_iter().zip(after_sequence + 1..) {
                    assert_eq!(event.sequence, number);
                    client.asks[at].hear(event);
                }
                if polled.done {
                    return true;
                }
            }
            Err(status) => {
                expected(&status);
                return false;
            }
        }
    }
    false
}

/// The client's session, made when it is first needed.
async fn session(client: &Shared, channel: &Channel) -> Option<String> {
    let known = client.lock().unwrap().session.clone();
    if known.is_some() {
        return known;
    }
    let image = v1::ImageSource { source: Some(v1::image_source::Source::Inline(png(48, 32).into())) };
    let request = v1::CreateSessionRequest { name: "simulated".into(), image: Some(image) };
    match soon(SessionServiceClient::new(channel.clone()).create_session(request)).await {
        Ok(created) => client.lock().unwrap().session = created.into_inner().session.map(|session| session.id),
        Err(status) => expected(&status),
    }
    client.lock().unwrap().session.clone()
}

/// A request that was answered with an error: refused, or nobody knows.
fn refused(client: &Shared, at: usize, status: &Status) {
    expected(status);
    let mut client = client.lock().unwrap();
    if !told(status).1.is_empty() {
        client.tally.refused += 1;
        // With a known id it was accepted before, and this was asked again.
        client.asks[at].over = client.asks[at].id.is_none();
    }
}

/// Errors that a client has to live with: no room, a daemon that stops, a connection that ends, a reader that is too slow.
fn expected(status: &Status) {
    let reason = told(status).1;
    let known = ["QUEUE_FULL", "ENGINE_UNAVAILABLE", "DRAINING", "STREAM_LAGGED"].contains(&reason.as_str());
    let lost = reason.is_empty() && matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown);
    assert!(known || lost, "{status:?}");
}
