//! `easel top`: how the running daemon is doing, drawn again and again until Ctrl-C.

use std::io::IsTerminal as _;
use std::time::Duration;

use easel_sdk::proto::GetStatusResponse;

use super::args::TopArgs;
use super::session::Session;
use super::status::as_json;
use super::{Context, Interrupt};
use crate::exit::Failure;
use crate::output::words;

/// Characters of a bar.
const BAR: usize = 30;
/// Clears the screen and goes to its first line.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Draws until Ctrl-C, or as often as `args` says.
pub(crate) async fn top(context: &Context, args: &TopArgs) -> Result<(), Failure> {
    let mut interrupt = Interrupt::take_over()?;
    let session = Session::open_running(context, "`easel serve` starts one").await?;
    let output = &context.output;
    let clears = std::io::stdout().is_terminal() && !output.is_json();
    let mut drawn = 0;
    loop {
        let status = session.client.status().await?;
        match output.is_json() {
            true => output.json(&as_json(&status)),
            false => {
                let page = page(&status, &session.client.target().to_string());
                output.line(&if clears { format!("{CLEAR}{page}") } else { page });
            }
        }
        drawn += 1;
        if args.count.is_some_and(|count| drawn >= count) {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs_f64(args.interval_s)) => {}
            () = interrupt.wait() => return Ok(()),
        }
    }
}

fn page(status: &GetStatusResponse, target: &str) -> String {
    let state = if status.draining { "finishes its work" } else { "runs" };
    let mut lines = vec![format!("easel {state} at {target}")];
    lines.push(format!(
        "queued {:>3}   running {:>3}   watched by {:>3}",
        status.queued, status.running, status.watchers
    ));
    let ended = status.ended.unwrap_or_default();
    let (succeeded, failed, cancelled) = (ended.succeeded, ended.failed, ended.cancelled);
    lines.push(format!("succeeded {succeeded}   failed {failed}   cancelled {cancelled}\n"));
    for stage in &status.stages {
        let health = words::lower(stage.health().as_str_name(), "STAGE_HEALTH_");
        let (name, share) = (&stage.name, f64::from(stage.occupancy));
        let bar = bar(share);
        let (percent, waiting, work) = (share * 100.0, stage.waiting, &stage.generation_id);
        lines.push(format!("{name:9} {bar} {percent:>3.0} %  {health:10} {waiting:>3} wait  {work}"));
    }
    let memory = status.memory.unwrap_or_default();
    let [resident, models, held] =
        [memory.resident_bytes, memory.model_bytes, memory.stage_value_bytes].map(words::bytes);
    lines.push(format!("\nmemory    {resident}, models {models}, intermediate results {held}"));
    if let Some(store) = status.store.as_ref().filter(|store| store.quota_bytes > 0) {
        let bar = bar(store.blob_bytes as f64 / store.quota_bytes as f64);
        let (bytes, quota) = (words::bytes(store.blob_bytes), words::bytes(store.quota_bytes));
        lines.push(format!("pictures  {bar} {bytes} of {quota}"));
    }
    for cache in status.kept.iter().filter(|cache| cache.hits + cache.misses > 0) {
        let kind = words::lower(cache.kind().as_str_name(), "KEPT_KIND_");
        let bar = bar(cache.hits as f64 / (cache.hits + cache.misses) as f64);
        lines.push(format!("{kind:14} {bar} {} hits, {} misses ({})", cache.hits, cache.misses, cache.model));
    }
    lines.join("\n")
}

fn bar(share: f64) -> String {
    let full = ((share.clamp(0.0, 1.0) * BAR as f64).round() as usize).min(BAR);
    format!("[{}{}]", "#".repeat(full), ".".repeat(BAR - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_has_one_width() {
        for share in [-1.0, 0.0, 0.5, 1.0, 7.0, f64::NAN] {
            assert_eq!(bar(share).len(), BAR + 2, "{share}");
        }
        assert!(bar(1.0).contains(&"#".repeat(BAR)) && !bar(0.0).contains('#'));
    }
}
