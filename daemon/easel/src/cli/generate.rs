//! `easel generate` and `easel edit`: checks, the request, its events, the files.

use easel_sdk::{Easel, GenerationBuilder, GenerationStream, Previews, proto};

use super::args::{EditArgs, GenerateArgs, PictureArgs, PreviewKind};
use super::follow::follow;
use super::pictures::{Files, read_input};
use super::session::Session;
use super::{Context, Interrupt};
use crate::exit::Failure;

/// Makes a picture from a text.
pub(crate) async fn generate(context: &Context, args: &GenerateArgs) -> Result<(), Failure> {
    let files = Files::check(&args.picture, context.output.is_json())?;
    run(context, &files, |client| with_options(client.generate(&args.prompt), &args.picture, &files)).await
}

/// Edits a picture by an instruction.
pub(crate) async fn edit(context: &Context, args: &EditArgs) -> Result<(), Failure> {
    let files = Files::check(&args.picture, context.output.is_json())?;
    let source = read_input(&args.input)?;
    let selected = args.selection.read()?;
    let request = |client: &Easel| {
        let mut request = client.edit(source, &args.instruction);
        if let Some((selection, mask)) = selected {
            request = request.selection(selection);
            if let Some(mask) = mask {
                request = request.mask(mask);
            }
        }
        with_options(request, &args.picture, &files)
    };
    run(context, &files, request).await
}

async fn run(
    context: &Context,
    files: &Files,
    request: impl FnOnce(&Easel) -> GenerationBuilder,
) -> Result<(), Failure> {
    let mut interrupt = Interrupt::take_over()?;
    let (session, stream) = tokio::select! {
        started = start(context, request) => started?,
        () = interrupt.wait() => return Err(Failure::interrupted()),
    };
    let done = follow(&session.client, stream, files, &context.output, &mut interrupt).await;
    session.close().await;
    done
}

async fn start(
    context: &Context,
    request: impl FnOnce(&Easel) -> GenerationBuilder,
) -> Result<(Session, GenerationStream), Failure> {
    let session = Session::open(context).await?;
    match request(&session.client).start().await {
        Ok(stream) => Ok((session, stream)),
        Err(error) => {
            session.close().await;
            Err(error.into())
        }
    }
}

fn with_options(mut request: GenerationBuilder, args: &PictureArgs, files: &Files) -> GenerationBuilder {
    request = request.format(files.format().wire());
    if let Some(model) = &args.model {
        request = request.model(model);
    }
    if let Some(seed) = args.seed {
        request = request.seed(seed);
    }
    if !args.seeds.is_empty() {
        request = request.seeds(args.seeds.clone());
    }
    if let Some((width, height)) = args.size {
        request = request.size(width, height);
    }
    if let Some(steps) = args.steps {
        request = request.steps(steps);
    }
    if let Some(scale) = args.guidance_scale {
        request = request.guidance_scale(scale);
    }
    if let Some(scale) = args.image_guidance_scale {
        request = request.image_guidance_scale(scale);
    }
    if let Some(text) = &args.negative_prompt {
        request = request.negative_prompt(text);
    }
    for (name, weight) in &args.lora {
        request = request.lora(name, *weight);
    }
    if let Some(count) = args.num_images {
        request = request.num_images(count);
    }
    if args.no_provenance {
        request = request.provenance(false);
    }
    if args.previews.is_some() {
        let kind = match args.preview_kind {
            PreviewKind::Decoded => proto::PreviewKind::Decoded,
            PreviewKind::Projection => proto::PreviewKind::Projection,
        };
        request = request.previews(Previews { kind, ..Previews::default() });
    }
    request
}
