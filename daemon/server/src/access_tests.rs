//! Tokens from their pairing to their end, and the file that remembers them.

use std::os::unix::fs::PermissionsExt as _;

use easel_domain::limits::{MAX_BROWSERS, MAX_PAIRED_TOKENS};

use super::*;

fn wish(origin: &str) -> Wish {
    Wish { name: "Krita".into(), scopes: vec![Scope::Read], origin: origin.into() }
}

async fn paired(access: &Access, origin: &str) -> (String, Entry) {
    let begun = access.begin(wish(origin)).unwrap();
    access.answer(&begun.code, true).unwrap();
    match access.poll(&begun.secret, origin, Duration::ZERO).await.unwrap() {
        Polled::Confirmed(token, entry) => (token, *entry),
        _ => panic!("not confirmed"),
    }
}

fn shown<'a>(token: &'a str, cookie: Option<&'a str>, origin: &'a str) -> Shown<'a> {
    Shown { token, cookie, origin }
}

#[tokio::test(start_paused = true)]
async fn a_poll_waits_for_the_answer_and_not_longer_than_it_may() {
    let access = Access::open(None).unwrap();
    let begun = access.begin(wish("")).unwrap();
    assert!(matches!(access.poll(&begun.secret, "", Duration::from_secs(30)).await, Ok(Polled::Pending)));
    let (polled, ()) = tokio::join!(access.poll(&begun.secret, "", Duration::from_secs(30)), async {
        tokio::task::yield_now().await;
        access.answer(&begun.code, true).unwrap();
    });
    assert!(matches!(polled, Ok(Polled::Confirmed(..))));
}

#[tokio::test]
async fn a_token_counts_where_it_was_given_until_it_is_revoked() {
    let access = Access::open(None).unwrap();
    let (token, entry) = paired(&access, "null").await;
    let known = access.identify(&shown(&token, None, "null")).unwrap().unwrap();
    assert_eq!((&known.id, &known.scopes[..]), (&entry.id, &[Scope::Read][..]));
    assert!(access.tokens()[0].last_use_time().is_some());
    for elsewhere in ["", "https://x.example"] {
        assert_eq!(access.identify(&shown(&token, None, elsewhere)).unwrap_err().reason, Reason::Unauthenticated);
    }
    assert_eq!(access.identify(&shown("another", None, "null")), Ok(None));
    access.revoke(&entry.id).unwrap();
    assert_eq!(access.identify(&shown(&token, None, "null")), Ok(None));
    assert_eq!(access.revoke(&entry.id).unwrap_err().reason, Reason::TokenNotFound);
}

#[tokio::test]
async fn the_file_is_the_users_own_and_holds_no_secret() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("tokens.json");
    let access = Access::open(Some(path.clone())).unwrap();
    let (token, entry) = paired(&access, "").await;
    let file = std::fs::read_to_string(&path).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(file.contains(&entry.id) && !file.contains(&token), "{file}");
    drop(access);
    let again = Access::open(Some(path.clone())).unwrap();
    assert!(again.identify(&shown(&token, None, "")).unwrap().is_some());
    again.revoke(&entry.id).unwrap();
    assert!(Access::open(Some(path.clone())).unwrap().tokens().is_empty());
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1, "nothing is left beside it");

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(Access::open(Some(path.clone())).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, "[{\"id\": 1}]").unwrap();
    assert!(Access::open(Some(path)).unwrap_err().to_string().contains("remove it"));
}

#[tokio::test]
async fn there_is_an_end_to_tokens() {
    let access = Access::open(None).unwrap();
    let mut now = std::time::Instant::now();
    let mut given = 0;
    while given < MAX_PAIRED_TOKENS {
        // The rate of pairings is tested elsewhere.
        access.lock().tokens.give(wish(""), SystemTime::now()).unwrap();
        given += 1;
        now += Duration::from_secs(1);
    }
    let begun = access.begin(wish("")).unwrap();
    let refused = access.answer(&begun.code, true).unwrap_err();
    assert_eq!(refused.reason, Reason::QuotaExceeded);
    assert!(refused.message.contains("easel tokens revoke"), "{refused}");
    access.revoke(&access.tokens()[0].id).unwrap();
    access.answer(&begun.code, true).unwrap();
}

#[test]
fn a_browser_needs_both_halves_from_its_own_page() {
    let access = Access::open(None).unwrap();
    let origin = "http://127.0.0.1:7461";
    let (code, _) = access.browser_code().unwrap();
    let SignedIn { cookie, key } = access.sign_in(&code, origin).unwrap();
    let known = access.identify(&shown(&key, Some(&cookie), origin)).unwrap().unwrap();
    assert_eq!(known.scopes, Scope::ALL);
    assert!(access.tokens()[0].is_browser());
    for (key, cookie, origin) in [
        (key.as_str(), None, origin),
        (&key, Some("wrong"), origin),
        (&key, Some(cookie.as_str()), "http://127.0.0.1:8000"),
        (&key, Some(&cookie), ""),
        (&key, Some(&cookie), "null"),
    ] {
        assert!(access.identify(&shown(key, cookie, origin)).is_err(), "{cookie:?} {origin}");
    }
    assert_eq!(access.identify(&shown(&cookie, Some(&cookie), origin)), Ok(None));
}

#[test]
fn a_code_that_comes_twice_signs_the_first_browser_out() {
    let access = Access::open(None).unwrap();
    let origin = "http://127.0.0.1:7461";
    let (code, _) = access.browser_code().unwrap();
    let SignedIn { cookie, key } = access.sign_in(&code, origin).unwrap();
    assert!(access.sign_in(&code, origin).is_err());
    assert_eq!(access.identify(&shown(&key, Some(&cookie), origin)), Ok(None));
    assert!(access.sign_in("never made", origin).is_err());
}

#[test]
fn the_browser_that_was_used_least_recently_makes_room() {
    let access = Access::open(None).unwrap();
    for _ in 0..=MAX_BROWSERS {
        let (code, _) = access.browser_code().unwrap();
        access.sign_in(&code, "http://localhost").unwrap();
    }
    assert_eq!(access.tokens().len(), MAX_BROWSERS);
}
