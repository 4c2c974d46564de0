//! Tests of turns, classes, live places, leases and quotas.

use std::time::{Duration, SystemTime};

use easel_domain::event::{CancelOutcome, State};
use easel_domain::session::Origin;
use easel_domain::{Priority, Reason, SessionId, limits};
use proptest::prelude::*;

use super::world::{Ask, World};
use super::*;

fn of_session(name: &str) -> Origin {
    Origin { session: Some(SessionId::new(name)), ..Origin::default() }
}

fn of_client(name: &str) -> Origin {
    Origin { client: name.to_owned(), ..Origin::default() }
}

fn live(session: &str, seed: u64) -> Ask {
    Ask { priority: Priority::Live, origin: of_session(session), seed: Some(seed), ..Ask::default() }
}

fn roomy() -> World {
    World::with(CoreConfig {
        max_active: 64,
        drain_timeout: Duration::from_secs(30),
        max_kept_bytes: 1000,
        durable: false,
        max_memory_bytes: None,
        max_client: 6,
        keep_alive: None,
    })
}

/// Keys in the order in which their encoding begins.
fn order_of_beginning(world: &mut World) -> Vec<JobKey> {
    let mut order = Vec::new();
    while let Some(&(key, work)) = world.pending.first() {
        if work == Work::EncodePrompt {
            order.push(key);
        }
        world.finish(key, work);
    }
    order
}

#[test]
fn sessions_take_turns_however_much_one_of_them_asks_for() {
    let mut world = roomy();
    let one: Vec<_> = (0..6)
        .map(|_| world.create(Ask { origin: of_session("one"), ..Ask::default() }).expect("there is room"))
        .collect();
    let other: Vec<_> = (0..3)
        .map(|_| world.create(Ask { origin: of_session("other"), ..Ask::default() }).expect("there is room"))
        .collect();
    assert_eq!(
        world.seen[&other[0]].snapshot.as_ref().expect("told").queue_position,
        1,
        "the first has just had its turn"
    );
    let order = order_of_beginning(&mut world);
    assert_eq!(order, [one[0], other[0], one[1], other[1], one[2], other[2], one[3], one[4], one[5]]);
}

#[test]
fn places_that_are_told_are_the_order_in_which_they_begin() {
    let mut world = roomy();
    world.create(Ask::default()).expect("there is room");
    for (priority, session) in [
        (Priority::Batch, "a"),
        (Priority::Interactive, "a"),
        (Priority::Interactive, "a"),
        (Priority::Interactive, "b"),
        (Priority::Batch, "b"),
        (Priority::Interactive, "c"),
    ] {
        world.create(Ask { priority, origin: of_session(session), ..Ask::default() }).expect("there is room");
    }
    let mut told: Vec<_> =
        world.seen.iter().map(|(key, seen)| (seen.snapshot.as_ref().expect("told").queue_position, *key)).collect();
    told.retain(|(position, _)| *position > 0);
    told.sort_unstable();
    assert_eq!(told.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    let order = order_of_beginning(&mut world);
    assert_eq!(order[1..], told.iter().map(|(_, key)| *key).collect::<Vec<_>>());
}

#[test]
fn a_batch_that_waits_rises_above_what_keeps_coming() {
    let mut world = roomy();
    world.create(Ask::default()).expect("there is room");
    let batch = Ask { priority: Priority::Batch, origin: of_session("batch"), ..Ask::default() };
    let batch = world.create(batch).expect("there is room");
    let mut begun_after = None;
    for second in 0..120 {
        world.wait(Duration::from_secs(1));
        world.create(Ask { origin: of_session("busy"), ..Ask::default() }).expect("there is room");
        let &(key, work) = world.pending.iter().find(|(_, work)| *work == Work::EncodePrompt).expect("always busy");
        world.finish(key, work);
        world.run_while(|_, work| work != Work::EncodePrompt);
        if world.state(batch) != State::Queued {
            begun_after = Some(second);
            break;
        }
    }
    let bound = 2 * limits::AGING.as_secs() + 2;
    assert!(begun_after.is_some_and(|seconds| seconds <= bound), "{begun_after:?} s");
}

#[test]
fn a_begun_batch_gets_a_step_now_and_then_under_permanent_live_work() {
    let mut world = roomy();
    let batch = world.create(Ask { priority: Priority::Batch, ..Ask::default() }).expect("there is room");
    world.run_while(|_, work| !matches!(work, Work::Step { .. }));
    let mut steps = 0;
    let mut live_steps = 0;
    for round in 0..120 {
        let session = format!("s{}", round % 3);
        world.create(live(&session, round)).expect("there is room");
        // Each piece of work takes its time.
        for _ in 0..4 {
            world.now.instant += Duration::from_millis(250);
            let Some(&(key, work)) = world.pending.first() else { break };
            if matches!(work, Work::Step { .. }) {
                if key == batch { steps += 1 } else { live_steps += 1 }
            }
            world.finish(key, work);
        }
        if world.state(batch).is_end() {
            break;
        }
    }
    assert_eq!(world.state(batch), State::Succeeded, "it was done after {steps} steps");
    assert!(live_steps > 20, "live work went on: {live_steps}");
}

#[test]
fn the_newest_live_edit_takes_the_place() {
    let mut world = roomy();
    let running = world.create(live("s", 1)).expect("there is room");
    let waiting = world.create(live("s", 2)).expect("there is room");
    let other = world.create(live("t", 1)).expect("there is room");
    assert_eq!(world.seen[&running].interrupt, Some(Interrupt::Superseded), "it stops at its next step");
    let newest = world.create(live("s", 3)).expect("there is room");
    assert_eq!((world.state(waiting), world.error(waiting)), (State::Cancelled, Some(Reason::Superseded)));
    assert_eq!(world.state(other), State::Queued, "another session has a place of its own");
    world.run();
    assert_eq!(world.error(running), Some(Reason::Superseded));
    assert_eq!((world.state(newest), world.state(other)), (State::Succeeded, State::Succeeded));
    // Interactive work of the session is not touched.
    let asked = world.create(Ask { origin: of_session("s"), ..Ask::default() }).expect("there is room");
    world.create(live("s", 4)).expect("there is room");
    assert_eq!(world.seen[&asked].interrupt, None);
}

#[test]
fn the_same_live_edit_is_answered_with_the_first() {
    let mut world = roomy();
    let first = world.create(live("s", 1)).expect("there is room");
    assert_eq!(world.create(live("s", 1)), Ok(first), "it runs");
    world.run();
    assert_eq!(world.create(live("s", 1)), Ok(first), "it has succeeded");
    assert_ne!(world.create(live("t", 1)), Ok(first), "another session");
    let unseeded = Ask { seed: None, ..live("s", 1) };
    let one = world.create(unseeded.clone()).expect("there is room");
    assert_ne!(world.create(unseeded), Ok(one), "without a seed each is another");
    let doomed = world.create(live("s", 9)).expect("there is room");
    world.cancel(doomed).expect("it runs");
    assert_ne!(world.create(live("s", 9)), Ok(doomed), "a cancelled one answers nothing");
}

#[test]
fn a_full_queue_still_takes_the_newest_of_a_live_place() {
    let mut world = World::new();
    world.create(live("s", 1)).expect("there is room");
    world.create(live("s", 2)).expect("there is room");
    while world.create(Ask::default()).is_ok() {}
    let error = world.create(live("t", 1)).expect_err("it is full");
    assert_eq!(error.reason, Reason::QueueFull);
    world.create(live("s", 3)).expect("the one before makes room");
}

#[test]
fn a_lease_ends_live_work_that_nobody_asks_for() {
    let mut world = roomy();
    let edit = world.create(live("s", 1)).expect("there is room");
    let asked = world.create(Ask { origin: of_session("s"), ..Ask::default() }).expect("there is room");
    for _ in 0..5 {
        world.wait(limits::LIVE_LEASE - Duration::from_secs(1));
        world.send(Command::Renew { session: SessionId::new("s") });
    }
    assert_eq!(world.seen[&edit].interrupt, None, "somebody was there");
    // A machine that sleeps moves the clock on the wall alone; nobody has left for that.
    world.now.wall += Duration::from_secs(100_000);
    world.send(Command::Tick);
    assert_eq!(world.seen[&edit].interrupt, None);
    assert!(world.core.next_wake().is_some());
    world.wait(limits::LIVE_LEASE);
    assert_eq!(world.seen[&edit].interrupt, Some(Interrupt::LeaseExpired));
    assert_eq!(world.seen[&asked].interrupt, None, "what was asked for goes on");
    world.run();
    assert_eq!((world.error(edit), world.state(asked)), (Some(Reason::LeaseExpired), State::Succeeded));
}

#[test]
fn a_time_without_watchers_goes_by_the_clock_of_the_machine() {
    let mut world = roomy();
    let until = |world: &World, seconds| Some(world.now.wall + Duration::from_secs(seconds));
    let kept = world.create(Ask { keep_until: until(&world, 100), ..Ask::default() }).expect("there is room");
    let id = world.id(kept);
    world.send(Command::WatchersGone { id });
    assert_eq!(world.seen[&kept].interrupt, None, "it has its time");
    // The machine sleeps: its clock goes on, and with the first sign of life after it the time is over.
    world.now.wall += Duration::from_secs(101);
    world.send(Command::Tick);
    assert_eq!(world.seen[&kept].interrupt, Some(Interrupt::WatcherGone));
}

#[test]
fn a_time_limit_does_not_run_while_the_machine_sleeps() {
    let mut world = roomy();
    let limited = Ask { timeout: Some(Duration::from_secs(10)), ..Ask::default() };
    let limited = world.create(limited).expect("there is room");
    world.now.wall += Duration::from_secs(100_000);
    world.send(Command::Tick);
    assert_eq!(world.seen[&limited].interrupt, None);
    world.wait(Duration::from_secs(10));
    assert_eq!(world.seen[&limited].interrupt, Some(Interrupt::DeadlineExceeded));
}

#[test]
fn one_client_leaves_room_for_others() {
    let mut world = World::new();
    for _ in 0..6 {
        world.create(Ask { origin: of_client("greedy"), ..Ask::default() }).expect("there is room");
    }
    let error = world.create(Ask { origin: of_client("greedy"), ..Ask::default() }).expect_err("it has enough");
    assert_eq!(error.reason, Reason::QuotaExceeded);
    assert!(error.retry_after.is_some());
    world.create(Ask { origin: of_client("modest"), ..Ask::default() }).expect("there is room for another");
}

#[test]
fn memory_is_waited_for_and_what_never_fits_is_refused() {
    let mut world = World::with(CoreConfig {
        max_active: 8,
        drain_timeout: Duration::from_secs(30),
        max_kept_bytes: 1000,
        durable: false,
        max_memory_bytes: Some(105),
        max_client: 6,
        keep_alive: None,
    });
    let error = world.create(Ask { peak_bytes: 101, ..Ask::default() }).expect_err("it never fits");
    assert_eq!(error.reason, Reason::MemoryExhausted);
    let keys: Vec<_> =
        (0..3).map(|_| world.create(Ask { peak_bytes: 50, ..Ask::default() }).expect("it fits alone")).collect();
    world.run_while(|_, work| work == Work::EncodePrompt);
    assert_eq!(
        keys.iter().map(|key| world.state(*key)).collect::<Vec<_>>(),
        [State::Running, State::Running, State::Queued]
    );
    world.run();
    assert!(keys.iter().all(|key| world.state(*key) == State::Succeeded));
}

#[test]
fn what_is_taken_up_again_goes_on_with_its_numbers() {
    let mut world = roomy();
    let new = world.restored_from(Ask::default(), 41, SystemTime::now());
    world.send(Command::Restore(Box::new(new)));
    world.run();
    let seen = world.seen.values().next().expect("it is there");
    assert_eq!(seen.events[0].sequence, 42);
    assert_eq!(seen.snapshot.as_ref().map(|snapshot| snapshot.state), Some(State::Succeeded));
}

#[test]
fn a_durable_drain_suspends_instead_of_cancelling() {
    let mut world = World::with(CoreConfig {
        max_active: 8,
        drain_timeout: Duration::from_secs(1),
        max_kept_bytes: 1000,
        durable: true,
        max_memory_bytes: None,
        max_client: 6,
        keep_alive: None,
    });
    let keys: Vec<_> = (0..3).map(|_| world.create(Ask::default()).expect("there is room")).collect();
    world.send(Command::Drain);
    assert!(keys[1..].iter().all(|key| world.seen[key].suspended), "what waits is left to the next run at once");
    world.wait(Duration::from_secs(2));
    world.run();
    assert!(world.seen[&keys[0]].suspended && world.drained);
    assert!(world.seen.values().all(|seen| seen.events.iter().all(|event| !event.kind.is_last())));
    assert_eq!(world.cancel(keys[0]).map_err(|error| error.reason), Err(Reason::GenerationNotFound));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever sessions ask for, none that waits is passed more than once by each other session of its class.
    #[test]
    fn turns_are_fair(asks in prop::collection::vec(0u8..4, 1..40)) {
        let mut world = roomy();
        let mut owner = std::collections::BTreeMap::new();
        for session in &asks {
            let origin = of_session(&format!("s{session}"));
            let key = world.create(Ask { origin, ..Ask::default() }).expect("there is room");
            owner.insert(key, *session);
        }
        let order = order_of_beginning(&mut world);
        prop_assert_eq!(order.len(), asks.len());
        // Between two turns of a session that still waits, every other one has at most one.
        for (at, key) in order.iter().enumerate() {
            let session = owner[key];
            let Some(next) = order[at + 1..].iter().position(|other| owner[other] == session) else { continue };
            let mut between: Vec<_> = order[at + 1..at + 1 + next].iter().map(|other| owner[other]).collect();
            let all = between.len();
            between.sort_unstable();
            between.dedup();
            prop_assert_eq!(between.len(), all, "{:?}", order.iter().map(|key| owner[key]).collect::<Vec<_>>());
        }
    }

    /// A live session ends with its newest edit, and all others of it are superseded.
    #[test]
    fn the_newest_wins(count in 1u64..20, work in prop::collection::vec(0usize..4, 0..20)) {
        let mut world = roomy();
        let mut keys = Vec::new();
        for seed in 0..count {
            keys.push(world.create(live("s", seed)).expect("there is room"));
            for _ in 0..work.get(seed as usize).copied().unwrap_or(0) {
                if let Some(&(key, work)) = world.pending.first() {
                    world.finish(key, work);
                }
            }
        }
        world.run();
        let (newest, older) = keys.split_last().expect("at least one");
        prop_assert_eq!(world.state(*newest), State::Succeeded);
        for key in older {
            let ended = (world.state(*key), world.error(*key));
            prop_assert!(ended == (State::Succeeded, None) || ended == (State::Cancelled, Some(Reason::Superseded)));
        }
    }

    /// A cancellation is ordered against the end: exactly one of them is told.
    #[test]
    fn a_cancellation_and_an_end_never_both(steps in 0usize..12) {
        let mut world = roomy();
        let key = world.create(Ask::default()).expect("there is room");
        for _ in 0..steps {
            if let Some(&(key, work)) = world.pending.first() {
                world.finish(key, work);
            }
        }
        let outcome = world.cancel(key).expect("it is known");
        world.run();
        match outcome {
            CancelOutcome::WasFinished => prop_assert_eq!(world.state(key), State::Succeeded),
            _ => prop_assert_eq!(world.error(key), Some(Reason::Cancelled)),
        }
    }
}
