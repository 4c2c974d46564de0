//! Long work and long rest: thousands of jobs through the real binary with memory and file descriptors flat at the end, and what a
//! thousand idle sessions and five hundred open streams cost. 2,000 jobs; 20,000 with `EASEL_TEST_LONG`.

#![cfg(target_os = "linux")]

#[path = "cli/world.rs"]
#[allow(dead_code, reason = "shared with the tests of the command line")]
mod world;

use std::io::Write as _;
use std::time::{Duration, Instant};

use easel_sdk::{Easel, EventKind, Target, proto};
use world::World;

const INSTANT: &str = "load_ms=0 encode_layer_ms=0 denoise_step_ms=0 vae_strip_ms=0 native_px=4";

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio")
}

async fn connect(world: &World) -> Easel {
    Easel::connect(&Target::unix(world.path("state/run/easel.sock"))).await.expect("the daemon answers")
}

/// Resident KiB of a process.
fn resident_kib(pid: u32) -> u64 {
    kib_of(pid, "VmRSS:")
}

/// A line of what the system says of a process, in KiB.
fn kib_of(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the line is there");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number")
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count()
}

/// Time on the processor in clock ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<_> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    [11, 12].map(|at| fields[at].parse::<u64>().expect("a number")).iter().sum()
}

async fn jobs(world: &World, count: usize) {
    let mut clients = Vec::new();
    for client in 0..4 {
        let easel = connect(world).await;
        clients.push(tokio::spawn(async move {
            for job in 0..count / 4 {
                let request = easel.generate("a boat").seed((client * 7 + job as u64) % 50);
                match job % 10 {
                    // One is cancelled, one abandoned, the others come to their end.
                    0 => {
                        let generation = request.create().await.expect("there is room");
                        easel.cancel(generation.id).await.expect("it is known");
                    }
                    1 => drop(request.start().await.expect("there is room")),
                    _ => drop(request.start().await.expect("there is room").finish().await.expect("it succeeds")),
                }
            }
        }));
    }
    for client in clients {
        client.await.expect("no client fails");
    }
}

#[test]
fn thousands_of_jobs_leave_memory_and_files_as_they_were() {
    let count = if std::env::var_os("EASEL_TEST_LONG").is_some() { 20_000 } else { 2_000 };
    let world = World::new();
    let daemon = world.serve(&["--port", "0", "--tcp", "false", "--drill", INSTANT]);
    let runtime = runtime();
    let begin = Instant::now();
    // A thousand ended generations are kept in memory on purpose: the first half fills that.
    runtime.block_on(jobs(&world, count / 2));
    world.wait_for_status(|status| status["running"] == 0 && status["queued"] == 0);
    let (memory, files) = (resident_kib(daemon.pid()), open_files(daemon.pid()));
    runtime.block_on(jobs(&world, count / 2));
    world.wait_for_status(|status| status["running"] == 0 && status["queued"] == 0);
    let (memory_after, files_after) = (resident_kib(daemon.pid()), open_files(daemon.pid()));
    say(&format!(
        "{} jobs in {:.1} s: resident {memory} KiB half way, {memory_after} KiB at the end; open files {files} and {files_after}",
        count,
        begin.elapsed().as_secs_f64()
    ));
    assert!(memory_after < memory + memory / 5 + 4096, "{memory} KiB became {memory_after} KiB");
    assert!(files_after <= files + 4, "{files} open files became {files_after}");
    assert_eq!(daemon.terminate(), 0);
}

/// `EASEL_TEST_MINUTES` sets another time.
#[test]
#[ignore = "half an hour with the embedded model: cargo test -p easel --test soak -- --ignored --nocapture"]
fn half_an_hour_of_edits_with_the_embedded_model() {
    let minutes = std::env::var("EASEL_TEST_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(30.0);
    let world = World::with_engine("dreamlite");
    let daemon = world.serve(&["--port", "0", "--tcp", "false"]);
    let (mut half_way, mut edits) = (None, 0_u32);
    let time = Duration::from_secs_f64(minutes * 60.0);
    runtime().block_on(async {
        let easel = connect(&world).await;
        let begin = Instant::now();
        while begin.elapsed() < time {
            let session = easel.create_session("soak", None).await.expect("there is room");
            for prompt in ["a red circle on a white background", "make the circle blue", "make the circle green"] {
                let edit = easel.edit_session(&session.id, easel_sdk::edit(prompt)).await.expect("it is accepted");
                edit.finish().await.expect("it succeeds");
                edits += 1;
            }
            easel.delete_session(&session.id).await.expect("deleted");
            if begin.elapsed() > time / 2 && half_way.is_none() {
                half_way = Some((resident_kib(daemon.pid()), open_files(daemon.pid())));
            }
        }
    });
    let (memory, files) = half_way.expect("there was a middle");
    let (memory_after, files_after) = (resident_kib(daemon.pid()), open_files(daemon.pid()));
    say(&format!(
        "{edits} edits in {minutes} minutes: resident {memory} KiB half way, {memory_after} KiB at the end; open files {files} \
         and {files_after}"
    ));
    assert!(memory_after < memory + memory / 10 + 4096, "{memory} KiB became {memory_after} KiB");
    assert!(files_after <= files + 4, "{files} open files became {files_after}");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn a_model_that_nobody_uses_gives_its_memory_back() {
    let world = World::with_engine("dreamlite");
    world.write("easel.toml", b"keep_alive_s = 1\n");
    let config = world.path("easel.toml");
    let daemon = world.serve(&["--port", "0", "--tcp", "false", "--config", &config.to_string_lossy()]);
    // Pages of the binary itself, the embedded weights among them, are the system's to take back.
    let before = kib_of(daemon.pid(), "RssAnon:");
    let runtime = runtime();
    let in_use = runtime.block_on(async {
        let easel = connect(&world).await;
        let request = || easel.generate("a red circle on a white background").seed(1);
        let first = request().start().await.expect("there is room").finish().await.expect("it succeeds");
        let model = easel.status().await.expect("it answers").memory.expect("it is told").model_bytes / 1024;
        let in_use = (kib_of(daemon.pid(), "RssAnon:"), model);
        world.wait_for_status(|status| status["memory"]["model_bytes"] == 0);
        let again = request().start().await.expect("there is room").finish().await.expect("it succeeds");
        let hash = |made: &easel_sdk::Succeeded| made.images[0].image.as_ref().expect("a picture").sha256.clone();
        assert_eq!(hash(&first), hash(&again), "a model that was read again makes the same picture");
        in_use
    });
    world.wait_for_status(|status| status["memory"]["model_bytes"] == 0);
    let idle = kib_of(daemon.pid(), "RssAnon:");
    let (in_use, model) = in_use;
    say(&format!(
        "resident {before} KiB at the start, {in_use} KiB after a picture with a model of {model} KiB, {idle} KiB when it has gone"
    ));
    assert!(in_use > before + model, "the model takes memory");
    // Work buffers of the threads stay, so that not all of it is told.
    assert!(idle + model / 2 < in_use, "{model}, {before}, {in_use}, {idle} KiB");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn idle_sessions_and_streams_cost_next_to_nothing() {
    let world = World::new();
    let slow = "load_ms=0 encode_layer_ms=3600000 native_px=4";
    let daemon = world.serve(&["--port", "0", "--tcp", "false", "--drill", slow]);
    let runtime = runtime();
    let streams = runtime.block_on(async {
        let easel = connect(&world).await;
        let before = resident_kib(daemon.pid());
        for number in 0..1000 {
            easel.create_session(format!("session {number}"), None).await.expect("there is room");
        }
        let with_sessions = resident_kib(daemon.pid());
        let generation = easel.generate("x").create().await.expect("there is room");
        let mut streams = Vec::new();
        // A connection carries 128 streams at most.
        for _ in 0..5 {
            let easel = connect(&world).await;
            for _ in 0..100 {
                let mut stream = easel.watch(&generation.id, 0).await.expect("there is room");
                stream.next().await.expect("an event").expect("no error");
                streams.push(stream);
            }
        }
        let with_streams = resident_kib(daemon.pid());
        say(&format!(
            "resident {before} KiB; with 1,000 idle sessions {with_sessions} KiB; with 500 open streams more {with_streams} KiB"
        ));
        assert!(with_streams < before + 64 * 1024, "they cost {} KiB", with_streams - before);
        streams
    });
    world.wait_for_status(|status| status["watchers"].as_u64() == Some(500));
    let (begin, used) = (Instant::now(), ticks(daemon.pid()));
    // Rest is what is measured here, so that there is nothing to wait for but time.
    std::thread::sleep(Duration::from_secs(4));
    // The pretended computation of the drill looks for a cancellation every 2 ms, which is part of what is counted.
    let share = (ticks(daemon.pid()) - used) as f64 * 0.01 / begin.elapsed().as_secs_f64();
    say(&format!("at rest {:.1} % of one processor", share * 100.0));
    assert!(share < 0.10, "at rest it takes {:.1} % of one processor", share * 100.0);
    drop(streams);
    daemon.kill();
}

#[test]
fn a_cancellation_frees_within_one_step() {
    let world = World::new();
    let step = Duration::from_millis(100);
    let drill = "load_ms=0 encode_layer_ms=0 denoise_step_ms=100 vae_strip_ms=0 native_px=4";
    let daemon = world.serve(&["--port", "0", "--tcp", "false", "--drill", drill]);
    let mut times = runtime().block_on(async {
        let easel = connect(&world).await;
        let mut times = Vec::new();
        for _ in 0..20 {
            let mut stream = easel.generate("x").steps(50).start().await.expect("there is room");
            loop {
                let event = stream.next().await.expect("an event").expect("no error");
                if matches!(event.kind, EventKind::Progress(at) if at.stage() == proto::Stage::Denoise && at.done > 0) {
                    break;
                }
            }
            let begin = Instant::now();
            easel.cancel(stream.id().expect("it is known")).await.expect("it runs");
            while let Some(event) = stream.next().await {
                event.expect("no error");
            }
            times.push(begin.elapsed());
        }
        times
    });
    times.sort_unstable();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    say(&format!(
        "from cancel to freed {:.1} ms (p50), {:.1} ms (most); a step takes {:.0} ms",
        ms(times[10]),
        ms(times[19]),
        ms(step)
    ));
    assert!(times[10] <= step, "{times:?}");
    assert_eq!(daemon.terminate(), 0);
}
