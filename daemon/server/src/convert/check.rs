//! Collects everything that is wrong with a request.

use std::time::{Duration, SystemTime};

use easel_domain::{BlobHash, Error, FieldViolation, GenerationId, Reason};

use super::time;

/// More wrong fields than this are not listed; a hostile list of enum values would fill the trailers.
const MAX_VIOLATIONS: usize = 16;

/// The wrong fields of a request so far. Each method checks one field, notes what is wrong under its path in the proto
/// and gives back what can be used.
#[derive(Debug, Default)]
pub(crate) struct Check {
    violations: Vec<FieldViolation>,
}

impl Check {
    /// Notes a wrong field.
    pub(crate) fn wrong(&mut self, field: impl Into<String>, description: impl Into<String>) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(FieldViolation { field: field.into(), description: description.into() });
        }
    }

    /// Adds what another check found, one note for each field.
    pub(crate) fn merge(&mut self, others: Vec<FieldViolation>) {
        for other in others {
            if !self.violations.iter().any(|known| known.field == other.field) {
                self.wrong(other.field, other.description);
            }
        }
    }

    /// True while nothing is wrong.
    pub(crate) fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// Ends the check.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Error> {
        if self.violations.is_empty() {
            return Ok(value);
        }
        Err(Error::fields(Reason::InvalidRequest, self.violations))
    }

    /// A value of an enum of the protocol; `None` for a number that the protocol does not know.
    pub(crate) fn known<E: TryFrom<i32>>(&mut self, field: impl Into<String>, value: i32, name: &str) -> Option<E> {
        let known = E::try_from(value).ok();
        if known.is_none() {
            self.wrong(field, format!("{value} is no value of {name}: take one that the protocol names"));
        }
        known
    }

    /// A hash in its text form.
    pub(crate) fn hash(&mut self, field: &str, text: &str) -> Option<BlobHash> {
        text.parse().map_err(|wrong: &str| self.wrong(field, wrong)).ok()
    }

    /// The id of a generation; any text but the empty one, since it is only looked up.
    pub(crate) fn id(&mut self, field: &str, text: String) -> GenerationId {
        self.filled(field, &text);
        GenerationId::new(text)
    }

    /// A text that may not be empty.
    pub(crate) fn filled(&mut self, field: &str, text: &str) {
        if text.is_empty() {
            self.wrong(field, "is empty");
        }
    }

    /// A whole number between two others.
    pub(crate) fn range<N: PartialOrd + std::fmt::Display>(&mut self, field: &str, value: N, least: N, most: N) -> N {
        if value < least || value > most {
            self.wrong(field, format!("{value} is outside of {least} to {most}"));
        }
        value
    }

    /// A number that is one.
    pub(crate) fn finite(&mut self, field: impl Into<String>, value: f32) {
        if !value.is_finite() {
            self.wrong(field, format!("{value} is not a finite number"));
        }
    }

    /// A point in time.
    pub(crate) fn time(&mut self, field: &str, value: prost_types::Timestamp) -> Option<SystemTime> {
        let time = SystemTime::try_from(value).ok();
        if time.is_none() {
            self.wrong(field, "is no point in time: give seconds since 1970 and nanoseconds below a second");
        }
        time
    }

    /// A span of time between two others.
    pub(crate) fn duration(
        &mut self,
        field: &str,
        value: Option<prost_types::Duration>,
        least: Duration,
        most: Duration,
    ) -> Option<Duration> {
        let value = value?;
        let span = time::span(value).filter(|span| (least..=most).contains(span));
        if span.is_none() {
            self.wrong(field, format!("{}s is outside of {least:?} to {most:?}", time::seconds(value)));
        }
        span
    }
}
