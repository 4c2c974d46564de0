//! What the runtime tells about a generation, on its way out.

use std::time::SystemTime;

use easel_domain::crop::TilePlan;
use easel_domain::event::{
    CancelOutcome, Event, EventKind, Preview, Progress, ResultImage, Snapshot, Stage, StageTiming, Watched,
};
use easel_domain::{GenerationId, Mode, Plan, PlannedLora};
use easel_proto::v1;
use easel_proto::v1::generation_event::Event as WireEvent;

use super::{InlineBudget, names, selection, time};
use crate::status::generation_error;

/// What stands before the digits of a model's hash.
pub(super) const MODEL_HASH_PREFIX: &str = "sha256:";

/// What a watcher is given next. `id` is the generation that is watched.
pub(crate) fn watched(id: &GenerationId, watched: &Watched) -> v1::GenerationEvent {
    let mut budget = InlineBudget::one_answer();
    match watched {
        Watched::Event(state) => event(id, state, &mut budget),
        Watched::Preview(newest) => v1::GenerationEvent {
            sequence: 0,
            generation_id: id.to_string(),
            time: Some(time::timestamp(SystemTime::now())),
            event: Some(WireEvent::Preview(preview(newest, &mut budget))),
        },
        Watched::Snapshot(state) => snapshot_event(state, &mut budget),
    }
}

/// A state event.
pub(crate) fn event(id: &GenerationId, event: &Event, budget: &mut InlineBudget) -> v1::GenerationEvent {
    let kind = match &event.kind {
        EventKind::Accepted(state) => WireEvent::Accepted(v1::Accepted { generation: Some(generation(state, budget)) }),
        EventKind::Queued { position } => WireEvent::Queued(v1::Queued { position: *position }),
        EventKind::Progress(at) => WireEvent::Progress(v1::StageProgress { progress: Some(progress(at)) }),
        EventKind::Succeeded { images: made, timings: times, total } => WireEvent::Succeeded(v1::Succeeded {
            images: images(made, budget),
            timings: timings(times),
            total: Some(time::duration(*total)),
        }),
        EventKind::Ended { state, error, timings: times } => WireEvent::Ended(v1::Ended {
            state: names::wire_state(*state).into(),
            error: Some(generation_error(error)),
            timings: timings(times),
        }),
    };
    v1::GenerationEvent {
        sequence: event.sequence,
        generation_id: id.to_string(),
        time: Some(time::timestamp(event.time)),
        event: Some(kind),
    }
}

/// The event in place of those that are no longer kept: it stands for all up to the snapshot's own number.
pub(crate) fn snapshot_event(state: &Snapshot, budget: &mut InlineBudget) -> v1::GenerationEvent {
    v1::GenerationEvent {
        sequence: state.sequence,
        generation_id: state.id.to_string(),
        time: Some(time::timestamp(SystemTime::now())),
        event: Some(WireEvent::Snapshot(v1::Snapshot { generation: Some(generation(state, budget)) })),
    }
}

/// A generation as it stands.
pub(crate) fn generation(state: &Snapshot, budget: &mut InlineBudget) -> v1::Generation {
    v1::Generation {
        id: state.id.to_string(),
        state: names::wire_state(state.state).into(),
        resolved: Some(resolved(&state.plan)),
        sequence: state.sequence,
        queue_position: state.queue_position,
        progress: state.progress.as_ref().map(progress),
        images: images(&state.images, budget),
        error: state.error.as_ref().map(generation_error),
        timings: timings(&state.timings),
        create_time: Some(time::timestamp(state.create_time)),
        end_time: state.end_time.map(time::timestamp),
        request_id: state.request_id.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default(),
    }
}

/// A preview with its picture.
pub(crate) fn preview(preview: &Preview, budget: &mut InlineBudget) -> v1::Preview {
    v1::Preview {
        number: preview.number,
        image_index: preview.image_index,
        step: preview.step,
        epoch: preview.epoch,
        image: Some(budget.preview(&preview.image)),
        kind: names::wire_preview_kind(preview.kind).into(),
    }
}

/// What a cancellation found.
pub(crate) fn cancelled(outcome: CancelOutcome) -> v1::CancelGenerationResponse {
    let (outcome, at) = match outcome {
        CancelOutcome::WasQueued => (v1::CancelOutcome::WasQueued, None),
        CancelOutcome::WasRunning(at) => (v1::CancelOutcome::WasRunning, at),
        CancelOutcome::WasFinished => (v1::CancelOutcome::WasFinished, None),
    };
    v1::CancelGenerationResponse { outcome: outcome.into(), at: at.as_ref().map(progress) }
}

/// What was resolved.
pub(crate) fn resolved(plan: &Plan) -> v1::Resolved {
    let edit = plan.mode == Mode::Edit;
    v1::Resolved {
        mode: names::wire_mode(plan.mode).into(),
        model: plan.model.clone(),
        seed: plan.seed,
        seeds: plan.seeds.clone(),
        working_width: plan.working.width,
        working_height: plan.working.height,
        width: plan.output.width,
        height: plan.output.height,
        num_inference_steps: plan.steps,
        sigmas: plan.sigmas.clone(),
        guidance_scale: plan.guidance.map(|guidance| guidance.guidance_scale),
        image_guidance_scale: plan.guidance.filter(|_| edit).map(|guidance| guidance.image_guidance_scale),
        num_images: plan.num_images,
        output_format: names::wire_format(plan.output_format).into(),
        stages: stages(edit).map(|stage| names::wire_stage(stage).into()).collect(),
        notes: plan.notes.clone(),
        loras: plan.loras.iter().map(planned_lora).collect(),
        model_hash: plan.model_sha256.map(|hash| format!("{MODEL_HASH_PREFIX}{hash}")).unwrap_or_default(),
        provenance: names::wire_provenance(plan.provenance).into(),
        crop: plan.crop.map(selection::wire_rect),
        tiles: plan.tiles.iter().flat_map(TilePlan::rects).map(selection::wire_rect).collect(),
        ..v1::Resolved::default()
    }
}

fn planned_lora(lora: &PlannedLora) -> v1::ResolvedLora {
    v1::ResolvedLora {
        name: lora.name.clone().unwrap_or_default(),
        sha256: lora.sha256.to_string(),
        weight: lora.weight,
    }
}

/// The stages of a generation in the order of their beginning.
fn stages(edit: bool) -> impl Iterator<Item = Stage> {
    let all = [Stage::EncodePrompt, Stage::EncodeImage, Stage::Denoise, Stage::Decode, Stage::Finish];
    all.into_iter().filter(move |stage| edit || *stage != Stage::EncodeImage)
}

fn progress(progress: &Progress) -> v1::Progress {
    v1::Progress {
        stage: names::wire_stage(progress.stage).into(),
        done: progress.done,
        total: progress.total,
        image_index: progress.image_index,
        fraction: progress.fraction,
    }
}

fn images(images: &[ResultImage], budget: &mut InlineBudget) -> Vec<v1::ResultImage> {
    let mut wire = |made: &ResultImage| v1::ResultImage {
        index: made.index,
        seed: made.seed,
        image: Some(budget.result(&made.image)),
        changed: made.changed.map(selection::wire_rect),
        ..v1::ResultImage::default()
    };
    images.iter().map(&mut wire).collect()
}

/// Time of each stage.
pub(crate) fn timings(timings: &[StageTiming]) -> Vec<v1::StageTiming> {
    let wire = |timing: &StageTiming| v1::StageTiming {
        stage: names::wire_stage(timing.stage).into(),
        waited: Some(time::duration(timing.waited)),
        computed: Some(time::duration(timing.computed)),
        reused: names::wire_reused(timing.reused).into(),
    };
    timings.iter().map(wire).collect()
}
