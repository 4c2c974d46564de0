//! The one error type that crosses rooms. Every error has a stable reason, a class that says who can mend it, and a
//! sentence for a person; the server maps reasons to gRPC codes and details.

use std::fmt;
use std::time::Duration;

/// Who can mend an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The caller: the request has to change.
    Caller,
    /// Nobody: there is no room right now, try again later.
    Capacity,
    /// The interruption was asked for (cancellation, deadline).
    Stopped,
    /// We: report it.
    Fault,
}

/// Stable reasons, for programs. [`Reason::as_str`] is what stands in `google.rpc.ErrorInfo.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Fields of the request are wrong; the violations say which.
    InvalidRequest,
    /// A picture cannot be read.
    InvalidImage,
    /// A picture is larger than the limits.
    ImageTooLarge,
    /// The model does not exist.
    ModelNotFound,
    /// The checkpoint on disk cannot be used.
    ModelInvalid,
    /// The model cannot do what is asked (mode, guidance, size).
    ModelUnsupported,
    /// The generation does not exist, or is no longer kept.
    GenerationNotFound,
    /// The blob does not exist.
    BlobNotFound,
    /// The upload does not exist; begin it first.
    UploadNotFound,
    /// The bytes of an upload do not have the hash that was announced.
    BlobHashMismatch,
    /// A chunk of an upload does not begin where the last one ended.
    UploadOffsetMismatch,
    /// The request id was used before with other content.
    RequestIdConflict,
    /// The name is taken.
    NameTaken,
    /// The call is not allowed over this connection.
    PermissionDenied,
    /// The token is missing or wrong.
    Unauthenticated,
    /// The queue is full.
    QueueFull,
    /// The memory limit would be exceeded.
    MemoryExhausted,
    /// The blob store is full.
    StoreFull,
    /// The daemon is about to stop.
    Draining,
    /// An actor is being rebuilt or has used up its restarts.
    EngineUnavailable,
    /// Somebody cancelled.
    Cancelled,
    /// The deadline passed.
    DeadlineExceeded,
    /// The last watcher went away and the policy says to stop then.
    WatcherGone,
    /// The watcher fell too far behind; it comes back with its sequence number.
    StreamLagged,
    /// A stage panicked or returned values that are not finite.
    EngineFault,
    /// Stored data is damaged.
    DataLoss,
    /// The session does not exist.
    SessionNotFound,
    /// The revision does not exist in the session.
    RevisionNotFound,
    /// The session cannot do this as it stands: nothing to undo, no picture yet.
    SessionState,
    /// A replay file cannot be used.
    ReplayInvalid,
    /// A newer live edit of the session took its place.
    Superseded,
    /// The lease of the live session ended.
    LeaseExpired,
    /// The daemon ended before the generation was done, and its policy says not to run it again.
    DaemonRestarted,
    /// The client has as many generations under way as one client may have.
    QuotaExceeded,
    /// The disk of the state folder is full.
    DiskFull,
    /// The state folder cannot be written.
    StoreReadOnly,
    /// The database of the state folder is damaged.
    StoreDamaged,
    /// The pairing does not exist: it expired, was answered already, or its code is wrong.
    PairingNotFound,
    /// No token has this name.
    TokenNotFound,
    /// The LoRA does not exist.
    LoraNotFound,
    /// The file is no LoRA, or one of a kind that is not supported.
    LoraInvalid,
    /// The LoRA was made for another model: names, ranks or shapes do not fit.
    LoraMismatch,
    /// Anything else that is our mistake.
    Internal,
}

impl Reason {
    /// Every reason, for reading them back.
    pub const ALL: [Self; 43] = [
        Self::InvalidRequest,
        Self::InvalidImage,
        Self::ImageTooLarge,
        Self::ModelNotFound,
        Self::ModelInvalid,
        Self::ModelUnsupported,
        Self::GenerationNotFound,
        Self::BlobNotFound,
        Self::UploadNotFound,
        Self::BlobHashMismatch,
        Self::UploadOffsetMismatch,
        Self::RequestIdConflict,
        Self::NameTaken,
        Self::PermissionDenied,
        Self::Unauthenticated,
        Self::QueueFull,
        Self::MemoryExhausted,
        Self::StoreFull,
        Self::Draining,
        Self::EngineUnavailable,
        Self::Cancelled,
        Self::DeadlineExceeded,
        Self::WatcherGone,
        Self::StreamLagged,
        Self::EngineFault,
        Self::DataLoss,
        Self::SessionNotFound,
        Self::RevisionNotFound,
        Self::SessionState,
        Self::ReplayInvalid,
        Self::Superseded,
        Self::LeaseExpired,
        Self::DaemonRestarted,
        Self::QuotaExceeded,
        Self::DiskFull,
        Self::StoreReadOnly,
        Self::StoreDamaged,
        Self::PairingNotFound,
        Self::TokenNotFound,
        Self::LoraNotFound,
        Self::LoraInvalid,
        Self::LoraMismatch,
        Self::Internal,
    ];

    /// The reason that is written so, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// The reason as it stands on the wire; never changes for a released reason.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "INVALID_REQUEST",
            Self::InvalidImage => "INVALID_IMAGE",
            Self::ImageTooLarge => "IMAGE_TOO_LARGE",
            Self::ModelNotFound => "MODEL_NOT_FOUND",
            Self::ModelInvalid => "MODEL_INVALID",
            Self::ModelUnsupported => "MODEL_UNSUPPORTED",
            Self::GenerationNotFound => "GENERATION_NOT_FOUND",
            Self::BlobNotFound => "BLOB_NOT_FOUND",
            Self::UploadNotFound => "UPLOAD_NOT_FOUND",
            Self::BlobHashMismatch => "BLOB_HASH_MISMATCH",
            Self::UploadOffsetMismatch => "UPLOAD_OFFSET_MISMATCH",
            Self::RequestIdConflict => "REQUEST_ID_CONFLICT",
            Self::NameTaken => "NAME_TAKEN",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::QueueFull => "QUEUE_FULL",
            Self::MemoryExhausted => "MEMORY_EXHAUSTED",
            Self::StoreFull => "STORE_FULL",
            Self::Draining => "DRAINING",
            Self::EngineUnavailable => "ENGINE_UNAVAILABLE",
            Self::Cancelled => "CANCELLED",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::WatcherGone => "WATCHER_GONE",
            Self::StreamLagged => "STREAM_LAGGED",
            Self::EngineFault => "ENGINE_FAULT",
            Self::DataLoss => "DATA_LOSS",
            Self::SessionNotFound => "SESSION_NOT_FOUND",
            Self::RevisionNotFound => "REVISION_NOT_FOUND",
            Self::SessionState => "SESSION_STATE",
            Self::ReplayInvalid => "REPLAY_INVALID",
            Self::Superseded => "SUPERSEDED",
            Self::LeaseExpired => "LEASE_EXPIRED",
            Self::DaemonRestarted => "DAEMON_RESTARTED",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
            Self::DiskFull => "DISK_FULL",
            Self::StoreReadOnly => "STORE_READ_ONLY",
            Self::StoreDamaged => "STORE_DAMAGED",
            Self::PairingNotFound => "PAIRING_NOT_FOUND",
            Self::TokenNotFound => "TOKEN_NOT_FOUND",
            Self::LoraNotFound => "LORA_NOT_FOUND",
            Self::LoraInvalid => "LORA_INVALID",
            Self::LoraMismatch => "LORA_MISMATCH",
            Self::Internal => "INTERNAL",
        }
    }

    /// Who can mend it.
    pub fn class(self) -> Class {
        match self {
            Self::QueueFull
            | Self::MemoryExhausted
            | Self::StoreFull
            | Self::Draining
            | Self::EngineUnavailable
            | Self::QuotaExceeded
            | Self::DiskFull
            | Self::StoreReadOnly
            | Self::StreamLagged => Class::Capacity,
            Self::Cancelled
            | Self::DeadlineExceeded
            | Self::WatcherGone
            | Self::Superseded
            | Self::LeaseExpired
            | Self::DaemonRestarted => Class::Stopped,
            Self::EngineFault | Self::DataLoss | Self::StoreDamaged | Self::Internal => Class::Fault,
            _ => Class::Caller,
        }
    }
}

/// One wrong field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field as in the proto, for example `spec.prompt` or `spec.sigmas[2]`.
    pub field: String,
    /// What is wrong and what would be right; lower case, without a full stop.
    pub description: String,
}

/// An error with everything that a client needs to mend it.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// Stable reason, for programs.
    pub reason: Reason,
    /// What happened and how to mend it; lower case, without a full stop.
    pub message: String,
    /// Wrong fields, all of them at once.
    pub violations: Vec<FieldViolation>,
    /// When to try again, where that helps.
    pub retry_after: Option<Duration>,
    /// What the error is about: kind ("model", "blob", "generation", "file") and name.
    pub resource: Option<(&'static str, String)>,
    /// Values that a program needs to mend it, by their names, for example `expected_offset`.
    pub metadata: Vec<(&'static str, String)>,
}

impl Error {
    /// An error without details.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            violations: Vec::new(),
            retry_after: None,
            resource: None,
            metadata: Vec::new(),
        }
    }

    /// One wrong field.
    pub fn field(reason: Reason, field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::fields(reason, vec![FieldViolation { field: field.into(), description: description.into() }])
    }

    /// Several wrong fields; the message joins them. `violations` must not be empty.
    pub fn fields(reason: Reason, violations: Vec<FieldViolation>) -> Self {
        let sentences: Vec<_> = violations.iter().map(|v| format!("{}: {}", v.field, v.description)).collect();
        Self { violations, ..Self::new(reason, sentences.join("; ")) }
    }

    /// What is wrong, without the name of a field.
    pub fn description(&self) -> &str {
        self.violations.first().map_or(&self.message, |wrong| &wrong.description)
    }

    /// The same mistake of a caller under the name of the field that it was made in; other errors stay as they are.
    #[must_use]
    pub fn in_field(self, field: &str) -> Self {
        let known = self.violations.first().is_some_and(|wrong| wrong.field == field);
        if known || self.reason.class() != Class::Caller {
            return self;
        }
        Self::field(self.reason, field, self.description())
    }

    /// Adds what the error is about.
    #[must_use]
    pub fn about(mut self, kind: &'static str, name: impl Into<String>) -> Self {
        self.resource = Some((kind, name.into()));
        self
    }

    /// Adds a value for programs.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.metadata.push((name, value.to_string()));
        self
    }

    /// Adds when to try again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
