//! How the program ends: exit codes with a meaning, and the failure that carries one.

use std::fmt;

use easel_sdk::{Code, Error, reason};

/// What an exit code means; `easel --help` says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// An error of ours, or of the machine.
    Fault = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The request is wrong and has to change.
    Request = 3,
    /// A model, a generation or a file does not exist.
    NotFound = 4,
    /// The daemon is full or about to stop: the same may succeed later.
    Busy = 5,
    /// No daemon answers, or it does not accept the token.
    Connection = 6,
    /// A stage of the daemon hung; the process ended so that its service manager starts it again.
    Stalled = 7,
    /// Another daemon runs with the same state folder or socket.
    AlreadyRunning = 8,
    /// Interrupted by Ctrl-C, or the generation was cancelled.
    Interrupted = 130,
}

/// What an exit code of the daemon says to who finds it in the service manager.
pub(crate) fn meaning(code: i32) -> Option<&'static str> {
    Some(match code {
        1 => "an error of Easel or of the machine, see the log",
        2 => "the configuration is wrong, see the log and `easel config`",
        3 => "the state folder cannot be used, see the log",
        7 => "a stage hung, and the daemon was started again",
        8 => "another daemon runs already",
        130 => "it was told twice to stop",
        _ => return None,
    })
}

/// Why the program ends without success.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Exit code.
    pub(crate) exit: Exit,
    /// One or more sentences for a person; empty when everything has been said.
    pub(crate) message: String,
    /// What the daemon said, when it was the daemon.
    pub(crate) error: Option<Error>,
}

impl Failure {
    /// A failure of this program itself.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), error: None }
    }

    /// An error of ours with its cause.
    pub(crate) fn fault(what: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self::new(Exit::Fault, format!("{what}: {cause}"))
    }

    /// Ctrl-C.
    pub(crate) fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted")
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { exit: exit_of(&error), message: error.message.clone(), error: Some(error) }
    }
}

fn exit_of(error: &Error) -> Exit {
    if error.is_connection() {
        return Exit::Connection;
    }
    if error.reason == reason::CLIENT_SETUP {
        return Exit::Usage;
    }
    match error.code {
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::AlreadyExists
        | Code::OutOfRange
        | Code::PermissionDenied => Exit::Request,
        Code::NotFound => Exit::NotFound,
        Code::ResourceExhausted | Code::Unavailable | Code::Aborted | Code::DeadlineExceeded => Exit::Busy,
        Code::Unauthenticated => Exit::Connection,
        Code::Cancelled => Exit::Interrupted,
        _ => Exit::Fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_its_exit_code() {
        let cases = [
            (Code::InvalidArgument, "INVALID_REQUEST", Exit::Request),
            (Code::FailedPrecondition, "MODEL_INVALID", Exit::Request),
            (Code::NotFound, "MODEL_NOT_FOUND", Exit::NotFound),
            (Code::ResourceExhausted, "QUEUE_FULL", Exit::Busy),
            (Code::Unavailable, "DRAINING", Exit::Busy),
            (Code::Unavailable, reason::CONNECTION_LOST, Exit::Connection),
            (Code::Unavailable, reason::CANNOT_CONNECT, Exit::Connection),
            (Code::Unauthenticated, "UNAUTHENTICATED", Exit::Connection),
            (Code::InvalidArgument, reason::CLIENT_SETUP, Exit::Usage),
            (Code::Cancelled, "CANCELLED", Exit::Interrupted),
            (Code::Internal, "ENGINE_FAULT", Exit::Fault),
            (Code::DataLoss, "DATA_LOSS", Exit::Fault),
        ];
        for (code, reason, expected) in cases {
            assert_eq!(Failure::from(Error::new(code, reason, "")).exit, expected, "{reason}");
        }
    }
}
