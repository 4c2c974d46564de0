//! The stream over which a client views and edits a session: requests are answered in their order, and events come in
//! between. There is no task and no buffer of its own: the stream asks for the next thing when the client reads.

use easel_domain::{Error, GenerationId, Reason, SessionId};
use easel_proto::v1;
use easel_proto::v1::edit_session_answer::Outcome;
use easel_proto::v1::edit_session_request::Request as Asked;
use easel_proto::v1::edit_session_response::Response as Told;
use easel_proto::v1::session_event::Event;
use easel_runtime::{Move, Runtime, SessionNews, SessionUpdate, SessionWatch};
use futures_util::stream;
use tonic::codegen::BoxStream;
use tonic::{Status, Streaming};

use super::refused;
use super::session::edit_of;
use crate::convert::session as convert;
use crate::convert::{InlineBudget, event};
use crate::status::generation_error;

/// Bytes of a tag.
const MAX_TAG_BYTES: usize = 128;

/// What the stream holds; dropped with the connection.
struct EditStream {
    runtime: Runtime,
    client: String,
    id: SessionId,
    watch: SessionWatch,
    /// `None` when the client has said that it asks for nothing more; it still sees what happens.
    requests: Option<Streaming<v1::EditSessionRequest>>,
    over: bool,
}

/// Reads the first request, which has to attach, and begins.
pub(crate) async fn begin(
    runtime: Runtime,
    client: String,
    mut requests: Streaming<v1::EditSessionRequest>,
) -> Result<BoxStream<v1::EditSessionResponse>, Status> {
    let first = requests.message().await?;
    let attach = async {
        let Some(Asked::Attach(attach)) = first.and_then(|first| first.request) else {
            let wrong = "is not set: the first request of the stream says which session it is about";
            return Err(Error::field(Reason::InvalidRequest, "attach", wrong));
        };
        let (id, seen) = convert::viewer(attach.session_id, attach.seen)?;
        Ok((runtime.watch_session(&id, &seen).await?, id))
    };
    let (watch, id) = attach.await.map_err(|error| refused(&error))?;
    let stream = EditStream { runtime, client, id, watch, requests: Some(requests), over: false };
    Ok(Box::pin(stream::unfold(stream, |mut stream| async move { stream.next().await.map(|item| (item, stream)) })))
}

impl EditStream {
    async fn next(&mut self) -> Option<Result<v1::EditSessionResponse, Status>> {
        if self.over {
            return None;
        }
        let told = tokio::select! {
            // What is asked for goes first: a cancellation does not wait for events to be read.
            biased;
            asked = next_request(&mut self.requests) => match asked {
                Ok(Some(request)) => Told::Answer(self.answer(request).await),
                Ok(None) => {
                    self.requests = None;
                    return Box::pin(self.next()).await;
                }
                Err(status) => {
                    self.over = true;
                    return Some(Err(status));
                }
            },
            news = self.watch.next() => match news? {
                Ok(news) => {
                    self.over = news == SessionNews::Deleted;
                    Told::Event(event_of(&news, &self.id, &self.runtime))
                }
                Err(error) => {
                    self.over = true;
                    return Some(Err(refused(&error)));
                }
            },
        };
        Some(Ok(v1::EditSessionResponse { response: Some(told) }))
    }

    async fn answer(&self, request: v1::EditSessionRequest) -> v1::EditSessionAnswer {
        let mut tag = request.tag;
        let outcome = if tag.len() > MAX_TAG_BYTES {
            tag.clear();
            Err(Error::field(Reason::InvalidRequest, "tag", format!("has more than {MAX_TAG_BYTES} bytes: shorten it")))
        } else {
            self.perform(request.request).await
        };
        let outcome = outcome.unwrap_or_else(|error| Some(Outcome::Error(generation_error(&error))));
        v1::EditSessionAnswer { tag, outcome }
    }

    async fn perform(&self, asked: Option<Asked>) -> Result<Option<Outcome>, Error> {
        let to = match asked {
            None => return Err(Error::field(Reason::InvalidRequest, "request", "is not set: say what to do")),
            Some(Asked::Attach(_)) => {
                let wrong = "comes twice: one stream is about one session, open another for another";
                return Err(Error::field(Reason::InvalidRequest, "attach", wrong));
            }
            Some(Asked::Edit(edit)) => {
                let (edit, policy) = edit_of(&self.runtime, Some(edit), None).await?;
                let created = self.runtime.create_edit(&self.id, edit, policy, self.client.clone()).await?;
                let generation = event::generation(&created.snapshot, &mut InlineBudget::none());
                return Ok(Some(Outcome::Generation(generation)));
            }
            Some(Asked::Draft(draft)) => {
                let draft = Some(convert::lone_draft(draft)?);
                let update = SessionUpdate { draft, ..SessionUpdate::default() };
                self.runtime.update_session(&self.id, update).await?;
                return Ok(None);
            }
            Some(Asked::Cancel(cancel)) => return self.cancel(cancel).await,
            Some(Asked::Undo(_)) => Move::Undo,
            Some(Asked::Redo(_)) => Move::Redo,
            Some(Asked::GoTo(go_to)) => Move::To(easel_domain::RevisionId::new(go_to.revision_id)),
        };
        self.runtime.move_in_session(&self.id, to).await?;
        Ok(None)
    }

    async fn cancel(&self, cancel: v1::CancelSessionEdit) -> Result<Option<Outcome>, Error> {
        let generation = Some(cancel.generation_id).filter(|id| !id.is_empty()).map(GenerationId::new);
        let outcomes = self.runtime.cancel_session(&self.id, generation).await?;
        let edits = outcomes.into_iter().map(|(id, outcome)| {
            let v1::CancelGenerationResponse { outcome, at } = event::cancelled(outcome);
            v1::CancelledEdit { generation_id: id.to_string(), outcome, at }
        });
        Ok(Some(Outcome::Cancelled(v1::CancelledEdits { edits: edits.collect() })))
    }
}

async fn next_request(
    requests: &mut Option<Streaming<v1::EditSessionRequest>>,
) -> Result<Option<v1::EditSessionRequest>, Status> {
    match requests {
        Some(requests) => requests.message().await,
        None => std::future::pending().await,
    }
}

/// What a viewer is told.
pub(crate) fn event_of(news: &SessionNews, id: &SessionId, runtime: &Runtime) -> v1::SessionEvent {
    let event = match news {
        SessionNews::Session(session) => Event::Session(convert::session(session, runtime.session_viewers(id))),
        SessionNews::Generation(generation, watched) => Event::Generation(event::watched(generation, watched)),
        SessionNews::Deleted => Event::Deleted(v1::SessionDeleted { session_id: id.to_string() }),
    };
    v1::SessionEvent { event: Some(event) }
}
