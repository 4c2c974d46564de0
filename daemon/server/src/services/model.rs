//! Models: list, get, add, load, unload.

use easel_domain::{Error, Reason};
use easel_proto::v1;
use easel_proto::v1::model_service_server::ModelService;
use easel_runtime::{LoadWatch, Runtime};
use futures_util::stream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response};

use super::{Answer, StreamAnswer, answer, refused};
use crate::convert::model::{self, wire_lora, wire_model};
use crate::peer::Peer;

/// Implements `ModelService`.
pub(crate) struct Models {
    runtime: Runtime,
}

impl Models {
    /// The service of `runtime`.
    pub(crate) fn new(runtime: Runtime) -> Self {
        Self { runtime }
    }

    async fn get(&self, name: String) -> Result<v1::GetModelResponse, Error> {
        let found = self.runtime.model(&model::name(name)?).await?;
        Ok(v1::GetModelResponse { model: Some(wire_model(&found)) })
    }

    /// Reading a folder of the machine is for its own user: a token can travel, the Unix socket cannot.
    async fn add(&self, request: Request<v1::AddModelRequest>) -> Result<v1::AddModelResponse, Error> {
        if !request.extensions().get::<Peer>().is_some_and(|peer| peer.is_local_user()) {
            let message = "models are added over the Unix socket only: use `easel models add` on the daemon's machine";
            return Err(Error::new(Reason::PermissionDenied, message));
        }
        let (folder, name) = model::add(request.into_inner())?;
        let added = self.runtime.add_model(folder, name).await?;
        Ok(v1::AddModelResponse { model: Some(wire_model(&added)) })
    }

    async fn load(&self, name: String) -> Result<LoadWatch, Error> {
        self.runtime.load_model(&model::name(name)?).await
    }

    async fn unload(&self, name: String) -> Result<v1::UnloadModelResponse, Error> {
        let left = self.runtime.unload_model(&model::name(name)?).await?;
        Ok(v1::UnloadModelResponse { model: Some(wire_model(&left)) })
    }
}

#[tonic::async_trait]
impl ModelService for Models {
    type LoadModelStream = BoxStream<v1::LoadModelResponse>;

    async fn list_models(&self, _request: Request<v1::ListModelsRequest>) -> Answer<v1::ListModelsResponse> {
        let models = self.runtime.models().await.iter().map(wire_model).collect();
        Ok(Response::new(v1::ListModelsResponse { models }))
    }

    async fn get_model(&self, request: Request<v1::GetModelRequest>) -> Answer<v1::GetModelResponse> {
        answer(self.get(request.into_inner().name).await)
    }

    async fn add_model(&self, request: Request<v1::AddModelRequest>) -> Answer<v1::AddModelResponse> {
        answer(self.add(request).await)
    }

    async fn load_model(&self, request: Request<v1::LoadModelRequest>) -> StreamAnswer<v1::LoadModelResponse> {
        let watch = self.load(request.into_inner().name).await.map_err(|error| refused(&error))?;
        let news = stream::unfold(watch, |mut watch| async move {
            let item = match watch.next().await? {
                Ok((model, fraction)) => Ok(v1::LoadModelResponse { model: Some(wire_model(&model)), fraction }),
                Err(error) => Err(refused(&error)),
            };
            Some((item, watch))
        });
        Ok(Response::new(Box::pin(news)))
    }

    async fn list_loras(&self, _request: Request<v1::ListLorasRequest>) -> Answer<v1::ListLorasResponse> {
        let listed = self.runtime.loras().await;
        answer(listed.map(|loras| v1::ListLorasResponse { loras: loras.iter().map(wire_lora).collect() }))
    }

    async fn unload_model(&self, request: Request<v1::UnloadModelRequest>) -> Answer<v1::UnloadModelResponse> {
        answer(self.unload(request.into_inner().name).await)
    }
}
