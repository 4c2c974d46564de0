//! The daemon itself: version, capabilities, status.

use easel_domain::Error;
use easel_proto::v1::system_service_server::SystemService;
use easel_proto::{PROTOCOL_VERSION, v1};
use easel_runtime::Runtime;
use tonic::{Request, Response};

use super::generation::stored;
use super::{Answer, answer};
use crate::ServerConfig;
use crate::convert::event::timings;
use crate::convert::model::wire_model;
use crate::convert::request::preparation;
use crate::convert::system::{wire_kept, wire_limits, wire_status};
use crate::convert::time;

const OUTPUT_FORMATS: [v1::ImageFormat; 4] =
    [v1::ImageFormat::Png, v1::ImageFormat::Jpeg, v1::ImageFormat::Webp, v1::ImageFormat::Tiff];
const PREVIEW_KINDS: [v1::PreviewKind; 3] =
    [v1::PreviewKind::Off, v1::PreviewKind::Projection, v1::PreviewKind::Decoded];

/// Implements `SystemService`.
pub(crate) struct System {
    runtime: Runtime,
    version: String,
    max_queued_generations: usize,
}

impl System {
    /// The service of `runtime`.
    pub(crate) fn new(runtime: Runtime, config: &ServerConfig) -> Self {
        Self { runtime, version: config.version.clone(), max_queued_generations: config.max_queued_generations }
    }

    async fn prepare(&self, wire: v1::PrepareConditioningRequest) -> Result<v1::PrepareConditioningResponse, Error> {
        let (request, inline) = preparation(wire.spec)?;
        let request = stored(&self.runtime, request, inline).await?;
        let prepared = self.runtime.prepare(request).await?;
        let total = Some(time::duration(prepared.total));
        Ok(v1::PrepareConditioningResponse { timings: timings(&prepared.timings), total })
    }
}

#[tonic::async_trait]
impl SystemService for System {
    async fn get_version(&self, _request: Request<v1::GetVersionRequest>) -> Answer<v1::GetVersionResponse> {
        let version = self.version.clone();
        Ok(Response::new(v1::GetVersionResponse { version, protocol_version: PROTOCOL_VERSION }))
    }

    async fn get_capabilities(
        &self,
        _request: Request<v1::GetCapabilitiesRequest>,
    ) -> Answer<v1::GetCapabilitiesResponse> {
        Ok(Response::new(v1::GetCapabilitiesResponse {
            version: self.version.clone(),
            protocol_version: PROTOCOL_VERSION,
            models: self.runtime.models().await.iter().map(wire_model).collect(),
            limits: Some(wire_limits(self.max_queued_generations)),
            output_formats: OUTPUT_FORMATS.map(i32::from).to_vec(),
            preview_kinds: PREVIEW_KINDS.map(i32::from).to_vec(),
        }))
    }

    async fn get_status(&self, _request: Request<v1::GetStatusRequest>) -> Answer<v1::GetStatusResponse> {
        Ok(Response::new(wire_status(&self.runtime.status().await, &self.runtime.kept())))
    }

    async fn prepare_conditioning(
        &self,
        request: Request<v1::PrepareConditioningRequest>,
    ) -> Answer<v1::PrepareConditioningResponse> {
        answer(self.prepare(request.into_inner()).await)
    }

    async fn list_conditioning(
        &self,
        _request: Request<v1::ListConditioningRequest>,
    ) -> Answer<v1::ListConditioningResponse> {
        let caches = self.runtime.kept().iter().map(wire_kept).collect();
        Ok(Response::new(v1::ListConditioningResponse { caches }))
    }

    async fn clear_conditioning(
        &self,
        request: Request<v1::ClearConditioningRequest>,
    ) -> Answer<v1::ClearConditioningResponse> {
        let model = Some(request.into_inner().model).filter(|name| !name.is_empty());
        let freed = self.runtime.clear_kept(model.as_deref());
        answer(freed.map(|freed_bytes| v1::ClearConditioningResponse { freed_bytes }))
    }
}
