//! Tells how a generation goes: as a bar on a terminal, as plain lines elsewhere, as JSON when asked for.

use std::time::{Duration, Instant};

use easel_sdk::{Succeeded, proto};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{Output, words};

/// Parts of the bar; finer than a terminal can show.
const PARTS: u64 = 1000;
/// Before this share is done the remaining time would be a guess.
const FRACTION_FOR_ESTIMATE: f32 = 0.1;

/// Tells how a generation goes.
pub(crate) struct Reporter {
    output: Output,
    /// On a terminal only.
    bar: Option<ProgressBar>,
    /// When work began, for the remaining time.
    begin: Option<Instant>,
    /// What the last plain line said, so that layers and strips do not fill the screen.
    last: String,
}

impl Reporter {
    pub(super) fn new(output: Output) -> Self {
        let bar = (output.terminal && !output.json).then(|| bar(output.color));
        Self { output, bar, begin: None, last: String::new() }
    }

    /// The first event: what was resolved.
    pub(crate) fn accepted(&mut self, generation: &proto::Generation) {
        let resolved = generation.resolved.clone().unwrap_or_default();
        let mode = words::lower(resolved.mode().as_str_name(), "MODE_");
        if self.output.json {
            let stages: Vec<_> = resolved.stages().map(words::stage).collect();
            let lora =
                |lora: &proto::ResolvedLora| json!({"name": lora.name, "sha256": lora.sha256, "weight": lora.weight});
            let loras: Vec<_> = resolved.loras.iter().map(lora).collect();
            self.output.json(&json!({
                "event": "accepted",
                "id": generation.id,
                "mode": mode,
                "model": resolved.model,
                "seed": resolved.seed,
                "width": resolved.width,
                "height": resolved.height,
                "working_width": resolved.working_width,
                "working_height": resolved.working_height,
                "num_inference_steps": resolved.num_inference_steps,
                "sigmas": resolved.sigmas,
                "guidance_scale": resolved.guidance_scale,
                "image_guidance_scale": resolved.image_guidance_scale,
                "num_images": resolved.num_images,
                "format": words::lower(resolved.output_format().as_str_name(), "IMAGE_FORMAT_"),
                "stages": stages,
                "notes": resolved.notes,
                "loras": loras,
            }));
            return;
        }
        self.say(&format!(
            "{mode} with {}, seed {}, {}x{}, {} steps ({})",
            resolved.model, resolved.seed, resolved.width, resolved.height, resolved.num_inference_steps, generation.id
        ));
        resolved.notes.iter().for_each(|note| self.say(&format!("note: {note}")));
    }

    /// The model is a demonstration: its own sentence, and how to get a real one.
    pub(crate) fn demonstration(&mut self, model: &proto::Model) {
        let how = "for a real checkpoint: `easel models add FOLDER`, then `--model NAME`";
        let sentence = model.description.trim_end_matches('.');
        if self.output.json {
            let (model, description) = (&model.name, &model.description);
            let event = "demonstration";
            self.output.json(&json!({"event": event, "model": model, "description": description, "hint": how}));
        } else {
            self.say(&format!("{} is a demonstration model: {sentence}; {how}", model.name));
        }
    }

    /// The place in the queue.
    pub(crate) fn queued(&mut self, position: u32) {
        if self.output.json {
            self.output.json(&json!({"event": "queued", "position": position}));
            return;
        }
        let text = format!("waiting, place {position} in the queue");
        match &self.bar {
            Some(bar) => bar.set_message(text),
            None => self.once(text),
        }
    }

    /// Stage and step.
    pub(crate) fn progress(&mut self, progress: &proto::Progress) {
        if self.output.json {
            let mut object = words::progress(progress);
            object["event"] = "progress".into();
            self.output.json(&object);
            return;
        }
        let begin = *self.begin.get_or_insert_with(Instant::now);
        let is_denoise = progress.stage() == proto::Stage::Denoise;
        let picture =
            if progress.image_index > 0 { format!("picture {}: ", progress.image_index) } else { String::new() };
        let stage = format!("{picture}{}", words::stage(progress.stage()).replace('_', " "));
        let Some(bar) = &self.bar else {
            // Steps matter to a reader of lines; layers and strips only tell that a stage has begun.
            let step = is_denoise && progress.done > 0;
            self.once(if step { format!("{stage} {}/{}", progress.done, progress.total) } else { stage });
            return;
        };
        let step = if is_denoise { format!("{stage} {}/{}", progress.done, progress.total) } else { stage };
        let left = remaining(begin.elapsed(), progress.fraction);
        bar.set_position((progress.fraction.clamp(0.0, 1.0) * PARTS as f32) as u64);
        bar.set_message(left.map_or(step.clone(), |left| format!("{step}, {} left", words::duration(left))));
    }

    /// A preview was written.
    pub(crate) fn preview(&mut self, preview: &proto::Preview, name: &str) {
        if self.output.json {
            self.output.json(&json!({
                "event": "preview",
                "number": preview.number,
                "image_index": preview.image_index,
                "step": preview.step,
                "epoch": preview.epoch,
                "file": name,
            }));
        } else if self.bar.is_none() {
            self.output.note(&format!("preview {name}"));
        }
    }

    /// A result was written.
    pub(crate) fn result(&mut self, result: &proto::ResultImage, image: &proto::Image, name: &str) {
        let changed = result.changed.map(|rect| [rect.x, rect.y, rect.width, rect.height]);
        if self.output.json {
            self.output.json(&json!({
                "event": "result",
                "index": result.index,
                "seed": result.seed,
                "file": name,
                "format": words::lower(image.format().as_str_name(), "IMAGE_FORMAT_"),
                "width": image.width,
                "height": image.height,
                "size_bytes": image.size_bytes,
                "sha256": image.sha256,
                "changed": changed,
            }));
            return;
        }
        let target = if name == "-" { "standard output" } else { name };
        let place =
            changed.map_or_else(String::new, |[x, y, width, height]| format!(", changed {width}x{height} at {x},{y}"));
        self.say(&format!("wrote {target} ({}x{}, seed {}{place})", image.width, image.height, result.seed));
    }

    /// The end of a success.
    pub(crate) fn succeeded(&mut self, done: &Succeeded) {
        self.end();
        if self.output.json {
            let timings = words::timings(&done.timings);
            let total_ms = done.total.as_secs_f64() * 1000.0;
            self.output.json(&json!({"event": "succeeded", "total_ms": total_ms, "timings": timings}));
            return;
        }
        let computed = |timing: &proto::StageTiming| {
            let time = timing.computed.and_then(|time| Duration::try_from(time).ok()).unwrap_or_default();
            let known = match timing.reused() {
                proto::Reused::All => " (known)",
                proto::Reused::Part => " (canvas known)",
                _ => "",
            };
            format!("{} {}{known}", words::stage(timing.stage()).replace('_', " "), words::duration(time))
        };
        let stages: Vec<_> = done.timings.iter().map(computed).collect();
        self.output.note(&format!("done in {}: {}", words::duration(done.total), stages.join(", ")));
    }

    /// Takes the bar away.
    pub(crate) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// A line above the bar.
    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.output.note(text)),
            None => self.output.note(text),
        }
    }

    /// A line, unless the last one said the same.
    fn once(&mut self, text: String) {
        if self.last != text {
            self.output.note(&text);
            self.last = text;
        }
    }
}

fn bar(color: bool) -> ProgressBar {
    let template = if color { "[{bar:30.cyan}] {percent:>3} % {msg}" } else { "[{bar:30}] {percent:>3} % {msg}" };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(Some(PARTS), ProgressDrawTarget::stderr());
    bar.set_style(style.progress_chars("=> "));
    bar
}

/// Remaining time, once enough is done to tell.
fn remaining(elapsed: Duration, fraction: f32) -> Option<Duration> {
    let known = (FRACTION_FOR_ESTIMATE..1.0).contains(&fraction);
    known.then(|| elapsed.mul_f32((1.0 - fraction) / fraction))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remaining_time_follows_the_share_that_is_done() {
        let elapsed = Duration::from_secs(2);
        assert_eq!(remaining(elapsed, 0.5), Some(Duration::from_secs(2)));
        assert_eq!(remaining(elapsed, 0.01), None);
        assert_eq!(remaining(elapsed, 0.0), None);
        assert_eq!(remaining(elapsed, f32::NAN), None);
        assert_eq!(remaining(elapsed, 1.0), None);
    }
}
