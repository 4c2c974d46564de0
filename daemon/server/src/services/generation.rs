//! Generations: run, create, watch, poll, get, list, cancel.

use std::sync::Arc;

use easel_domain::engine::Interrupt;
use easel_domain::session::Origin;
use easel_domain::{BlobHash, DisconnectPolicy, Error, GenerationRequest};
use easel_proto::v1;
use easel_proto::v1::generation_service_server::GenerationService;
use easel_runtime::{Runtime, Watch};
use futures_util::stream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response};

use super::client::client;
use super::deadline::deadline;
use super::{Answer, StreamAnswer, answer, refused};
use crate::convert::request::{Brought, Inline, Submission, submission};
use crate::convert::{InlineBudget, event, list};

/// Implements `GenerationService`.
pub(crate) struct Generations {
    runtime: Runtime,
}

impl Generations {
    /// The service of `runtime`.
    pub(crate) fn new(runtime: Runtime) -> Self {
        Self { runtime }
    }

    async fn run(&self, request: Request<v1::RunGenerationRequest>) -> Result<Watch, Error> {
        let (deadline, client) = (deadline(request.metadata())?, client(&request));
        let wire = request.into_inner();
        let Submission { request, inline, policy } =
            submission(wire.spec, wire.policy, DisconnectPolicy::Cancel, deadline)?;
        let request = stored(&self.runtime, request, inline).await?;
        self.runtime.run_for(Origin { client, ..Origin::default() }, request, policy).await
    }

    async fn create(
        &self,
        request: Request<v1::CreateGenerationRequest>,
    ) -> Result<v1::CreateGenerationResponse, Error> {
        let client = client(&request);
        let wire = request.into_inner();
        let Submission { request, inline, policy } = submission(wire.spec, wire.policy, DisconnectPolicy::Keep, None)?;
        let request = stored(&self.runtime, request, inline).await?;
        let created = self.runtime.create_for(Origin { client, ..Origin::default() }, request, policy).await?;
        let generation = event::generation(&created.snapshot, &mut InlineBudget::one_answer());
        Ok(v1::CreateGenerationResponse { generation: Some(generation), existed: created.existed })
    }

    async fn watch(&self, wire: v1::WatchGenerationRequest) -> Result<Watch, Error> {
        self.runtime.watch(&list::id(wire.id)?, wire.after_sequence).await
    }

    async fn poll(&self, wire: v1::PollGenerationRequest) -> Result<v1::PollGenerationResponse, Error> {
        let (after_sequence, after_preview) = (wire.after_sequence, wire.after_preview);
        let (id, wait) = list::poll(wire)?;
        let polled = self.runtime.poll(&id, after_sequence, after_preview, wait).await?;
        let mut budget = InlineBudget::one_answer();
        let snapshot = polled.snapshot.map(|state| event::snapshot_event(&state, &mut budget));
        let events = polled.events.iter().map(|state| event::event(&id, state, &mut budget)).collect::<Vec<_>>();
        Ok(v1::PollGenerationResponse {
            events: snapshot.into_iter().chain(events).collect(),
            preview: polled.preview.map(|newest| event::preview(&newest, &mut budget)),
            done: polled.done,
        })
    }

    async fn get(&self, wire: v1::GetGenerationRequest) -> Result<v1::GetGenerationResponse, Error> {
        let state = self.runtime.get(&list::id(wire.id)?).await?;
        let generation = event::generation(&state, &mut InlineBudget::one_answer());
        Ok(v1::GetGenerationResponse { generation: Some(generation) })
    }

    async fn list(&self, wire: v1::ListGenerationsRequest) -> Result<v1::ListGenerationsResponse, Error> {
        let page = list::page(wire)?;
        let (states, next) = self.runtime.list(page.size, page.before, &page.states).await?;
        let mut budget = InlineBudget::none();
        Ok(v1::ListGenerationsResponse {
            generations: states.iter().map(|state| event::generation(state, &mut budget)).collect(),
            next_page_token: next.map(|id| id.to_string()).unwrap_or_default(),
        })
    }

    async fn cancel(&self, wire: v1::CancelGenerationRequest) -> Result<v1::CancelGenerationResponse, Error> {
        let id = list::id(wire.id)?;
        Ok(event::cancelled(self.runtime.cancel(&id, Interrupt::Cancelled).await?))
    }
}

/// The runtime's form of a request: what came along is stored first.
pub(super) async fn stored(
    runtime: &Runtime,
    mut request: GenerationRequest,
    inline: Inline,
) -> Result<GenerationRequest, Error> {
    if let Some(picture) = inline.image {
        request.image = Some(put(runtime, picture).await?);
    }
    if let (Some(mask), Some(selection)) = (inline.mask, &mut request.selection) {
        selection.set_mask(put(runtime, mask).await?);
    }
    Ok(request)
}

/// Stores a picture that is no stored file yet.
pub(super) async fn put(runtime: &Runtime, picture: Brought) -> Result<BlobHash, Error> {
    match picture {
        Brought::File(bytes) => runtime.put_blob(Arc::from(&bytes[..])).await,
        Brought::Raw(raw) => {
            let pixels = match raw.data {
                Ok(bytes) => Arc::from(&bytes[..]),
                Err(hash) => runtime.blob(hash).await?.bytes,
            };
            runtime.put_raw(pixels, raw.layout, raw.icc.to_vec(), raw.field).await
        }
    }
}

/// The events of a watch. The watch lives in the stream: when the connection is lost the stream is dropped, and with it
/// the watch, which is the disconnect.
pub(super) fn events<T: Send + 'static>(watch: Watch, wrap: fn(v1::GenerationEvent) -> T) -> Response<BoxStream<T>> {
    let stream = stream::unfold(watch, move |mut watch| async move {
        let item = match watch.next().await? {
            Ok(watched) => Ok(wrap(event::watched(watch.id(), &watched))),
            Err(error) => Err(refused(&error)),
        };
        Some((item, watch))
    });
    Response::new(Box::pin(stream))
}

#[tonic::async_trait]
impl GenerationService for Generations {
    type RunGenerationStream = BoxStream<v1::RunGenerationResponse>;
    type WatchGenerationStream = BoxStream<v1::WatchGenerationResponse>;

    async fn run_generation(
        &self,
        request: Request<v1::RunGenerationRequest>,
    ) -> StreamAnswer<v1::RunGenerationResponse> {
        let watch = self.run(request).await.map_err(|error| refused(&error))?;
        Ok(events(watch, |event| v1::RunGenerationResponse { event: Some(event) }))
    }

    async fn create_generation(
        &self,
        request: Request<v1::CreateGenerationRequest>,
    ) -> Answer<v1::CreateGenerationResponse> {
        answer(self.create(request).await)
    }

    async fn watch_generation(
        &self,
        request: Request<v1::WatchGenerationRequest>,
    ) -> StreamAnswer<v1::WatchGenerationResponse> {
        let watch = self.watch(request.into_inner()).await.map_err(|error| refused(&error))?;
        Ok(events(watch, |event| v1::WatchGenerationResponse { event: Some(event) }))
    }

    async fn poll_generation(&self, request: Request<v1::PollGenerationRequest>) -> Answer<v1::PollGenerationResponse> {
        answer(self.poll(request.into_inner()).await)
    }

    async fn get_generation(&self, request: Request<v1::GetGenerationRequest>) -> Answer<v1::GetGenerationResponse> {
        answer(self.get(request.into_inner()).await)
    }

    async fn list_generations(
        &self,
        request: Request<v1::ListGenerationsRequest>,
    ) -> Answer<v1::ListGenerationsResponse> {
        answer(self.list(request.into_inner()).await)
    }

    async fn cancel_generation(
        &self,
        request: Request<v1::CancelGenerationRequest>,
    ) -> Answer<v1::CancelGenerationResponse> {
        answer(self.cancel(request.into_inner()).await)
    }
}
