//! Every way in which a pairing ends, and what strangers cannot do to it.

use super::*;

const CLOCK: SystemTime = SystemTime::UNIX_EPOCH;

fn wish(origin: &str) -> Wish {
    Wish { name: "Krita".into(), scopes: vec![Scope::Read], origin: origin.into() }
}

fn begin(pairings: &mut Pairings, origin: &str, now: Instant) -> Begun {
    pairings.begin(wish(origin), now, CLOCK).unwrap()
}

#[test]
fn the_answer_is_told_once() {
    let (mut pairings, now) = (Pairings::default(), Instant::now());
    let (one, other) = (begin(&mut pairings, "", now), begin(&mut pairings, "null", now));
    assert_eq!(pairings.poll(&one.secret, "", now), Ok(Told::Pending));
    assert_eq!(pairings.pending(now).len(), 2);
    // As a person types it.
    let typed = format!(" {} ", one.code.to_lowercase().replace('-', " "));
    assert_eq!(pairings.answer(&typed, true, now).unwrap().code, one.code);
    pairings.answer(&other.code, false, now).unwrap();
    assert!(pairings.pending(now).is_empty());
    assert_eq!(pairings.poll(&one.secret, "", now), Ok(Told::Confirmed(wish(""))));
    assert_eq!(pairings.poll(&other.secret, "null", now), Ok(Told::Rejected));
    for (secret, origin) in [(&one.secret, ""), (&other.secret, "null")] {
        assert_eq!(pairings.poll(secret, origin, now).unwrap_err().reason, Reason::PairingNotFound);
    }
}

#[test]
fn nobody_else_gets_the_answer() {
    let (mut pairings, now) = (Pairings::default(), Instant::now());
    let begun = begin(&mut pairings, "null", now);
    pairings.answer(&begun.code, true, now).unwrap();
    for (secret, origin) in [(begun.secret.as_str(), ""), (&begun.secret, "https://x.example"), (&begun.code, "null")] {
        assert_eq!(pairings.poll(secret, origin, now).unwrap_err().reason, Reason::PairingNotFound);
    }
    assert_eq!(pairings.poll(&begun.secret, "null", now), Ok(Told::Confirmed(wish("null"))));
}

#[test]
fn a_pairing_that_nobody_answers_expires() {
    let (mut pairings, now) = (Pairings::default(), Instant::now());
    let begun = begin(&mut pairings, "", now);
    assert_eq!(begun.expire_time, CLOCK + PAIRING_LIFETIME);
    let late = now + PAIRING_LIFETIME;
    assert_eq!(pairings.answer(&begun.code, true, late).unwrap_err().reason, Reason::PairingNotFound);
    assert_eq!(pairings.poll(&begun.secret, "", late).unwrap_err().reason, Reason::PairingNotFound);
}

#[test]
fn a_page_leaves_room_for_others() {
    let (mut pairings, now) = (Pairings::default(), Instant::now());
    for _ in 0..MAX_PENDING_PAIRINGS_OF_ONE {
        begin(&mut pairings, "null", now);
    }
    let refused = pairings.begin(wish("null"), now, CLOCK).unwrap_err();
    assert_eq!((refused.reason, refused.retry_after), (Reason::QuotaExceeded, Some(PAIRING_LIFETIME)));
    for _ in MAX_PENDING_PAIRINGS_OF_ONE..MAX_PENDING_PAIRINGS {
        begin(&mut pairings, "", now);
    }
    assert!(pairings.begin(wish("https://x.example"), now, CLOCK).is_err());
    begin(&mut pairings, "null", now + PAIRING_LIFETIME);
}

#[test]
fn pairings_are_begun_at_a_bounded_rate() {
    let (mut pairings, now) = (Pairings::default(), Instant::now());
    for _ in 0..PAIRING_BURST {
        let begun = begin(&mut pairings, "", now);
        pairings.answer(&begun.code, false, now).unwrap();
        pairings.poll(&begun.secret, "", now).unwrap();
    }
    let refused = pairings.begin(wish(""), now, CLOCK).unwrap_err();
    assert_eq!((refused.reason, refused.retry_after), (Reason::QuotaExceeded, Some(PAIRING_INTERVAL)));
    begin(&mut pairings, "", now + PAIRING_INTERVAL);
    assert!(pairings.begin(wish(""), now + PAIRING_INTERVAL, CLOCK).is_err());
    begin(&mut pairings, "", now + PAIRING_INTERVAL * 2);
}

#[test]
fn guessing_codes_ends_every_pairing() {
    let (mut pairings, now) = (Pairings::default(), Instant::now());
    let begun = begin(&mut pairings, "", now);
    for _ in 1..MAX_WRONG_PAIRING_CODES {
        pairings.answer("BBBB-BBBB", true, now).unwrap_err();
    }
    assert_eq!(pairings.poll(&begun.secret, "", now), Ok(Told::Pending));
    let last = pairings.answer("BBBB-BBBB", true, now).unwrap_err();
    assert!(last.message.contains("begin again"), "{last}");
    assert!(pairings.answer(&begun.code, true, now).is_err() && pairings.poll(&begun.secret, "", now).is_err());
}
