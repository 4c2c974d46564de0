//! A scripted daemon over a Unix socket and TCP, with a wire in front of it that can be cut.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use easel_sdk::proto::{
    self as v1, blob_service_server as blob, generation_event::Event as Kind, generation_service_server as generation,
    model_service_server as model, system_service_server as system,
};
use easel_sdk::{Code, Easel, Target};
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

pub(crate) type Item = Result<v1::GenerationEvent, Status>;
type Answer<T> = Result<Response<T>, Status>;
type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the daemon will say, and what it has been asked.
#[derive(Default)]
pub(crate) struct Script {
    /// Events of each RunGeneration in turn.
    pub(crate) runs: VecDeque<Vec<Item>>,
    /// Events of each WatchGeneration in turn.
    pub(crate) watches: VecDeque<Vec<Item>>,
    /// Whether RunGeneration stays open after its events.
    pub(crate) hang_after_run: bool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    next_run: usize,
    next_watch: usize,
    runs: Vec<v1::RunGenerationRequest>,
    watches: Vec<v1::WatchGenerationRequest>,
    appends: Vec<u64>,
    authorizations: Vec<Option<String>>,
    uploads: HashMap<String, Vec<u8>>,
    half: Vec<u8>,
    blobs: HashMap<String, Vec<u8>>,
}

impl Script {
    pub(crate) fn one_run(events: Vec<Item>) -> Self {
        Self { runs: vec![events].into(), ..Self::default() }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().expect("nobody panicked")
    }

    pub(crate) fn runs(&self) -> Vec<v1::RunGenerationRequest> {
        self.seen().runs.clone()
    }

    pub(crate) fn watched(&self) -> Vec<v1::WatchGenerationRequest> {
        self.seen().watches.clone()
    }

    pub(crate) fn appends(&self) -> Vec<u64> {
        self.seen().appends.clone()
    }

    pub(crate) fn authorizations(&self) -> Vec<Option<String>> {
        self.seen().authorizations.clone()
    }

    pub(crate) fn blob(&self, hash: &str) -> Option<Vec<u8>> {
        self.seen().blobs.get(hash).cloned()
    }

    /// The next upload finds these bytes there already.
    pub(crate) fn half_upload(&self, bytes: &[u8]) {
        self.seen().half = bytes.to_vec();
    }

    pub(crate) fn damage(&self, hash: &str) {
        self.seen().blobs.insert(hash.to_owned(), b"something else".to_vec());
    }
}

/// The daemon and the wire to it.
pub(crate) struct Mock {
    pub(crate) script: Arc<Script>,
    service: Service,
    folder: tempfile::TempDir,
    /// Counts the cuts; the largest value means that nobody gets through any more.
    wire: watch::Sender<u32>,
}

impl Mock {
    pub(crate) async fn start(script: Script) -> Self {
        let script = Arc::new(script);
        let folder = tempfile::tempdir().expect("a folder");
        let service = Service(script.clone());
        let listener = UnixListener::bind(folder.path().join("daemon.sock")).expect("bound");
        tokio::spawn(service.router().serve_with_incoming(UnixListenerStream::new(listener)));
        let (wire, cuts) = watch::channel(0);
        let front = UnixListener::bind(folder.path().join("front.sock")).expect("bound");
        tokio::spawn(carry(front, folder.path().join("daemon.sock"), cuts));
        Self { script, service, folder, wire }
    }

    pub(crate) async fn client(&self) -> Easel {
        Easel::connect(&Target::unix(self.folder.path().join("front.sock"))).await.expect("connected")
    }

    pub(crate) async fn tcp(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(self.service.router().serve_with_incoming(TcpListenerStream::new(listener)));
        format!("http://{address}")
    }

    /// Breaks all connections; new ones get through.
    pub(crate) fn cut(&self) {
        self.wire.send_modify(|cuts| *cuts += 1);
    }

    /// Breaks all connections and lets nobody through any more.
    pub(crate) fn cut_for_good(&self) {
        self.wire.send_replace(u32::MAX);
    }
}

async fn carry(front: UnixListener, back: PathBuf, cuts: watch::Receiver<u32>) {
    while let Ok((mut near, _)) = front.accept().await {
        let mut cuts = cuts.clone();
        if *cuts.borrow_and_update() == u32::MAX {
            continue;
        }
        let mut far = UnixStream::connect(&back).await.expect("the daemon listens");
        tokio::spawn(async move {
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                _ = cuts.changed() => {}
            }
        });
    }
}

#[derive(Clone)]
struct Service(Arc<Script>);

impl Service {
    fn router(&self) -> tonic::transport::server::Router {
        let routes = Routes::new(generation::GenerationServiceServer::new(self.clone()))
            .add_service(blob::BlobServiceServer::new(self.clone()))
            .add_service(model::ModelServiceServer::new(self.clone()))
            .add_service(system::SystemServiceServer::new(self.clone()));
        tonic::transport::Server::builder().add_routes(routes)
    }
}

fn unused<T>() -> Answer<T> {
    Err(Status::unimplemented("not part of the script"))
}

#[tonic::async_trait]
impl generation::GenerationService for Service {
    type RunGenerationStream = BoxStream<v1::RunGenerationResponse>;
    type WatchGenerationStream = BoxStream<v1::WatchGenerationResponse>;

    async fn run_generation(&self, request: Request<v1::RunGenerationRequest>) -> Answer<Self::RunGenerationStream> {
        let mut seen = self.0.seen();
        seen.runs.push(request.into_inner());
        let events = self.0.runs.get(seen.next_run).cloned().ok_or_else(|| Status::internal("no more runs"))?;
        seen.next_run += 1;
        let events =
            tokio_stream::iter(events).map(|item| item.map(|event| v1::RunGenerationResponse { event: Some(event) }));
        Ok(Response::new(match self.0.hang_after_run {
            true => Box::pin(events.chain(tokio_stream::pending())),
            false => Box::pin(events),
        }))
    }

    async fn watch_generation(
        &self,
        request: Request<v1::WatchGenerationRequest>,
    ) -> Answer<Self::WatchGenerationStream> {
        let mut seen = self.0.seen();
        seen.watches.push(request.into_inner());
        let events = self.0.watches.get(seen.next_watch).cloned().ok_or_else(|| Status::internal("no more watches"))?;
        seen.next_watch += 1;
        let events =
            tokio_stream::iter(events).map(|item| item.map(|event| v1::WatchGenerationResponse { event: Some(event) }));
        Ok(Response::new(Box::pin(events)))
    }

    async fn create_generation(&self, _: Request<v1::CreateGenerationRequest>) -> Answer<v1::CreateGenerationResponse> {
        unused()
    }

    async fn poll_generation(&self, _: Request<v1::PollGenerationRequest>) -> Answer<v1::PollGenerationResponse> {
        unused()
    }

    async fn get_generation(&self, _: Request<v1::GetGenerationRequest>) -> Answer<v1::GetGenerationResponse> {
        unused()
    }

    async fn list_generations(&self, _: Request<v1::ListGenerationsRequest>) -> Answer<v1::ListGenerationsResponse> {
        unused()
    }

    async fn cancel_generation(&self, _: Request<v1::CancelGenerationRequest>) -> Answer<v1::CancelGenerationResponse> {
        unused()
    }
}

#[tonic::async_trait]
impl blob::BlobService for Service {
    type ReadBlobStream = BoxStream<v1::ReadBlobResponse>;

    async fn begin_upload(&self, request: Request<v1::BeginUploadRequest>) -> Answer<v1::BeginUploadResponse> {
        let mut seen = self.0.seen();
        let sha256 = request.into_inner().sha256;
        if seen.blobs.contains_key(&sha256) {
            return Ok(Response::new(v1::BeginUploadResponse { exists: true, offset: 0 }));
        }
        let half = std::mem::take(&mut seen.half);
        let offset = half.len() as u64;
        seen.uploads.insert(sha256, half);
        Ok(Response::new(v1::BeginUploadResponse { exists: false, offset }))
    }

    async fn append_upload(&self, request: Request<v1::AppendUploadRequest>) -> Answer<v1::AppendUploadResponse> {
        let append = request.into_inner();
        let mut seen = self.0.seen();
        seen.appends.push(append.offset);
        let upload = seen.uploads.get_mut(&append.sha256).ok_or_else(|| Status::not_found("no upload"))?;
        if upload.len() as u64 != append.offset {
            return Err(Status::invalid_argument("wrong offset"));
        }
        upload.extend_from_slice(&append.data);
        Ok(Response::new(v1::AppendUploadResponse { offset: upload.len() as u64 }))
    }

    async fn finish_upload(&self, request: Request<v1::FinishUploadRequest>) -> Answer<v1::FinishUploadResponse> {
        let sha256 = request.into_inner().sha256;
        let mut seen = self.0.seen();
        let bytes = seen.uploads.remove(&sha256).ok_or_else(|| Status::not_found("no upload"))?;
        let actual: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if actual != sha256 {
            return Err(Status::invalid_argument("wrong hash"));
        }
        seen.blobs.insert(sha256, bytes);
        Ok(Response::new(v1::FinishUploadResponse { blob: None }))
    }

    async fn read_blob(&self, request: Request<v1::ReadBlobRequest>) -> Answer<Self::ReadBlobStream> {
        let bytes = self.0.blob(&request.into_inner().sha256).ok_or_else(|| Status::not_found("no blob"))?;
        let mut offset = 0;
        let chunks: Vec<_> = bytes
            .chunks(700_000)
            .map(|data| {
                let chunk = v1::ReadBlobResponse { offset, data: data.to_vec().into() };
                offset += data.len() as u64;
                Ok(chunk)
            })
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks))))
    }

    async fn get_blob(&self, _: Request<v1::GetBlobRequest>) -> Answer<v1::GetBlobResponse> {
        unused()
    }
}

#[tonic::async_trait]
impl model::ModelService for Service {
    type LoadModelStream = BoxStream<v1::LoadModelResponse>;

    async fn list_models(&self, request: Request<v1::ListModelsRequest>) -> Answer<v1::ListModelsResponse> {
        let value = request.metadata().get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned);
        self.0.seen().authorizations.push(value);
        Ok(Response::new(v1::ListModelsResponse::default()))
    }

    async fn list_loras(&self, _: Request<v1::ListLorasRequest>) -> Answer<v1::ListLorasResponse> {
        unused()
    }

    async fn get_model(&self, _: Request<v1::GetModelRequest>) -> Answer<v1::GetModelResponse> {
        unused()
    }

    async fn add_model(&self, _: Request<v1::AddModelRequest>) -> Answer<v1::AddModelResponse> {
        unused()
    }

    async fn load_model(&self, _: Request<v1::LoadModelRequest>) -> Answer<Self::LoadModelStream> {
        unused()
    }

    async fn unload_model(&self, _: Request<v1::UnloadModelRequest>) -> Answer<v1::UnloadModelResponse> {
        unused()
    }
}

#[tonic::async_trait]
impl system::SystemService for Service {
    async fn get_version(&self, _: Request<v1::GetVersionRequest>) -> Answer<v1::GetVersionResponse> {
        Ok(Response::new(v1::GetVersionResponse { version: "0.1.0".to_owned(), protocol_version: 1 }))
    }

    async fn get_capabilities(&self, _: Request<v1::GetCapabilitiesRequest>) -> Answer<v1::GetCapabilitiesResponse> {
        unused()
    }

    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Answer<v1::GetStatusResponse> {
        unused()
    }

    async fn prepare_conditioning(
        &self,
        _: Request<v1::PrepareConditioningRequest>,
    ) -> Answer<v1::PrepareConditioningResponse> {
        unused()
    }

    async fn list_conditioning(&self, _: Request<v1::ListConditioningRequest>) -> Answer<v1::ListConditioningResponse> {
        unused()
    }

    async fn clear_conditioning(
        &self,
        _: Request<v1::ClearConditioningRequest>,
    ) -> Answer<v1::ClearConditioningResponse> {
        unused()
    }
}

fn event(sequence: u64, kind: Kind) -> Item {
    Ok(v1::GenerationEvent { sequence, generation_id: "gen_1".to_owned(), time: None, event: Some(kind) })
}

fn result() -> v1::ResultImage {
    let image = Some(v1::Image { size_bytes: 3, ..Default::default() });
    v1::ResultImage { index: 0, seed: 7, image, ..Default::default() }
}

pub(crate) fn accepted(sequence: u64) -> Item {
    let generation = v1::Generation { id: "gen_1".to_owned(), sequence, ..Default::default() };
    event(sequence, Kind::Accepted(v1::Accepted { generation: Some(generation) }))
}

pub(crate) fn progress(sequence: u64, done: u32) -> Item {
    let progress = v1::Progress { done, total: 4, ..Default::default() };
    event(sequence, Kind::Progress(v1::StageProgress { progress: Some(progress) }))
}

pub(crate) fn preview() -> Item {
    event(0, Kind::Preview(v1::Preview { number: 1, ..Default::default() }))
}

pub(crate) fn succeeded(sequence: u64) -> Item {
    event(sequence, Kind::Succeeded(v1::Succeeded { images: vec![result()], timings: Vec::new(), total: None }))
}

pub(crate) fn snapshot_of_success(sequence: u64) -> Item {
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let generation = v1::Generation {
        id: "gen_1".to_owned(),
        state: v1::GenerationState::Succeeded.into(),
        images: vec![result()],
        create_time: at(10),
        end_time: at(13),
        ..Default::default()
    };
    event(sequence, Kind::Snapshot(v1::Snapshot { generation: Some(generation) }))
}

pub(crate) fn failed(sequence: u64) -> Item {
    let error = v1::GenerationError {
        code: Code::Internal as i32,
        reason: "ENGINE_FAULT".to_owned(),
        message: "a stage panicked".to_owned(),
        resource_type: "generation".to_owned(),
        resource_name: "gen_1".to_owned(),
        ..Default::default()
    };
    let ended = v1::Ended { state: v1::GenerationState::Failed.into(), error: Some(error), timings: Vec::new() };
    event(sequence, Kind::Ended(ended))
}

/// A status with `google.rpc.ErrorInfo`, encoded by hand: field 1 of the info is its reason.
pub(crate) fn refusal(code: Code, reason: &str) -> Status {
    let info = prost_types::Any {
        type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(),
        value: reason.to_owned().encode_to_vec(),
    };
    // google.rpc.Status: 1 code, 2 message, 3 details.
    let mut bytes = vec![0x08, code as u8, 0x1a];
    let info = info.encode_to_vec();
    prost::encoding::encode_varint(info.len() as u64, &mut bytes);
    bytes.extend_from_slice(&info);
    Status::with_details(code, "refused", bytes.into())
}
