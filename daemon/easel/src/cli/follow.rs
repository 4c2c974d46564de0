//! Follows a generation to its end: progress for the user, previews and results into files, cancellation on Ctrl-C.

use std::time::Duration;

use easel_sdk::{Easel, Event, EventKind, GenerationStream, Succeeded, proto};

use super::Interrupt;
use super::pictures::Files;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Reporter};

/// A daemon that does not answer a cancellation within this time is not waited for; it notices the lost connection.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// Follows `stream` until its last event. After Ctrl-C the generation is cancelled by its id.
pub(super) async fn follow(
    client: &Easel,
    mut stream: GenerationStream,
    files: &Files,
    output: &Output,
    interrupt: &mut Interrupt,
) -> Result<(), Failure> {
    let mut reporter = output.reporter();
    loop {
        let event = next(client, &mut stream, &mut reporter, interrupt).await?;
        match event.kind {
            EventKind::Accepted(generation) => {
                reporter.accepted(&generation);
                say_when_demonstration(client, &generation, &mut reporter).await;
            }
            EventKind::Queued { position } => reporter.queued(position),
            EventKind::Progress(progress) => reporter.progress(&progress),
            EventKind::Preview(preview) => {
                if let Some(name) = files.write_preview(&preview)? {
                    reporter.preview(&preview, &name);
                }
            }
            EventKind::Succeeded(done) => return save(client, done, files, &mut reporter).await,
            EventKind::Ended(end) => {
                reporter.end();
                return Err(end.error.into());
            }
            EventKind::Snapshot(generation) => {
                if let Some(outcome) = outcome(&generation) {
                    return save(client, outcome?, files, &mut reporter).await;
                }
            }
        }
    }
}

/// Follows `stream` until its last event, without files. After Ctrl-C the generation is cancelled by its id.
pub(super) async fn finish(
    client: &Easel,
    mut stream: GenerationStream,
    output: &Output,
    interrupt: &mut Interrupt,
) -> Result<Succeeded, Failure> {
    let mut reporter = output.reporter();
    loop {
        let event = next(client, &mut stream, &mut reporter, interrupt).await?;
        match &event.kind {
            EventKind::Accepted(generation) => reporter.accepted(generation),
            EventKind::Queued { position } => reporter.queued(*position),
            EventKind::Progress(progress) => reporter.progress(progress),
            _ => {}
        }
        if let Some(outcome) = event.outcome() {
            reporter.end();
            return Ok(outcome?);
        }
    }
}

/// The next event. After Ctrl-C the generation is cancelled, and that is the failure.
async fn next(
    client: &Easel,
    stream: &mut GenerationStream,
    reporter: &mut Reporter,
    interrupt: &mut Interrupt,
) -> Result<Event, Failure> {
    let event = tokio::select! {
        event = stream.next() => event,
        () = interrupt.wait() => {
            reporter.end();
            return Err(cancelled(client, stream, interrupt).await);
        }
    };
    match event {
        Some(event) => Ok(event?),
        None => Err(Failure::new(Exit::Fault, "the events of the generation ended without a last one")),
    }
}

/// The outcome in a snapshot of a generation that has ended.
fn outcome(generation: &proto::Generation) -> Option<Result<Succeeded, Failure>> {
    Event {
        sequence: generation.sequence,
        generation_id: generation.id.clone(),
        time: None,
        kind: EventKind::Snapshot(Box::new(generation.clone())),
    }
    .outcome()
    .map(|outcome| outcome.map_err(Failure::from))
}

/// A model that only shows that everything works says so itself, and how to get a real one.
async fn say_when_demonstration(client: &Easel, generation: &proto::Generation, reporter: &mut Reporter) {
    let name = generation.resolved.as_ref().map(|resolved| resolved.model.clone()).unwrap_or_default();
    // The sentence is a courtesy: when it cannot be had, the picture still can.
    if let Ok(model) = client.model(name).await
        && model.demonstration
    {
        reporter.demonstration(&model);
    }
}

async fn save(client: &Easel, done: Succeeded, files: &Files, reporter: &mut Reporter) -> Result<(), Failure> {
    for result in &done.images {
        let image = result.image.as_ref();
        let image = image.ok_or_else(|| Failure::new(Exit::Fault, "the daemon sent a result without its picture"))?;
        let bytes = client.picture(image).await?;
        let name = files.write_result(result.index, &bytes)?;
        reporter.result(result, image, &name);
    }
    reporter.succeeded(&done);
    Ok(())
}

async fn cancelled(client: &Easel, stream: &GenerationStream, interrupt: &mut Interrupt) -> Failure {
    // Without an id nothing has been accepted, and the lost connection cancels what may still come.
    let Some(id) = stream.id() else { return Failure::interrupted() };
    let message = tokio::select! {
        answer = tokio::time::timeout(CANCEL_TIMEOUT, client.cancel(id)) => match answer {
            Ok(Ok(_)) => format!("interrupted; {id} is cancelled"),
            Ok(Err(error)) => format!("interrupted; {id} could not be cancelled: {error}"),
            Err(_) => format!("interrupted; the daemon did not answer the cancellation of {id}"),
        },
        () = interrupt.wait() => "interrupted twice".to_owned(),
    };
    Failure::new(Exit::Interrupted, message)
}
