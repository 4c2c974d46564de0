//! Tests of resolving: defaults, rounding, and that every wrong field is named.

use super::*;
use crate::{BlobHash, LoraUse, Pipeline};

fn model() -> ModelInfo {
    ModelInfo {
        name: "test".into(),
        description: String::new(),
        demonstration: false,
        license: String::new(),
        pipeline: Pipeline::Mobile,
        native: Size { width: 128, height: 128 },
        min_edge_px: 64,
        max_edge_px: 512,
        default_steps: 4,
        guidance: None,
        parameters: 0,
        file_bytes: 0,
        loaded_bytes: 0,
        precisions: crate::Precisions::default(),
        weights_sha256: None,
        fallback_layers: Vec::new(),
    }
}

fn request() -> GenerationRequest {
    GenerationRequest {
        mode: None,
        model: None,
        prompt: "a red circle".into(),
        negative_prompt: String::new(),
        image: None,
        selection: None,
        tiling: None,
        width: None,
        height: None,
        num_inference_steps: None,
        sigmas: Vec::new(),
        guidance_scale: None,
        image_guidance_scale: None,
        loras: Vec::new(),
        seed: None,
        seeds: Vec::new(),
        num_images: None,
        output_format: ImageFormat::Png,
        provenance: None,
    }
}

fn fields(error: &Error) -> Vec<&str> {
    error.violations.iter().map(|v| v.field.as_str()).collect()
}

#[test]
fn defaults_are_the_models() {
    let plan = resolve(&request(), &model(), None, 7).unwrap();
    assert_eq!((plan.mode, plan.seed, plan.steps, plan.num_images), (Mode::Generate, 7, 4, 1));
    assert_eq!(plan.working, Size { width: 128, height: 128 });
    assert!(plan.notes.is_empty());
}

#[test]
fn an_edit_keeps_the_sources_size_and_works_in_the_native_area() {
    let asked = GenerationRequest { image: Some(BlobHash([0; 32])), ..request() };
    let source = Size { width: 640, height: 320 };
    let plan = resolve(&asked, &model(), Some(source.into()), 0).unwrap();
    assert_eq!(plan.mode, Mode::Edit);
    assert_eq!(plan.output, source);
    assert_eq!(plan.working, Size { width: 176, height: 96 });
    assert_eq!(plan.notes.len(), 1);
}

#[test]
fn given_sizes_are_rounded_and_noted() {
    let asked = GenerationRequest { width: Some(250), height: Some(180), ..request() };
    let plan = resolve(&asked, &model(), None, 0).unwrap();
    assert_eq!(plan.output, Size { width: 256, height: 176 });
    assert!(plan.notes[0].contains("250x180 was rounded to 256x176"));
}

#[test]
fn every_wrong_field_is_named_at_once() {
    let asked = GenerationRequest {
        prompt: " ".into(),
        width: Some(7),
        height: Some(100_000),
        guidance_scale: Some(f32::NAN),
        image_guidance_scale: Some(-1.0),
        num_inference_steps: Some(0),
        num_images: Some(17),
        ..request()
    };
    let error = resolve(&asked, &model(), None, 0).unwrap_err();
    assert_eq!(error.reason, Reason::InvalidRequest);
    let expected = [
        "spec.prompt",
        "spec.num_inference_steps",
        "spec.guidance_scale",
        "spec.image_guidance_scale",
        "spec.num_images",
        "spec.width",
        "spec.height",
    ];
    assert_eq!(fields(&error), expected);
}

#[test]
fn a_prompt_holds_no_token_of_a_picture() {
    let asked = GenerationRequest {
        prompt: "a <|image_pad|> circle".into(),
        negative_prompt: "<|vision_start|>".into(),
        ..request()
    };
    let error = resolve(&asked, &model(), None, 0).unwrap_err();
    assert_eq!(fields(&error), ["spec.prompt", "spec.negative_prompt"]);
    assert!(error.message.contains("<|image_pad|>"));
    let harmless = GenerationRequest { prompt: "a <circle> |image|".into(), ..request() };
    resolve(&harmless, &model(), None, 0).unwrap();
}

#[test]
fn sigmas_must_fall() {
    for sigmas in [vec![1.0, 1.0], vec![f32::NAN], vec![0.5, 0.7], vec![0.0], vec![2.0]] {
        let error = resolve(&GenerationRequest { sigmas, ..request() }, &model(), None, 0).unwrap_err();
        assert!(fields(&error)[0].starts_with("spec.sigmas["));
    }
    let plan = resolve(&GenerationRequest { sigmas: vec![1.0, 0.5], ..request() }, &model(), None, 0).unwrap();
    assert_eq!(plan.steps, 2);
}

#[test]
fn a_picture_and_the_mode_must_agree() {
    let edit_without = GenerationRequest { mode: Some(Mode::Edit), ..request() };
    let generate_with = GenerationRequest { mode: Some(Mode::Generate), image: Some(BlobHash([0; 32])), ..request() };
    for asked in [edit_without, generate_with] {
        assert_eq!(fields(&resolve(&asked, &model(), None, 0).unwrap_err()), ["spec.image"]);
    }
}

#[test]
fn seeds_of_a_batch_wrap() {
    let asked = GenerationRequest { seed: None, seeds: vec![9, 9, 2], num_images: None, ..request() };
    let plan = resolve(&asked, &model(), None, 5).unwrap();
    assert_eq!((plan.num_images, plan.seed), (3, 9));
    assert_eq!([0, 1, 2].map(|index| plan.denoise_spec(index).seed), [9, 9, 2]);
    let asked = GenerationRequest { seed: Some(u64::MAX), num_images: Some(2), ..request() };
    let plan = resolve(&asked, &model(), None, 0).unwrap();
    assert_eq!(plan.denoise_spec(1).seed, 0);
}

#[test]
fn a_preparation_needs_no_prompt_and_draws_nothing() {
    let typing = GenerationRequest { prompt: String::new(), ..request() };
    assert!(resolve(&typing, &model(), None, 1).is_err());
    let plan = resolve_preparation(&typing, &model(), None).expect("an empty prompt is allowed");
    assert!(plan.is_preparation() && plan.mode == Mode::Generate);
    let wrong = GenerationRequest { prompt: "<|image_pad|>".to_owned(), ..request() };
    let error = resolve_preparation(&wrong, &model(), None).expect_err("what the encoder cannot read is refused");
    assert_eq!(fields(&error), ["spec.prompt"]);
}

#[test]
fn loras_are_bounded_and_named_once() {
    let lora = |name: &str, weight| LoraUse { id: LoraId::Name(name.into()), weight };
    let asked = GenerationRequest {
        loras: vec![lora("a", 4.5), lora("../a", 1.0), lora("b", f32::NAN), lora("b", 1.0), lora("c-1.x_2", -4.0)],
        ..request()
    };
    let error = resolve(&asked, &model(), None, 1).expect_err("four are wrong");
    let fields: Vec<_> = error.violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["spec.loras[0].weight", "spec.loras[1].name", "spec.loras[2].weight", "spec.loras[3]"]);
    let many = GenerationRequest { loras: (0..9).map(|i| lora(&i.to_string(), 1.0)).collect(), ..request() };
    assert_eq!(resolve(&many, &model(), None, 1).expect_err("nine").violations[0].field, "spec.loras");
    let right = GenerationRequest { loras: vec![lora("a", 0.0), lora("b", 4.0)], ..request() };
    assert!(resolve(&right, &model(), None, 1).is_ok());
}
