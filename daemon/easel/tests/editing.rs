//! Sessions through the SDK and the real binary: an editor and a viewer of one session, and a stream that outlives the daemon.

#[path = "cli/world.rs"]
#[allow(dead_code, reason = "shared with the tests of the command line")]
mod world;

use easel_sdk::proto::generation_event::Event as Happened;
use easel_sdk::proto::session_event::Event;
use easel_sdk::{Easel, Target, edit, proto};
use world::World;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio")
}

async fn connect(world: &World) -> Easel {
    Easel::connect(&Target::unix(world.path("state/run/easel.sock"))).await.expect("the daemon answers")
}

#[test]
fn an_editor_and_a_viewer_see_one_session() {
    let world = World::new();
    let daemon = world.serve(&["--port", "0", "--tcp", "false", "--drill", "denoise_step_ms=1 native_px=4"]);
    runtime().block_on(async {
        let easel = connect(&world).await;
        let session = easel.create_session("boats", None).await.expect("it is made");
        let mut editor = easel.open_session(&session.id).await.expect("it is there");
        let mut viewer = easel.watch_session(&session.id).await.expect("it is there");
        let draft = proto::Draft { instruction: "a boat".to_owned(), seed: Some(7), selection: None };
        editor.draft(draft.clone()).await.expect("it is changed");
        let refused = editor.undo().await.expect_err("there is nothing to undo");
        assert_eq!(refused.reason, "SESSION_STATE");
        // Without an instruction of its own the edit is the draft's.
        let generation = editor.edit(proto::SessionEdit::default()).await.expect("it is accepted");
        let mut seen_draft = false;
        loop {
            match viewer.next().await.expect("it goes on").expect("no error").event {
                Some(Event::Session(now)) => seen_draft |= now.draft.as_ref() == Some(&draft),
                Some(Event::Generation(event)) if event.generation_id == generation.id => {
                    if let Some(Happened::Succeeded(done)) = event.event {
                        assert_eq!(done.images[0].seed, 7);
                        break;
                    }
                }
                _ => {}
            }
        }
        assert!(seen_draft, "the viewer has seen what the editor wrote");
        let ended = loop {
            if let Some(Event::Generation(event)) = editor.next().await.expect("it goes on").expect("no error").event
                && matches!(event.event, Some(Happened::Succeeded(_)))
            {
                break event.generation_id;
            }
        };
        assert_eq!(ended, generation.id);
        let doomed = edit("a storm");
        let spec = proto::GenerationSpec { num_inference_steps: Some(100), ..doomed.spec.clone().unwrap_or_default() };
        let doomed = editor.edit(proto::SessionEdit { spec: Some(spec), ..doomed }).await.expect("it is accepted");
        let cancelled = editor.cancel(None).await.expect("it runs");
        assert_eq!(cancelled.len(), 1);
        assert_eq!(cancelled[0].generation_id, doomed.id);
        let revisions = easel.revisions(&session.id).await.expect("listed");
        assert_eq!(revisions.len(), 1);
        editor.go_to(&revisions[0].id).await.expect("it is there");
        easel.delete_session(&session.id).await.expect("deleted");
        let mut deleted = false;
        while let Some(event) = viewer.next().await {
            deleted = matches!(event.expect("no error").event, Some(Event::Deleted(_)));
        }
        assert!(deleted);
    });
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn a_stream_outlives_the_daemon_that_began_it() {
    let world = World::new();
    let slow = "denoise_step_ms=300 native_px=4";
    let daemon = world.serve(&["--port", "0", "--tcp", "false", "--drill", slow]);
    let runtime = runtime();
    let (easel, mut stream, mut last) = runtime.block_on(async {
        let easel = connect(&world).await;
        let session = easel.create_session("s", None).await.expect("it is made");
        let mut stream = easel.edit_session(&session.id, edit("a boat")).await.expect("it is accepted");
        let first = stream.next().await.expect("an event").expect("no error");
        (easel, stream, first.sequence)
    });
    daemon.kill();
    // The next one comes while the stream is looking for it.
    let daemon = world.serve(&["--port", "0", "--tcp", "false", "--drill", "native_px=4"]);
    runtime.block_on(async {
        let mut succeeded = false;
        while let Some(event) = stream.next().await {
            let event = event.expect("the stream comes back");
            assert!(event.sequence == 0 || event.sequence == last + 1, "no number is missing");
            last = last.max(event.sequence);
            succeeded = matches!(event.kind, easel_sdk::EventKind::Succeeded(_));
        }
        assert!(succeeded);
        let sessions = easel.sessions().await.expect("listed");
        assert_eq!((sessions.len(), sessions[0].revision_count), (1, 1));
    });
    assert_eq!(daemon.terminate(), 0);
}
