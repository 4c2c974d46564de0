//! What stands in the columns that hold JSON: forms of their own, so that a change of the runtime's types does not change
//! what older folders hold.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use easel_domain::event::{EncodedImage, EventKind, Progress, ResultImage, StageTiming, State};
use easel_domain::{BlobHash, Error, FieldViolation, ImageFormat, Reason, Rect};
use serde::{Deserialize, Serialize};

/// A numbered event without what the generation's own row says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum EventRecord {
    Accepted { position: u32 },
    Queued { position: u32 },
    Progress(Progress),
    Succeeded { images: Vec<ImageRecord>, timings: Vec<StageTiming>, total: Duration },
    Ended { state: State, error: ErrorRecord, timings: Vec<StageTiming> },
}

/// A result: its bytes are a blob.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ImageRecord {
    index: u32,
    seed: u64,
    format: ImageFormat,
    width: u32,
    height: u32,
    pub(super) hash: Option<BlobHash>,
    size: u64,
    #[serde(default)]
    changed: Option<Rect>,
}

/// How a generation ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) state: State,
    pub(super) images: Vec<ImageRecord>,
    pub(super) error: Option<ErrorRecord>,
    pub(super) timings: Vec<StageTiming>,
    pub(super) progress: Option<Progress>,
    pub(super) sequence: u64,
}

/// An error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ErrorRecord {
    reason: String,
    message: String,
    violations: Vec<(String, String)>,
    retry_after: Option<Duration>,
    resource: Option<(String, String)>,
    metadata: Vec<(String, String)>,
}

/// Kinds of resources and names of values that errors carry; one that is not here is not read back.
const KINDS: [&str; 6] = ["model", "blob", "generation", "file", "session", "revision"];
const NAMES: [&str; 2] = ["expected_offset", "incident"];

impl From<&Error> for ErrorRecord {
    fn from(error: &Error) -> Self {
        Self {
            reason: error.reason.as_str().to_owned(),
            message: error.message.clone(),
            violations: error.violations.iter().map(|v| (v.field.clone(), v.description.clone())).collect(),
            retry_after: error.retry_after,
            resource: error.resource.as_ref().map(|(kind, name)| ((*kind).to_owned(), name.clone())),
            metadata: error.metadata.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        }
    }
}

impl From<ErrorRecord> for Error {
    fn from(record: ErrorRecord) -> Self {
        let known = |list: &'static [&'static str], text: &str| list.iter().copied().find(|name| *name == text);
        let violations = record.violations.into_iter();
        Self {
            reason: Reason::from_name(&record.reason).unwrap_or(Reason::Internal),
            message: record.message,
            violations: violations.map(|(field, description)| FieldViolation { field, description }).collect(),
            retry_after: record.retry_after,
            resource: record.resource.and_then(|(kind, name)| Some((known(&KINDS, &kind)?, name))),
            metadata: record.metadata.into_iter().filter_map(|(n, value)| Some((known(&NAMES, &n)?, value))).collect(),
        }
    }
}

impl From<&ResultImage> for ImageRecord {
    fn from(made: &ResultImage) -> Self {
        let image = &made.image;
        Self {
            index: made.index,
            seed: made.seed,
            format: image.format,
            width: image.width,
            height: image.height,
            hash: image.hash,
            size: image.size_bytes,
            changed: made.changed,
        }
    }
}

impl ImageRecord {
    /// The result with its bytes, which may be missing or left out: then they are empty, and asking for the blob says why.
    pub(super) fn with(&self, bytes: Arc<[u8]>) -> ResultImage {
        let Self { index, seed, format, width, height, hash, size, changed } = *self;
        let image = EncodedImage { format, width, height, hash, size_bytes: size, bytes };
        ResultImage { index, seed, image, changed, canvas: None }
    }
}

impl EventRecord {
    pub(super) fn of(kind: &EventKind) -> Self {
        match kind {
            EventKind::Accepted(snapshot) => Self::Accepted { position: snapshot.queue_position },
            EventKind::Queued { position } => Self::Queued { position: *position },
            EventKind::Progress(progress) => Self::Progress(*progress),
            EventKind::Succeeded { images, timings, total } => Self::Succeeded {
                images: images.iter().map(ImageRecord::from).collect(),
                timings: timings.clone(),
                total: *total,
            },
            EventKind::Ended { state, error, timings } => {
                Self::Ended { state: *state, error: error.into(), timings: timings.clone() }
            }
        }
    }
}

/// Milliseconds since 1970; times before are 1970.
pub(super) fn ms(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// See [`ms`].
pub(super) fn time(ms: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
