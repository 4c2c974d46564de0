//! The deadline of a call, as its header says it.

use std::time::Duration;

use easel_domain::{Error, Reason};
use tonic::metadata::MetadataMap;

const HEADER: &str = "grpc-timeout";

/// How long the caller waits; `None` when it does not say. Fails when the header is not written as gRPC asks: one to
/// eight digits and a unit.
pub(crate) fn deadline(metadata: &MetadataMap) -> Result<Option<Duration>, Error> {
    let Some(value) = metadata.get(HEADER) else { return Ok(None) };
    value.to_str().ok().and_then(parse).map(Some).ok_or_else(|| {
        let wrong = "must be 1 to 8 digits and one of H M S m u n, for example 30S";
        Error::field(Reason::InvalidRequest, HEADER, wrong)
    })
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        let cases = [("2H", 7_200_000), ("3M", 180_000), ("4S", 4_000), ("5m", 5), ("6000u", 6), ("7000000n", 7)];
        for (text, ms) in cases {
            assert_eq!(parse(text), Some(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(parse("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "S", "1", "-1S", "1.5S", "123456789S", "1s", "1Ü", "Ü", "1 S", "+1S"] {
            assert_eq!(parse(text), None, "{text}");
        }
        let mut metadata = MetadataMap::new();
        assert_eq!(deadline(&metadata), Ok(None));
        metadata.insert(HEADER, "soon".parse().unwrap());
        assert_eq!(deadline(&metadata).unwrap_err().violations[0].field, HEADER);
    }
}
