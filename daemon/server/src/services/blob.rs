//! Blobs: uploads in three calls, downloads in chunks.

use easel_domain::limits::MAX_CHUNK_BYTES;
use easel_domain::{BlobHash, Error};
use easel_proto::v1;
use easel_proto::v1::blob_service_server::BlobService;
use easel_runtime::Runtime;
use futures_util::stream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use super::{Answer, StreamAnswer, answer, refused};
use crate::convert::blob;
use crate::convert::image::shared;

/// Implements `BlobService`.
pub(crate) struct Blobs {
    runtime: Runtime,
}

impl Blobs {
    /// The service of `runtime`.
    pub(crate) fn new(runtime: Runtime) -> Self {
        Self { runtime }
    }

    async fn begin(&self, wire: &v1::BeginUploadRequest) -> Result<v1::BeginUploadResponse, Error> {
        let (hash, size_bytes) = blob::begin(wire)?;
        let state = self.runtime.begin_upload(hash, size_bytes).await?;
        Ok(v1::BeginUploadResponse { exists: state.exists, offset: state.offset })
    }

    async fn append(&self, wire: v1::AppendUploadRequest) -> Result<v1::AppendUploadResponse, Error> {
        let hash = blob::append(&wire)?;
        let offset = self.runtime.append_upload(hash, wire.offset, wire.data).await?;
        Ok(v1::AppendUploadResponse { offset })
    }

    async fn finish(&self, hash: &str) -> Result<v1::FinishUploadResponse, Error> {
        let info = self.runtime.finish_upload(blob::hash(hash)?).await?;
        Ok(v1::FinishUploadResponse { blob: Some(blob::wire_blob(&info)) })
    }

    async fn get(&self, hash: &str) -> Result<v1::GetBlobResponse, Error> {
        let found = self.runtime.blob(blob::hash(hash)?).await?;
        Ok(v1::GetBlobResponse { blob: Some(blob::wire_blob(&found.info)) })
    }

    /// The chunks of a part of a blob; they share its bytes.
    async fn read(
        &self,
        wire: &v1::ReadBlobRequest,
    ) -> Result<impl Iterator<Item = v1::ReadBlobResponse> + Send + use<>, Error> {
        let hash: BlobHash = blob::hash(&wire.sha256)?;
        let bytes = shared(&self.runtime.blob(hash).await?.bytes);
        let (begin, end) = blob::part(wire, bytes.len())?;
        Ok((begin..end).step_by(MAX_CHUNK_BYTES).map(move |from| v1::ReadBlobResponse {
            offset: u64::try_from(from).unwrap_or(u64::MAX),
            data: bytes.slice(from..end.min(from + MAX_CHUNK_BYTES)),
        }))
    }
}

#[tonic::async_trait]
impl BlobService for Blobs {
    type ReadBlobStream = BoxStream<v1::ReadBlobResponse>;

    async fn begin_upload(&self, request: Request<v1::BeginUploadRequest>) -> Answer<v1::BeginUploadResponse> {
        answer(self.begin(request.get_ref()).await)
    }

    async fn append_upload(&self, request: Request<v1::AppendUploadRequest>) -> Answer<v1::AppendUploadResponse> {
        answer(self.append(request.into_inner()).await)
    }

    async fn finish_upload(&self, request: Request<v1::FinishUploadRequest>) -> Answer<v1::FinishUploadResponse> {
        answer(self.finish(&request.get_ref().sha256).await)
    }

    async fn read_blob(&self, request: Request<v1::ReadBlobRequest>) -> StreamAnswer<v1::ReadBlobResponse> {
        let chunks = self.read(request.get_ref()).await.map_err(|error| refused(&error))?;
        Ok(Response::new(Box::pin(stream::iter(chunks.map(Ok::<_, Status>)))))
    }

    async fn get_blob(&self, request: Request<v1::GetBlobRequest>) -> Answer<v1::GetBlobResponse> {
        answer(self.get(&request.get_ref().sha256).await)
    }
}
