//! Lines for the journal of systemd: it knows the time of each, and reads its level from a number in front.

use std::fmt;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The usual lines behind the number of their level, see sd-daemon(3).
pub(super) struct Journal(Format<Full, ()>);

impl Journal {
    pub(super) fn new() -> Self {
        Self(Format::default().without_time().with_level(false).with_ansi(false))
    }
}

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let number = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{number}>")?;
        self.0.format_event(context, writer, event)
    }
}

/// Whether standard error is the stream that JOURNAL_STREAM names, as `device:inode`. Somebody may have sent it elsewhere since.
pub(super) fn is_standard_error(stream: Option<&str>) -> bool {
    let Some(stream) = stream else { return false };
    let own = std::io::stderr().as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
    own.is_ok_and(|own| format!("{}:{}", own.dev(), own.ino()) == stream)
}
