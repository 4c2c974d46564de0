//! Token ids against the reference: each checkpoint's own tokenizer, and the full one of Qwen3 where it is at hand
//! (`EASEL_QWEN3_TOKENIZER` names a folder with its `tokenizer.json`).
#![allow(clippy::print_stdout)]

mod support;

use easel_domain::Mode;
use easel_engine::Checkpoint;
use easel_engine::conditioning::prompt::{Template, instruct};
use easel_engine::conditioning::tokenizer::PromptTokenizer;
use serde_json::Value;
use support::Reference;

const FULL_TOKENIZER: &str = "EASEL_QWEN3_TOKENIZER";

#[test]
fn golden_tokenizer() {
    let reference = Reference::open();
    let files = reference.json_files(|name| name.starts_with("tokenizer/"));
    if files.is_empty() {
        println!("golden kind tokenizer is absent from {}", reference.root.display());
        return;
    }
    let mut failures = Vec::new();
    for (file, golden) in &files {
        let Some(tokenizer) = tokenizer_of(&reference, file, golden) else { continue };
        let before = failures.len();
        header(golden, &tokenizer, &mut failures);
        let rows = golden["rows"].as_array().expect("rows");
        assert!(!rows.is_empty(), "{file} has no rows");
        rows.iter().for_each(|golden| row(golden, &tokenizer, &mut failures));
        failures[before..].iter_mut().for_each(|failure: &mut String| failure.insert_str(0, &format!("{file}: ")));
        println!("tokenizer: {} prompts of {file}", rows.len());
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// The tokenizer of a golden: that of the checkpoint of this name, else the full one, else none, which is said.
fn tokenizer_of(reference: &Reference, file: &str, golden: &Value) -> Option<PromptTokenizer> {
    let name = golden["tokenizer"].as_str().expect("a name");
    let folder = reference.checkpoint(name);
    if folder.is_dir() {
        return Some(PromptTokenizer::load(&Checkpoint::folder(folder)).expect("the tokenizer of a checkpoint"));
    }
    let Some(folder) = std::env::var_os(FULL_TOKENIZER) else {
        println!("tokenizer: {file} left out: set {FULL_TOKENIZER} to the folder of the full Qwen3 tokenizer.json");
        return None;
    };
    let path = std::path::Path::new(&folder).join("tokenizer.json");
    let json = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Some(PromptTokenizer::from_json(&json, &json).expect("the full tokenizer"))
}

fn header(golden: &Value, tokenizer: &PromptTokenizer, failures: &mut Vec<String>) {
    for (mode, name) in [(Mode::Generate, "generate"), (Mode::Edit, "edit")] {
        let template = Template::of(mode);
        same(failures, name, "template", &template.fill("{}"), &golden[format!("{name}_template")]);
        same(failures, name, "prefix_len", &template.dropped, &golden[format!("{name}_prefix_len")]);
        same(
            failures,
            name,
            "prefix_ids",
            &&tokenizer.head(mode)[..template.dropped],
            &golden[format!("{name}_prefix_ids")],
        );
    }
    for (token, id) in golden["special_ids"].as_object().expect("special_ids") {
        same(failures, token, "id", &tokenizer.id_of(token), id);
    }
}

fn row(golden: &Value, tokenizer: &PromptTokenizer, failures: &mut Vec<String>) {
    let prompt = golden["prompt"].as_str().expect("a prompt");
    let shown: String = prompt.chars().take(40).collect();
    for (key, want) in golden.as_object().expect("a row") {
        let (generate, edit) = (instruct(Mode::Generate, prompt), instruct(Mode::Edit, prompt));
        let all = |mode, text: &str| tokenizer.tokens(mode, text).expect("tokens");
        let cut = |text: &str| tokenizer.generate_tokens(text, 200).expect("tokens");
        match key.as_str() {
            "prompt" => {}
            "generate_ids_untruncated" => same(failures, &shown, key, &all(Mode::Generate, &generate), want),
            "generate_negative_ids_untruncated" => same(failures, &shown, key, &all(Mode::Generate, prompt), want),
            "generate_ids" => same(failures, &shown, key, &cut(&generate), want),
            "generate_negative_ids" => same(failures, &shown, key, &cut(prompt), want),
            "generate_ids_max500" => {
                same(failures, &shown, key, &tokenizer.generate_tokens(&generate, 500).expect("tokens").len(), want);
            }
            "edit_ids_unexpanded" => same(failures, &shown, key, &all(Mode::Edit, &edit), want),
            "edit_negative_ids_unexpanded" => same(failures, &shown, key, &all(Mode::Edit, prompt), want),
            "edit_expanded" => expanded(failures, (&shown, key), tokenizer, &edit, want),
            "edit_negative_expanded" => expanded(failures, (&shown, key), tokenizer, prompt, want),
            other => failures.push(format!("{shown:?}: {other} is never compared")),
        }
    }
}

/// The reference repeats the picture's token 256 times, or refuses the prompt.
fn expanded(
    failures: &mut Vec<String>,
    (shown, key): (&str, &str),
    tokenizer: &PromptTokenizer,
    prompt: &str,
    want: &Value,
) {
    let got = tokenizer.edit_tokens(prompt, "spec.prompt", 256);
    match (got, want.get("error")) {
        (Err(error), Some(_)) => assert!(error.to_string().contains("<|image_pad|>"), "{error}"),
        (Ok(ids), None) => {
            let start = ids.iter().position(|id| *id == tokenizer.image_pad()).unwrap_or(ids.len());
            let pictures = ids.iter().filter(|id| **id == tokenizer.image_pad()).count();
            same(failures, shown, key, &ids.len(), &want["length"]);
            same(failures, shown, key, &start, &want["first_image_pos"]);
            same(failures, shown, key, &pictures, &want["image_tokens"]);
            same(failures, shown, key, &&ids[..start], &want["prefix"]);
            same(failures, shown, key, &&ids[(start + 256).min(ids.len())..], &want["suffix"]);
        }
        (Ok(_), Some(error)) => failures.push(format!("{shown:?}: {key}: accepted, but the reference says {error}")),
        (Err(error), None) => failures.push(format!("{shown:?}: {key}: {error}")),
    }
}

fn same(failures: &mut Vec<String>, what: &str, key: &str, got: &impl serde::Serialize, want: &Value) {
    let got = serde_json::to_value(got).expect("JSON");
    if got != *want {
        failures.push(format!("{what:?}: {key} is {got}, expected {want}"));
    }
}
