//! Sessions: a picture with the tree of its revisions, kept by the daemon.

use easel_proto::v1::{self, image_source::Source, session_service_client::SessionServiceClient};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::client::required;
use crate::connect::Transport;
use crate::request::name_request;
use crate::{Easel, Editor, Error, GenerationStream, SessionStream};

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
        name_request(edit.policy.get_or_insert_default());
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
        SessionStream::open(self.clone(), id.into()).await
    }

    /// Views and edits a session over one stream, together with others.
    pub async fn open_session(&self, id: impl Into<String>) -> Result<Editor, Error> {
        Editor::open(self.clone(), id.into()).await
    }

    pub(crate) async fn watch_session_call(
        &self,
        session_id: String,
        seen: Vec<v1::SeenGeneration>,
    ) -> Result<Streaming<v1::WatchSessionResponse>, Error> {
        let request = v1::WatchSessionRequest { session_id, seen };
        Ok(self.session_service().watch_session(request).await?.into_inner())
    }

    pub(crate) async fn edit_session_call(
        &self,
        requests: ReceiverStream<v1::EditSessionRequest>,
    ) -> Result<Streaming<v1::EditSessionResponse>, Error> {
        Ok(self.session_service().edit_session(requests).await?.into_inner())
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
