//! Tests of the store: what was written is read back, what was deleted leaves nothing, what cannot be done says why.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use easel_domain::event::{EncodedImage, Event, EventKind, ResultImage, Snapshot, State};
use easel_domain::session::{Draft, Origin, Session};
use easel_domain::{
    DisconnectPolicy, GenerationRequest, ImageFormat, Mode, Plan, Priority, Reason, RestartPolicy, RevisionId,
    RunPolicy, SessionId, Size,
};

use super::sessions::Canvas;
use super::*;
use crate::pixels;

pub(super) fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second)
}

pub(super) fn config(folder: Option<&Path>) -> StoreConfig {
    StoreConfig {
        folder: folder.map(Path::to_owned),
        quota_bytes: 1 << 20,
        keep: Keep::Days(30),
        version: "1.2.3".to_owned(),
    }
}

pub(super) fn open(folder: &Path) -> Store {
    Store::open(config(Some(folder)), Box::new(SystemFiles), at(0)).expect("the store opens")
}

pub(super) fn bytes(fill: u8, length: usize) -> (BlobHash, Bytes) {
    let bytes = Bytes::from(vec![fill; length]);
    (pixels::hash(&bytes), bytes)
}

pub(super) fn request(prompt: &str, image: Option<BlobHash>) -> GenerationRequest {
    GenerationRequest {
        mode: Some(if image.is_some() { Mode::Edit } else { Mode::Generate }),
        model: None,
        prompt: prompt.to_owned(),
        negative_prompt: String::new(),
        image,
        selection: None,
        tiling: None,
        width: None,
        height: None,
        num_inference_steps: None,
        sigmas: vec![1.0, 0.123_456_79],
        guidance_scale: Some(0.1),
        image_guidance_scale: None,
        loras: Vec::new(),
        seed: Some(u64::MAX),
        seeds: Vec::new(),
        num_images: None,
        output_format: ImageFormat::Png,
        provenance: None,
    }
}

fn plan(request: &GenerationRequest) -> Plan {
    let size = Size { width: 64, height: 64 };
    Plan {
        mode: request.mode.unwrap_or(Mode::Generate),
        model: "m".to_owned(),
        prompt: request.prompt.clone(),
        negative_prompt: String::new(),
        seed: u64::MAX,
        seeds: Vec::new(),
        selection: None,
        crop: None,
        tiles: None,
        working: size,
        output: size,
        steps: 2,
        sigmas: request.sigmas.clone(),
        guidance: None,
        loras: Vec::new(),
        num_images: 1,
        output_format: ImageFormat::Png,
        provenance: false,
        source: None,
        model_sha256: None,
        notes: vec!["a note".to_owned()],
    }
}

fn policy(priority: Priority) -> RunPolicy {
    RunPolicy {
        previews: None,
        priority,
        on_disconnect: DisconnectPolicy::Keep,
        timeout: Some(Duration::from_millis(1500)),
        request_id: "r:1".parse().ok(),
        keep_until: Some(at(9)),
        on_restart: RestartPolicy::Rerun,
        keep_alive: None,
    }
}

pub(super) fn event(sequence: u64, kind: EventKind) -> Arc<Event> {
    Arc::new(Event { sequence, time: at(sequence), kind })
}

/// A generation on its way in, as the dispatcher would write it.
pub(super) fn accept(id: &str, request: GenerationRequest, origin: Origin, source: Option<(BlobHash, Bytes)>) -> Write {
    accept_as(id, request, origin, source, Priority::Interactive)
}

fn accept_as(
    id: &str,
    request: GenerationRequest,
    origin: Origin,
    source: Option<(BlobHash, Bytes)>,
    priority: Priority,
) -> Write {
    let plan = Arc::new(plan(&request));
    let snapshot = Snapshot {
        id: GenerationId::new(id),
        state: State::Queued,
        plan: Arc::clone(&plan),
        sequence: 1,
        queue_position: 3,
        progress: None,
        images: Vec::new(),
        error: None,
        timings: Vec::new(),
        create_time: at(1),
        end_time: None,
        request_id: "r:1".parse().ok(),
    };
    let event = event(1, EventKind::Accepted(Box::new(snapshot)));
    let policy = policy(priority);
    Write::Accept(Box::new(Accept {
        id: GenerationId::new(id),
        origin,
        request,
        policy,
        plan,
        source,
        inputs: Vec::new(),
        event,
    }))
}

pub(super) fn queued(id: &str, sequence: u64) -> Write {
    let event = event(sequence, EventKind::Queued { position: 1 });
    Write::Event { id: GenerationId::new(id), event, progress: None }
}

pub(super) fn success(id: &str, sequence: u64, fill: u8) -> Write {
    let (hash, bytes) = bytes(fill, 1000);
    let image = EncodedImage::new(ImageFormat::Png, (64, 64), Some(hash), bytes);
    let images = vec![ResultImage { index: 0, seed: u64::MAX, image, changed: None, canvas: None }];
    let kind = EventKind::Succeeded { images, timings: Vec::new(), total: Duration::from_millis(5) };
    Write::Event { id: GenerationId::new(id), event: event(sequence, kind), progress: None }
}

pub(super) fn write(store: &mut Store, writes: &[Write]) {
    store.write(&writes.iter().collect::<Vec<_>>(), at(100)).expect("it is written");
}

pub(super) fn canvas(fill: u8) -> Canvas {
    let (hash, bytes) = bytes(fill, 500);
    Canvas { hash, bytes, format: Some(ImageFormat::Png), width: 8, height: 8 }
}

pub(super) fn session(store: &mut Store, fill: u8) -> Session {
    store.create_session("a session", Some(&canvas(fill)), at(50)).expect("it is made")
}

pub(super) fn origin(session: &Session) -> Origin {
    Origin { session: Some(session.id.clone()), parent: session.head.clone(), client: String::new() }
}

pub(super) fn reason<T: std::fmt::Debug>(result: Result<T, Error>) -> Reason {
    result.expect_err("this must fail").reason
}

/// Lets a generation of a session succeed; the session as it stands then.
pub(super) fn edit(
    store: &mut Store,
    id: &SessionId,
    (generation, prompt): (&str, &str),
    fill: u8,
    priority: Priority,
) -> Session {
    let standing = store.session(id).expect("it is there");
    let writes =
        [accept_as(generation, request(prompt, None), origin(&standing), None, priority), success(generation, 2, fill)];
    write(store, &writes);
    store.session(id).expect("it is there")
}

#[test]
fn a_generation_is_read_back_as_it_was_after_a_new_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = bytes(1, 100);
    let id = GenerationId::new("gen_1");
    let mut store = open(folder.path());
    write(&mut store, &[accept("gen_1", request("a boat", Some(source.0)), Origin::default(), Some(source.clone()))]);
    write(&mut store, &[queued("gen_1", 2), queued("gen_1", 3)]);
    drop(store);

    let mut store = open(folder.path());
    let unfinished = store.unfinished().expect("readable");
    assert_eq!(unfinished.len(), 1);
    let stored = &unfinished[0];
    assert_eq!(stored.request, request("a boat", Some(source.0)), "every bit of every number is there");
    assert_eq!(stored.policy, policy(Priority::Interactive));
    assert_eq!(*stored.snapshot.plan, plan(&stored.request));
    assert_eq!((stored.snapshot.state, stored.snapshot.sequence), (State::Queued, 3));
    assert_eq!(stored.events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(matches!(&stored.events[0].kind, EventKind::Accepted(s) if s.queue_position == 3 && s.sequence == 1));
    assert_eq!(store.blob(source.0, at(1)).expect("readable").expect("there").bytes, source.1);

    write(&mut store, &[success("gen_1", 4, 9)]);
    drop(store);
    let mut store = open(folder.path());
    assert!(store.unfinished().expect("readable").is_empty());
    let stored = store.generation(&id).expect("readable").expect("there");
    assert_eq!((stored.snapshot.state, stored.snapshot.sequence), (State::Succeeded, 4));
    assert_eq!(stored.snapshot.images[0].image.bytes, bytes(9, 1000).1, "the picture has its exact bytes");
    assert_eq!(stored.events.len(), 4);
    let request_id = "r:1".parse().expect("an id");
    assert_eq!(store.generation_of_request(&request_id).expect("readable").expect("there").snapshot.id, id);
}

#[test]
fn an_error_keeps_its_details() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    let error = Error::field(Reason::EngineFault, "spec.image", "is odd")
        .about("model", "m")
        .retry_after(Duration::from_secs(3))
        .with("expected_offset", 7);
    let kind = EventKind::Ended { state: State::Failed, error: error.clone(), timings: Vec::new() };
    let end = Write::Event { id: GenerationId::new("g"), event: event(2, kind), progress: None };
    write(&mut store, &[accept("g", request("a boat", None), Origin::default(), None), end]);
    let stored = store.generation(&GenerationId::new("g")).expect("readable").expect("there");
    assert_eq!(stored.snapshot.error, Some(error));
}

#[test]
fn files_and_folders_are_private() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store");
    let mut store = open(&path);
    session(&mut store, 1);
    let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join("blobs"))), (0o700, 0o700));
    let (mut files, mut open_folders) = (Vec::new(), vec![path]);
    while let Some(folder) = open_folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { open_folders.push(path) } else { files.push(path) }
        }
    }
    assert!(files.len() >= 3, "{files:?}");
    files.iter().for_each(|file| assert_eq!(mode(file), 0o600, "{file:?}"));
}

#[test]
fn revisions_form_a_tree_in_which_one_can_go_back_and_forth() {
    let mut store = Store::open(config(None), Box::new(SystemFiles), at(0)).expect("in memory");
    let start = session(&mut store, 1);
    let id = start.id.clone();
    let root = start.head.clone();
    let first = edit(&mut store, &id, ("g1", "blue"), 2, Priority::Interactive);
    let second = edit(&mut store, &id, ("g2", "green"), 3, Priority::Interactive);
    assert_eq!(second.revisions, 3);
    let undone = store.change_session(&id, &[SessionChange::Undo], at(60)).expect("undone");
    assert_eq!((undone.head.clone(), undone.redo.clone()), (first.head.clone(), vec![second.head.clone().unwrap()]));
    store.change_session(&id, &[SessionChange::Undo], at(61)).expect("undone");
    assert_eq!(reason(store.change_session(&id, &[SessionChange::Undo], at(62))), Reason::SessionState);
    let forth = store.change_session(&id, &[SessionChange::Redo], at(63)).expect("again");
    assert_eq!(forth.head, first.head);
    // An edit from here is a branch; nothing that was there is lost.
    let branch = edit(&mut store, &id, ("g3", "red"), 4, Priority::Interactive);
    assert!(branch.redo.is_empty());
    assert_eq!(reason(store.change_session(&id, &[SessionChange::Redo], at(64))), Reason::SessionState);
    let all = store.revisions(&id, 10, None).expect("listed");
    let parents: Vec<_> = all.iter().map(|revision| revision.parent.clone()).collect();
    assert_eq!(parents, [None, root, first.head.clone(), first.head.clone()]);
    let back = store.change_session(&id, &[SessionChange::GoTo(second.head.clone().unwrap())], at(65)).expect("there");
    assert_eq!(back.head, second.head);
    let page = store.revisions(&id, 2, Some(&all[1].id)).expect("listed");
    assert_eq!(page, all[2..4]);
    let nowhere = SessionChange::GoTo(RevisionId::new("rev_x"));
    assert_eq!(reason(store.change_session(&id, std::slice::from_ref(&nowhere), at(66))), Reason::RevisionNotFound);
}

#[test]
fn a_live_result_replaces_the_one_before_until_it_is_chosen() {
    let mut store = Store::open(config(None), Box::new(SystemFiles), at(0)).expect("in memory");
    let start = session(&mut store, 1);
    edit(&mut store, &start.id, ("g1", "blue"), 2, Priority::Live);
    let second = edit(&mut store, &start.id, ("g2", "bluer"), 3, Priority::Live);
    assert_eq!((second.revisions, second.head.clone()), (2, start.head.clone()), "it is looked at, not stood at");
    let live = store.revisions(&start.id, 10, None).expect("listed").remove(1);
    assert!(live.live && live.made.expect("made").request.prompt == "bluer");
    store.change_session(&start.id, &[SessionChange::GoTo(live.id.clone())], at(60)).expect("chosen");
    store.change_session(&start.id, &[SessionChange::Undo], at(61)).expect("undone");
    let third = edit(&mut store, &start.id, ("g3", "red"), 4, Priority::Live);
    assert_eq!(third.revisions, 3, "the chosen one stays");
}

#[test]
fn sessions_are_changed_and_listed() {
    let mut store = Store::open(config(None), Box::new(SystemFiles), at(0)).expect("in memory");
    let mut ids: Vec<_> = (0..5).map(|fill| session(&mut store, fill).id).collect();
    let renamed = store.change_session(&ids[0], &[SessionChange::Rename("x".into())], at(70)).expect("renamed");
    assert_eq!((renamed.name.as_str(), renamed.version), ("x", 2));
    let draft = Draft { instruction: "make it".into(), seed: Some(u64::MAX), ..Draft::default() };
    let drafted = store.change_session(&ids[0], &[SessionChange::Draft(draft.clone())], at(71)).expect("changed");
    assert_eq!(drafted.draft, draft);
    let listed = store.sessions(2, None).expect("listed");
    assert_eq!(listed[0].id, ids[0], "the last changed comes first");
    let last = &listed[1];
    let after = (record::ms(last.update_time), last.id.as_str());
    let rest = store.sessions(10, Some(after)).expect("listed");
    let mut seen: Vec<_> = listed.iter().chain(&rest).map(|session| session.id.clone()).collect();
    seen.sort();
    ids.sort();
    assert_eq!(seen, ids);
}

#[test]
fn a_damaged_picture_is_never_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    let (hash, content) = bytes(1, 1000);
    store.put_blob(hash, &content, true, at(1)).expect("written");
    let path = folder.path().join("blobs").join(hash.to_string());
    let mut damaged = content.to_vec();
    damaged[500] ^= 1;
    std::fs::write(&path, &damaged).expect("written");
    assert_eq!(reason(store.blob(hash, at(1))), Reason::DataLoss);
    // A file that is not whole, or of an interrupted write, goes at the next start.
    std::fs::write(&path, &damaged[..10]).expect("written");
    std::fs::write(path.with_extension("new"), b"half").expect("written");
    let (other, _) = bytes(2, 10);
    std::fs::write(folder.path().join("blobs").join(other.to_string()), b"no row").expect("written");
    drop(store);
    let mut store = open(folder.path());
    assert!(store.blob(hash, at(1)).expect("readable").is_none());
    assert_eq!(std::fs::read_dir(folder.path().join("blobs")).expect("a folder").count(), 0);
    store.put_blob(hash, &content, true, at(2)).expect("written again");
    assert_eq!(store.blob(hash, at(2)).expect("readable").expect("there").bytes, content);
}

#[test]
fn a_damaged_or_newer_database_is_refused_with_the_mend() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()));
    let path = folder.path().join("easel.db");
    let good = std::fs::read(&path).expect("readable");
    let refused = |what: &str| {
        let opened = Store::open(config(Some(folder.path())), Box::new(SystemFiles), at(0));
        let error = opened.err().unwrap_or_else(|| panic!("{what} must be refused"));
        assert_eq!(error.reason, Reason::StoreDamaged, "{what}: {error}");
        error.message
    };
    std::fs::write(&path, b"this is no database, however long one looks at it").expect("written");
    assert!(refused("another file").contains("move the folder"));
    let mut torn = good.clone();
    torn[4096..8192].fill(0x5a);
    std::fs::write(&path, torn).expect("written");
    refused("a torn page");
    std::fs::write(&path, good).expect("written");
    let db = rusqlite::Connection::open(&path).expect("open");
    db.pragma_update(None, "user_version", 99).expect("set");
    drop(db);
    assert!(refused("a newer version").contains("newer easel"));
}

#[test]
fn a_replay_is_the_way_to_a_revision_and_makes_a_session_elsewhere() {
    let mut store = Store::open(config(None), Box::new(SystemFiles), at(0)).expect("in memory");
    let start = session(&mut store, 1);
    edit(&mut store, &start.id, ("g1", "blue"), 2, Priority::Interactive);
    let end = edit(&mut store, &start.id, ("g2", "green"), 3, Priority::Interactive);
    let head = end.head.expect("it stands somewhere");
    let replay = store.replay(&start.id, &head).expect("exported");
    assert_eq!(replay.canvas.expect("a canvas").hash, bytes(1, 500).0);
    let steps: Vec<_> = replay.steps.iter().map(|step| (step.request.prompt.as_str(), step.result.hash)).collect();
    assert_eq!(steps, [("blue", bytes(2, 1000).0), ("green", bytes(3, 1000).0)]);
    assert!(replay.steps.iter().all(|step| step.request.seed == Some(u64::MAX) && step.version == "1.2.3"));
    let imported = store.import(&replay, at(80)).expect("imported");
    assert_eq!(imported.revisions, 3);
    assert_eq!(store.replay(&imported.id, &imported.head.expect("it stands")).expect("exported"), replay);
    let mut elsewhere = Store::open(config(None), Box::new(SystemFiles), at(0)).expect("in memory");
    assert_eq!(reason(elsewhere.import(&replay, at(80))), Reason::BlobNotFound);
    assert!(elsewhere.sessions(10, None).expect("listed").is_empty(), "nothing is there by half");
}

#[test]
fn after_a_new_start_of_the_machine_no_number_is_given_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    write(&mut store, &[accept("g", request("a boat", None), Origin::default(), None), queued("g", 2)]);
    store.db.execute("UPDATE meta SET value = 'another' WHERE key = 'boot'", []).expect("set");
    drop(store);
    let mut store = open(folder.path());
    let stored = store.unfinished().expect("readable").remove(0);
    assert!(stored.events.is_empty());
    assert!(stored.snapshot.sequence >= 2 + limits::MAX_UNSYNCED_EVENTS);
}

#[test]
fn a_full_disk_and_a_read_only_folder_say_how_to_mend_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    let pages: u64 = store.db.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("a number");
    let limit = |store: &Store, pages: u64| {
        let _: u64 = store.db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |r| r.get(0)).expect("set");
    };
    limit(&store, pages);
    let long = "x".repeat(8000);
    let one = accept("g", request(&long, None), Origin::default(), None);
    let error = store.write(&[&one], at(1)).expect_err("no page is free");
    assert_eq!(error.reason, Reason::DiskFull);
    assert!(error.retry_after.is_some() && error.message.contains("free some space"));
    assert_eq!(store.status().expect("a status").problem.map(|problem| problem.reason), Some(Reason::DiskFull));
    limit(&store, 1 << 20);
    write(&mut store, &[one]);
    assert_eq!(store.status().expect("a status").problem, None, "it is over");
    store.db.pragma_update(None, "query_only", "ON").expect("set");
    let error = store.create_session("s", None, at(2)).expect_err("nothing may be written");
    assert_eq!(error.reason, Reason::StoreReadOnly);
    assert!(error.message.contains("--state-dir"));
    assert!(store.generation(&GenerationId::new("g")).expect("reading goes on").is_some());
}

/// A picture whose row could not be committed is written again by the next one who needs it.
#[test]
fn a_failed_transaction_leaves_no_picture_without_its_row() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    let source = bytes(1, 100);
    let twice = accept("g", request("a", Some(source.0)), Origin::default(), Some(source.clone()));
    store.write(&[&twice, &twice], at(1)).expect_err("an id is given once");
    assert_eq!(store.shelf.sizes(), (0, 0));
    write(&mut store, &[twice]);
    drop(store);
    assert!(open(folder.path()).blob(source.0, at(2)).expect("readable").is_some());
}

#[tokio::test]
async fn the_thread_refuses_what_it_cannot_write_and_tries_ends_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let handle = StoreHandle::spawn(open(folder.path())).expect("a thread");
    let told = |write: Write| {
        let (send, receive) = tokio::sync::oneshot::channel();
        let then = Box::new(move |done: Result<(), Error>| send.send(done.map_err(|e| e.reason)).expect("it waits"));
        let handle = handle.clone();
        async move {
            handle.room().await.expect("it runs").fill(StoreCommand::Journal(Entry { write, then }));
            receive.await.expect("it is told")
        }
    };
    let query_only =
        |on: bool| handle.ask(move |store| store.db.pragma_update(None, "query_only", on).map_err(sql_error));
    let ask = |prompt| accept(prompt, request(prompt, None), Origin::default(), None);
    assert_eq!(told(ask("one")).await, Ok(()));
    query_only(true).await.expect("set");
    assert_eq!(told(ask("two")).await, Err(Reason::StoreReadOnly));
    assert_eq!(told(success("one", 2, 5)).await, Err(Reason::StoreReadOnly), "its client is told all the same");
    query_only(false).await.expect("set");
    // The end is tried again with what comes next, after a pause.
    let begin = std::time::Instant::now();
    loop {
        let one = handle.ask(|store| store.generation(&GenerationId::new("one"))).await.expect("readable");
        if one.expect("there").snapshot.state == State::Succeeded {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "the end is lost");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(handle.ask(|store| store.generation(&GenerationId::new("two"))).await.expect("readable").is_none());
}

/// A deletion that cannot be committed has deleted nothing.
#[test]
fn a_deletion_that_fails_leaves_everything() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    let id = session(&mut store, 1).id;
    edit(&mut store, &id, ("g", "blue"), 2, Priority::Interactive);
    // The second of the two pictures cannot be removed.
    let trigger = "CREATE TRIGGER no AFTER DELETE ON blobs WHEN NOT EXISTS (SELECT 1 FROM blobs) \
                   BEGIN SELECT RAISE(ABORT, 'no'); END";
    store.db.execute_batch(trigger).expect("made");
    store.delete_session(&id).expect_err("a row cannot be deleted");
    store.db.execute_batch("DROP TRIGGER no").expect("dropped");
    assert_eq!((store.session(&id).expect("it is there").revisions, store.shelf.sizes()), (2, (2, 1500)));
    for (hash, content) in [bytes(1, 500), bytes(2, 1000)] {
        assert_eq!(store.blob(hash, at(9)).expect("readable").expect("there").bytes, content);
    }
    store.delete_session(&id).expect("deleted");
    assert_eq!(std::fs::read_dir(folder.path().join("blobs")).expect("a folder").count(), 0);
}
