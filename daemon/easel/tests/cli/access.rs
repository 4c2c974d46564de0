//! Pairing a plugin and signing a browser in, as the user does it on the command line.

use std::time::Duration;

use easel_sdk::{Easel, Target};

use crate::world::World;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("tokio").block_on(future)
}

#[test]
fn a_plugin_is_paired_listed_and_revoked_and_a_restart_changes_nothing() {
    let world = World::new();
    assert_eq!(world.easel(&["pair"]).code, 6, "there is nobody to pair with");
    let daemon = world.serve(&[]);
    assert!(world.ok(&["pair"]).text().contains("no client waits"));
    let token = block_on(async {
        let plugin = Easel::connect(&Target::tcp(daemon.address(), None)).await.expect("version needs no token");
        let pairing = plugin.begin_pairing("Krita", &[]).await.expect("begun");
        let code = pairing.code().to_owned();
        let listed = world.ok(&["pair"]).text();
        assert!(listed.contains(&code) && listed.contains("Krita") && listed.contains("a program"), "{listed}");
        let (token, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(60), pairing.wait()), async {
            let said = world.ok(&["pair", &code.to_lowercase()]).text();
            assert!(said.contains("Krita may call now, for read, generate, sessions"), "{said}");
        });
        token.expect("in time").expect("answered").expect("yes")
    });
    assert_eq!(world.mode("state/tokens.json"), 0o600);
    assert!(!String::from_utf8_lossy(&world.read("state/tokens.json")).contains(&token.token), "no secret on the disk");
    assert_eq!(daemon.terminate(), 0);

    let daemon = world.serve(&[]);
    let status = |address: String| {
        block_on(async {
            let client = Easel::connect(&Target::tcp(address, Some(token.token.clone()))).await?;
            client.status().await
        })
    };
    status(daemon.address()).expect("the token is remembered");
    let listed = world.ok(&["tokens", "--json"]).json();
    assert_eq!((listed.len(), listed[0]["client_name"].as_str()), (1, Some("Krita")));
    assert!(listed[0]["last_use_time_s"].is_number(), "{}", listed[0]);
    let id = listed[0]["token_id"].as_str().expect("an id");
    assert!(world.ok(&["tokens", "revoke", id]).text().contains("revoked"));
    assert_eq!(status(daemon.address()).expect_err("revoked").reason, "UNAUTHENTICATED");
    assert_eq!(world.easel(&["tokens", "revoke", id]).code, 4);
}

#[test]
fn a_wrong_or_rejected_code_pairs_nobody() {
    let world = World::new();
    let daemon = world.serve(&[]);
    let wrong = world.easel(&["pair", "BBBB-BBBB"]);
    assert!(wrong.code == 4 && wrong.stderr.contains("no client shows this code"), "{}", wrong.stderr);
    let answer = block_on(async {
        let plugin = Easel::connect(&Target::tcp(daemon.address(), None)).await.expect("connected");
        let pairing = plugin.begin_pairing("Krita", &[]).await.expect("begun");
        assert!(world.ok(&["pair", pairing.code(), "--reject"]).text().contains("may not call"));
        pairing.wait().await.expect("answered")
    });
    assert_eq!(answer, None);
    assert!(world.ok(&["tokens"]).text().contains("no client has a token"));
}

#[test]
fn open_gives_an_address_that_signs_a_browser_in() {
    let world = World::new();
    assert_eq!(world.easel(&["open", "--print"]).code, 6, "there is no page without a daemon");
    let daemon = world.serve(&[]);
    let url = world.ok(&["open", "--print"]).text();
    let (address, code) = url.trim().split_once("/open#").expect("a page and a code");
    assert_eq!((address, code.len()), (daemon.address().as_str(), 64));
    assert_eq!(world.ok(&["open", "--json"]).json()[0]["url"].as_str().map(str::len), Some(url.trim().len()));
    drop(daemon);
    let _alone = world.serve(&["--tcp", "false"]);
    let refused = world.easel(&["open", "--print"]);
    assert!(refused.code == 2 && refused.stderr.contains("--tcp true"), "{}", refused.stderr);
}
