//! Sessions: everything that is one question and one answer, and the streams of events.

use easel_domain::session::{Session, SessionEdit};
use easel_domain::{Error, RunPolicy};
use easel_proto::v1;
use easel_proto::v1::session_service_server::SessionService;
use easel_runtime::{Move, Runtime, SessionWatch, Watch};
use futures_util::stream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Streaming};

use super::client::client;
use super::deadline::deadline;
use super::generation::{events, put, stored};
use super::{Answer, StreamAnswer, answer, edit_stream, refused};
use crate::convert::session as convert;
use crate::convert::{InlineBudget, event};

/// Implements `SessionService`.
pub(crate) struct Sessions {
    runtime: Runtime,
    version: String,
}

impl Sessions {
    /// The service of `runtime`; `version` stands in replays.
    pub(crate) fn new(runtime: Runtime, version: String) -> Self {
        Self { runtime, version }
    }

    fn wire(&self, session: &Session) -> Option<v1::Session> {
        Some(convert::session(session, self.runtime.session_viewers(&session.id)))
    }

    async fn create(&self, wire: v1::CreateSessionRequest) -> Result<v1::CreateSessionResponse, Error> {
        let (name, mut hash, inline) = convert::create(wire)?;
        if let Some(picture) = inline {
            hash = Some(put(&self.runtime, picture).await?);
        }
        let session = self.runtime.create_session(name, hash).await?;
        Ok(v1::CreateSessionResponse { session: self.wire(&session) })
    }

    async fn list(&self, wire: v1::ListSessionsRequest) -> Result<v1::ListSessionsResponse, Error> {
        let page = convert::page(wire.page_size, wire.page_token)?;
        let mut sessions = self.runtime.sessions(page.size + 1, convert::place(page.token)?).await?;
        let more = sessions.len() > page.size;
        sessions.truncate(page.size);
        let next = sessions.last().filter(|_| more).map(convert::token).unwrap_or_default();
        let sessions = sessions.iter().filter_map(|session| self.wire(session)).collect();
        Ok(v1::ListSessionsResponse { sessions, next_page_token: next })
    }

    async fn revisions(&self, wire: v1::ListRevisionsRequest) -> Result<v1::ListRevisionsResponse, Error> {
        let (id, page) = (convert::session_id(wire.session_id)?, convert::page(wire.page_size, wire.page_token)?);
        let after = page.token.map(easel_domain::RevisionId::new);
        let mut revisions = self.runtime.revisions(&id, page.size + 1, after).await?;
        let more = revisions.len() > page.size;
        revisions.truncate(page.size);
        let next = revisions.last().filter(|_| more).map(|last| last.id.to_string()).unwrap_or_default();
        let revisions = revisions.iter().map(|revision| convert::revision(revision, bytes::Bytes::new())).collect();
        Ok(v1::ListRevisionsResponse { revisions, next_page_token: next })
    }

    async fn revision(&self, wire: v1::GetRevisionRequest) -> Result<v1::GetRevisionResponse, Error> {
        let (id, revision) = convert::revision_id(wire.session_id, wire.revision_id)?;
        let revision = self.runtime.revision(&id, &revision).await?;
        let file = convert::inline(&self.runtime.revision_picture(&revision).await?);
        Ok(v1::GetRevisionResponse { revision: Some(convert::revision(&revision, file)) })
    }

    async fn run(&self, request: Request<v1::RunSessionEditRequest>) -> Result<Watch, Error> {
        let (deadline, client) = (deadline(request.metadata())?, client(&request));
        let wire = request.into_inner();
        let id = convert::session_id(wire.session_id)?;
        let (edit, policy) = edit_of(&self.runtime, wire.edit, deadline).await?;
        self.runtime.run_edit(&id, edit, policy, client).await
    }

    async fn create_edit(
        &self,
        request: Request<v1::CreateSessionEditRequest>,
    ) -> Result<v1::CreateSessionEditResponse, Error> {
        let client = client(&request);
        let wire = request.into_inner();
        let id = convert::session_id(wire.session_id)?;
        let (edit, policy) = edit_of(&self.runtime, wire.edit, None).await?;
        let created = self.runtime.create_edit(&id, edit, policy, client).await?;
        let generation = event::generation(&created.snapshot, &mut InlineBudget::one_answer());
        Ok(v1::CreateSessionEditResponse { generation: Some(generation), existed: created.existed })
    }

    async fn go(&self, id: String, to: Move) -> Result<Option<v1::Session>, Error> {
        let session = self.runtime.move_in_session(&convert::session_id(id)?, to).await?;
        Ok(self.wire(&session))
    }

    async fn compare(&self, wire: v1::CompareRevisionsRequest) -> Result<v1::CompareRevisionsResponse, Error> {
        let (id, one) = convert::revision_id(wire.session_id, wire.revision_id)?;
        let other = easel_domain::RevisionId::new(wire.other_revision_id);
        Ok(convert::difference(&self.runtime.compare(&id, &one, &other).await?))
    }

    async fn export(&self, wire: v1::ExportReplayRequest) -> Result<v1::ExportReplayResponse, Error> {
        let id = convert::session_id(wire.session_id)?;
        let end = Some(wire.revision_id).filter(|id| !id.is_empty()).map(easel_domain::RevisionId::new);
        let replay = self.runtime.export_replay(&id, end).await?;
        let mut wire = convert::wire_replay(&replay, &self.version);
        let named = |name: &str| replay.steps.iter().any(|step| step.plan.model == name);
        let models = self.runtime.models().await.into_iter().filter(|model| named(&model.info.name));
        wire.models = models
            .map(|model| v1::ReplayModel {
                name: model.info.name,
                parameters: model.info.parameters,
                file_bytes: model.info.file_bytes,
                license: model.info.license,
            })
            .collect();
        Ok(v1::ExportReplayResponse { replay: Some(wire) })
    }

    async fn watch(&self, wire: v1::WatchSessionRequest) -> Result<SessionWatch, Error> {
        let (id, seen) = convert::viewer(wire.session_id, wire.seen)?;
        self.runtime.watch_session(&id, &seen).await
    }
}

/// An edit and how it is run; what came along is stored.
pub(super) async fn edit_of(
    runtime: &Runtime,
    wire: Option<v1::SessionEdit>,
    deadline: Option<std::time::Duration>,
) -> Result<(SessionEdit, RunPolicy), Error> {
    let (mut edit, policy, inline) = convert::edit(wire, deadline)?;
    edit.request = stored(runtime, edit.request, inline).await?;
    Ok((edit, policy))
}

#[tonic::async_trait]
impl SessionService for Sessions {
    type RunSessionEditStream = BoxStream<v1::RunSessionEditResponse>;
    type WatchSessionStream = BoxStream<v1::WatchSessionResponse>;
    type EditSessionStream = BoxStream<v1::EditSessionResponse>;

    async fn create_session(&self, request: Request<v1::CreateSessionRequest>) -> Answer<v1::CreateSessionResponse> {
        answer(self.create(request.into_inner()).await)
    }

    async fn get_session(&self, request: Request<v1::GetSessionRequest>) -> Answer<v1::GetSessionResponse> {
        let get = async {
            let session = self.runtime.session(&convert::session_id(request.into_inner().session_id)?).await?;
            Ok(v1::GetSessionResponse { session: self.wire(&session) })
        };
        answer(get.await)
    }

    async fn list_sessions(&self, request: Request<v1::ListSessionsRequest>) -> Answer<v1::ListSessionsResponse> {
        answer(self.list(request.into_inner()).await)
    }

    async fn update_session(&self, request: Request<v1::UpdateSessionRequest>) -> Answer<v1::UpdateSessionResponse> {
        let update = async {
            let (id, update) = convert::update(request.into_inner())?;
            let session = self.runtime.update_session(&id, update).await?;
            Ok(v1::UpdateSessionResponse { session: self.wire(&session) })
        };
        answer(update.await)
    }

    async fn delete_session(&self, request: Request<v1::DeleteSessionRequest>) -> Answer<v1::DeleteSessionResponse> {
        let delete = async {
            let cleaned = self.runtime.delete_session(&convert::session_id(request.into_inner().session_id)?).await?;
            Ok(v1::DeleteSessionResponse { removed: Some(convert::removed(&cleaned)) })
        };
        answer(delete.await)
    }

    async fn list_revisions(&self, request: Request<v1::ListRevisionsRequest>) -> Answer<v1::ListRevisionsResponse> {
        answer(self.revisions(request.into_inner()).await)
    }

    async fn get_revision(&self, request: Request<v1::GetRevisionRequest>) -> Answer<v1::GetRevisionResponse> {
        answer(self.revision(request.into_inner()).await)
    }

    async fn run_session_edit(
        &self,
        request: Request<v1::RunSessionEditRequest>,
    ) -> StreamAnswer<v1::RunSessionEditResponse> {
        let watch = self.run(request).await.map_err(|error| refused(&error))?;
        Ok(events(watch, |event| v1::RunSessionEditResponse { event: Some(event) }))
    }

    async fn create_session_edit(
        &self,
        request: Request<v1::CreateSessionEditRequest>,
    ) -> Answer<v1::CreateSessionEditResponse> {
        answer(self.create_edit(request).await)
    }

    async fn undo_session(&self, request: Request<v1::UndoSessionRequest>) -> Answer<v1::UndoSessionResponse> {
        let session = self.go(request.into_inner().session_id, Move::Undo).await;
        answer(session.map(|session| v1::UndoSessionResponse { session }))
    }

    async fn redo_session(&self, request: Request<v1::RedoSessionRequest>) -> Answer<v1::RedoSessionResponse> {
        let session = self.go(request.into_inner().session_id, Move::Redo).await;
        answer(session.map(|session| v1::RedoSessionResponse { session }))
    }

    async fn go_to_revision(&self, request: Request<v1::GoToRevisionRequest>) -> Answer<v1::GoToRevisionResponse> {
        let wire = request.into_inner();
        let go = async {
            let (id, revision) = convert::revision_id(wire.session_id, wire.revision_id)?;
            let session = self.runtime.move_in_session(&id, Move::To(revision)).await?;
            Ok(v1::GoToRevisionResponse { session: self.wire(&session) })
        };
        answer(go.await)
    }

    async fn compare_revisions(
        &self,
        request: Request<v1::CompareRevisionsRequest>,
    ) -> Answer<v1::CompareRevisionsResponse> {
        answer(self.compare(request.into_inner()).await)
    }

    async fn export_replay(&self, request: Request<v1::ExportReplayRequest>) -> Answer<v1::ExportReplayResponse> {
        answer(self.export(request.into_inner()).await)
    }

    async fn import_replay(&self, request: Request<v1::ImportReplayRequest>) -> Answer<v1::ImportReplayResponse> {
        let import = async {
            let session = self.runtime.import_replay(convert::replay(request.into_inner())?).await?;
            Ok(v1::ImportReplayResponse { session: self.wire(&session) })
        };
        answer(import.await)
    }

    async fn watch_session(&self, request: Request<v1::WatchSessionRequest>) -> StreamAnswer<v1::WatchSessionResponse> {
        let watch = self.watch(request.into_inner()).await.map_err(|error| refused(&error))?;
        let runtime = self.runtime.clone();
        let stream = stream::unfold((watch, runtime), |(mut watch, runtime)| async move {
            let item = match watch.next().await? {
                Ok(news) => {
                    Ok(v1::WatchSessionResponse { event: Some(edit_stream::event_of(&news, watch.id(), &runtime)) })
                }
                Err(error) => Err(refused(&error)),
            };
            Some((item, (watch, runtime)))
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn edit_session(
        &self,
        request: Request<Streaming<v1::EditSessionRequest>>,
    ) -> StreamAnswer<v1::EditSessionResponse> {
        let client = client(&request);
        let stream = edit_stream::begin(self.runtime.clone(), client, request.into_inner());
        Ok(Response::new(stream.await?))
    }

    async fn collect_garbage(&self, request: Request<v1::CollectGarbageRequest>) -> Answer<v1::CollectGarbageResponse> {
        let cleaned = self.runtime.collect_garbage(request.into_inner().all).await;
        answer(cleaned.map(|cleaned| v1::CollectGarbageResponse { removed: Some(convert::removed(&cleaned)) }))
    }
}
