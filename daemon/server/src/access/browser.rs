//! The codes with which `easel open` signs a browser in: good for a minute and one browser.

use std::time::{Instant, SystemTime};

use easel_domain::Error;
use easel_domain::limits::{BROWSER_CODE_LIFETIME, MAX_BROWSER_CODES};

use super::secret::{self, Digest};

/// The codes that are out. Used ones stay until they expire, so that a second use is noticed.
#[derive(Default)]
pub(crate) struct Codes(Vec<Code>);

struct Code {
    digest: Digest,
    end: Instant,
    used: bool,
    /// The token that its browser was given.
    token: Option<String>,
}

impl Codes {
    /// A new code and when it expires. The oldest makes room when there are too many.
    pub(crate) fn make(&mut self, now: Instant, clock: SystemTime) -> Result<(String, SystemTime), Error> {
        self.0.retain(|code| code.end > now);
        if self.0.len() >= MAX_BROWSER_CODES {
            self.0.remove(0);
        }
        let code = secret::secret()?;
        self.0.push(Code { digest: Digest::of(&code), end: now + BROWSER_CODE_LIFETIME, used: false, token: None });
        Ok((code, clock + BROWSER_CODE_LIFETIME))
    }

    /// Uses a code. Fails when it is unknown, has expired or was used: then with the token of the browser that used it first.
    pub(crate) fn redeem(&mut self, code: &str, now: Instant) -> Result<(), Option<String>> {
        self.0.retain(|code| code.end > now);
        let digest = Digest::of(code);
        let known = self.0.iter_mut().find(|known| known.digest.matches(&digest)).ok_or(None)?;
        if known.used {
            return Err(known.token.take());
        }
        known.used = true;
        Ok(())
    }

    /// Remembers what a code was used for.
    pub(crate) fn redeemed_by(&mut self, code: &str, token: String) {
        let digest = Digest::of(code);
        if let Some(known) = self.0.iter_mut().find(|known| known.digest.matches(&digest)) {
            known.token = Some(token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_good_once_and_for_its_time() {
        let (mut codes, now) = (Codes::default(), Instant::now());
        let (code, _) = codes.make(now, SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(codes.redeem("another", now), Err(None));
        assert_eq!(codes.redeem(&code, now), Ok(()));
        codes.redeemed_by(&code, "tok_1".into());
        assert_eq!(codes.redeem(&code, now), Err(Some("tok_1".into())));
        assert_eq!(codes.redeem(&code, now), Err(None), "told once");
        let (late, _) = codes.make(now, SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(codes.redeem(&late, now + BROWSER_CODE_LIFETIME), Err(None));
    }

    #[test]
    fn the_newest_codes_are_the_ones_that_count() {
        let (mut codes, now) = (Codes::default(), Instant::now());
        let made: Vec<_> =
            (0..=MAX_BROWSER_CODES).map(|_| codes.make(now, SystemTime::UNIX_EPOCH).unwrap().0).collect();
        assert_eq!(codes.redeem(&made[0], now), Err(None));
        assert_eq!(codes.redeem(&made[MAX_BROWSER_CODES], now), Ok(()));
    }
}
