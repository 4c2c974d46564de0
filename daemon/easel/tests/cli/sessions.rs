//! Sessions, replays and clean-up from the command line.

use crate::world::{World, png_size};

/// The id of a session that `sessions new` has made.
fn new_session(world: &World, args: &[&str]) -> String {
    let made = world.ok(&[&["--json", "sessions", "new"], args].concat());
    made.json()[0]["id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_session_is_kept_between_commands_without_a_daemon() {
    let world = World::new();
    world.ok(&["generate", "x", "-o", "in.png", "--size", "160x96", "--seed", "1"]);
    let id = new_session(&world, &["in.png", "--name", "a room"]);
    world.ok(&["sessions", "edit", &id, "make it blue", "--seed", "7", "-o", "blue.png"]);
    world.ok(&["sessions", "edit", &id, "make it night", "-o", "night.png"]);
    assert_eq!(png_size(&world.read("blue.png")), (160, 96));
    let shown = world.ok(&["--json", "sessions", "show", &id]).json().remove(0);
    let revisions = shown["revisions"].as_array().expect("a list").clone();
    assert_eq!((revisions.len(), shown["name"].as_str()), (3, Some("a room")));
    assert_eq!(revisions[1]["prompt"], "make it blue");
    assert_eq!(revisions[2]["parent_revision_id"], revisions[1]["id"]);

    world.ok(&["sessions", "undo", &id]);
    world.ok(&["sessions", "get", &id, "-o", "undone.png"]);
    assert_eq!(world.read("undone.png"), world.read("blue.png"));
    world.ok(&["sessions", "redo", &id]);
    let nothing = world.easel(&["sessions", "redo", &id]);
    assert_eq!((nothing.code, nothing.stderr.contains("nothing to redo")), (3, true), "{}", nothing.stderr);
    let blue = revisions[1]["id"].as_str().expect("an id");
    let again = world.ok(&["--json", "sessions", "edit", &id, "--rerun", blue, "--seed", "7"]);
    let again = again.json().pop().expect("a revision");
    assert_eq!(again["sha256"], revisions[1]["sha256"], "the same seed makes the same picture");
    let (one, other) = (blue, revisions[2]["id"].as_str().expect("an id"));
    let found = world.ok(&["--json", "sessions", "compare", &id, one, other]).json().remove(0);
    assert_eq!(found["identical"], false);
    assert!(world.ok(&["sessions"]).text().contains("a room"));
    let missing = world.easel(&["sessions", "show", "ses_none"]);
    assert_eq!(missing.code, 4, "{}", missing.stderr);
}

#[test]
fn a_replay_file_makes_the_same_pictures_elsewhere() {
    let world = World::new();
    world.ok(&["generate", "x", "-o", "in.png", "--seed", "1"]);
    let id = new_session(&world, &["in.png"]);
    world.ok(&["sessions", "edit", &id, "make it blue"]);
    world.ok(&["sessions", "edit", &id, "make it night"]);
    world.ok(&["sessions", "export", &id, "-o", "room.json"]);
    let text = String::from_utf8(world.read("room.json")).expect("text");

    let elsewhere = World::new();
    elsewhere.write("room.json", text.as_bytes());
    let run = elsewhere.ok(&["replay", "room.json"]);
    assert_eq!(run.text().matches("the same bytes").count(), 2, "{}", run.text());
    assert!(run.stderr.contains("all 2 pictures came out the same"), "{}", run.stderr);
    let imported = elsewhere.ok(&["--json", "sessions", "import", "room.json", "--name", "theirs"]).json().remove(0);
    assert_eq!((imported["revision_count"].as_u64(), imported["name"].as_str()), (Some(3), Some("theirs")));

    // Another seed is another picture, and the command says so.
    let mut file: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    file["steps"][0]["seed"] = "12345".into();
    elsewhere.write("other.json", file.to_string().as_bytes());
    let run = elsewhere.easel(&["--json", "replay", "other.json"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    let steps: Vec<_> = run.json().into_iter().filter(|line| line.get("step").is_some()).collect();
    assert_eq!((steps[0]["same"].as_bool(), steps[1]["same"].as_bool()), (Some(false), Some(true)));
    let broken = elsewhere.easel(&["replay", "missing.json"]);
    assert_eq!(broken.code, 4);
    elsewhere.write("broken.json", b"{}");
    let broken = elsewhere.easel(&["replay", "broken.json"]);
    assert_eq!((broken.code, broken.stderr.contains("replay file")), (3, true), "{}", broken.stderr);
}

/// Files below `folder` of the world that hold `needle`.
fn holders(world: &World, folder: &str, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for name in world.list(folder) {
        let path = format!("{folder}/{name}");
        if world.path(&path).is_dir() {
            found.extend(holders(world, &path, needle));
        } else if world.path(&path).is_file() && world.read(&path).windows(needle.len()).any(|part| part == needle) {
            found.push(path);
        }
    }
    found
}

#[test]
fn gc_all_leaves_no_byte_in_the_state_folder_even_while_the_daemon_runs() {
    let world = World::new();
    let daemon = world.serve(&["--port", "0"]);
    // It is kept below by a pinned session, and would say its prompt.
    world.ok(&["generate", "a very secret picture", "-o", "secret.png", "--seed", "3", "--no-provenance"]);
    let id = new_session(&world, &["secret.png"]);
    world.ok(&["sessions", "edit", &id, "a very secret edit", "-o", "edited.png"]);
    let (picture, edited) = (world.read("secret.png"), world.read("edited.png"));
    for needle in [&b"a very secret picture"[..], b"a very secret edit", &picture, &edited] {
        assert!(!holders(&world, "state", needle).is_empty(), "it is kept until then");
    }
    let other = new_session(&world, &["secret.png", "--name", "pinned"]);
    world.ok(&["sessions", "pin", &other]);
    world.ok(&["gc"]);
    assert!(world.ok(&["sessions"]).text().contains(&id), "nothing is old");
    world.ok(&["gc", "--all"]);
    for needle in [&b"a very secret picture"[..], b"a very secret edit", &edited, id.as_bytes()] {
        assert_eq!(holders(&world, "state", needle), Vec::<String>::new());
    }
    assert_eq!(holders(&world, "state", &picture).len(), 1, "the pinned session has its picture");
    world.ok(&["sessions", "delete", &other]);
    assert_eq!(holders(&world, "state", &picture), Vec::<String>::new());
    for file in ["state/store/easel.db", "state/store/easel.db-wal"] {
        assert_eq!(world.mode(file), 0o600, "{file}");
    }
    assert_eq!((world.mode("state/store"), world.mode("state/store/blobs")), (0o700, 0o700));
    drop(daemon);
}

#[test]
fn a_second_owner_of_the_state_folder_is_refused_and_a_damaged_store_says_how_to_mend_it() {
    let world = World::new();
    let daemon = world.serve(&["--port", "0"]);
    let second = world.easel(&["serve", "--port", "0"]);
    assert_eq!(second.code, 8, "{}", second.stderr);
    assert!(second.stderr.contains(&daemon.pid().to_string()), "{}", second.stderr);
    drop(daemon);
    // From its log alone the database would come up as good as before.
    std::fs::remove_file(world.path("state/store/easel.db-wal")).expect("removed");
    world.write("state/store/easel.db", b"this is no database at all, and that for quite some bytes");
    let damaged = world.easel(&["serve", "--port", "0"]);
    assert_eq!(damaged.code, 3, "{}", damaged.stderr);
    assert!(damaged.stderr.contains("damaged") && damaged.stderr.contains("move the folder"), "{}", damaged.stderr);
}

#[test]
fn drills_are_set_from_outside() {
    let world = World::new();
    let daemon = world.serve(&["--port", "0", "--drill", "fault=denoise/2/nan/1 denoise_step_ms=1"]);
    let first = world.easel(&["generate", "x", "-o", "a.png"]);
    assert_eq!(first.code, 1, "{}", first.stderr);
    world.ok(&["generate", "x", "-o", "b.png"]);
    drop(daemon);
    let wrong = world.easel(&["serve", "--drill", "fault=denoise/2/burn"]);
    assert_eq!((wrong.code, wrong.stderr.contains("stage/part/kind")), (2, true), "{}", wrong.stderr);
}
