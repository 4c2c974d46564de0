//! Specs and policies as the scenarios write them: the fields of the proto that the corpus uses.

use std::time::Duration;

use easel_sdk::proto::{self, image_source::Source};
use serde_json::Value;

/// A text, or nothing.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn whole(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

/// A `GenerationSpec` without the picture of `file`.
pub(crate) fn spec(told: &Value) -> proto::GenerationSpec {
    let image = told["image"]["sha256"].as_str().map(|sha256| Source::Sha256(sha256.to_owned()));
    proto::GenerationSpec {
        mode: enumeration(&told["mode"], proto::Mode::from_str_name).map_or(0, Into::into),
        model: text(&told["model"]),
        prompt: text(&told["prompt"]),
        negative_prompt: text(&told["negative_prompt"]),
        image: image.map(|source| proto::ImageSource { source: Some(source) }),
        width: whole(&told["width"]),
        height: whole(&told["height"]),
        num_inference_steps: whole(&told["num_inference_steps"]),
        guidance_scale: told["guidance_scale"].as_f64().map(|scale| scale as f32),
        seed: told["seed"].as_u64(),
        num_images: whole(&told["num_images"]),
        output_format: enumeration(&told["output_format"], proto::ImageFormat::from_str_name).map_or(0, Into::into),
        ..Default::default()
    }
}

/// A `RunPolicy`.
pub(crate) fn policy(told: &Value) -> proto::RunPolicy {
    let previews = &told["previews"];
    let seconds = told["timeout"].as_str().and_then(|text| text.trim_end_matches('s').parse::<f64>().ok());
    let timeout = seconds.and_then(|seconds| prost_types::Duration::try_from(Duration::from_secs_f64(seconds)).ok());
    proto::RunPolicy {
        previews: previews.is_object().then(|| proto::PreviewPolicy {
            kind: enumeration(&previews["kind"], proto::PreviewKind::from_str_name).map_or(0, Into::into),
            longest_edge_px: whole(&previews["longest_edge_px"]),
            format: enumeration(&previews["format"], proto::ImageFormat::from_str_name).map_or(0, Into::into),
            every_n_steps: whole(&previews["every_n_steps"]),
        }),
        priority: enumeration(&told["priority"], proto::Priority::from_str_name).map_or(0, Into::into),
        on_disconnect: enumeration(&told["on_disconnect"], proto::DisconnectPolicy::from_str_name)
            .map_or(0, Into::into),
        timeout,
        request_id: text(&told["request_id"]),
        ..Default::default()
    }
}

fn enumeration<T>(value: &Value, read: impl Fn(&str) -> Option<T>) -> Option<T> {
    value.as_str().and_then(read)
}
