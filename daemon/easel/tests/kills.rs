//! The real binary is killed at random moments under load: after each restart nothing that was acknowledged is missing or
//! changed, what was under way comes to the same pictures, and watchers go on after the last number that they have seen.
//!
//! 50 kills; 200 with `EASEL_TEST_LONG`. `EASEL_TEST_SEED` repeats a run's random moments; every failure names the seed.

#[path = "cli/world.rs"]
#[allow(dead_code, reason = "shared with the tests of the command line")]
mod world;

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use easel_sdk::{Easel, EventKind, Target, edit, proto};
use world::World;

/// Nothing that is not stuck takes so long.
const STUCK: Duration = Duration::from_secs(120);
const PROMPTS: [&str; 4] = ["a boat", "a house", "a tree", "a lamp"];
const SEEDS: u64 = 3;

/// What clients were told; the daemon has to keep it.
#[derive(Default)]
struct Ledger {
    /// Generations that were accepted, with the newest event that somebody has seen.
    accepted: BTreeMap<String, Accepted>,
    /// Pictures of ended generations.
    pictures: HashMap<String, Vec<String>>,
    /// What a prompt and a seed make, from the first time on.
    makes: HashMap<(String, u64), String>,
    /// Sessions and the revisions that were seen in them.
    sessions: BTreeMap<String, Vec<String>>,
    uploads: Vec<(String, Vec<u8>)>,
    resumes: u64,
}

struct Accepted {
    prompt: String,
    seed: u64,
    sequence: u64,
}

type Shared = Arc<Mutex<Ledger>>;

/// A small random source, so that a seed tells everything.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

fn kills() -> u64 {
    if std::env::var_os("EASEL_TEST_LONG").is_some() { 200 } else { 50 }
}

fn seed() -> u64 {
    let given = std::env::var("EASEL_TEST_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        now.as_nanos() as u64 | 1
    })
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

async fn connect(world: &World) -> Easel {
    Easel::connect(&Target::unix(world.path("state/run/easel.sock"))).await.expect("the daemon answers")
}

/// Notes what a stream tells until it ends or the daemon has gone.
async fn follow(easel: &Easel, id: &str, ledger: &Shared) -> bool {
    let after = ledger.lock().expect("nobody panics").accepted[id].sequence;
    let Ok(mut stream) = easel.watch(id, after).await else { return false };
    let mut next = after + 1;
    while let Some(Ok(event)) = stream.next().await {
        if event.sequence == 0 {
            continue;
        }
        assert!(!matches!(event.kind, EventKind::Snapshot(_)), "{id}: events after {after} are missing");
        assert_eq!(event.sequence, next, "{id}: the events have a gap");
        next += 1;
        let mut ledger = ledger.lock().expect("nobody panics");
        let accepted = ledger.accepted.get_mut(id).expect("it was accepted");
        accepted.sequence = event.sequence;
        let key = (accepted.prompt.clone(), accepted.seed);
        match event.kind {
            EventKind::Succeeded(done) => {
                let hashes: Vec<_> =
                    done.images.into_iter().map(|made| made.image.expect("a result has a picture").sha256).collect();
                let first = ledger.makes.entry(key.clone()).or_insert_with(|| hashes[0].clone()).clone();
                assert_eq!(first, hashes[0], "{id}: {key:?} came out different");
                ledger.pictures.insert(id.to_owned(), hashes);
                return true;
            }
            EventKind::Ended(end) => panic!("{id} ended with {}", end.error),
            _ => {}
        }
    }
    false
}

/// One client that works until the daemon goes.
async fn work(easel: Easel, ledger: Shared, mut random: Random) {
    loop {
        let prompt = PROMPTS[random.below(PROMPTS.len() as u64) as usize].to_owned();
        let seed = random.below(SEEDS);
        let request = easel.generate(prompt.clone()).seed(seed).keep_when_disconnected();
        let Ok(generation) = request.create().await else { return };
        let accepted = Accepted { prompt, seed, sequence: 1 };
        ledger.lock().expect("nobody panics").accepted.insert(generation.id.clone(), accepted);
        if random.below(3) == 0 {
            // Nobody watches this one; it is looked for after the restart.
            continue;
        }
        if !follow(&easel, &generation.id, &ledger).await {
            return;
        }
    }
}

/// A client that edits a session and uploads pictures.
async fn edit_sessions(easel: Easel, ledger: Shared, picture: Vec<u8>, mut random: Random) {
    let Ok(session) = easel.create_session("s", Some(picture)).await else { return };
    ledger.lock().expect("nobody panics").sessions.insert(session.id.clone(), vec![session.head_revision_id]);
    loop {
        let edit = edit(PROMPTS[random.below(4) as usize]);
        let Ok(stream) = easel.edit_session(&session.id, edit).await else { return };
        if stream.finish().await.is_err() {
            return;
        }
        let Ok(now) = easel.session(&session.id).await else { return };
        let mut blob = vec![0; 1 + random.below(5000) as usize];
        blob.iter_mut().for_each(|byte| *byte = random.below(256) as u8);
        let uploaded = easel.upload(&blob).await;
        let mut ledger = ledger.lock().expect("nobody panics");
        let known = ledger.sessions.get_mut(&session.id).expect("it was made");
        known.push(now.head_revision_id);
        if let Ok(hash) = uploaded {
            ledger.uploads.push((hash, blob));
        }
    }
}

/// Everything that was acknowledged is there.
async fn check(easel: &Easel, ledger: &Shared) {
    let (pictures, sessions, uploads, open) = {
        let ledger = ledger.lock().expect("nobody panics");
        let ended = |id: &&String| ledger.pictures.contains_key(*id);
        let open: Vec<_> = ledger.accepted.keys().filter(|id| !ended(id)).cloned().collect();
        (ledger.pictures.clone(), ledger.sessions.clone(), ledger.uploads.clone(), open)
    };
    for (id, hashes) in &pictures {
        let found = easel.generation(id).await.unwrap_or_else(|error| panic!("{id} is lost: {error}"));
        assert_eq!(found.state(), proto::GenerationState::Succeeded, "{id}");
        let now: Vec<_> = found.images.into_iter().map(|made| made.image.expect("a picture")).collect();
        assert_eq!(now.iter().map(|image| image.sha256.clone()).collect::<Vec<_>>(), *hashes, "{id}");
    }
    // The SDK checks the hash of what it downloads.
    let hashes: std::collections::BTreeSet<_> = pictures.values().flatten().collect();
    for hash in hashes {
        easel.download(hash).await.unwrap_or_else(|error| panic!("picture {hash} is lost: {error}"));
    }
    for (hash, bytes) in &uploads {
        let found = easel.download(hash).await.unwrap_or_else(|error| panic!("upload {hash} is lost: {error}"));
        assert_eq!(found, *bytes);
    }
    for (id, revisions) in &sessions {
        let found = easel.revisions(id).await.unwrap_or_else(|error| panic!("session {id} is lost: {error}"));
        for revision in revisions {
            let there = found.iter().find(|found| found.id == *revision);
            let image = there.unwrap_or_else(|| panic!("revision {revision} of {id} is lost")).image.clone();
            easel.download(&image.expect("a picture").sha256).await.expect("its picture is whole");
        }
    }
    for id in open {
        // It goes on after the last event that somebody has seen.
        let ended = tokio::time::timeout(STUCK, follow(easel, &id, ledger)).await;
        assert!(ended.unwrap_or(false), "{id} was accepted and does not come to an end");
        ledger.lock().expect("nobody panics").resumes += 1;
    }
}

async fn load(world: &World, ledger: &Shared, random: &mut Random, picture: &[u8]) -> Vec<tokio::task::JoinHandle<()>> {
    let mut clients = Vec::new();
    for _ in 0..3 {
        let random = Random(random.below(u64::MAX) | 1);
        clients.push(tokio::spawn(work(connect(world).await, Arc::clone(ledger), random)));
    }
    let own = Random(random.below(u64::MAX) | 1);
    clients.push(tokio::spawn(edit_sessions(connect(world).await, Arc::clone(ledger), picture.to_vec(), own)));
    clients
}

#[test]
fn a_kill_at_any_moment_loses_nothing() {
    let (seed, kills) = (seed(), kills());
    say(&format!("EASEL_TEST_SEED={seed}, {kills} kills"));
    let world = World::new();
    world.ok(&["generate", "x", "-o", "in.png", "--size", "96x64", "--seed", "1"]);
    let picture = world.read("in.png");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio");
    let ledger = Shared::default();
    let mut random = Random(seed | 1);
    let drill = "load_ms=1 encode_layer_ms=1 encode_layers=3 denoise_step_ms=4 vae_strip_ms=1 vae_strips=2 native_px=4";
    let serve = ["--port", "0", "--tcp", "false", "--drill", drill, "--max-client-queue", "64"];
    for kill in 0..kills {
        let daemon = world.serve(&serve);
        // One in four is killed while it takes up what the one before has left.
        let checked = random.below(4) > 0;
        let moment = Duration::from_micros(random.below(250_000));
        let clients = runtime.block_on(async {
            if checked {
                check(&connect(&world).await, &ledger).await;
            }
            let clients = load(&world, &ledger, &mut random, &picture).await;
            tokio::time::sleep(moment).await;
            clients
        });
        daemon.kill();
        runtime.block_on(async {
            for client in clients {
                // They would try for seconds to find their daemon again; what they were told is in the ledger.
                client.abort();
                if let Err(error) = client.await
                    && error.is_panic()
                {
                    panic!("seed {seed}, kill {kill}: {error}");
                }
            }
        });
    }
    let daemon = world.serve(&serve);
    runtime.block_on(async { check(&connect(&world).await, &ledger).await });
    assert_eq!(daemon.terminate(), 0);
    let ledger = ledger.lock().expect("nobody panics");
    let (accepted, ended) = (ledger.accepted.len(), ledger.pictures.len());
    let (sessions, uploads) = (ledger.sessions.len(), ledger.uploads.len());
    assert_eq!(accepted, ended, "each accepted generation has ended");
    assert!(ended as u64 > kills / 2 && ledger.resumes > 0 && sessions > 0);
    say(&format!(
        "{kills} kills: {accepted} generations, {sessions} sessions and {uploads} uploads were acknowledged, {} were under way and \
         resumed, none was lost",
        ledger.resumes
    ));
}

/// The first event waits for the disk, and still comes at once.
#[test]
fn the_first_event_comes_at_once() {
    let world = World::new();
    let drill = "load_ms=0 encode_layer_ms=0 denoise_step_ms=0 vae_strip_ms=0 native_px=4";
    let daemon = world.serve(&["--port", "0", "--tcp", "false", "--drill", drill]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio");
    let mut times = runtime.block_on(async {
        let easel = connect(&world).await;
        let mut times = Vec::new();
        for _ in 0..300 {
            let begin = Instant::now();
            let mut stream = easel.generate("x").seed(1).start().await.expect("there is room");
            stream.next().await.expect("an event").expect("no error");
            times.push(begin.elapsed());
            stream.finish().await.expect("it succeeds");
        }
        times
    });
    assert_eq!(daemon.terminate(), 0);
    times.sort_unstable();
    let mut syncs: Vec<_> = (0..100).map(|_| sync_time(&world)).collect();
    syncs.sort_unstable();
    let ms = |times: &[Duration], share: usize| times[times.len() * share / 100].as_secs_f64() * 1000.0;
    say(&format!(
        "first event after {:.2} ms (p50), {:.2} ms (p99); one fsync of this disk {:.2} ms (p50), {:.2} ms (p99)",
        ms(&times, 50),
        ms(&times, 99),
        ms(&syncs, 50),
        ms(&syncs, 99)
    ));
    // Far above the aim of 5 ms, which a loaded test machine need not meet; far below what a second wait for the disk would cost
    // on a slow one.
    assert!(times[150] < Duration::from_millis(25) + 4 * syncs[50], "p50 is {:?}", times[150]);
}

fn sync_time(world: &World) -> Duration {
    let mut file = std::fs::File::create(world.path("state/sync")).expect("made");
    file.write_all(&[7; 4096]).expect("written");
    let begin = Instant::now();
    file.sync_all().expect("synced");
    begin.elapsed()
}
