//! Sessions: a picture with the tree of its revisions, kept by the daemon.

use std::collections::VecDeque;

use easel_proto::v1::{
    self, edit_session_request::Request as Asked, edit_session_response::Response as Told, image_source::Source,
    session_service_client::SessionServiceClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::client::required;
use crate::connect::Transport;
use crate::{Easel, Error, GenerationStream};

/// Requests of an [`Editor`] that may wait for the connection.
const WAITING_REQUESTS: usize = 32;

impl Easel {
    /// Makes a session, with a picture to begin with (the bytes of a file) or without.
    ///
    /// ```no_run
    /// # async fn example(easel: easel_sdk::Easel) -> Result<(), easel_sdk::Error> {
    /// let room = std::fs::read("room.png").expect("room.png can be read");
    /// let session = easel.create_session("my room", Some(room)).await?;
    /// easel.edit_session(&session.id, easel_sdk::edit("make the wall blue")).await?.finish().await?;
    /// easel.edit_session(&session.id, easel_sdk::edit("add a lamp")).await?.finish().await?;
    /// let before_the_lamp = easel.undo(&session.id).await?;
    /// assert_eq!(before_the_lamp.revision_count, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_session(
        &self,
        name: impl Into<String>,
        picture: Option<Vec<u8>>,
    ) -> Result<v1::Session, Error> {
        let image = match picture {
            Some(bytes) => Some(v1::ImageSource { source: Some(Source::Sha256(self.upload(&bytes).await?)) }),
            None => None,
        };
        let request = v1::CreateSessionRequest { name: name.into(), image };
        required(self.session_service().create_session(request).await?.into_inner().session, "session")
    }

    /// A session as it stands.
    pub async fn session(&self, id: impl Into<String>) -> Result<v1::Session, Error> {
        let request = v1::GetSessionRequest { session_id: id.into() };
        required(self.session_service().get_session(request).await?.into_inner().session, "session")
    }

    /// All sessions, the last changed first.
    pub async fn sessions(&self) -> Result<Vec<v1::Session>, Error> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = v1::ListSessionsRequest { page_size: None, page_token };
            let page = self.session_service().list_sessions(request).await?.into_inner();
            all.extend(page.sessions);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// Renames or pins a session, or changes the draft of its next edit.
    pub async fn update_session(&self, request: v1::UpdateSessionRequest) -> Result<v1::Session, Error> {
        required(self.session_service().update_session(request).await?.into_inner().session, "session")
    }

    /// Deletes a session for good; what it still runs is cancelled.
    pub async fn delete_session(&self, id: impl Into<String>) -> Result<v1::Removed, Error> {
        let request = v1::DeleteSessionRequest { session_id: id.into() };
        required(self.session_service().delete_session(request).await?.into_inner().removed, "count")
    }

    /// All revisions of a session, oldest first.
    pub async fn revisions(&self, id: impl Into<String>) -> Result<Vec<v1::Revision>, Error> {
        let session_id = id.into();
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = v1::ListRevisionsRequest { session_id: session_id.clone(), page_size: None, page_token };
            let page = self.session_service().list_revisions(request).await?.into_inner();
            all.extend(page.revisions);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// A revision of a session; [`picture`](Self::picture) gives the bytes of its image.
    pub async fn revision(&self, id: impl Into<String>, revision: impl Into<String>) -> Result<v1::Revision, Error> {
        let request = v1::GetRevisionRequest { session_id: id.into(), revision_id: revision.into() };
        required(self.session_service().get_revision(request).await?.into_inner().revision, "revision")
    }

    /// Edits a revision, or makes one again, and gives the events. The edit goes on when this client goes away, and a stream
    /// that was lost comes back, even to another run of the daemon.
    pub async fn edit_session(&self, id: impl Into<String>, edit: v1::SessionEdit) -> Result<GenerationStream, Error> {
        let generation = self.create_session_edit(id, edit).await?;
        self.watch(generation.id, 0).await
    }

    /// As [`edit_session`](Self::edit_session), without the events.
    pub async fn create_session_edit(
        &self,
        id: impl Into<String>,
        mut edit: v1::SessionEdit,
    ) -> Result<v1::Generation, Error> {
        let policy = edit.policy.get_or_insert_default();
        if policy.request_id.is_empty() {
            policy.request_id = uuid::Uuid::new_v4().to_string();
        }
        let request = v1::CreateSessionEditRequest { session_id: id.into(), edit: Some(edit) };
        required(self.session_service().create_session_edit(request).await?.into_inner().generation, "generation")
    }

    /// Goes back to the revision that the present one was made from.
    pub async fn undo(&self, id: impl Into<String>) -> Result<v1::Session, Error> {
        let request = v1::UndoSessionRequest { session_id: id.into() };
        required(self.session_service().undo_session(request).await?.into_inner().session, "session")
    }

    /// Takes an undo back.
    pub async fn redo(&self, id: impl Into<String>) -> Result<v1::Session, Error> {
        let request = v1::RedoSessionRequest { session_id: id.into() };
        required(self.session_service().redo_session(request).await?.into_inner().session, "session")
    }

    /// Goes to any revision; the next edit starts a branch there.
    pub async fn go_to(&self, id: impl Into<String>, revision: impl Into<String>) -> Result<v1::Session, Error> {
        let request = v1::GoToRevisionRequest { session_id: id.into(), revision_id: revision.into() };
        required(self.session_service().go_to_revision(request).await?.into_inner().session, "session")
    }

    /// Measures how two revisions of a session differ.
    pub async fn compare(
        &self,
        id: impl Into<String>,
        one: impl Into<String>,
        other: impl Into<String>,
    ) -> Result<v1::CompareRevisionsResponse, Error> {
        let (session_id, revision_id, other_revision_id) = (id.into(), one.into(), other.into());
        let request = v1::CompareRevisionsRequest { session_id, revision_id, other_revision_id };
        Ok(self.session_service().compare_revisions(request).await?.into_inner())
    }

    /// The way to a revision (default: where the session stands), with all inputs by their hashes.
    pub async fn export_replay(&self, id: impl Into<String>, revision: Option<String>) -> Result<v1::Replay, Error> {
        let request = v1::ExportReplayRequest { session_id: id.into(), revision_id: revision.unwrap_or_default() };
        required(self.session_service().export_replay(request).await?.into_inner().replay, "replay")
    }

    /// Makes a session of a replay; its pictures are to be uploaded before.
    pub async fn import_replay(&self, replay: v1::Replay, name: Option<String>) -> Result<v1::Session, Error> {
        let request = v1::ImportReplayRequest { replay: Some(replay), name };
        required(self.session_service().import_replay(request).await?.into_inner().session, "session")
    }

    /// Removes what the retention no longer keeps, or all that is not pinned and not running.
    pub async fn collect_garbage(&self, all: bool) -> Result<v1::Removed, Error> {
        let request = v1::CollectGarbageRequest { all };
        required(self.session_service().collect_garbage(request).await?.into_inner().removed, "count")
    }

    /// Views a session: as it stands, each change, and the events of its generations.
    pub async fn watch_session(&self, id: impl Into<String>) -> Result<SessionStream, Error> {
        let request = v1::WatchSessionRequest { session_id: id.into() };
        Ok(SessionStream(self.session_service().watch_session(request).await?.into_inner()))
    }

    /// Views and edits a session over one stream, together with others.
    pub async fn open_session(&self, id: impl Into<String>) -> Result<Editor, Error> {
        let (requests, waiting) = mpsc::channel(WAITING_REQUESTS);
        let attach = Asked::Attach(v1::AttachSession { session_id: id.into() });
        // There is room: nothing has been asked for yet.
        let _ = requests.send(v1::EditSessionRequest { tag: String::new(), request: Some(attach) }).await;
        let told = self.session_service().edit_session(ReceiverStream::new(waiting)).await?.into_inner();
        Ok(Editor { requests, told, next_tag: 0, events: VecDeque::new() })
    }

    fn session_service(&self) -> SessionServiceClient<Transport> {
        SessionServiceClient::new(self.transport())
    }
}

/// An edit of where a session stands, by an instruction; its fields say what else there is.
pub fn edit(instruction: impl Into<String>) -> v1::SessionEdit {
    let spec = v1::GenerationSpec { prompt: instruction.into(), ..Default::default() };
    v1::SessionEdit { spec: Some(spec), ..Default::default() }
}

/// What happens to a session; see [`Easel::watch_session`].
pub struct SessionStream(Streaming<v1::WatchSessionResponse>);

impl SessionStream {
    /// The next event; `None` after the session was deleted.
    pub async fn next(&mut self) -> Option<Result<v1::SessionEvent, Error>> {
        match self.0.message().await {
            Ok(answer) => Some(required(answer?.event, "event")),
            Err(status) => Some(Err(status.into())),
        }
    }
}

/// Views and edits a session; see [`Easel::open_session`]. Dropping it cancels nothing but live edits whose lease ends.
pub struct Editor {
    requests: mpsc::Sender<v1::EditSessionRequest>,
    told: Streaming<v1::EditSessionResponse>,
    next_tag: u64,
    /// Events that came before an answer.
    events: VecDeque<v1::SessionEvent>,
}

impl Editor {
    /// Asks for an edit; the generation as accepted. Its events come with [`next`](Self::next).
    pub async fn edit(&mut self, edit: v1::SessionEdit) -> Result<v1::Generation, Error> {
        use v1::edit_session_answer::Outcome;
        match self.ask(Asked::Edit(edit)).await? {
            Some(Outcome::Generation(generation)) => Ok(generation),
            _ => Err(Error::protocol("an edit was answered with something else than a generation")),
        }
    }

    /// Changes the draft of the next edit, which every viewer sees.
    pub async fn draft(&mut self, draft: v1::Draft) -> Result<(), Error> {
        self.ask(Asked::Draft(draft)).await.map(drop)
    }

    /// Cancels a generation of the session, or all of them, and says what that hit.
    pub async fn cancel(&mut self, generation: Option<String>) -> Result<Vec<v1::CancelledEdit>, Error> {
        use v1::edit_session_answer::Outcome;
        let generation_id = generation.unwrap_or_default();
        match self.ask(Asked::Cancel(v1::CancelSessionEdit { generation_id })).await? {
            Some(Outcome::Cancelled(cancelled)) => Ok(cancelled.edits),
            _ => Err(Error::protocol("a cancellation was answered with something else")),
        }
    }

    /// Goes back to the revision that the present one was made from.
    pub async fn undo(&mut self) -> Result<(), Error> {
        self.ask(Asked::Undo(v1::UndoSession {})).await.map(drop)
    }

    /// Takes an undo back.
    pub async fn redo(&mut self) -> Result<(), Error> {
        self.ask(Asked::Redo(v1::RedoSession {})).await.map(drop)
    }

    /// Goes to a revision.
    pub async fn go_to(&mut self, revision: impl Into<String>) -> Result<(), Error> {
        self.ask(Asked::GoTo(v1::GoToSessionRevision { revision_id: revision.into() })).await.map(drop)
    }

    /// The next event; `None` after the session was deleted.
    pub async fn next(&mut self) -> Option<Result<v1::SessionEvent, Error>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(Ok(event));
            }
            match self.told.message().await {
                Ok(told) => {
                    if let Some(Told::Event(event)) = told?.response {
                        return Some(Ok(event));
                    }
                }
                Err(status) => return Some(Err(status.into())),
            }
        }
    }

    /// Asks and waits for the answer; events that come before it are kept.
    async fn ask(&mut self, request: Asked) -> Result<Option<v1::edit_session_answer::Outcome>, Error> {
        use v1::edit_session_answer::Outcome;
        self.next_tag += 1;
        let tag = self.next_tag.to_string();
        let request = v1::EditSessionRequest { tag: tag.clone(), request: Some(request) };
        self.requests.send(request).await.map_err(|_| Error::protocol("the daemon has closed the session's stream"))?;
        loop {
            let told = self.told.message().await?;
            let told = told.ok_or_else(|| Error::protocol("the session's stream ended before an answer came"))?;
            match told.response {
                Some(Told::Event(event)) => self.events.push_back(event),
                Some(Told::Answer(answer)) if answer.tag == tag => {
                    return match answer.outcome {
                        Some(Outcome::Error(error)) => Err(Error::from(error)),
                        outcome => Ok(outcome),
                    };
                }
                _ => {}
            }
        }
    }
}
