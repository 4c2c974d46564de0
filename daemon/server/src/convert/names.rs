//! The enums of the domain and those of the protocol, value by value.

use easel_domain::event::{Stage, State};
use easel_domain::{
    ColorMatch, DisconnectPolicy, ImageFormat, KeptKind, Mode, Pipeline, PreviewKind, Priority, RestartPolicy, Reused,
    SelectionResult,
};
use easel_proto::v1;

/// `UNSPECIFIED` is `None`: edit when there is a picture.
pub(crate) fn mode(wire: v1::Mode) -> Option<Mode> {
    match wire {
        v1::Mode::Unspecified => None,
        v1::Mode::Generate => Some(Mode::Generate),
        v1::Mode::Edit => Some(Mode::Edit),
    }
}

/// See [`mode`].
pub(crate) fn wire_mode(mode: Mode) -> v1::Mode {
    match mode {
        Mode::Generate => v1::Mode::Generate,
        Mode::Edit => v1::Mode::Edit,
    }
}

/// `UNSPECIFIED` is interactive.
pub(crate) fn priority(wire: v1::Priority) -> Priority {
    match wire {
        v1::Priority::Live => Priority::Live,
        v1::Priority::Unspecified | v1::Priority::Interactive => Priority::Interactive,
        v1::Priority::Batch => Priority::Batch,
    }
}

/// `UNSPECIFIED` is what the call says.
pub(crate) fn on_disconnect(wire: v1::DisconnectPolicy, default: DisconnectPolicy) -> DisconnectPolicy {
    match wire {
        v1::DisconnectPolicy::Unspecified => default,
        v1::DisconnectPolicy::Cancel => DisconnectPolicy::Cancel,
        v1::DisconnectPolicy::Keep => DisconnectPolicy::Keep,
    }
}

/// `UNSPECIFIED` is what suits the urgency: a live picture is worth nothing later.
pub(crate) fn on_restart(wire: v1::RestartPolicy, priority: Priority) -> RestartPolicy {
    match wire {
        v1::RestartPolicy::Unspecified if priority == Priority::Live => RestartPolicy::Fail,
        v1::RestartPolicy::Unspecified | v1::RestartPolicy::Rerun => RestartPolicy::Rerun,
        v1::RestartPolicy::Fail => RestartPolicy::Fail,
    }
}

/// `UNSPECIFIED` is off.
pub(crate) fn preview_kind(wire: v1::PreviewKind) -> Option<PreviewKind> {
    match wire {
        v1::PreviewKind::Unspecified | v1::PreviewKind::Off => None,
        v1::PreviewKind::Projection => Some(PreviewKind::Projection),
        v1::PreviewKind::Decoded => Some(PreviewKind::Decoded),
    }
}

/// See [`preview_kind`].
pub(crate) fn wire_preview_kind(kind: PreviewKind) -> v1::PreviewKind {
    match kind {
        PreviewKind::Projection => v1::PreviewKind::Projection,
        PreviewKind::Decoded => v1::PreviewKind::Decoded,
    }
}

/// `UNSPECIFIED` is PNG for results and JPEG for previews.
pub(crate) fn format(wire: v1::ImageFormat, default: ImageFormat) -> ImageFormat {
    match wire {
        // Raw pixels are refused where they are read.
        v1::ImageFormat::Unspecified | v1::ImageFormat::Raw => default,
        v1::ImageFormat::Png => ImageFormat::Png,
        v1::ImageFormat::Jpeg => ImageFormat::Jpeg,
        v1::ImageFormat::Webp => ImageFormat::WebP,
        v1::ImageFormat::Tiff => ImageFormat::Tiff,
    }
}

/// See [`format`].
pub(crate) fn wire_format(format: ImageFormat) -> v1::ImageFormat {
    match format {
        ImageFormat::Png => v1::ImageFormat::Png,
        ImageFormat::Jpeg => v1::ImageFormat::Jpeg,
        ImageFormat::WebP => v1::ImageFormat::Webp,
        ImageFormat::Tiff => v1::ImageFormat::Tiff,
    }
}

/// `UNSPECIFIED` is no state.
pub(crate) fn state(wire: v1::GenerationState) -> Option<State> {
    match wire {
        v1::GenerationState::Unspecified => None,
        v1::GenerationState::Queued => Some(State::Queued),
        v1::GenerationState::Running => Some(State::Running),
        v1::GenerationState::Succeeded => Some(State::Succeeded),
        v1::GenerationState::Failed => Some(State::Failed),
        v1::GenerationState::Cancelled => Some(State::Cancelled),
    }
}

/// See [`state`].
pub(crate) fn wire_state(state: State) -> v1::GenerationState {
    match state {
        State::Queued => v1::GenerationState::Queued,
        State::Running => v1::GenerationState::Running,
        State::Succeeded => v1::GenerationState::Succeeded,
        State::Failed => v1::GenerationState::Failed,
        State::Cancelled => v1::GenerationState::Cancelled,
    }
}

/// Stages go out only.
pub(crate) fn wire_stage(stage: Stage) -> v1::Stage {
    match stage {
        Stage::EncodePrompt => v1::Stage::EncodePrompt,
        Stage::EncodeImage => v1::Stage::EncodeImage,
        Stage::Denoise => v1::Stage::Denoise,
        Stage::Decode => v1::Stage::Decode,
        Stage::Finish => v1::Stage::Finish,
        Stage::Preview => v1::Stage::Preview,
    }
}

/// Goes out only.
pub(crate) fn wire_reused(reused: Reused) -> v1::Reused {
    match reused {
        Reused::Nothing => v1::Reused::Nothing,
        Reused::Part => v1::Reused::Part,
        Reused::All => v1::Reused::All,
    }
}

/// Goes out only.
pub(crate) fn wire_kept_kind(kind: KeptKind) -> v1::KeptKind {
    match kind {
        KeptKind::Prefix => v1::KeptKind::Prefix,
        KeptKind::PromptEmbeds => v1::KeptKind::PromptEmbeds,
        KeptKind::ImageLatents => v1::KeptKind::ImageLatents,
    }
}

/// Pipelines go out only.
pub(crate) fn wire_pipeline(pipeline: Pipeline) -> v1::Pipeline {
    match pipeline {
        Pipeline::Mobile => v1::Pipeline::Mobile,
        Pipeline::Base => v1::Pipeline::Base,
    }
}

/// Without one the settings say.
pub(crate) fn provenance(wire: v1::Provenance) -> Option<bool> {
    match wire {
        v1::Provenance::Unspecified => None,
        v1::Provenance::Embed => Some(true),
        v1::Provenance::Off => Some(false),
    }
}

/// See [`provenance`].
pub(crate) fn wire_provenance(embedded: bool) -> v1::Provenance {
    if embedded { v1::Provenance::Embed } else { v1::Provenance::Off }
}

/// Without one colours stay as drawn.
pub(crate) fn color_match(wire: v1::ColorMatch) -> ColorMatch {
    match wire {
        v1::ColorMatch::Unspecified | v1::ColorMatch::None => ColorMatch::None,
        v1::ColorMatch::Linear => ColorMatch::Linear,
        v1::ColorMatch::Perceptual => ColorMatch::Perceptual,
    }
}

/// See [`color_match`].
pub(crate) fn wire_color_match(color_match: ColorMatch) -> v1::ColorMatch {
    match color_match {
        ColorMatch::None => v1::ColorMatch::Unspecified,
        ColorMatch::Linear => v1::ColorMatch::Linear,
        ColorMatch::Perceptual => v1::ColorMatch::Perceptual,
    }
}

/// Without one the answer carries the canvas.
pub(crate) fn selection_result(wire: v1::SelectionResult) -> SelectionResult {
    match wire {
        v1::SelectionResult::Unspecified | v1::SelectionResult::Canvas => SelectionResult::Canvas,
        v1::SelectionResult::Layer => SelectionResult::Layer,
    }
}

/// See [`selection_result`].
pub(crate) fn wire_selection_result(result: SelectionResult) -> v1::SelectionResult {
    match result {
        SelectionResult::Canvas => v1::SelectionResult::Unspecified,
        SelectionResult::Layer => v1::SelectionResult::Layer,
    }
}
