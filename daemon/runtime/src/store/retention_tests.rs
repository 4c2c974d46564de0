//! Tests of what is removed, when, and that nothing of it stays behind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use easel_domain::session::{Draft, Origin};
use easel_domain::{Area, GenerationId, Priority, Reason, Selection};

use super::tests::{accept, at, bytes, config, edit, open, origin, reason, request, session, success, write};
use super::*;

/// Every file below a folder that holds `needle`.
fn holders(folder: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(holders(&path, needle));
        } else if std::fs::read(&path).expect("readable").windows(needle.len()).any(|window| window == needle) {
            found.push(path);
        }
    }
    found
}

#[test]
fn deleting_a_session_leaves_no_byte_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    let other = session(&mut store, 1);
    let doomed = session(&mut store, 2);
    edit(&mut store, &doomed.id, ("gen_doomed", "a very secret instruction"), 3, Priority::Interactive);
    edit(&mut store, &other.id, ("gen_other", "something harmless"), 4, Priority::Interactive);
    let secrets: [&[u8]; 4] = [b"very secret", &bytes(2, 500).1, &bytes(3, 1000).1, b"gen_doomed"];
    secrets.iter().for_each(|secret| assert!(!holders(folder.path(), secret).is_empty()));
    let cleaned = store.delete_session(&doomed.id).expect("deleted");
    assert_eq!((cleaned.sessions, cleaned.blobs.len(), cleaned.bytes), (1, 2, 1500));
    for secret in secrets {
        assert_eq!(holders(folder.path(), secret), Vec::<PathBuf>::new());
    }
    assert_eq!(reason(store.session(&doomed.id)), Reason::SessionNotFound);
    assert!(!holders(folder.path(), b"something harmless").is_empty(), "the other one is untouched");
    assert!(store.blob(bytes(1, 500).0, at(0)).expect("readable").is_some());
}

#[test]
fn a_picture_that_two_sessions_share_stays_with_the_other() {
    let mut store = Store::open(config(None), Box::new(SystemFiles), at(0)).expect("in memory");
    let (one, other) = (session(&mut store, 1), session(&mut store, 1));
    assert!(store.delete_session(&one.id).expect("deleted").blobs.is_empty());
    assert!(store.blob(bytes(1, 500).0, at(0)).expect("readable").is_some());
    assert_eq!(store.delete_session(&other.id).expect("deleted").blobs, [bytes(1, 500).0]);
}

#[test]
fn a_mask_stays_as_long_as_a_draft_names_it_and_goes_with_its_session() {
    let mut store = Store::open(config(None), Box::new(SystemFiles), at(0)).expect("in memory");
    let one = session(&mut store, 1);
    let (mask, file) = bytes(9, 700);
    store.put_blob(mask, &file, true, at(1)).expect("there is room");
    let selection = Some(Selection::of(Area::Mask { image: mask, offset: None }));
    let drafted = |selection| SessionChange::Draft(Draft { selection, ..Draft::default() });
    let there = |store: &mut Store| store.blob(mask, at(1)).expect("readable").is_some();
    store.change_session(&one.id, &[SessionChange::Pin(true), drafted(selection)], at(2)).expect("changed");
    store.clean_all(at(3)).expect("cleaned");
    assert!(there(&mut store), "the draft names it");
    store.change_session(&one.id, &[drafted(None)], at(4)).expect("changed");
    store.clean_all(at(5)).expect("cleaned");
    assert!(!there(&mut store), "nothing names it any more");
    store.put_blob(mask, &file, true, at(6)).expect("there is room");
    store.change_session(&one.id, &[drafted(selection)], at(7)).expect("changed");
    assert!(store.delete_session(&one.id).expect("deleted").blobs.contains(&mask), "it goes with the session");
    assert!(!there(&mut store));
}

#[test]
fn a_session_that_runs_is_not_deleted_and_all_means_what_is_not_pinned() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    let (running, pinned, idle) = (session(&mut store, 1), session(&mut store, 2), session(&mut store, 3));
    write(&mut store, &[accept("g", request("a running secret", None), origin(&running), None)]);
    write(&mut store, &[accept("h", request("an ended secret", None), Origin::default(), None), success("h", 2, 7)]);
    store.change_session(&pinned.id, &[SessionChange::Pin(true)], at(51)).expect("pinned");
    assert_eq!(reason(store.delete_session(&running.id)), Reason::SessionState);
    let cleaned = store.clean_all(at(200)).expect("cleaned");
    assert_eq!((cleaned.sessions, cleaned.generations.as_slice()), (1, &[GenerationId::new("h")][..]));
    assert_eq!(reason(store.session(&idle.id)), Reason::SessionNotFound);
    assert_eq!(store.sessions(10, None).expect("listed").len(), 2);
    assert!(holders(folder.path(), b"an ended secret").is_empty());
    assert!(!holders(folder.path(), b"a running secret").is_empty());
}

#[test]
fn retention_goes_by_the_last_change() {
    let day = Duration::from_secs(24 * 60 * 60);
    for (keep, after, stays) in [
        (Keep::Days(30), 29 * day, true),
        (Keep::Days(30), 31 * day, false),
        (Keep::Forever, 3000 * day, true),
        (Keep::None, Duration::from_secs(60), true),
        (Keep::None, day, false),
    ] {
        let settings = StoreConfig { keep, ..config(None) };
        let mut store = Store::open(settings, Box::new(SystemFiles), at(0)).expect("in memory");
        let id = session(&mut store, 1).id;
        store.clean(at(50) + after).expect("cleaned");
        assert_eq!(store.session(&id).is_ok(), stays, "{keep:?} after {after:?}");
    }
    // Without retention a new start finds nothing of the run before.
    let folder = tempfile::tempdir().expect("a folder");
    let settings = StoreConfig { keep: Keep::None, ..config(Some(folder.path())) };
    let mut store = Store::open(settings.clone(), Box::new(SystemFiles), at(0)).expect("open");
    session(&mut store, 1);
    drop(store);
    let store = Store::open(settings, Box::new(SystemFiles), at(60)).expect("open");
    assert!(store.sessions(10, None).expect("listed").is_empty());
}

#[test]
fn the_quota_takes_the_least_recently_used_and_never_what_is_needed() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = StoreConfig { quota_bytes: 3000, ..config(Some(folder.path())) };
    let mut store = Store::open(settings, Box::new(SystemFiles), at(0)).expect("open");
    let needed = session(&mut store, 1);
    for (fill, second) in [(2, 10), (3, 20)] {
        let (hash, bytes) = bytes(fill, 1000);
        store.put_blob(hash, &bytes, true, at(second)).expect("there is room");
    }
    store.blob(bytes(2, 1000).0, at(100)).expect("readable").expect("there");
    let (hash, more) = bytes(4, 1000);
    store.put_blob(hash, &more, true, at(300)).expect("there is room after all");
    assert!(store.blob(bytes(3, 1000).0, at(300)).expect("readable").is_none(), "the least recently used has gone");
    assert!(store.blob(bytes(2, 1000).0, at(300)).expect("readable").is_some());
    let root = store.revisions(&needed.id, 1, None).expect("listed").remove(0);
    let (hash, large) = bytes(5, 2501);
    assert_eq!(reason(store.put_blob(hash, &large, true, at(900))), Reason::StoreFull);
    assert!(store.blob(root.hash, at(900)).expect("readable").is_some(), "what a revision needs stays");
    let status = store.status().expect("a status");
    assert!(status.blob_bytes <= 3000 && status.durable && status.sessions == 1);
}
