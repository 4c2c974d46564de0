//! `easel replay FILE`: makes the pictures of a replay file again and compares them with those that it holds; a picture goes to
//! `replay_picture.rs`.

use std::io::Read;
use std::path::Path;

use easel_sdk::{Easel, ReplayFile, proto};
use serde_json::json;

use super::args::ReplayArgs;
use super::follow::finish;
use super::picture_file::{PictureFile, difference, verdict};
use super::session::Session;
use super::{Context, Interrupt, replay_picture};
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Largest file that is read: the pictures of a long session in base64.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// Makes every step again, each from the source that it was made from, so that a difference does not travel on. Fails when one
/// differs by more than `tolerance` in any channel of any pixel.
pub(crate) async fn replay(context: &Context, args: &ReplayArgs) -> Result<(), Failure> {
    if !is_json(&args.file)? {
        return replay_picture::replay(context, args, &PictureFile::read(&args.file)?).await;
    }
    if args.source.is_some() || args.mask.is_some() || args.output.is_some() {
        return Err(Failure::new(
            Exit::Usage,
            "a replay file has its sources inside and makes several pictures: leave --source, --mask and --output out",
        ));
    }
    let (replay, tolerance) = (read(&args.file)?, args.tolerance);
    let mut interrupt = Interrupt::take_over()?;
    let session = Session::open(context).await?;
    let compared = run(&session.client, &context.output, &replay, tolerance, &mut interrupt).await;
    session.close().await;
    let (steps, different) = compared?;
    if different == 0 {
        context.output.note(&format!("all {steps} pictures came out the same"));
        return Ok(());
    }
    Err(Failure::new(Exit::Fault, format!("{different} of {steps} pictures came out different")))
}

/// Whether a file is text rather than a picture: every format of pictures begins in its own way, none with a brace.
fn is_json(path: &Path) -> Result<bool, Failure> {
    let mut start = [0; 64];
    let read = std::fs::File::open(path).and_then(|mut file| file.read(&mut start));
    let count = read.map_err(|error| unreadable(path, &error))?;
    Ok(count == 0 || start[..count].trim_ascii_start().starts_with(b"{"))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let shown = path.display();
    match error.kind() {
        std::io::ErrorKind::NotFound => Failure::new(Exit::NotFound, format!("{shown} does not exist")),
        _ => Failure::new(Exit::Request, format!("{shown} cannot be read: {error}")),
    }
}

/// Reads a replay file.
pub(super) fn read(path: &Path) -> Result<ReplayFile, Failure> {
    let shown = path.display();
    let failed = |error| unreadable(path, &error);
    let size = path.metadata().map_err(failed)?.len();
    if size > MAX_FILE_BYTES {
        return Err(Failure::new(Exit::Request, format!("{shown} has more than {MAX_FILE_BYTES} bytes")));
    }
    Ok(ReplayFile::from_json(&std::fs::read_to_string(path).map_err(failed)?)?)
}

async fn run(
    client: &Easel,
    output: &Output,
    replay: &ReplayFile,
    tolerance: u8,
    interrupt: &mut Interrupt,
) -> Result<(usize, usize), Failure> {
    replay.upload(client).await?;
    tell_models(client, output, &replay.replay).await?;
    let mut different = 0;
    for (number, step) in (1..).zip(&replay.replay.steps) {
        let spec = step.spec.clone().unwrap_or_default();
        let prompt = spec.prompt.clone();
        let stream = client.run_spec(spec, proto::RunPolicy::default()).await?;
        let done = finish(client, stream, output, interrupt).await?;
        let made = done.images.into_iter().find(|image| image.index == step.image_index);
        let made = made.and_then(|result| result.image);
        let made = made.ok_or_else(|| Failure::new(Exit::Fault, "the daemon sent no such picture"))?;
        let wanted = step.result.clone().unwrap_or_default();
        let exact = made.sha256 == wanted.sha256;
        let by = match (exact, replay.pictures.get(&wanted.sha256)) {
            (true, _) => Some(0),
            (false, Some(wanted)) => difference(&client.picture(&made).await?, wanted),
            (false, None) => None,
        };
        let same = by.is_some_and(|by| by <= tolerance);
        different += usize::from(!same);
        if output.is_json() {
            output.json(&json!({
                "step": number, "prompt": prompt, "exact": exact, "same": same, "max_difference": by,
                "sha256": made.sha256, "expected_sha256": wanted.sha256,
            }));
            continue;
        }
        let verdict = verdict(exact, by, "another size, or the file does not hold the picture");
        output.line(&format!("step {number}, {prompt:?}: {verdict}"));
    }
    Ok((replay.replay.steps.len(), different))
}

/// Another model under the same name explains a difference before it is searched for.
async fn tell_models(client: &Easel, output: &Output, replay: &proto::Replay) -> Result<(), Failure> {
    let there = client.models().await?;
    for used in &replay.models {
        let same = |model: &&proto::Model| model.name == used.name;
        match there.iter().find(same) {
            Some(model) if (model.parameters, model.file_bytes) != (used.parameters, used.file_bytes) => {
                output.note(&format!("{} is another model here than where the file was written", used.name));
            }
            _ => {}
        }
    }
    Ok(())
}
