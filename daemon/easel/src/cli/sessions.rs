//! `easel sessions …` and `easel gc`: sessions of the daemon from the command line.

use std::path::Path;
use std::time::SystemTime;

use easel_sdk::{Easel, ReplayFile, proto};
use serde_json::{Value, json};

use super::args::{SessionEditArgs, SessionsAction};
use super::follow::finish;
use super::pictures::{read_input, write_new};
use super::session::Session;
use super::{Context, Interrupt};
use crate::exit::{Exit, Failure};
use crate::output::{Output, words};

/// Does what `action` says; without one it lists.
pub(crate) async fn sessions(context: &Context, action: Option<SessionsAction>) -> Result<(), Failure> {
    let mut interrupt = Interrupt::take_over()?;
    let session = Session::open_with_state(context).await?;
    let done = match action.unwrap_or(SessionsAction::List) {
        // It cancels what it began.
        SessionsAction::Edit(args) => edit(&session.client, &context.output, &args, &mut interrupt).await,
        action => tokio::select! {
            done = perform(&session.client, &context.output, action) => done,
            () = interrupt.wait() => Err(Failure::interrupted()),
        },
    };
    session.close().await;
    done
}

/// Removes what the retention no longer keeps, or all that is not pinned.
pub(crate) async fn gc(context: &Context, all: bool) -> Result<(), Failure> {
    let session = Session::open_with_state(context).await?;
    let removed = session.client.collect_garbage(all).await;
    session.close().await;
    tell_removed(&context.output, &removed?);
    Ok(())
}

async fn perform(client: &Easel, output: &Output, action: SessionsAction) -> Result<(), Failure> {
    match action {
        SessionsAction::List => list(client, output).await,
        SessionsAction::New { picture, name } => {
            let picture = picture.as_deref().map(read_input).transpose()?;
            tell(output, &client.create_session(name.unwrap_or_default(), picture).await?);
            Ok(())
        }
        SessionsAction::Show { id } => show(client, output, &id).await,
        // Done by the caller, who can interrupt it.
        SessionsAction::Edit(_) => Ok(()),
        SessionsAction::Undo { id } => told(output, client.undo(id).await),
        SessionsAction::Redo { id } => told(output, client.redo(id).await),
        SessionsAction::Goto { id, revision } => told(output, client.go_to(id, revision).await),
        SessionsAction::Rename { id, name } => {
            let request = proto::UpdateSessionRequest { session_id: id, name: Some(name), ..Default::default() };
            told(output, client.update_session(request).await)
        }
        SessionsAction::Pin { id } => pin(client, output, id, true).await,
        SessionsAction::Unpin { id } => pin(client, output, id, false).await,
        SessionsAction::Get { id, revision, output: file, force } => {
            let revision = match revision {
                Some(revision) => revision,
                None => head_of(client, &id).await?,
            };
            save(client, output, &client.revision(&id, revision).await?, &file, force).await
        }
        SessionsAction::Compare { id, one, other } => compare(client, output, &id, (one, other)).await,
        SessionsAction::Export { id, revision, output: file, force } => {
            let replay = ReplayFile::export(client, id, revision).await?;
            write_new(&file, replay.to_json().as_bytes(), force)?;
            output.note(&format!("wrote {} with {} steps", file.display(), replay.replay.steps.len()));
            Ok(())
        }
        SessionsAction::Import { file, name } => {
            let replay = super::replay::read(&file)?;
            tell(output, &replay.import(client, name).await?);
            Ok(())
        }
        SessionsAction::Delete { id } => {
            let removed = client.delete_session(id).await?;
            tell_removed(output, &removed);
            Ok(())
        }
    }
}

async fn edit(
    client: &Easel,
    output: &Output,
    args: &SessionEditArgs,
    interrupt: &mut Interrupt,
) -> Result<(), Failure> {
    let spec = proto::GenerationSpec {
        prompt: args.instruction.clone().unwrap_or_default(),
        seed: args.seed,
        model: args.model.clone().unwrap_or_default(),
        num_inference_steps: args.steps,
        num_images: args.num_images,
        ..Default::default()
    };
    let edit = proto::SessionEdit {
        revision_id: args.from.clone().unwrap_or_default(),
        rerun_revision_id: args.rerun.clone().unwrap_or_default(),
        spec: Some(spec),
        policy: None,
    };
    let generation = client.create_session_edit(&args.id, edit).await?;
    let stream = client.watch(&generation.id, 0).await?;
    finish(client, stream, output, interrupt).await?;
    let all = client.revisions(&args.id).await?;
    let made: Vec<_> = all.into_iter().filter(|revision| revision.generation_id == generation.id).collect();
    for revision in &made {
        match output.is_json() {
            true => output.json(&described(revision)),
            false => output.line(&format!("{} from {}", revision.id, parent_of(revision))),
        }
    }
    match (&args.output, made.first()) {
        (Some(file), Some(first)) => save(client, output, first, file, args.force).await,
        _ => Ok(()),
    }
}

async fn save(
    client: &Easel,
    output: &Output,
    revision: &proto::Revision,
    file: &Path,
    force: bool,
) -> Result<(), Failure> {
    let image = revision.image.as_ref();
    let image = image.ok_or_else(|| Failure::new(Exit::Fault, "the daemon sent a revision without its picture"))?;
    write_new(file, &client.picture(image).await?, force)?;
    output.note(&format!("wrote {} of {}x{}", file.display(), image.width, image.height));
    Ok(())
}

async fn list(client: &Easel, output: &Output) -> Result<(), Failure> {
    let sessions = client.sessions().await?;
    if output.is_json() {
        sessions.iter().for_each(|session| output.json(&as_json(session)));
        return Ok(());
    }
    let rows = sessions.iter().map(|session| {
        let age = session.update_time.and_then(|time| SystemTime::try_from(time).ok());
        let age = age.and_then(|time| time.elapsed().ok()).unwrap_or_default();
        vec![
            session.id.clone(),
            session.name.clone(),
            session.revision_count.to_string(),
            session.active_generation_ids.len().to_string(),
            if session.pinned { "yes".to_owned() } else { String::new() },
            format!("{} ago", words::duration(age)),
        ]
    });
    output.table(&["session", "name", "revisions", "running", "pinned", "changed"], rows.collect());
    Ok(())
}

async fn show(client: &Easel, output: &Output, id: &str) -> Result<(), Failure> {
    let session = client.session(id).await?;
    let revisions = client.revisions(id).await?;
    if output.is_json() {
        let mut object = as_json(&session);
        object["revisions"] = revisions.iter().map(described).collect();
        output.json(&object);
        return Ok(());
    }
    tell(output, &session);
    let rows = revisions.iter().map(|revision| {
        let here = if revision.id == session.head_revision_id { "*" } else { "" };
        let image = revision.image.clone().unwrap_or_default();
        let spec = revision.spec.clone().unwrap_or_default();
        vec![
            here.to_owned(),
            revision.id.clone(),
            parent_of(revision).to_owned(),
            format!("{}x{}", image.width, image.height),
            spec.seed.map(|seed| seed.to_string()).unwrap_or_default(),
            spec.prompt,
        ]
    });
    output.table(&["", "revision", "from", "size", "seed", "instruction"], rows.collect());
    Ok(())
}

async fn compare(client: &Easel, output: &Output, id: &str, (one, other): (String, String)) -> Result<(), Failure> {
    let found = client.compare(id, one, other).await?;
    let changed =
        found.changed.map(|rect| json!({"x": rect.x, "y": rect.y, "width": rect.width, "height": rect.height}));
    let object = json!({
        "identical": found.identical,
        "same_size": found.same_size,
        "changed_fraction": found.changed_fraction,
        "mean_absolute_difference": found.mean_absolute_difference,
        "max_difference": found.max_difference,
        "psnr_db": found.psnr_db,
        "changed": changed,
    });
    if output.is_json() {
        output.json(&object);
    } else if found.identical {
        output.line("identical");
    } else if !found.same_size {
        output.line("of different sizes");
    } else {
        let psnr = found.psnr_db.unwrap_or(f64::INFINITY);
        output.line(&format!(
            "{:.1} % of the pixels differ, by {:.2} of 255 on average and {} at most; PSNR {psnr:.1} dB",
            found.changed_fraction * 100.0,
            found.mean_absolute_difference,
            found.max_difference
        ));
    }
    Ok(())
}

async fn pin(client: &Easel, output: &Output, id: String, pinned: bool) -> Result<(), Failure> {
    let request = proto::UpdateSessionRequest { session_id: id, pinned: Some(pinned), ..Default::default() };
    told(output, client.update_session(request).await)
}

async fn head_of(client: &Easel, id: &str) -> Result<String, Failure> {
    let head = client.session(id).await?.head_revision_id;
    if head.is_empty() {
        return Err(Failure::new(Exit::NotFound, format!("{id} has no picture yet")));
    }
    Ok(head)
}

fn told(output: &Output, session: Result<proto::Session, easel_sdk::Error>) -> Result<(), Failure> {
    tell(output, &session?);
    Ok(())
}

fn tell(output: &Output, session: &proto::Session) {
    if output.is_json() {
        return output.json(&as_json(session));
    }
    let name = if session.name.is_empty() { String::new() } else { format!(" ({})", session.name) };
    let head = if session.head_revision_id.is_empty() { "no picture yet" } else { &session.head_revision_id };
    output.line(&format!("{}{name}: {} revisions, at {head}", session.id, session.revision_count));
}

fn tell_removed(output: &Output, removed: &proto::Removed) {
    if output.is_json() {
        let proto::Removed { sessions, generations, blobs, bytes } = *removed;
        return output.json(&json!({"sessions": sessions, "generations": generations, "blobs": blobs, "bytes": bytes}));
    }
    output.line(&format!(
        "removed {} sessions, {} generations and {} pictures ({})",
        removed.sessions,
        removed.generations,
        removed.blobs,
        words::bytes(removed.bytes)
    ));
}

fn parent_of(revision: &proto::Revision) -> &str {
    if revision.parent_revision_id.is_empty() { "-" } else { &revision.parent_revision_id }
}

fn as_json(session: &proto::Session) -> Value {
    json!({
        "id": session.id,
        "name": session.name,
        "pinned": session.pinned,
        "head_revision_id": session.head_revision_id,
        "redo_revision_ids": session.redo_revision_ids,
        "revision_count": session.revision_count,
        "active_generation_ids": session.active_generation_ids,
        "version": session.version,
        "viewers": session.viewers,
    })
}

fn described(revision: &proto::Revision) -> Value {
    let image = revision.image.clone().unwrap_or_default();
    let spec = revision.spec.as_ref();
    json!({
        "id": revision.id,
        "parent_revision_id": revision.parent_revision_id,
        "generation_id": revision.generation_id,
        "sha256": image.sha256,
        "width": image.width,
        "height": image.height,
        "size_bytes": image.size_bytes,
        "live": revision.live,
        "prompt": spec.map(|spec| spec.prompt.clone()),
        "seed": spec.and_then(|spec| spec.seed),
    })
}
