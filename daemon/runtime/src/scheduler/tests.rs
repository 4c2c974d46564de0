//! Tests of the core, decision by decision.

use std::time::Duration;

use easel_domain::event::{CancelOutcome, EventKind, Stage, State};
use easel_domain::{Mode, Priority, Reason, limits};

use super::world::{Ask, STEPS, World};
use super::*;

fn step(image: u32) -> Work {
    Work::Step { image, preview: false }
}

fn is_step(_: JobKey, work: Work) -> bool {
    matches!(work, Work::Step { .. })
}

fn ask(priority: Priority) -> Ask {
    Ask { priority, ..Ask::default() }
}

#[test]
fn a_generation_goes_its_way_and_ends_with_its_pictures() {
    let mut world = World::new();
    let key = world.create(Ask { mode: Mode::Edit, images: 2, ..Ask::default() }).expect("there is room");
    assert_eq!(world.pending, [(key, Work::EncodePrompt), (key, Work::EncodeImage)], "both encoders run side by side");
    assert!(matches!(world.seen[&key].events[0].kind, EventKind::Accepted(_)), "the first event is before any work");
    world.run();
    assert_eq!(world.state(key), State::Succeeded);
    let snapshot = world.seen[&key].snapshot.clone().expect("the last event has come");
    assert_eq!(snapshot.images.iter().map(|image| image.seed).collect::<Vec<_>>(), [7, 8]);
    assert_eq!(snapshot.timings.len(), 5, "every stage has its time");
    let fraction = snapshot.progress.expect("it ran").fraction;
    assert!((fraction - 1.0).abs() < 1e-5, "all of it is done: {fraction}");
    let events = &world.seen[&key].events;
    let steps = |event: &&std::sync::Arc<easel_domain::event::Event>| matches!(event.kind, EventKind::Progress(p) if p.stage == Stage::Denoise && p.done > 0);
    assert_eq!(events.iter().filter(steps).count() as u32, 2 * STEPS);
    let status = world.status();
    assert_eq!((status.running, status.value_bytes, status.ended.succeeded), (0, 0, 1));
}

#[test]
fn urgent_work_goes_first_then_the_oldest() {
    let mut world = World::new();
    let first = world.create(ask(Priority::Interactive)).expect("there is room");
    let batch = world.create(ask(Priority::Batch)).expect("there is room");
    let second = world.create(ask(Priority::Interactive)).expect("there is room");
    let live = world.create(ask(Priority::Live)).expect("there is room");
    let mut order = Vec::new();
    for _ in 0..4 {
        let (key, work) = *world.pending.iter().find(|(_, work)| *work == Work::EncodePrompt).expect("one is encoded");
        order.push(key);
        world.finish(key, work);
    }
    assert_eq!(order, [first, live, second, batch]);
}

#[test]
fn the_denoiser_switches_to_a_more_urgent_one_between_steps_only() {
    let mut world = World::new();
    let batch = world.create(ask(Priority::Batch)).expect("there is room");
    world.run_while(|_, work| work == Work::EncodePrompt);
    assert!(world.pending.contains(&(batch, step(0))));
    let equal = world.create(ask(Priority::Batch)).expect("there is room");
    let live = world.create(ask(Priority::Live)).expect("there is room");
    world.run_while(|_, work| work == Work::EncodePrompt);
    let mut order = Vec::new();
    while let Some(&(key, work)) = world.pending.iter().find(|(key, work)| is_step(*key, *work)) {
        order.push(key);
        world.finish(key, work);
    }
    assert_eq!(order, [batch, live, live, live, batch, batch, equal, equal, equal]);
}

#[test]
fn only_some_generations_begin_and_an_urgent_one_still_finds_room() {
    let mut world = World::new();
    for _ in 0..limits::MAX_BEGUN_GENERATIONS + 1 {
        world.create(ask(Priority::Interactive)).expect("there is room");
    }
    world.run_while(|_, work| work == Work::EncodePrompt);
    assert_eq!(world.status().queued, 1, "the last one waits without holding anything");
    let live = world.create(ask(Priority::Live)).expect("there is room");
    assert!(world.pending.contains(&(live, Work::EncodePrompt)));
}

#[test]
fn places_in_the_queue_are_told_when_they_change() {
    let mut world = World::new();
    let first = world.create(Ask::default()).expect("there is room");
    let second = world.create(Ask::default()).expect("there is room");
    let third = world.create(Ask::default()).expect("there is room");
    let position = |world: &World, key| world.seen[&key].snapshot.as_ref().map(|snapshot| snapshot.queue_position);
    assert_eq!([first, second, third].map(|key| position(&world, key)), [Some(0), Some(1), Some(2)]);
    world.create(ask(Priority::Live)).expect("there is room");
    assert_eq!(position(&world, third), Some(3));
    assert_eq!(world.cancel(second), Ok(CancelOutcome::WasQueued));
    assert_eq!(position(&world, third), Some(2));
    assert!(matches!(world.seen[&third].events.last().map(|e| &e.kind), Some(EventKind::Queued { position: 2 })));
}

#[test]
fn finals_come_before_previews_and_the_newest_preview_wins() {
    let mut world = World::new();
    let shown = world.create(Ask { previews: true, ..Ask::default() }).expect("there is room");
    world.run_while(|_, work| work == Work::EncodePrompt);
    world.run_while(|_, work| matches!(work, Work::Step { preview: true, .. }));
    let first = (shown, Work::Preview { image: 0, step: 1, kind: easel_domain::PreviewKind::Decoded });
    assert!(world.pending.contains(&first), "the first preview is with the VAE");
    assert_eq!(world.status().previews_dropped, 0);
    world.run_while(is_step);
    assert_eq!(world.status().previews_dropped, 1, "the second one gave way to the picture");
    world.finish(first.0, first.1);
    assert!(world.pending.contains(&(shown, Work::Decode { image: 0 })));
    world.run();
    assert_eq!(world.state(shown), State::Succeeded);
}

#[test]
fn a_cancellation_is_ordered_against_the_end() {
    let mut world = World::new();
    let key = world.create(Ask::default()).expect("there is room");
    world.run_while(|_, work| !matches!(work, Work::Finish { .. }));
    let work = Work::Finish { image: 0 };
    assert!(world.pending.contains(&(key, work)), "only the last stage is left");
    assert!(matches!(world.cancel(key), Ok(CancelOutcome::WasRunning(Some(_)))));
    let outcome = world.success(key, work);
    world.come_back(key, work, outcome);
    assert_eq!((world.state(key), world.error(key)), (State::Cancelled, Some(Reason::Cancelled)));
    assert_eq!(world.cancel(key), Ok(CancelOutcome::WasFinished));

    let done = world.create(Ask::default()).expect("there is room");
    world.run();
    assert_eq!(world.cancel(done), Ok(CancelOutcome::WasFinished));
    assert_eq!(world.state(done), State::Succeeded);
}

#[test]
fn a_generation_between_two_stages_ends_at_once() {
    let mut world = World::new();
    let first = world.create(Ask::default()).expect("there is room");
    let second = world.create(Ask::default()).expect("there is room");
    world.run_while(|_, work| work == Work::EncodePrompt);
    assert!(world.pending.contains(&(first, step(0))), "the second one waits for the denoiser");
    assert!(matches!(world.cancel(second), Ok(CancelOutcome::WasRunning(_))));
    assert_eq!(world.state(second), State::Cancelled);
}

#[test]
fn a_failure_ends_one_generation_when_its_stages_are_back() {
    let mut world = World::new();
    let key = world.create(Ask { mode: Mode::Edit, ..Ask::default() }).expect("there is room");
    let other = world.create(Ask::default()).expect("there is room");
    world.fail(key, Work::EncodePrompt);
    assert_eq!(world.state(key), State::Running, "the VAE still works for it");
    world.finish(key, Work::EncodeImage);
    assert_eq!((world.state(key), world.error(key)), (State::Failed, Some(Reason::EngineFault)));
    world.run();
    assert_eq!(world.state(other), State::Succeeded);
}

#[test]
fn a_deadline_stops_what_waits_and_what_runs() {
    let mut world = World::new();
    let timeout = Some(Duration::from_secs(1));
    let running = world.create(Ask { timeout, ..Ask::default() }).expect("there is room");
    let waiting = world.create(Ask { timeout, ..Ask::default() }).expect("there is room");
    assert_eq!(world.core.next_wake(), Some(world.now.instant + Duration::from_secs(1)));
    world.wait(Duration::from_secs(1));
    assert_eq!((world.state(waiting), world.error(waiting)), (State::Cancelled, Some(Reason::DeadlineExceeded)));
    assert_eq!(world.state(running), State::Running, "its stage has not come back yet");
    world.finish(running, Work::EncodePrompt);
    assert_eq!(world.error(running), Some(Reason::DeadlineExceeded));
}

#[test]
fn a_full_queue_says_when_to_try_again() {
    let mut world = World::new();
    for _ in 0..8 {
        world.create(Ask::default()).expect("there is room");
    }
    let error = world.create(Ask::default()).expect_err("there is no room");
    assert_eq!(error.reason, Reason::QueueFull);
    assert!(error.retry_after.is_some());
}

#[test]
fn request_ids_make_creation_idempotent() {
    let mut world = World::new();
    let ask = Ask { request_id: Some("r1"), ..Ask::default() };
    let first = world.create(ask.clone()).expect("there is room");
    assert_eq!(world.create(ask.clone()), Ok(first));
    let other = Ask { prompt: "a car", ..ask.clone() };
    assert_eq!(world.create(other).map_err(|error| error.reason), Err(Reason::RequestIdConflict));
    world.run();
    assert_eq!(world.create(ask.clone()), Ok(first), "it is known after its end as well");
    world.wait(limits::GENERATION_RETENTION);
    assert_ne!(world.create(ask), Ok(first), "it is not known for ever");
}

#[test]
fn ended_generations_are_kept_within_bounds() {
    let mut world = World::new();
    let keys: Vec<_> = (0..12)
        .map(|_| {
            let key = world.create(Ask::default()).expect("there is room");
            world.run();
            key
        })
        .collect();
    let kept = |world: &World, key| !world.forgotten.contains(&world.id(key));
    assert_eq!(keys.iter().filter(|key| kept(&world, **key)).count(), 10, "10 results of 100 bytes fit into 1000");
    assert!(kept(&world, keys[11]) && !kept(&world, keys[0]), "the oldest go first");
    assert!(world.cancel(keys[0]).is_err_and(|error| error.reason == Reason::GenerationNotFound));
    world.wait(limits::GENERATION_RETENTION);
    assert!(keys.iter().all(|key| !kept(&world, *key)));
}

#[test]
fn draining_lets_running_ones_finish_within_the_timeout() {
    let mut world = World::new();
    let done = world.create(Ask::default()).expect("there is room");
    world.run_while(|_, work| work == Work::EncodePrompt);
    let slow = world.create(Ask::default()).expect("there is room");
    let waiting = world.create(Ask::default()).expect("there is room");
    world.send(Command::Drain);
    assert!(!world.ready, "no more work is taken");
    assert_eq!((world.state(waiting), world.error(waiting)), (State::Cancelled, Some(Reason::Draining)));
    assert_eq!(world.create(Ask::default()).map_err(|error| error.reason), Err(Reason::Draining));
    world.run_while(|key, _| key == done);
    assert_eq!((world.state(done), world.drained), (State::Succeeded, false));
    world.wait(Duration::from_secs(30));
    world.run();
    assert_eq!((world.error(slow), world.drained), (Some(Reason::Draining), true));
}

#[test]
fn a_model_is_dropped_when_nobody_runs_with_it_and_read_again_after() {
    let mut world = World::new();
    let running = world.create(Ask::default()).expect("there is room");
    world.run_while(|_, work| work == Work::EncodePrompt);
    world.send(Command::UnloadModel { name: "m".to_owned() });
    let waiting = world.create(Ask::default()).expect("there is room");
    assert_eq!(world.state(waiting), State::Queued, "it waits until the model is dropped");
    assert!(world.unloaded.is_empty());
    world.run_while(|key, _| key == running);
    assert_eq!(world.unloaded, ["m"]);
    world.run();
    assert_eq!((world.state(running), world.state(waiting)), (State::Succeeded, State::Succeeded));
}

#[test]
fn a_model_that_cannot_be_read_fails_those_that_have_begun_and_is_tried_again() {
    let mut world = World::new();
    world.holds_loads = true;
    let begun = world.create(Ask::default()).expect("there is room");
    world.loaded(0, false);
    world.finish(begun, Work::EncodePrompt);
    assert_eq!((world.state(begun), world.error(begun)), (State::Failed, Some(Reason::ModelInvalid)));
    let Answer::Models(models) = world.send(Command::Models) else { panic!("the models are listed") };
    assert_eq!(models[0].state, crate::ModelState::Failed);
    let again = world.create(Ask::default()).expect("there is room");
    world.run();
    assert_eq!(world.state(again), State::Succeeded);
    let Answer::Models(models) = world.send(Command::Models) else { panic!("the models are listed") };
    assert_eq!(models[0].problem, None);
}

#[test]
fn an_actor_out_of_order_refuses_until_it_may_be_tried_again() {
    let mut world = World::new();
    let until = Some(world.now.instant + Duration::from_secs(10));
    let (actor, health) = (ActorKind::Vae, crate::StageHealth::Failed);
    world.send(Command::Health { actor, health, until, restarts: 5 });
    assert!(!world.ready);
    let error = world.create(Ask::default()).expect_err("the VAE is out of order");
    assert_eq!(error.reason, Reason::EngineUnavailable);
    world.wait(Duration::from_secs(10));
    assert!(world.ready);
    world.create(Ask::default()).expect("it may be tried again");
    world.send(Command::Stalled { actor: ActorKind::Denoiser });
    assert!(!world.ready, "a frozen one stays out of order");
}
