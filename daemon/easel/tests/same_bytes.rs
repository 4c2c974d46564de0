//! What a seed means, with the embedded model in the real daemon: the same request gives the same file alone, under load, in a batch,
//! in a list of seeds, after a kill in the middle, and on one thread or two.

#[path = "cli/world.rs"]
#[allow(dead_code, reason = "shared with the tests of the command line")]
mod world;

use easel_sdk::{Easel, EventKind, Target, proto};
use world::World;

const STEPS: u32 = 12;

/// A request of the command line, from a text or of a source picture.
fn asked(edit: bool) -> Vec<&'static str> {
    let work: &[_] = if edit { &["edit", "in.png", "make the circle green"] } else { &["generate", "a red circle"] };
    [work, &["--size", "64x64", "--steps", "12"]].concat()
}

fn make(world: &World, edit: bool, file: &str, more: &[&str], env: &[(&str, &str)]) {
    let run = world.easel_with_env(&[&asked(edit), more, &["-o", file]].concat(), env);
    assert_eq!(run.code, 0, "{file}: {}", run.stderr);
}

/// A world with a source picture and the two files that everything is compared with, each made by a process of its own.
fn reference() -> (World, [Vec<u8>; 2]) {
    let world = World::with_engine("dreamlite");
    make(&world, false, "in.png", &["--seed", "3"], &[]);
    let alone = [false, true].map(|edit| {
        make(&world, edit, "alone.png", &["--seed", "8", "--force"], &[]);
        world.read("alone.png")
    });
    assert_ne!(alone[0], alone[1]);
    (world, alone)
}

#[test]
fn a_file_is_the_same_alone_in_a_batch_in_a_list_under_load_and_on_any_number_of_threads() {
    let (world, alone) = reference();
    for threads in ["1", "2"] {
        make(&world, false, "threads.png", &["--seed", "8", "--force"], &[("EASEL_THREADS", threads)]);
        assert_eq!(world.read("threads.png"), alone[0], "{threads} threads");
    }
    let daemon = world.serve(&["--tcp", "false"]);
    for (edit, alone) in [(false, &alone[0]), (true, &alone[1])] {
        make(&world, edit, "batch.png", &["--seed", "7", "--num-images", "3", "--force"], &[]);
        assert_eq!(&world.read("batch-1.png"), alone, "picture 1 of a batch from seed 7");
        make(&world, edit, "list.png", &["--seeds", "1,8", "--force"], &[]);
        assert_eq!(&world.read("list-1.png"), alone, "the second of a list");
    }
    // Others run at the same time: more pictures, another size, another source.
    let others: [&[&str]; 3] = [
        &["generate", "a blue star", "--size", "96x64", "--num-images", "3", "-o", "o1.png"],
        &["generate", "a green square", "--size", "64x64", "--num-images", "3", "-o", "o2.png"],
        &["edit", "batch-0.png", "remove the circle", "--size", "64x96", "--steps", "20", "-o", "o3.png"],
    ];
    let mut others = others.map(|args| world.spawn(&[&["--json"], args].concat()));
    others.iter_mut().for_each(|other| drop(other.wait_for_line("accepted")));
    for (edit, alone) in [(false, &alone[0]), (true, &alone[1])] {
        make(&world, edit, "load.png", &["--seed", "8", "--force"], &[]);
        assert_eq!(&world.read("load.png"), alone, "under load");
    }
    for other in others {
        let run = other.end();
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn a_file_is_the_same_after_a_kill_in_the_middle() {
    let (world, alone) = reference();
    let mut daemon = Some(world.serve(&["--tcp", "false"]));
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("tokio");
    let target = Target::unix(world.path("state/run/easel.sock"));
    for (edit, alone) in [(false, &alone[0]), (true, &alone[1])] {
        let id = tokio.block_on(async {
            let easel = Easel::connect(&target).await.expect("the daemon answers");
            let request = match edit {
                false => easel.generate("a red circle"),
                true => easel.edit(world.read("in.png"), "make the circle green"),
            };
            let request = request.size(64, 64).steps(STEPS).seed(8);
            let id = request.create().await.expect("it is accepted").id;
            let mut events = easel.watch(&id, 0).await.expect("it is there");
            while let Some(event) = events.next().await {
                let EventKind::Progress(progress) = event.expect("no error").kind else { continue };
                if progress.stage() == proto::Stage::Denoise && progress.done >= 2 {
                    assert!(progress.done < STEPS, "it is in the middle");
                    break;
                }
            }
            id
        });
        daemon.take().expect("it runs").kill();
        daemon = Some(world.serve(&["--tcp", "false"]));
        let made = tokio.block_on(async {
            let easel = Easel::connect(&target).await.expect("the daemon answers");
            let done = easel.watch(&id, 0).await.expect("it goes on").finish().await.expect("it is made");
            easel.picture(done.images[0].image.as_ref().expect("a picture")).await.expect("its file")
        });
        assert_eq!(&made, alone, "after a restart");
    }
}
