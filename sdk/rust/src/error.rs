//! The one error of this client: what the daemon said, decoded from the status and its `google.rpc` details, or what
//! happened on the way to it.

mod details;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use easel_proto::v1;
use tonic::{Code, Status};

/// Reasons that this client gives itself; all others come from the daemon.
pub mod reason {
    /// No daemon answers at the given place.
    pub const CANNOT_CONNECT: &str = "CANNOT_CONNECT";
    /// The connection broke and could not be taken up again.
    pub const CONNECTION_LOST: &str = "CONNECTION_LOST";
    /// The daemon sent something that the protocol does not allow.
    pub const PROTOCOL_VIOLATED: &str = "PROTOCOL_VIOLATED";
    /// Something on this side is wrong: an address, a token, a discovery file.
    pub const CLIENT_SETUP: &str = "CLIENT_SETUP";
    /// The answer came from something that is not an Easel daemon, or from one that gave no reason.
    pub const UNKNOWN: &str = "UNKNOWN";
}

/// One wrong field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field as in the proto, for example `spec.prompt`.
    pub field: String,
    /// What is wrong and what would be right.
    pub description: String,
}

/// What an error is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Kind: "model", "blob", "generation" or "file".
    pub kind: String,
    /// Name.
    pub name: String,
}

/// What went wrong, for programs and for persons; its fields are those of [`Problem`].
#[derive(Clone, Debug, PartialEq)]
pub struct Error(Box<Problem>);

/// The parts of an [`Error`].
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// gRPC status code.
    pub code: Code,
    /// Stable reason, for programs: from `google.rpc.ErrorInfo`, or one of [`reason`].
    pub reason: String,
    /// What happened and how to mend it, for a person.
    pub message: String,
    /// Wrong fields, all of them at once.
    pub violations: Vec<FieldViolation>,
    /// Try again after this time, where that helps.
    pub retry_after: Option<Duration>,
    /// What the error is about, where it is about one thing.
    pub resource: Option<Resource>,
    /// Further facts of the reason, by name.
    pub metadata: BTreeMap<String, String>,
}

impl Error {
    /// An error with a reason and a message and no details.
    pub fn new(code: Code, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Box::new(Problem {
            code,
            reason: reason.into(),
            message: message.into(),
            violations: Vec::new(),
            retry_after: None,
            resource: None,
            metadata: BTreeMap::new(),
        }))
    }

    /// True when no daemon could be reached, or the connection to it was lost for good.
    pub fn is_connection(&self) -> bool {
        self.reason == reason::CANNOT_CONNECT || self.reason == reason::CONNECTION_LOST
    }

    /// True when the same request may succeed later: the daemon is full, about to stop or rebuilding a part of itself.
    pub fn is_busy(&self) -> bool {
        !self.is_connection() && matches!(self.code, Code::ResourceExhausted | Code::Unavailable)
    }

    pub(crate) fn cannot_connect(place: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self::new(Code::Unavailable, reason::CANNOT_CONNECT, format!("no daemon answers at {place}: {cause}"))
    }

    pub(crate) fn setup(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, reason::CLIENT_SETUP, message)
    }

    pub(crate) fn protocol(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, reason::PROTOCOL_VIOLATED, message)
    }
}

impl Deref for Error {
    type Target = Problem;

    fn deref(&self) -> &Problem {
        &self.0
    }
}

impl DerefMut for Error {
    fn deref_mut(&mut self) -> &mut Problem {
        &mut self.0
    }
}

impl From<v1::GenerationError> for Error {
    /// The error in an event that ends a generation, or of a generation as it stands.
    fn from(error: v1::GenerationError) -> Self {
        let mut own = Self::new(Code::from_i32(error.code), error.reason, error.message);
        own.retry_after = error.retry_after.and_then(|wait| Duration::try_from(wait).ok());
        let violation = |v: v1::FieldViolation| FieldViolation { field: v.field, description: v.description };
        own.violations = error.violations.into_iter().map(violation).collect();
        if !error.resource_name.is_empty() {
            own.resource = Some(Resource { kind: error.resource_type, name: error.resource_name });
        }
        own.metadata = error.metadata.into_iter().collect();
        own
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        // Only a status that was made on this side has a source: the transport failed, the daemon said nothing.
        if let Some(source) = status.source() {
            let mut cause: &dyn std::error::Error = source;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            return Self::new(Code::Unavailable, reason::CONNECTION_LOST, format!("the connection was lost: {cause}"));
        }
        let mut error = Self::new(status.code(), reason::UNKNOWN, status.message());
        details::decode(status.details(), &mut error);
        if error.message.is_empty() {
            error.message = error.code.description().to_owned();
        }
        error
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
