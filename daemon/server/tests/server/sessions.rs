//! Sessions over the wire: by unary calls, by server streams, and over the stream that does it all.

use easel_proto::v1;
use easel_proto::v1::edit_session_answer::Outcome;
use easel_proto::v1::edit_session_request::Request as Asked;
use easel_proto::v1::edit_session_response::Response as Told;
use easel_proto::v1::generation_event::Event as GenerationEvent;
use easel_proto::v1::image_source::Source;
use easel_proto::v1::session_event::Event;
use easel_proto::v1::session_service_client::SessionServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use crate::support::{Daemon, ended, endless, png, quick, sha256, told};

type Client = SessionServiceClient<Channel>;

fn client(daemon: &Daemon) -> Client {
    SessionServiceClient::new(daemon.channel())
}

async fn with_picture(client: &mut Client) -> v1::Session {
    let image = Some(v1::ImageSource { source: Some(Source::Inline(png(80, 64).into())) });
    let request = v1::CreateSessionRequest { name: "a room".into(), image };
    client.create_session(request).await.unwrap().into_inner().session.unwrap()
}

fn edit(prompt: &str, seed: Option<u64>) -> v1::SessionEdit {
    let spec = v1::GenerationSpec { prompt: prompt.into(), seed, ..Default::default() };
    v1::SessionEdit { spec: Some(spec), ..Default::default() }
}

fn live(prompt: &str, seed: u64) -> v1::SessionEdit {
    let policy = v1::RunPolicy { priority: v1::Priority::Live.into(), ..Default::default() };
    v1::SessionEdit { policy: Some(policy), ..edit(prompt, Some(seed)) }
}

/// Makes an edit and waits for its end; the session as it stands then.
async fn made(daemon: &Daemon, client: &mut Client, id: &str, edit: v1::SessionEdit) -> v1::Session {
    let request = v1::CreateSessionEditRequest { session_id: id.into(), edit: Some(edit) };
    let generation = client.create_session_edit(request).await.unwrap().into_inner().generation.unwrap();
    let end = ended(&mut daemon.generations(), &generation.id).await;
    assert_eq!(end.state(), v1::GenerationState::Succeeded, "{:?}", end.error);
    get(client, id).await
}

async fn get(client: &mut Client, id: &str) -> v1::Session {
    client.get_session(v1::GetSessionRequest { session_id: id.into() }).await.unwrap().into_inner().session.unwrap()
}

async fn revision(client: &mut Client, session: &str, id: &str) -> v1::Revision {
    let request = v1::GetRevisionRequest { session_id: session.into(), revision_id: id.into() };
    client.get_revision(request).await.unwrap().into_inner().revision.unwrap()
}

#[tokio::test]
async fn a_session_is_edited_undone_branched_and_compared_by_unary_calls() {
    let daemon = Daemon::start(quick()).await;
    let mut client = client(&daemon);
    let session = with_picture(&mut client).await;
    let id = session.id.clone();
    let root = revision(&mut client, &id, &session.head_revision_id).await;
    assert_eq!(root.image.as_ref().unwrap().sha256, sha256(&png(80, 64)));
    assert_eq!(root.image.unwrap().inline, png(80, 64));

    let first = made(&daemon, &mut client, &id, edit("make it blue", Some(7))).await;
    let blue = revision(&mut client, &id, &first.head_revision_id).await;
    assert_eq!(
        (blue.parent_revision_id.as_str(), blue.easel_version.as_str()),
        (root.id.as_str(), env!("CARGO_PKG_VERSION"))
    );
    assert_eq!((blue.image.as_ref().unwrap().width, blue.image.as_ref().unwrap().height), (80, 64));
    let undo = v1::UndoSessionRequest { session_id: id.clone() };
    let undone = client.undo_session(undo.clone()).await.unwrap().into_inner().session.unwrap();
    assert_eq!(undone.head_revision_id, root.id);
    let nothing = client.undo_session(undo).await.unwrap_err();
    assert_eq!(told(&nothing).1, "SESSION_STATE");
    let redo = v1::RedoSessionRequest { session_id: id.clone() };
    let redone = client.redo_session(redo).await.unwrap().into_inner().session.unwrap();
    assert_eq!(redone.head_revision_id, blue.id);

    // The same again with the same seed is the same picture; with another seed it is not.
    let again = |seed| v1::SessionEdit { rerun_revision_id: blue.id.clone(), ..edit("", seed) };
    let same = made(&daemon, &mut client, &id, again(Some(7))).await;
    let other = made(&daemon, &mut client, &id, again(Some(8))).await;
    let all = client.list_revisions(v1::ListRevisionsRequest { session_id: id.clone(), ..Default::default() });
    let all = all.await.unwrap().into_inner().revisions;
    assert_eq!((same.revision_count, other.revision_count, all.len()), (3, 4, 4));
    assert!(all[2..].iter().all(|revision| revision.parent_revision_id == root.id));
    assert_eq!(all[3].spec.as_ref().unwrap().prompt, "make it blue");
    let compare = |other: &v1::Revision| v1::CompareRevisionsRequest {
        session_id: id.clone(),
        revision_id: blue.id.clone(),
        other_revision_id: other.id.clone(),
    };
    let found = client.compare_revisions(compare(&all[2])).await.unwrap().into_inner();
    assert!(found.identical && found.psnr_db.is_none() && found.changed.is_none());
    let found = client.compare_revisions(compare(&all[3])).await.unwrap().into_inner();
    assert!(!found.identical && found.same_size && found.max_difference > 0 && found.changed_fraction > 0.0);
    assert!(found.psnr_db.unwrap() > 0.0 && found.changed.unwrap().width > 0);
}

#[tokio::test]
async fn a_session_without_a_picture_makes_its_first_from_a_text_and_its_draft() {
    let daemon = Daemon::start(quick()).await;
    let mut client = client(&daemon);
    let session =
        client.create_session(v1::CreateSessionRequest::default()).await.unwrap().into_inner().session.unwrap();
    let id = session.id;
    let picture = v1::GenerationSpec { mode: v1::Mode::Edit.into(), prompt: "x".into(), ..Default::default() };
    let request = v1::SessionEdit { spec: Some(picture), ..Default::default() };
    let request = v1::CreateSessionEditRequest { session_id: id.clone(), edit: Some(request) };
    let refused = client.create_session_edit(request).await.unwrap_err();
    assert_eq!(told(&refused).1, "SESSION_STATE");
    let draft = v1::Draft { instruction: "a boat".into(), seed: Some(11), selection: None };
    let update = v1::UpdateSessionRequest {
        session_id: id.clone(),
        name: Some("boats".into()),
        pinned: Some(true),
        draft: Some(draft.clone()),
    };
    let updated = client.update_session(update).await.unwrap().into_inner().session.unwrap();
    assert_eq!((updated.name.as_str(), updated.pinned, updated.draft), ("boats", true, Some(draft)));
    let session = made(&daemon, &mut client, &id, v1::SessionEdit::default()).await;
    let first = revision(&mut client, &id, &session.head_revision_id).await;
    let spec = first.spec.unwrap();
    assert_eq!((spec.prompt.as_str(), spec.seed, first.parent_revision_id.as_str()), ("a boat", Some(11), ""));
    assert_eq!(first.resolved.unwrap().mode(), v1::Mode::Generate);
}

#[tokio::test]
async fn wrong_requests_name_their_fields() {
    let daemon = Daemon::start(quick()).await;
    let mut client = client(&daemon);
    let session = with_picture(&mut client).await;
    let spec = v1::GenerationSpec {
        prompt: "x".into(),
        image: Some(v1::ImageSource { source: Some(Source::Inline(png(8, 8).into())) }),
        num_inference_steps: Some(1000),
        guidance_scale: Some(f32::NAN),
        ..Default::default()
    };
    let edit = v1::SessionEdit {
        revision_id: "a".into(),
        rerun_revision_id: "b".into(),
        spec: Some(spec),
        policy: Some(v1::RunPolicy { on_restart: 99, ..Default::default() }),
    };
    let request = v1::CreateSessionEditRequest { session_id: session.id.clone(), edit: Some(edit) };
    let (code, reason, fields) = told(&client.create_session_edit(request).await.unwrap_err());
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "INVALID_REQUEST"));
    for field in [
        "edit.spec.image",
        "edit.rerun_revision_id",
        "edit.spec.guidance_scale",
        "edit.spec.num_inference_steps",
        "edit.policy.on_restart",
    ] {
        assert!(fields.iter().any(|found| found == field), "{field} is not in {fields:?}");
    }
    let request = v1::CreateSessionRequest {
        name: "n".repeat(300),
        image: Some(v1::ImageSource { source: Some(Source::Sha256("abc".into())) }),
    };
    let (_, _, fields) = told(&client.create_session(request).await.unwrap_err());
    assert_eq!(fields, ["name", "image.sha256"]);
    let no_picture = Some(v1::ImageSource { source: Some(Source::Inline(vec![1, 2, 3].into())) });
    let request = v1::CreateSessionRequest { name: String::new(), image: no_picture };
    assert_eq!(told(&client.create_session(request).await.unwrap_err()).1, "INVALID_IMAGE");
    let unknown = client.get_session(v1::GetSessionRequest { session_id: "ses_x".into() }).await.unwrap_err();
    assert_eq!((unknown.code(), told(&unknown).1.as_str()), (Code::NotFound, "SESSION_NOT_FOUND"));
    let list = v1::ListSessionsRequest { page_size: Some(0), page_token: "x".into() };
    assert_eq!(client.list_sessions(list).await.unwrap_err().code(), Code::InvalidArgument);
    let bad = v1::GetRevisionRequest { session_id: session.id, revision_id: "rev_x".into() };
    assert_eq!(told(&client.get_revision(bad).await.unwrap_err()).1, "REVISION_NOT_FOUND");
}

#[tokio::test]
async fn sessions_are_listed_in_pages_and_deleted_with_what_runs() {
    let daemon = Daemon::start(endless()).await;
    let mut client = client(&daemon);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.insert(0, with_picture(&mut client).await.id);
    }
    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListSessionsRequest { page_size: Some(2), page_token };
        let page = client.list_sessions(request).await.unwrap().into_inner();
        listed.extend(page.sessions.into_iter().map(|session| session.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    listed.sort();
    let mut sorted = ids.clone();
    sorted.sort();
    assert_eq!(listed, sorted);
    let request = v1::CreateSessionEditRequest { session_id: ids[0].clone(), edit: Some(edit("x", None)) };
    let running = client.create_session_edit(request).await.unwrap().into_inner().generation.unwrap();
    let mut view =
        client.watch_session(v1::WatchSessionRequest { session_id: ids[0].clone() }).await.unwrap().into_inner();
    let request = v1::DeleteSessionRequest { session_id: ids[0].clone() };
    let removed = client.delete_session(request).await.unwrap().into_inner().removed.unwrap();
    assert_eq!((removed.sessions, removed.generations), (1, 1));
    let mut deleted = false;
    while let Some(told) = view.message().await.unwrap() {
        deleted = matches!(told.event.unwrap().event, Some(Event::Deleted(_)));
    }
    assert!(deleted, "its viewers are told");
    let gone = daemon.generations().get_generation(v1::GetGenerationRequest { id: running.id }).await.unwrap_err();
    assert_eq!(told(&gone).1, "GENERATION_NOT_FOUND");
    let collected = client.collect_garbage(v1::CollectGarbageRequest { all: true }).await.unwrap().into_inner();
    assert_eq!(collected.removed.unwrap().sessions, 2);
    let status = daemon.system().get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
    let store = status.store.unwrap();
    assert_eq!((store.sessions, store.revisions, store.generations, store.blobs), (0, 0, 0, 0));
}

#[tokio::test]
async fn a_run_of_an_edit_streams_its_events() {
    let daemon = Daemon::start(quick()).await;
    let mut client = client(&daemon);
    let session = with_picture(&mut client).await;
    let request = v1::RunSessionEditRequest { session_id: session.id.clone(), edit: Some(edit("make it blue", None)) };
    let mut stream = client.run_session_edit(request).await.unwrap().into_inner();
    let mut sequence = 0;
    let mut last = None;
    while let Some(told) = stream.message().await.unwrap() {
        let event = told.event.unwrap();
        assert_eq!(event.sequence, sequence + 1);
        sequence = event.sequence;
        last = event.event;
    }
    assert!(matches!(last, Some(GenerationEvent::Succeeded(_))));
    assert_eq!(get(&mut client, &session.id).await.revision_count, 2);
}

#[tokio::test]
async fn a_replay_is_exported_and_becomes_a_session() {
    let daemon = Daemon::start(quick()).await;
    let mut client = client(&daemon);
    let session = with_picture(&mut client).await;
    made(&daemon, &mut client, &session.id, edit("make it blue", None)).await;
    let end = made(&daemon, &mut client, &session.id, edit("make it night", None)).await;
    let request = v1::ExportReplayRequest { session_id: session.id.clone(), revision_id: String::new() };
    let replay = client.export_replay(request).await.unwrap().into_inner().replay.unwrap();
    assert_eq!((replay.format_version, replay.easel_version.as_str(), replay.steps.len()), (1, "1.2.3", 2));
    assert_eq!(replay.models[0].name, "drill");
    assert!(replay.steps.iter().all(|step| step.spec.as_ref().unwrap().seed.is_some()));
    let request = v1::ImportReplayRequest { replay: Some(replay.clone()), name: Some("again".into()) };
    let imported = client.import_replay(request).await.unwrap().into_inner().session.unwrap();
    assert_eq!((imported.name.as_str(), imported.revision_count), ("again", 3));
    let (theirs, ours) = (
        revision(&mut client, &imported.id, &imported.head_revision_id).await,
        revision(&mut client, &session.id, &end.head_revision_id).await,
    );
    assert_eq!((&theirs.image, &theirs.spec, &theirs.resolved), (&ours.image, &ours.spec, &ours.resolved));
    let again = v1::ExportReplayRequest { session_id: imported.id, revision_id: String::new() };
    let again = client.export_replay(again).await.unwrap().into_inner().replay.unwrap();
    assert_eq!((&again.canvas, &again.steps), (&replay.canvas, &replay.steps));
    let mut wrong = replay;
    wrong.format_version = 7;
    wrong.steps[0].result.as_mut().unwrap().sha256 = "x".into();
    let request = v1::ImportReplayRequest { replay: Some(wrong), name: None };
    let (_, _, fields) = told(&client.import_replay(request).await.unwrap_err());
    assert_eq!(fields, ["replay.format_version", "replay.steps[0].result.sha256"]);
}

/// One end of an EditSession stream.
struct Editor {
    ask: mpsc::Sender<v1::EditSessionRequest>,
    told: Streaming<v1::EditSessionResponse>,
    /// Everything that was told, in order.
    seen: Vec<Told>,
}

impl Editor {
    async fn attach(client: &mut Client, id: &str) -> Self {
        let (ask, requests) = mpsc::channel(8);
        let attach = Asked::Attach(v1::AttachSession { session_id: id.into() });
        ask.send(v1::EditSessionRequest { tag: "a".into(), request: Some(attach) }).await.unwrap();
        let told = client.edit_session(ReceiverStream::new(requests)).await.unwrap().into_inner();
        Self { ask, told, seen: Vec::new() }
    }

    async fn next(&mut self) -> Told {
        let told = self.told.message().await.unwrap().expect("the stream goes on").response.unwrap();
        self.seen.push(told.clone());
        told
    }

    async fn ask(&mut self, tag: &str, request: Asked) -> Option<Outcome> {
        self.ask.send(v1::EditSessionRequest { tag: tag.into(), request: Some(request) }).await.unwrap();
        loop {
            if let Told::Answer(answer) = self.next().await {
                assert_eq!(answer.tag, tag, "answers come in order");
                return answer.outcome;
            }
        }
    }

    /// The id of an accepted edit.
    async fn edit(&mut self, tag: &str, edit: v1::SessionEdit) -> String {
        match self.ask(tag, Asked::Edit(edit)).await {
            Some(Outcome::Generation(generation)) => generation.id,
            other => panic!("{other:?}"),
        }
    }

    /// Reads until a generation has ended, and further until the session says so too.
    async fn end_of(&mut self, id: &str) -> GenerationEvent {
        let mut end = None;
        loop {
            let done = |told: &Told| match told {
                Told::Event(v1::SessionEvent { event: Some(Event::Generation(event)) })
                    if event.generation_id == id =>
                {
                    event
                        .event
                        .clone()
                        .filter(|event| matches!(event, GenerationEvent::Succeeded(_) | GenerationEvent::Ended(_)))
                }
                _ => None,
            };
            end = end.or_else(|| self.seen.iter().find_map(done));
            let idle = self.sessions().last().is_some_and(|s| !s.active_generation_ids.contains(&id.to_owned()));
            if let Some(end) = end.clone().filter(|_| idle) {
                return end;
            }
            self.next().await;
        }
    }

    fn sessions(&self) -> Vec<v1::Session> {
        let session = |told: &Told| match told {
            Told::Event(v1::SessionEvent { event: Some(Event::Session(session)) }) => Some(session.clone()),
            _ => None,
        };
        self.seen.iter().filter_map(session).collect()
    }

    fn sequences(&self, id: &str) -> Vec<u64> {
        let sequence = |told: &Told| match told {
            Told::Event(v1::SessionEvent { event: Some(Event::Generation(event)) })
                if event.generation_id == id && event.sequence > 0 =>
            {
                Some(event.sequence)
            }
            _ => None,
        };
        self.seen.iter().filter_map(sequence).collect()
    }
}

#[tokio::test]
async fn two_editors_of_one_session_see_the_same() {
    let daemon = Daemon::start(quick()).await;
    let mut client = client(&daemon);
    let session = with_picture(&mut client).await;
    let mut one = Editor::attach(&mut client, &session.id).await;
    let mut other = Editor::attach(&mut client, &session.id).await;
    assert!(matches!(one.next().await, Told::Event(v1::SessionEvent { event: Some(Event::Session(_)) })));
    let draft = v1::Draft { instruction: "make it".into(), seed: Some(5), selection: None };
    assert_eq!(one.ask("d", Asked::Draft(draft.clone())).await, None);
    while other.sessions().last().is_none_or(|session| session.draft.as_ref() != Some(&draft)) {
        other.next().await;
    }
    let mut ids = Vec::new();
    for (tag, prompt) in [("1", "make it blue"), ("2", "make it night")] {
        ids.push(one.edit(tag, edit(prompt, None)).await);
        let id = ids.last().unwrap();
        assert!(matches!(one.end_of(id).await, GenerationEvent::Succeeded(_)));
        assert!(matches!(other.end_of(id).await, GenerationEvent::Succeeded(_)));
    }
    for id in &ids {
        let all = one.sequences(id);
        assert_eq!(all, (1..=all.len() as u64).collect::<Vec<_>>(), "no event is missing");
        assert_eq!(other.sequences(id), all);
    }
    let (ours, theirs) = (one.sessions().pop().unwrap(), other.sessions().pop().unwrap());
    assert_eq!((ours.head_revision_id.clone(), ours.version), (theirs.head_revision_id, theirs.version));
    assert_eq!(other.ask("u", Asked::Undo(v1::UndoSession {})).await, None);
    while one.sessions().last().is_none_or(|session| session.head_revision_id == ours.head_revision_id) {
        one.next().await;
    }
    assert_eq!(one.ask("r", Asked::Redo(v1::RedoSession {})).await, None);
    let to = v1::GoToSessionRevision { revision_id: session.head_revision_id.clone() };
    assert_eq!(one.ask("g", Asked::GoTo(to)).await, None);
    assert_eq!(get(&mut client, &session.id).await.head_revision_id, session.head_revision_id);
    assert_eq!(get(&mut client, &session.id).await.viewers, 2);
    drop(other);
    // Closing the side of the requests leaves a viewer that sees what happens.
    let Editor { ask, mut told, .. } = one;
    drop(ask);
    made(&daemon, &mut client, &session.id, edit("from elsewhere", None)).await;
    let mut succeeded = false;
    while !succeeded {
        let next = told.message().await.unwrap().expect("it goes on").response;
        succeeded = matches!(next, Some(Told::Event(v1::SessionEvent { event: Some(Event::Generation(event)) }))
            if matches!(event.event, Some(GenerationEvent::Succeeded(_))));
    }
}

#[tokio::test]
async fn an_editor_is_refused_without_losing_its_stream_and_cancels() {
    let daemon = Daemon::start(endless()).await;
    let mut client = client(&daemon);
    let session = with_picture(&mut client).await;
    let mut editor = Editor::attach(&mut client, &session.id).await;
    let refused = |outcome: Option<Outcome>| match outcome {
        Some(Outcome::Error(error)) => error.reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(editor.ask("1", Asked::Undo(v1::UndoSession {})).await), "SESSION_STATE");
    let wrong = v1::SessionEdit { revision_id: "rev_x".into(), ..edit("x", None) };
    assert_eq!(refused(editor.ask("2", Asked::Edit(wrong)).await), "REVISION_NOT_FOUND");
    let twice = Asked::Attach(v1::AttachSession { session_id: session.id.clone() });
    assert_eq!(refused(editor.ask("3", twice).await), "INVALID_REQUEST");
    let running = editor.edit("4", edit("make it blue", None)).await;
    let cancel = Asked::Cancel(v1::CancelSessionEdit::default());
    let Some(Outcome::Cancelled(cancelled)) = editor.ask("5", cancel).await else { panic!("it says what it hit") };
    assert_eq!(cancelled.edits.len(), 1);
    assert_eq!(cancelled.edits[0].generation_id, running);
    let GenerationEvent::Ended(end) = editor.end_of(&running).await else { panic!("it was cancelled") };
    assert_eq!(end.error.unwrap().reason, "CANCELLED");

    let (ask, requests) = mpsc::channel(1);
    let undo = Some(Asked::Undo(v1::UndoSession {}));
    ask.send(v1::EditSessionRequest { tag: String::new(), request: undo }).await.unwrap();
    let error = client.edit_session(ReceiverStream::new(requests)).await.unwrap_err();
    assert_eq!(told(&error).2, ["attach"]);
}

#[tokio::test]
async fn live_edits_keep_up_with_the_newest() {
    let daemon = Daemon::start(endless()).await;
    let mut client = client(&daemon);
    let session = with_picture(&mut client).await;
    let mut editor = Editor::attach(&mut client, &session.id).await;
    let first = editor.edit("1", live("make it blue", 1)).await;
    assert_eq!(editor.edit("2", live("make it blue", 1)).await, first, "the same edit is answered with the first");
    let second = editor.edit("3", live("make it bluer", 1)).await;
    let third = editor.edit("4", live("make it bluest", 1)).await;
    for superseded in [&first, &second] {
        let GenerationEvent::Ended(end) = editor.end_of(superseded).await else { panic!("it was superseded") };
        assert_eq!(end.error.unwrap().reason, "SUPERSEDED");
    }
    let running = get(&mut client, &session.id).await.active_generation_ids;
    assert_eq!(running, [third]);
}

#[tokio::test]
async fn a_client_with_a_name_has_a_quota() {
    let daemon = Daemon::start(endless()).await;
    let mut client = daemon.generations();
    let create = |name: &'static str| {
        let mut request = tonic::Request::new(crate::support::create_request("a boat"));
        request.metadata_mut().insert("easel-client", name.parse().unwrap());
        request
    };
    let mut taken = 0;
    let error = loop {
        match client.create_generation(create("greedy")).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error.code(), told(&error).1.as_str()), (Code::ResourceExhausted, "QUOTA_EXCEEDED"));
    assert_eq!(taken, easel_domain::limits::MAX_CLIENT_GENERATIONS);
    client.create_generation(create("modest")).await.unwrap();
}
