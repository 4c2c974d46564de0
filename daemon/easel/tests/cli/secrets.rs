//! What must not leave the daemon: secrets and prompts into its log, anything at all into a network.

use std::io::Write as _;
use std::process::Command;

use easel_sdk::{Easel, Target};

use crate::world::World;

#[test]
fn no_secret_and_no_prompt_stands_in_the_log() {
    let world = World::new();
    let daemon = world.serve(&["--log", "trace"]);
    let token = world.ok(&["token"]).text().trim().to_owned();
    world.ok(&["generate", "a very private prompt", "-o", "out.png"]);
    let url = world.ok(&["open", "--print"]).text();
    let paired = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("tokio");
    let paired = paired.block_on(async {
        let stranger = Easel::connect(&Target::tcp(daemon.address(), None)).await.expect("connected");
        let pairing = stranger.begin_pairing("Krita", &[]).await.expect("begun");
        world.ok(&["pair", pairing.code()]);
        let paired = pairing.wait().await.expect("answered").expect("yes");
        for token in [&token, &paired.token] {
            let known = Easel::connect(&Target::tcp(daemon.address(), Some(token.clone()))).await.expect("connected");
            known.status().await.expect("allowed");
        }
        paired.token
    });
    let code = url.trim().rsplit('#').next().expect("a code");
    let log = daemon.terminate_and_read();
    assert!(log.contains("a pairing was answered"), "{log}");
    for (what, secret) in [("the token", token.as_str()), ("a paired token", &paired), ("a code", code)] {
        assert!(secret.len() == 64 && !log.contains(secret), "{what} stands in the log");
    }
    // Everything down to trace of our own crates and of the libraries; prompts are for debug at most.
    let told = log.lines().filter(|line| [" INFO ", " WARN ", "ERROR "].iter().any(|level| line.contains(level)));
    assert!(told.into_iter().all(|line| !line.contains("very private")), "a prompt stands in the log");
}

/// A network of its own, with a loopback and no way out; not every machine permits it.
fn can_unshare() -> bool {
    let tried = Command::new("unshare").args(["-rn", "ip", "link", "set", "lo", "up"]).output();
    tried.is_ok_and(|tried| tried.status.success())
}

#[test]
fn a_daemon_without_a_network_makes_pictures() {
    if !can_unshare() {
        let why = "`unshare -rn ip link set lo up` is not permitted";
        let _ = writeln!(std::io::stderr(), "skipped a_daemon_without_a_network_makes_pictures: {why}");
        return;
    }
    let world = World::new();
    // In one network: the daemon, a client over its socket, one over TCP, and the proof that there is no way out.
    let script = r#"
        set -e
        ip link set lo up
        test -z "$(ip route show)"
        "$0" serve & daemon=$!
        until test -e state/run/daemon.json; do kill -0 $daemon; sleep 0.05; done
        "$0" generate "a red circle" -o socket.png --socket state/run/easel.sock
        address=$(sed -n 's/.*"\(http:[^"]*\)".*/\1/p' state/run/daemon.json | head -1)
        "$0" generate "a red circle" -o tcp.png --address "$address"
        kill $daemon
        wait $daemon
    "#;
    let run = world.run_in("unshare", &["-rn", "sh", "-c", script, env!("CARGO_BIN_EXE_easel")]);
    assert_eq!(run.code, 0, "{}\n{}", run.text(), run.stderr);
    assert!(world.read("socket.png").len() > 100 && world.read("tcp.png").len() > 100);
}
