//! What the daemon tells about itself.

use easel_domain::engine::DeviceKind;
use easel_domain::{BlobHash, KeptCache, KeptEntry, limits};
use easel_proto::v1;
use easel_runtime::{RuntimeStatus, StageHealth, StageStatus, StoreStatus};

use super::{names, time};
use crate::status::generation_error;

/// Every number that bounds a request.
pub(crate) fn wire_limits(max_queued_generations: usize) -> v1::Limits {
    v1::Limits {
        max_prompt_bytes: count(limits::MAX_PROMPT_BYTES),
        max_edge_px: limits::MAX_EDGE_PX,
        max_output_pixels: limits::MAX_OUTPUT_PIXELS,
        max_source_pixels: limits::MAX_SOURCE_PIXELS,
        max_inline_image_bytes: count(limits::MAX_INLINE_IMAGE_BYTES),
        max_blob_bytes: limits::MAX_BLOB_BYTES,
        max_chunk_bytes: count(limits::MAX_CHUNK_BYTES),
        max_num_inference_steps: limits::MAX_NUM_INFERENCE_STEPS,
        max_guidance_scale: limits::MAX_GUIDANCE_SCALE,
        max_num_images: limits::MAX_NUM_IMAGES,
        max_queued_generations: count(max_queued_generations),
        max_poll_wait: Some(time::duration(limits::MAX_POLL_WAIT)),
        generation_retention: Some(time::duration(limits::GENERATION_RETENTION)),
        size_multiple_px: limits::SIZE_MULTIPLE_PX,
        max_session_name_bytes: count(limits::MAX_SESSION_NAME_BYTES),
        max_session_revisions: limits::MAX_REVISIONS,
        max_session_viewers: count(limits::MAX_SESSION_VIEWERS),
        live_lease: Some(time::duration(limits::LIVE_LEASE)),
        max_client_generations: count(limits::MAX_CLIENT_GENERATIONS),
    }
}

/// The runtime as it stands, and what its models keep.
pub(crate) fn wire_status(status: &RuntimeStatus, kept: &[KeptCache]) -> v1::GetStatusResponse {
    v1::GetStatusResponse {
        start_time: Some(time::timestamp(status.start_time)),
        draining: status.draining,
        queued: status.queued,
        running: status.running,
        stages: status.stages.iter().map(wire_stage).collect(),
        memory: Some(v1::MemoryStatus {
            resident_bytes: status.memory.resident_bytes,
            model_bytes: status.memory.model_bytes,
            stage_value_bytes: status.memory.stage_value_bytes,
        }),
        watchers: status.watchers,
        blobs: Some(v1::BlobStatus {
            count: status.blobs.count,
            bytes: status.blobs.bytes,
            uploads: status.blobs.uploads,
        }),
        previews_dropped: status.previews_dropped,
        store: Some(store(&status.store)),
        ended: Some(v1::EndCounts {
            succeeded: status.ended.succeeded,
            failed: status.ended.failed,
            cancelled: status.ended.cancelled,
        }),
        kept: kept.iter().map(|cache| v1::KeptCache { entries: Vec::new(), ..wire_kept(cache) }).collect(),
    }
}

/// What a model keeps of one sort.
pub(crate) fn wire_kept(cache: &KeptCache) -> v1::KeptCache {
    v1::KeptCache {
        model: cache.model.clone(),
        kind: names::wire_kept_kind(cache.kind).into(),
        count: count(cache.entries.len()),
        bytes: cache.bytes(),
        limit_bytes: cache.limit_bytes,
        hits: cache.hits,
        misses: cache.misses,
        entries: cache.entries.iter().map(wire_kept_entry).collect(),
    }
}

fn wire_kept_entry(entry: &KeptEntry) -> v1::KeptEntry {
    let (width, height) = entry.size.map_or((0, 0), |size| (size.width, size.height));
    v1::KeptEntry {
        bytes: entry.bytes,
        uses: entry.uses,
        idle: Some(time::duration(entry.idle)),
        picture_sha256: entry.picture.map(|hash| BlobHash(hash).to_string()).unwrap_or_default(),
        width,
        height,
    }
}

fn wire_stage(stage: &StageStatus) -> v1::StageStatus {
    let health = match stage.health {
        StageHealth::Ready => v1::StageHealth::Ready,
        StageHealth::Restarting => v1::StageHealth::Restarting,
        StageHealth::Failed => v1::StageHealth::Failed,
    };
    let device = match stage.device {
        DeviceKind::Cpu => "cpu",
        DeviceKind::Metal => "metal",
    };
    v1::StageStatus {
        name: stage.name.to_owned(),
        health: health.into(),
        generation_id: stage.generation.as_ref().map(ToString::to_string).unwrap_or_default(),
        waiting: stage.waiting,
        occupancy: stage.occupancy,
        restarts: stage.restarts,
        device: device.to_owned(),
    }
}

fn store(store: &StoreStatus) -> v1::StoreStatus {
    v1::StoreStatus {
        durable: store.durable,
        sessions: store.sessions,
        revisions: store.revisions,
        generations: store.generations,
        blobs: store.blobs,
        blob_bytes: store.blob_bytes,
        quota_bytes: store.quota_bytes,
        database_bytes: store.database_bytes,
        problem: store.problem.as_ref().map(generation_error),
    }
}

/// A number of things; more than the protocol can write is as many as it can.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
