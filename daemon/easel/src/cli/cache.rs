//! `easel cache`: what the loaded models keep between generations.

use easel_sdk::proto::{self, KeptCache};
use serde_json::{Value, json};

use super::Context;
use super::args::CacheAction;
use super::session::Session;
use crate::exit::Failure;
use crate::output::words;

/// Lists or clears what the running daemon keeps; a daemon inside of this process would keep nothing.
pub(crate) async fn cache(context: &Context, action: Option<CacheAction>) -> Result<(), Failure> {
    let session = Session::open_running(context, "`easel serve` starts one").await?;
    let output = &context.output;
    if let Some(CacheAction::Clear { model }) = action {
        let freed = session.client.clear_kept(model).await?;
        match output.is_json() {
            true => output.json(&json!({"freed_bytes": freed})),
            false => output.line(&format!("freed {}", words::bytes(freed))),
        }
        return Ok(());
    }
    let caches = session.client.kept().await?;
    if output.is_json() {
        caches.iter().for_each(|cache| output.json(&as_json(cache)));
        return Ok(());
    }
    output.table(&HEADINGS, caches.iter().map(row).collect());
    Ok(())
}

pub(super) const HEADINGS: [&str; 6] = ["model", "kept", "number", "size", "of", "hits"];

/// A cache as a row below [`HEADINGS`].
pub(super) fn row(cache: &KeptCache) -> Vec<String> {
    vec![
        cache.model.clone(),
        kind(cache.kind()),
        cache.count.to_string(),
        words::bytes(cache.bytes),
        words::bytes(cache.limit_bytes),
        format!("{} of {}", cache.hits, cache.hits + cache.misses),
    ]
}

fn kind(kind: proto::KeptKind) -> String {
    words::lower(kind.as_str_name(), "KEPT_KIND_")
}

/// A cache with its entries.
pub(super) fn as_json(cache: &KeptCache) -> Value {
    let entries: Vec<_> = cache
        .entries
        .iter()
        .map(|entry| {
            json!({
                "bytes": entry.bytes,
                "uses": entry.uses,
                "idle_s": words::seconds(entry.idle),
                "picture_sha256": entry.picture_sha256,
                "width": entry.width,
                "height": entry.height,
            })
        })
        .collect();
    json!({
        "model": cache.model,
        "kind": kind(cache.kind()),
        "count": cache.count,
        "bytes": cache.bytes,
        "limit_bytes": cache.limit_bytes,
        "hits": cache.hits,
        "misses": cache.misses,
        "entries": entries,
    })
}
