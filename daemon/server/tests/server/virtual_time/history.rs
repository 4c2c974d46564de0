//! A whole daemon and its clients in virtual time: actors, dispatcher, store, HTTP/2 and gRPC on one thread with a paused clock, from
//! one seed. Clients ask in every way, read slowly, cut the connection or leave it half open, cancel, run out of time, replace their live
//! edits, come back and ask again; stages fail; the daemon is killed at any moment or drained, and started again on its folder.
//! 40 seeds; 500 with `EASEL_TEST_LONG`. A failure names its seed; `EASEL_TEST_SEED` runs that one alone.
//!
//! What must hold is checked where a client sees it (`client.rs`): numbers have no gap, one number is always the same event, whatever
//! was in between; each generation that was accepted ends once; after a cancellation that hit there is no result, and it ends
//! within a step; at the end nothing is left.

mod client;
mod daemon;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{Client, Tally};
use daemon::{Daemon, LONGEST_WORK, LONGEST_WRITE};
use easel_runtime::Random;

/// Clients at one time.
const CLIENTS: u64 = 6;

/// What each client does in one run of the daemon.
const ACTS: u32 = 12;

/// How a run of the daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Killed,
    Drained,
    /// Clients come to the end of what they do.
    Last,
}

/// The history of one seed.
fn live(seed: u64) -> Tally {
    let mut random = Random::new(seed);
    // Memory where there is some: the disk's own time is no part of this.
    let memory = std::path::Path::new("/dev/shm");
    let home = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let clients: Vec<_> = (0..CLIENTS).map(|number| Arc::new(Mutex::new(Client::new(number)))).collect();
    let restarts = random.below(4);
    for run in 0..=restarts {
        let end = match run == restarts {
            true => End::Last,
            false if random.one_in(3) => End::Drained,
            false => End::Killed,
        };
        let moment = Duration::from_millis(1 + random.below(4000));
        let of_run = Random::new(seed * 1000 + run);
        // What a killed daemon leaves is what its runtime drops at some await.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(one_run(of_run, home.path(), &clients, (end, moment)));
    }
    let mut tally = Tally { restarts, ..Tally::default() };
    clients.iter().for_each(|client| client.lock().unwrap().count(&mut tally));
    tally
}

async fn one_run(
    mut random: Random,
    home: &std::path::Path,
    clients: &[Arc<Mutex<Client>>],
    (end, moment): (End, Duration),
) {
    let daemon = Daemon::start(random.bits(), home);
    let mut acting = tokio::task::JoinSet::new();
    for client in clients {
        acting.spawn(client::act(Arc::clone(client), daemon.wire(), Random::new(random.bits()), ACTS));
    }
    match end {
        End::Killed => tokio::time::sleep(moment).await,
        End::Drained => {
            tokio::time::sleep(moment).await;
            daemon.drain().await;
            // Clients see streams that end and calls that are refused, and nothing hangs.
            acting.abort_all();
        }
        End::Last => {
            while let Some(acted) = acting.join_next().await {
                acted.unwrap();
            }
            for client in clients {
                client::settle(Arc::clone(client), daemon.wire()).await;
            }
            daemon.assert_at_rest().await;
        }
    }
}

#[test]
fn a_daemon_in_virtual_time_loses_nothing() {
    let given = std::env::var("EASEL_TEST_SEED").ok().and_then(|text| text.parse::<u64>().ok());
    let count = if std::env::var_os("EASEL_TEST_LONG").is_some() { 500 } else { 40 };
    let seeds: Vec<_> = given.map_or_else(|| (1..=count).collect(), |seed| vec![seed]);
    let (count, mut all) = (seeds.len(), Tally::default());
    for seed in seeds {
        let lived = std::panic::catch_unwind(|| live(seed));
        let Ok(tally) = lived else { panic!("EASEL_TEST_SEED={seed} fails") };
        all.add(&tally);
    }
    let told = format!("{count} seeds in virtual time: {all:?}\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), told.as_bytes());
    // A step, the looks in between, and the writes that come before: what a cancellation may take.
    assert!(all.slowest_cancel <= LONGEST_WORK + LONGEST_WRITE * 4, "{:?}", all.slowest_cancel);
    if given.is_none() {
        assert!(all.restarts > 10 && all.succeeded > 100 && all.resumed > 100, "too little has happened: {all:?}");
        assert!(
            all.cancelled > 20 && all.failed > 5 && all.repeated > 5 && all.superseded > 20 && all.refused > 20,
            "{all:?}"
        );
    }
}
