//! Random secrets and what is remembered of them: their SHA-256, which gives nothing away and is compared in constant time.

use easel_domain::{BlobHash, Error, Reason};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Bytes of a secret: 256 bits cannot be guessed, however many calls are let through.
const SECRET_BYTES: usize = 32;

/// Letters of codes that a person types: no vowels, so that no words come out, and nothing that looks like another.
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// The SHA-256 of a secret, written as hashes of blobs are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Digest(BlobHash);

impl Digest {
    /// Of a secret.
    pub(crate) fn of(secret: &str) -> Self {
        Self(BlobHash(Sha256::digest(secret.as_bytes()).into()))
    }

    /// Whether it is that of the same secret; takes as long whether or not.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        self.0.0.ct_eq(&other.0.0).into()
    }
}

/// A new secret in hexadecimal digits.
pub(crate) fn secret() -> Result<String, Error> {
    Ok(hex(&random::<SECRET_BYTES>()?))
}

/// A new name in hexadecimal digits; no secret.
pub(crate) fn name() -> Result<String, Error> {
    Ok(hex(&random::<6>()?))
}

/// `count` letters that a person can read and type, each as likely as any other.
pub(crate) fn letters(count: usize) -> Result<String, Error> {
    let mut letters = String::with_capacity(count);
    while letters.len() < count {
        let [byte] = random::<1>()?;
        // 240 is the largest multiple of 20 in a byte: beyond it some letters would come more often.
        if byte < 240 {
            letters.push(char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
        }
    }
    Ok(letters)
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(Reason::Internal, format!("the system gives no random bytes: {error}")))?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_comes_back_from_its_text_and_nothing_else_does() {
        let digest = Digest::of("secret");
        let text = digest.0.to_string();
        let read = |text: &str| serde_json::from_value::<Digest>(text.into());
        assert_eq!(serde_json::to_value(&digest).unwrap(), text.as_str());
        assert_eq!(read(&text).unwrap(), digest);
        assert!(digest.matches(&Digest::of("secret")) && !digest.matches(&Digest::of("Secret")));
        for wrong in ["", "00", &"g".repeat(64), &"é".repeat(32), &format!("{text}0")] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn secrets_and_codes_differ_and_look_as_they_should() {
        let (one, other) = (secret().unwrap(), secret().unwrap());
        assert!(one.len() == 64 && one != other);
        let code = letters(200).unwrap();
        assert!(code.bytes().all(|letter| ALPHABET.contains(&letter)));
        let seen: std::collections::BTreeSet<_> = code.bytes().collect();
        assert!(seen.len() > 10, "{code}");
    }
}
