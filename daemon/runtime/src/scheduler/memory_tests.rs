//! Models come and go: idle ones after their time, others to make room, encoders when the machine is short of memory. Each of the
//! three models `m`, `n` and `o` takes 5 bytes.

use std::time::Duration;

use easel_domain::event::State;

use super::world::{Ask, World};
use super::*;
use crate::ModelState;

const MINUTE: Duration = Duration::from_secs(60);

fn world(max_memory_bytes: Option<u64>, keep_alive: Option<Duration>) -> World {
    World::with(CoreConfig {
        max_active: 32,
        drain_timeout: Duration::from_secs(30),
        max_kept_bytes: 1000,
        durable: false,
        max_memory_bytes,
        max_client: 32,
        keep_alive,
    })
}

fn with(model: &'static str) -> Ask {
    Ask { model, ..Ask::default() }
}

fn make(world: &mut World, ask: Ask) {
    let key = world.create(ask).expect("there is room");
    world.run();
    assert_eq!(world.state(key), State::Succeeded);
}

/// The names of the models that are loaded.
fn loaded(world: &World) -> String {
    let there = |view: &ModelView| view.state == ModelState::Loaded;
    world.core.models.views().iter().filter(|view| there(view)).map(|view| view.info.name.clone()).collect()
}

#[test]
fn an_idle_model_goes_after_its_time_and_is_read_again_when_it_is_asked_for() {
    let mut world = world(None, Some(MINUTE));
    make(&mut world, with("m"));
    world.wait(MINUTE / 2);
    make(&mut world, with("m"));
    world.wait(MINUTE * 3 / 4);
    assert_eq!(loaded(&world), "m", "the second use began its time anew");
    let wake = world.core.next_wake().expect("the core wants to be called");
    assert!(wake <= world.now.instant + MINUTE / 4);
    world.wait(MINUTE / 4);
    assert_eq!((loaded(&world), world.unloaded.len()), (String::new(), 1));
    assert!(world.core.next_wake().is_none_or(|wake| wake > world.now.instant), "no model is waited for");
    make(&mut world, with("m"));
    assert_eq!(loaded(&world), "m");
}

#[test]
fn a_request_says_how_long_its_model_stays() {
    let mut world = world(None, None);
    make(&mut world, Ask { keep_alive: Some(Duration::ZERO), ..with("m") });
    assert_eq!(loaded(&world), "", "at once");
    make(&mut world, Ask { keep_alive: Some(MINUTE), ..with("m") });
    make(&mut world, with("n"));
    world.wait(MINUTE * 2);
    assert_eq!(loaded(&world), "n", "the daemon keeps what no request limits");
    world.wait(MINUTE * 1000);
    assert_eq!(loaded(&world), "n");
}

#[test]
fn a_model_in_use_stays_whatever_its_time() {
    let mut world = world(None, Some(MINUTE));
    make(&mut world, with("m"));
    let key = world.create(with("m")).expect("there is room");
    world.wait(MINUTE * 10);
    assert_eq!(loaded(&world), "m");
    world.run();
    assert_eq!(world.state(key), State::Succeeded);
}

#[test]
fn the_model_that_was_used_longest_ago_makes_room() {
    let mut world = world(Some(25), None);
    for model in ["m", "n", "m"] {
        make(&mut world, with(model));
        world.wait(MINUTE);
    }
    assert_eq!(loaded(&world), "mn");
    // 15 for three models and 10 for the peak are allowed; one byte more is not.
    make(&mut world, with("o"));
    assert_eq!(loaded(&world), "mno");
    make(&mut world, Ask { peak_bytes: 11, ..with("o") });
    assert_eq!(loaded(&world), "mo", "n was used longest ago");
    make(&mut world, Ask { peak_bytes: 20, ..with("n") });
    assert_eq!(loaded(&world), "n");
    let error = world.create(Ask { peak_bytes: 21, ..with("n") }).expect_err("it does not fit even alone");
    assert_eq!(error.reason, Reason::MemoryExhausted);
}

#[test]
fn models_swap_under_a_mixed_load_and_nobody_waits_for_ever() {
    let mut world = world(Some(20), None);
    let ask = |model, peak_bytes| Ask { peak_bytes, ..with(model) };
    let large = world.create(ask("o", 15)).expect("it fits alone");
    let small: Vec<_> = (0..12).map(|at| world.create(ask(["m", "n"][at % 2], 7)).expect("it fits")).collect();
    world.run();
    assert_eq!(world.state(large), State::Succeeded);
    assert!(small.iter().all(|key| world.state(*key) == State::Succeeded));
    assert!(world.core.models.bytes_with("m") <= 10, "two of the small ones at most are left");
}

#[test]
fn one_that_lacks_memory_is_not_passed_over_for_ever() {
    let mut world = world(Some(20), None);
    make(&mut world, with("m"));
    let first = world.create(Ask { peak_bytes: 5, ..with("m") }).expect("it fits");
    world.run_while(|key, work| key == first && work == Work::EncodePrompt);
    let large = world.create(Ask { peak_bytes: 15, ..with("n") }).expect("it fits alone");
    world.wait(limits::AGING);
    // A small one would fit beside the first, and has to wait for the large one all the same.
    let small = world.create(Ask { peak_bytes: 5, ..with("m") }).expect("it fits");
    assert_eq!((world.state(large), world.state(small)), (State::Queued, State::Queued));
    world.run();
    let ended = [first, large, small].map(|key| world.state(key));
    assert_eq!(ended, [State::Succeeded; 3]);
}

#[test]
fn encoders_of_idle_models_go_when_memory_is_short_and_come_back() {
    let mut world = world(None, None);
    make(&mut world, with("m"));
    make(&mut world, with("n"));
    let busy = world.create(with("n")).expect("there is room");
    world.send(Command::MemoryShort(true));
    assert_eq!(loaded(&world), "n", "what is in use stays");
    world.run();
    assert_eq!(world.state(busy), State::Succeeded);
    world.send(Command::MemoryShort(false));
    world.run();
    assert_eq!(loaded(&world), "mn", "it was read in the background");
    world.send(Command::MemoryShort(true));
    make(&mut world, with("m"));
    assert_eq!(loaded(&world), "m", "whoever asks gets it at once");
}
