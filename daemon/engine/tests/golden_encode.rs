//! The encoder against the reference, with every intermediate tensor that the reference shows: once as the daemon runs it
//! (each prompt by itself, in two passes) and once as the reference does (all prompts at once, padded on the right).

mod support;

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use easel_domain::engine::StageControl;
use easel_domain::{Mode, RgbImage};
use easel_engine::Checkpoint;
use easel_engine::conditioning::positions::{ImageSpan, Positions};
use easel_engine::conditioning::text::TextInput;
use easel_engine::conditioning::vision::ImageFeatures;
use easel_engine::conditioning::{Conditioner, Settings};
use easel_engine::pass::{Pass, Tap};
use support::{Check, Outcome, Reference, integers, run_kind};

/// `encode_prompt` cuts generate prompts here when a case does not say where.
const DEFAULT_MAX_SEQUENCE_LENGTH: u64 = 500;

#[test]
fn golden_encode() {
    run_kind("encode", case);
}

fn case(reference: &Reference, check: &mut Check<'_>) -> Outcome {
    let checkpoint = Checkpoint::folder(check.checkpoint(reference));
    let inputs = check.case.inputs.clone();
    let cut = inputs["max_sequence_length"].as_u64().unwrap_or(DEFAULT_MAX_SEQUENCE_LENGTH);
    let settings = Settings { max_sequence_length: cut as usize, ..Settings::default() };
    let conditioner = Conditioner::load(&checkpoint, &settings, &Device::Cpu)?;
    let mode = if inputs["mode"] == "edit" { Mode::Edit } else { Mode::Generate };
    let prompts = inputs["prompts"].as_array().ok_or("no prompts")?.iter().filter_map(|prompt| prompt.as_str());
    let prompts: Vec<String> = prompts.map(expand).collect();
    let image = match inputs["image"].as_str() {
        Some(name) => Some(easel_imaging::load(&std::fs::read(reference.golden(&format!("images/{name}.png")))?)?),
        None => None,
    };
    as_the_daemon(check, &conditioner, (mode, &prompts), image.as_ref())?;
    as_the_reference(check, &conditioner, (mode, &prompts), image.as_ref(), pad_id(&checkpoint, &conditioner)?)
}

fn as_the_daemon(
    check: &mut Check<'_>,
    conditioner: &Conditioner,
    (mode, prompts): (Mode, &[String]),
    image: Option<&RgbImage>,
) -> Outcome {
    let control = StageControl::detached();
    let mut seen = Seen::default();
    let encoded = conditioner.encode_prompts(mode, prompts, image, &mut Pass::observed(&control, &mut seen))?;
    check.close("prompt_embeds", &encoded.embeds);
    check.equal("prompt_mask", &integers(&encoded.mask));
    let tokens = conditioner.tokenize(mode, prompts)?[0].len();
    for key in check.keys() {
        let vision = key.starts_with("vision.");
        if !vision
            && !(prompts.len() == 1
                && (key.starts_with("text.") || key == "inputs_embeds" || key == "last_hidden_state"))
        {
            continue;
        }
        let Some(parts) = seen.0.get(&key) else {
            check.fail(format!("{key} is never recorded"));
            continue;
        };
        let got = if vision { parts[0].clone() } else { joined(parts, tokens)? };
        // The reference keeps the angles of both halves of a head, which are the same.
        let got = if key.starts_with("text.rope") { Tensor::cat(&[&got, &got], 2)? } else { got };
        check.close(&key, &got);
    }
    Ok(())
}

/// What two passes over a prompt made: of the first, as much as the second was read behind.
fn joined(parts: &[Tensor], tokens: usize) -> candle_core::Result<Tensor> {
    let [first, second] = parts else { candle_core::bail!("{} passes, expected two", parts.len()) };
    Tensor::cat(&[&first.narrow(1, 0, tokens - second.dim(1)?)?, second], 1)
}

fn as_the_reference(
    check: &mut Check<'_>,
    conditioner: &Conditioner,
    (mode, prompts): (Mode, &[String]),
    image: Option<&RgbImage>,
    pad: u32,
) -> Outcome {
    let control = StageControl::detached();
    let rows = conditioner.tokenize(mode, prompts)?;
    let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
    let longest = lengths.iter().copied().max().ok_or("no prompts")?;
    let span = (mode == Mode::Edit).then(|| conditioner.image_span());
    let features = match (span, image) {
        (Some(span), Some(image)) => Some((conditioner.look(image, &mut Pass::new(&control))?, span)),
        _ => None,
    };
    let picture = features.as_ref().map(|(features, span)| (features, *span));
    let padded: Vec<Vec<u32>> = rows.iter().map(|row| with(row, longest, pad)).collect();
    let positions: Vec<Positions> = lengths.iter().map(|length| padded_positions(*length, longest, span)).collect();
    integers_of(check, &padded, &lengths, &positions, picture);
    let embeds = padded.iter().map(|row| conditioner.embed(row, picture)).collect::<Result<Vec<_>, _>>()?;
    let embeds = Tensor::cat(&embeds, 0)?;
    let input =
        TextInput { embeds: &embeds, positions: &positions, past: None, lengths: Some(&lengths), image: picture };
    let hidden = conditioner.read(&input, &mut Pass::new(&control))?;
    check.close("inputs_embeds", &embeds);
    check.close("last_hidden_state", &hidden);
    Ok(())
}

/// What the reference's processor makes beside the ids.
fn integers_of(
    check: &mut Check<'_>,
    padded: &[Vec<u32>],
    lengths: &[usize],
    positions: &[Positions],
    picture: Option<(&ImageFeatures, ImageSpan)>,
) {
    let longest = padded[0].len();
    let flat = |of: &dyn Fn(usize, usize) -> i64| -> Vec<i64> {
        (0..padded.len()).flat_map(|row| (0..longest).map(move |i| (row, i))).map(|(row, i)| of(row, i)).collect()
    };
    check.equal("input_ids", &flat(&|row, i| i64::from(padded[row][i])));
    check.equal("attention_mask", &flat(&|row, i| i64::from(i < lengths[row])));
    let Some((_, span)) = picture else { return };
    if check.has("mm_token_type_ids") {
        check.equal("mm_token_type_ids", &flat(&|_, i| i64::from(span.tokens().contains(&i))));
    }
    if check.has("position_ids") {
        let axis = |axis: usize| flat(&|row, i| i64::from(positions[row].axes()[axis][i]));
        check.equal("position_ids", &[axis(0), axis(1), axis(2)].concat());
    }
    if check.has("image_grid_thw") {
        // The grid counts patches, of which each token joins 2 x 2.
        let grid = [1, 2 * span.rows as i64, 2 * span.columns as i64];
        check.equal("image_grid_thw", &grid.repeat(padded.len()));
    }
}

/// The reference lets text-only padding count on, and puts the padding of an edit to place 0.
fn padded_positions(length: usize, longest: usize, image: Option<ImageSpan>) -> Positions {
    if image.is_none() {
        return Positions::new(longest, None);
    }
    let positions = Positions::new(length, image);
    Positions::from_axes(positions.axes().clone().map(|axis| with(&axis, longest, 0)))
}

fn with(row: &[u32], length: usize, filler: u32) -> Vec<u32> {
    let mut row = row.to_vec();
    row.resize(length, filler);
    row
}

fn pad_id(checkpoint: &Checkpoint, conditioner: &Conditioner) -> Result<u32, Box<dyn std::error::Error>> {
    let config: serde_json::Value = checkpoint.json("tokenizer/tokenizer_config.json")?;
    let token = config["pad_token"].as_str().ok_or("no pad_token")?;
    Ok(conditioner.tokenizer().id_of(token).ok_or("the pad_token has no id")?)
}

/// `REPEAT:body|n` stands for `body` written n times.
fn expand(prompt: &str) -> String {
    match prompt.strip_prefix("REPEAT:").and_then(|rest| rest.rsplit_once('|')) {
        Some((body, times)) => body.repeat(times.parse().expect("a number")),
        None => prompt.to_owned(),
    }
}

/// Everything that was recorded, in the order of the passes.
#[derive(Default)]
struct Seen(HashMap<String, Vec<Tensor>>);

impl Tap for Seen {
    fn record(&mut self, path: &str, output: &Tensor) {
        self.0.entry(path.to_owned()).or_default().push(output.clone());
    }
}
