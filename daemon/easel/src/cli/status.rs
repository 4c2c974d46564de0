//! `easel status`: how the running daemon is doing.

use std::time::{Duration, SystemTime};

use easel_sdk::proto::{self, GetStatusResponse};
use serde_json::{Value, json};

use super::session::Session;
use super::{Context, cache};
use crate::exit::Failure;
use crate::output::words;

/// Asks the running daemon; a daemon inside of this process would have nothing to tell.
pub(crate) async fn status(context: &Context) -> Result<(), Failure> {
    let session = Session::open_running(context, "`easel serve` starts one").await?;
    let status = session.client.status().await?;
    let version = session.client.version().await?;
    let output = &context.output;
    if output.is_json() {
        let mut object = as_json(&status);
        object["version"] = version.version.into();
        object["protocol_version"] = version.protocol_version.into();
        object["target"] = session.client.target().to_string().into();
        output.json(&object);
        return Ok(());
    }
    let state = if status.draining { "finishes its work and takes no more" } else { "runs" };
    output.line(&format!("easel {} {state}, at {}", version.version, session.client.target()));
    if let Some(up) = uptime(&status) {
        output.line(&format!("up for {}", words::duration(up)));
    }
    output.line(&format!("queued {}, running {}, watched by {}", status.queued, status.running, status.watchers));
    if let Some(ended) = &status.ended {
        output.line(&format!("succeeded {}, failed {}, cancelled {}", ended.succeeded, ended.failed, ended.cancelled));
    }
    if let Some(memory) = &status.memory {
        let (resident, model, held) = (memory.resident_bytes, memory.model_bytes, memory.stage_value_bytes);
        let (resident, model, held) = (words::bytes(resident), words::bytes(model), words::bytes(held));
        output.line(&format!("memory {resident}, of it models {model}, intermediate results {held}"));
    }
    if let Some(blobs) = &status.blobs {
        let bytes = words::bytes(blobs.bytes);
        output.line(&format!("files {} ({bytes}), uploads {}", blobs.count, blobs.uploads));
    }
    if let Some(store) = status.store.as_ref().filter(|store| store.durable) {
        let (bytes, quota) = (words::bytes(store.blob_bytes), words::bytes(store.quota_bytes));
        let (sessions, revisions, blobs) = (store.sessions, store.revisions, store.blobs);
        output.line(&format!("kept {sessions} sessions, {revisions} revisions, {blobs} pictures ({bytes} of {quota})"));
        if let Some(problem) = &store.problem {
            output.line(&format!("the store has a problem: {}", problem.message));
        }
    }
    let rows = status.stages.iter().map(stage_row).collect();
    let kept: Vec<_> = status.kept.iter().filter(|cache| cache.count > 0).map(cache::row).collect();
    if !kept.is_empty() {
        output.table(&cache::HEADINGS, kept);
    }
    output.table(&["stage", "health", "device", "waiting", "busy", "restarts", "works on"], rows);
    Ok(())
}

fn stage_row(stage: &proto::StageStatus) -> Vec<String> {
    vec![
        stage.name.clone(),
        words::lower(stage.health().as_str_name(), "STAGE_HEALTH_"),
        stage.device.clone(),
        stage.waiting.to_string(),
        format!("{:.0} %", stage.occupancy * 100.0),
        stage.restarts.to_string(),
        stage.generation_id.clone(),
    ]
}

fn uptime(status: &GetStatusResponse) -> Option<Duration> {
    let start = SystemTime::try_from(status.start_time?).ok()?;
    SystemTime::now().duration_since(start).ok()
}

pub(super) fn as_json(status: &GetStatusResponse) -> Value {
    let stages: Vec<_> = status
        .stages
        .iter()
        .map(|stage| {
            json!({
                "name": stage.name,
                "health": words::lower(stage.health().as_str_name(), "STAGE_HEALTH_"),
                "generation_id": stage.generation_id,
                "waiting": stage.waiting,
                "occupancy": stage.occupancy,
                "restarts": stage.restarts,
                "device": stage.device,
            })
        })
        .collect();
    let memory = status.memory.unwrap_or_default();
    let blobs = status.blobs.unwrap_or_default();
    let ended = status.ended.unwrap_or_default();
    let store = status.store.clone().unwrap_or_default();
    json!({
        "store": {
            "durable": store.durable,
            "sessions": store.sessions,
            "revisions": store.revisions,
            "generations": store.generations,
            "blobs": store.blobs,
            "blob_bytes": store.blob_bytes,
            "quota_bytes": store.quota_bytes,
            "database_bytes": store.database_bytes,
            "problem": store.problem.map(|problem| problem.message),
        },
        "running_since_s": uptime(status).map(|up| up.as_secs()),
        "draining": status.draining,
        "queued": status.queued,
        "running": status.running,
        "watchers": status.watchers,
        "previews_dropped": status.previews_dropped,
        "memory": {
            "resident_bytes": memory.resident_bytes,
            "model_bytes": memory.model_bytes,
            "stage_value_bytes": memory.stage_value_bytes,
        },
        "blobs": {"count": blobs.count, "bytes": blobs.bytes, "uploads": blobs.uploads},
        "ended": {"succeeded": ended.succeeded, "failed": ended.failed, "cancelled": ended.cancelled},
        "kept": status.kept.iter().map(cache::as_json).collect::<Vec<_>>(),
        "stages": stages,
    })
}
