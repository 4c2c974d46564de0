//! Random lives: whatever clients and stages do, each accepted generation ends exactly once and its events have no gaps.
//! The world checks the rest with every effect.

use std::time::Duration;

use easel_domain::event::State;
use easel_domain::{Mode, Priority};
use proptest::prelude::*;

use super::world::{Ask, World};
use super::*;

#[derive(Clone, Debug)]
enum Act {
    Create {
        priority: u8,
        edit: bool,
        images: u32,
        previews: bool,
        timeout: bool,
        request: u8,
    },
    Cancel(usize),
    Gone(usize),
    /// A piece of work comes back, well or as a failure.
    Return {
        which: usize,
        well: bool,
    },
    /// It comes back well although it was told to stop.
    Ignore(usize),
    Load {
        which: usize,
        well: bool,
    },
    Unload,
    Wait(u64),
    Drain,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0u8..3, any::<bool>(), 1u32..4, any::<bool>(), any::<bool>(), 0u8..6).prop_map(
            |(priority, edit, images, previews, timeout, request)| Act::Create {
                priority, edit, images, previews, timeout, request
            }
        ),
        3 => any::<usize>().prop_map(Act::Cancel),
        1 => any::<usize>().prop_map(Act::Gone),
        30 => (any::<usize>(), prop::bool::weighted(0.95)).prop_map(|(which, well)| Act::Return { which, well }),
        2 => any::<usize>().prop_map(Act::Ignore),
        4 => (any::<usize>(), prop::bool::weighted(0.9)).prop_map(|(which, well)| Act::Load { which, well }),
        1 => Just(Act::Unload),
        1 => (1u64..3_000).prop_map(Act::Wait),
        1 => prop::bool::weighted(0.05).prop_map(|drain| if drain { Act::Drain } else { Act::Wait(1) }),
    ]
}

fn perform(world: &mut World, act: &Act) {
    match *act {
        Act::Create { priority, edit, images, previews, timeout, request } => {
            let priorities = [Priority::Batch, Priority::Interactive, Priority::Live];
            // Few ids and prompts, so that requests repeat and conflict.
            let request_id = [None, None, None, Some("a"), Some("b"), Some("c")][usize::from(request)];
            let _ = world.create(Ask {
                priority: priorities[usize::from(priority)],
                mode: if edit { Mode::Edit } else { Mode::Generate },
                images,
                previews,
                timeout: timeout.then(|| Duration::from_millis(500)),
                request_id,
                prompt: "a boat",
                ..Ask::default()
            });
        }
        Act::Cancel(which) | Act::Gone(which) if !world.seen.is_empty() => {
            let key = which as u64 % world.seen.len() as u64 + 1;
            if matches!(act, Act::Gone(_)) {
                let id = world.id(key);
                world.send(Command::WatchersGone { id });
                return;
            }
            let before = world.state(key);
            if let Ok(outcome) = world.cancel(key) {
                let finished = outcome == easel_domain::event::CancelOutcome::WasFinished;
                assert_eq!(finished, before.is_end(), "the answer says what it found");
            }
        }
        Act::Return { which, well } if !world.pending.is_empty() => {
            let (key, work) = world.pending[which % world.pending.len()];
            if well { world.finish(key, work) } else { world.fail(key, work) }
        }
        Act::Ignore(which) if !world.pending.is_empty() => {
            let (key, work) = world.pending[which % world.pending.len()];
            let outcome = world.success(key, work);
            world.come_back(key, work, outcome);
        }
        Act::Load { which, well } if !world.loads.is_empty() => {
            let at = which % world.loads.len();
            world.loaded(at, well);
        }
        Act::Unload => drop(world.send(Command::UnloadModel { name: "m".to_owned() })),
        Act::Wait(ms) => world.wait(Duration::from_millis(ms)),
        Act::Drain => drop(world.send(Command::Drain)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_generation_ends_exactly_once(acts in prop::collection::vec(act(), 1..250)) {
        let mut world = World::new();
        world.holds_loads = true;
        acts.iter().for_each(|act| perform(&mut world, act));
        world.run();
        for (key, seen) in &world.seen {
            prop_assert!(world.state(*key).is_end(), "generation {key} has not ended");
            prop_assert!(seen.closed, "generation {key} was not closed");
            let ends = seen.events.iter().filter(|event| event.kind.is_last()).count();
            prop_assert_eq!(ends, 1);
            let cancelled = seen.snapshot.as_ref().is_some_and(|s| s.state == State::Succeeded) && seen.interrupt.is_some();
            prop_assert!(!cancelled || seen.events.len() > 1);
        }
        let ends = world.seen.len() as u64;
        let status = world.status();
        prop_assert_eq!((status.queued, status.running, status.value_bytes), (0, 0, 0));
        prop_assert_eq!(status.ended.succeeded + status.ended.failed + status.ended.cancelled, ends);
        prop_assert!(status.stages.iter().all(|stage| stage.waiting == 0 && stage.generation.is_none()));
    }
}
