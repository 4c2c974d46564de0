//! Values as words: names of the protocol without their prefixes, sizes and times as a person reads them.

use std::time::Duration;

use easel_sdk::{Code, proto};
use serde_json::{Value, json};

/// `STAGE_ENCODE_PROMPT` without `STAGE_`, in lower case.
pub(crate) fn lower(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}

/// Name of a stage.
pub(crate) fn stage(stage: proto::Stage) -> String {
    lower(stage.as_str_name(), "STAGE_")
}

/// Where a generation stands.
pub(crate) fn progress(progress: &proto::Progress) -> Value {
    json!({
        "stage": stage(progress.stage()),
        "done": progress.done,
        "total": progress.total,
        "image_index": progress.image_index,
        "fraction": progress.fraction,
    })
}

/// Time of each stage.
pub(crate) fn timings(timings: &[proto::StageTiming]) -> Value {
    let ms = |time| seconds(time).map(|seconds| seconds * 1000.0);
    let timing = |t: &proto::StageTiming| {
        json!({
            "stage": stage(t.stage()),
            "waited_ms": ms(t.waited),
            "computed_ms": ms(t.computed),
            "reused": lower(t.reused().as_str_name(), "REUSED_"),
        })
    };
    timings.iter().map(timing).collect()
}

/// A time of the protocol in seconds.
pub(crate) fn seconds(time: Option<prost_types::Duration>) -> Option<f64> {
    time.and_then(|time| Duration::try_from(time).ok()).map(|time| time.as_secs_f64())
}

/// A gRPC code as it stands in its specification.
pub(crate) fn code(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// A time: `0.25 s`, `12 s`, `3 min 5 s`, `2 h 3 min`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.2} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A number of bytes: `512 B`, `12.2 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    scaled(count, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// A number of things: `950`, `4.8 M`.
pub(crate) fn count(count: u64) -> String {
    scaled(count, 1000.0, &["", "k", "M", "G", "T"])
}

fn scaled(count: u64, base: f64, units: &[&str]) -> String {
    let mut value = count as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let text = if unit == 0 { format!("{count} {}", units[0]) } else { format!("{value:.1} {}", units[unit]) };
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_readable() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(12_800_000), "12.2 MiB");
        assert_eq!(count(4_800_000), "4.8 M");
        assert_eq!(count(7), "7");
        assert_eq!(duration(Duration::from_millis(250)), "0.25 s");
        assert_eq!(duration(Duration::from_secs(185)), "3 min 5 s");
        assert_eq!(duration(Duration::from_secs(7380)), "2 h 3 min");
    }

    #[test]
    fn names_lose_their_prefix() {
        assert_eq!(stage(proto::Stage::EncodePrompt), "encode_prompt");
    }
}
