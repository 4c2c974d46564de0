//! `easel doctor`: each fault is made, found, and gone when its mend was followed; and the pages that packages install.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use crate::world::{Run, World};

/// What was found of one check at one level, with its mend.
fn found(run: &Run, check: &str, level: &str) -> Vec<String> {
    let lines = run.json();
    let wanted = lines.iter().filter(|line| line["check"] == check && line["level"] == level);
    wanted.map(|line| format!("{} -> {}", line["what"], line["mend"]).replace('"', "")).collect()
}

fn doctor(world: &World) -> Run {
    world.easel(&["doctor", "--json"])
}

/// The one finding of a check at a level, which has to say how it is mended.
fn one(run: &Run, check: &str, level: &str) -> String {
    let [finding] = &found(run, check, level)[..] else { panic!("{check} {level}: {}", run.text()) };
    assert!(!finding.ends_with("-> "), "no mend: {finding}");
    assert_eq!(run.code, i32::from(level == "problem"), "{}", run.text());
    finding.clone()
}

fn set_mode(world: &World, name: &str, mode: u32) {
    std::fs::set_permissions(world.path(name), std::fs::Permissions::from_mode(mode)).expect("set");
}

#[test]
fn a_machine_without_faults_has_none() {
    let world = World::with_engine("dreamlite");
    let run = doctor(&world);
    assert_eq!(run.code, 0, "{}", run.text());
    for check in ["version", "state", "socket", "ports", "device", "memory", "daemon"] {
        assert_eq!(found(&run, check, "good").len(), 1, "{check}: {}", run.text());
    }
    assert!(!world.exists("state"), "it changes nothing");
    let daemon = world.serve(&[]);
    let run = world.easel(&["doctor"]);
    assert_eq!(run.code, 0, "{}", run.text());
    assert!(run.text().contains("answers at") && run.text().contains("token"), "{}", run.text());
    assert!(!run.text().contains("warning"), "{}", run.text());
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn open_folders_and_secrets_are_found() {
    let world = World::new();
    world.ok(&["token"]);
    set_mode(&world, "state/token", 0o644);
    let finding = one(&doctor(&world), "token", "problem");
    assert!(finding.contains("chmod 600"), "{finding}");
    set_mode(&world, "state/token", 0o600);
    set_mode(&world, "state", 0o755);
    let finding = one(&doctor(&world), "state", "warning");
    assert!(finding.contains("chmod 700"), "{finding}");
    set_mode(&world, "state", 0o700);
    assert_eq!(doctor(&world).code, 0);
    std::fs::remove_dir_all(world.path("state")).expect("removed");
    world.write("state", b"a file");
    assert!(one(&doctor(&world), "state", "problem").contains("is no folder"));
}

#[test]
fn what_stands_where_the_socket_should_be_is_found() {
    let world = World::new();
    std::fs::create_dir_all(world.path("state/run")).expect("made");
    set_mode(&world, "state", 0o700);
    set_mode(&world, "state/run", 0o700);
    world.write("state/run/easel.sock", b"a file");
    assert!(one(&doctor(&world), "socket", "problem").contains("is no socket"));
    std::fs::remove_file(world.path("state/run/easel.sock")).expect("removed");
    let silent = UnixListener::bind(world.path("state/run/easel.sock")).expect("bound");
    set_mode(&world, "state/run/easel.sock", 0o600);
    assert!(one(&doctor(&world), "socket", "problem").contains("somebody listens"));
    drop(silent);
    assert!(one(&doctor(&world), "socket", "warning").contains("left over"));
    let long = world.path(&"x".repeat(120)).display().to_string();
    let run = world.easel(&["doctor", "--json", "--socket", &long]);
    assert!(one(&run, "socket", "problem").contains("bytes"));
}

#[test]
fn a_daemon_that_has_gone_and_one_that_hides_are_found() {
    let world = World::new();
    world.serve(&[]).kill();
    let run = doctor(&world);
    let finding = one(&run, "daemon", "problem");
    assert!(finding.contains("has gone") && finding.contains("rm "), "{finding}");
    std::fs::remove_file(world.path("state/run/daemon.json")).expect("removed");
    assert_eq!(doctor(&world).code, 0, "the mend helped");
    let daemon = world.serve(&[]);
    std::fs::remove_file(world.path("state/run/daemon.json")).expect("removed");
    std::fs::remove_file(world.path("state/run/easel.sock")).expect("removed");
    let finding = one(&doctor(&world), "daemon", "problem");
    assert!(finding.contains(&format!("pid {}", daemon.pid())), "{finding}");
    daemon.kill();
    world.write("state/run/daemon.json", b"{");
    assert!(one(&doctor(&world), "daemon", "problem").contains("is not a discovery file"));
}

/// Four ports in a row that this test holds.
fn block() -> (u16, Vec<TcpListener>) {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = first.local_addr().expect("an address").port();
        let rest = (1..4).map(|next| TcpListener::bind(("127.0.0.1", port.checked_add(next)?)).ok());
        if let Some(rest) = rest.collect::<Option<Vec<_>>>() {
            return (port, std::iter::once(first).chain(rest).collect());
        }
    }
    panic!("no four free ports in a row");
}

#[test]
fn a_block_of_ports_that_is_taken_is_found() {
    let world = World::new();
    let (port, mut held) = block();
    let port = port.to_string();
    let look = || world.easel_with_env(&["doctor", "--json"], &[("EASEL_PORT", &port)]);
    let finding = one(&look(), "ports", "problem");
    assert!(finding.contains(&port) && finding.contains("ss -ltnp"), "{finding}");
    held.pop();
    assert_eq!(look().code, 0, "one is enough");
}

#[test]
fn models_memory_and_instructions_that_do_not_fit_are_found() {
    let world = World::with_engine("dreamlite");
    std::fs::create_dir(world.path("broken")).expect("made");
    let look = |name: &str, value: &str| world.easel_with_env(&["doctor", "--json"], &[(name, value)]);
    let finding = one(&look("EASEL_MODELS", "mine=broken"), "models", "problem");
    assert!(finding.contains("mine cannot be used") && finding.contains("broken"), "{finding}");
    assert!(one(&look("EASEL_MODELS", "gone=nowhere"), "models", "problem").contains("gone cannot be used"));
    assert!(
        one(&look("EASEL_MEMORY_LIMIT_MB", "900000000"), "memory", "warning").contains("more than the machine has")
    );
    let finding = one(&look("EASEL_PROT", "1"), "settings", "warning");
    assert!(finding.contains("EASEL_PORT"), "{finding}");
    std::fs::create_dir(world.path("state")).expect("made");
    set_mode(&world, "state", 0o700);
    world.write("state/models.json", b"{");
    assert!(one(&doctor(&world), "models", "problem").contains("is damaged"));
}

#[test]
fn completions_and_the_manual_know_every_command() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = world.ok(&["completions", shell]).text();
        for word in ["generate", "service", "doctor", "--state-dir"].map(|word| word.trim_start_matches('-')) {
            assert!(text.contains(word), "{shell} lacks {word}");
        }
    }
    world.write("easel.bash", world.ok(&["completions", "bash"]).text().as_bytes());
    let script =
        "source easel.bash; COMP_WORDS=(easel ser); COMP_CWORD=1; _easel easel ser easel; echo \"${COMPREPLY[*]}\"";
    assert_eq!(world.run_in("bash", &["-c", script]).text().trim(), "serve service");
    let page = world.ok(&["man"]).text();
    for part in [".TH easel 1", ".SH \"EASEL SERVICE\"", ".SH \"EASEL DOCTOR\"", "\\-\\-state\\-dir", "Exit codes"] {
        assert!(page.contains(part), "the manual lacks {part}");
    }
    if std::path::Path::new("/usr/bin/man").exists() {
        world.write("easel.1", page.as_bytes());
        let shown = world.run_in("man", &["--warnings", "-l", "easel.1"]);
        assert!(shown.stderr.is_empty() && shown.text().contains("EASEL DOCTOR"), "{}", shown.stderr);
    }
}

#[test]
fn top_draws_what_the_daemon_does() {
    let world = World::new();
    assert_eq!(world.easel(&["top", "-n", "1"]).code, 6, "without a daemon there is nothing to watch");
    let _daemon = world.serve(&[]);
    world.ok(&["generate", "x", "-o", "o.png"]);
    let run = world.ok(&["top", "-n", "2", "--interval-s", "0.1"]);
    assert_eq!(run.text().matches("succeeded 1   failed 0").count(), 2, "{}", run.text());
    for part in ["encoder   [", "denoiser  [", "vae       [", "memory", "pictures"] {
        assert!(run.text().contains(part), "{part} is missing in {}", run.text());
    }
    assert!(!run.text().contains('\x1b'), "a file is not cleared");
    assert_eq!(world.ok(&["top", "-n", "2", "--interval-s", "0.1", "--json"]).json().len(), 2);
    assert_eq!(world.easel(&["top", "--interval-s", "0"]).code, 2);
    let mut watched = world.spawn(&["top", "--interval-s", "0.1"]);
    watched.wait_for_line("memory");
    watched.signal("INT");
    assert_eq!(watched.end().code, 0);
}
