//! A daemon with the drill engine, and clients of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use easel_proto::v1;
use easel_proto::v1::blob_service_client::BlobServiceClient;
use easel_proto::v1::generation_service_client::GenerationServiceClient;
use easel_proto::v1::model_service_client::ModelServiceClient;
use easel_proto::v1::system_service_client::SystemServiceClient;
use easel_runtime::drill::{DrillConfig, DrillEngine};
use easel_runtime::{Runtime, RuntimeConfig};
use easel_server::{MemoryConnector, ServeError, Server, ServerConfig, TcpConfig};
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

pub(crate) const TOKEN: &str = "token-of-the-test";

/// A daemon that listens everywhere it can, in a folder of its own.
pub(crate) struct Daemon {
    pub(crate) port: u16,
    pub(crate) socket: PathBuf,
    memory: MemoryConnector,
    stop: oneshot::Sender<()>,
    pub(crate) runtime: Runtime,
    serving: JoinHandle<Result<(), ServeError>>,
    home: TempDir,
}

/// A drill that takes no time.
pub(crate) fn quick() -> DrillConfig {
    DrillConfig {
        load: Duration::ZERO,
        encode_layer: Duration::ZERO,
        denoise_step: Duration::ZERO,
        vae_strip: Duration::ZERO,
        native_px: 64,
        ..DrillConfig::default()
    }
}

/// A drill whose denoiser does not finish while a test looks on, though it can be stopped.
pub(crate) fn endless() -> DrillConfig {
    DrillConfig { denoise_step: Duration::from_secs(600), ..quick() }
}

impl Daemon {
    /// With a drill, and settings beside those of every test.
    pub(crate) async fn start_with(drill: DrillConfig, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut config = ServerConfig {
            tcp: Some(TcpConfig { ports: vec![0], ipv6: true }),
            unix: Some(home.path().join("run/easel.sock")),
            memory: true,
            token: Some(TOKEN.into()),
            lame_duck: Duration::ZERO,
            version: "1.2.3".into(),
            ..ServerConfig::default()
        };
        change(&mut config);
        let drain_timeout = Duration::from_millis(50);
        let runtime_config = RuntimeConfig {
            max_queued_generations: config.max_queued_generations,
            drain_timeout,
            ..RuntimeConfig::default()
        };
        let runtime = Runtime::start(Arc::new(DrillEngine::new(drill)), runtime_config).unwrap();
        let bound = Server::bind(config).unwrap();
        let port = bound.port().unwrap();
        let socket = bound.unix_path().unwrap().to_owned();
        let memory = bound.memory().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(bound.serve(runtime.clone(), async move {
            let _ = stopped.await;
        }));
        Self { port, socket, memory, stop, runtime, serving, home }
    }

    /// With a drill.
    pub(crate) async fn start(drill: DrillConfig) -> Self {
        Self::start_with(drill, |_| {}).await
    }

    /// A folder that is there.
    pub(crate) fn folder(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    /// Tells the daemon to stop, without waiting.
    pub(crate) fn stop(self) -> JoinHandle<Result<(), ServeError>> {
        self.stop.send(()).unwrap();
        self.serving
    }

    /// A channel through a pipe within the process.
    pub(crate) fn channel(&self) -> Channel {
        let memory = self.memory.clone();
        Endpoint::from_static("http://localhost").connect_with_connector_lazy(tower::service_fn(move |_| {
            let memory = memory.clone();
            async move { memory.connect().await.map(TokioIo::new) }
        }))
    }

    /// A channel through the Unix socket.
    pub(crate) fn unix_channel(&self) -> Channel {
        let socket = self.socket.clone();
        Endpoint::from_static("http://localhost").connect_with_connector_lazy(tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        }))
    }

    /// A channel over TCP, without a token.
    pub(crate) fn tcp_channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://127.0.0.1:{}", self.port)).unwrap().connect_lazy()
    }

    /// A connection over TCP.
    pub(crate) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    pub(crate) fn generations(&self) -> GenerationServiceClient<Channel> {
        GenerationServiceClient::new(self.channel())
    }

    pub(crate) fn blobs(&self) -> BlobServiceClient<Channel> {
        BlobServiceClient::new(self.channel())
    }

    pub(crate) fn models(&self) -> ModelServiceClient<Channel> {
        ModelServiceClient::new(self.channel())
    }

    pub(crate) fn system(&self) -> SystemServiceClient<Channel> {
        SystemServiceClient::new(self.channel())
    }
}

/// A small picture to make.
pub(crate) fn spec(prompt: &str) -> v1::GenerationSpec {
    v1::GenerationSpec { prompt: prompt.into(), ..Default::default() }
}

pub(crate) fn run_request(prompt: &str) -> v1::RunGenerationRequest {
    v1::RunGenerationRequest { spec: Some(spec(prompt)), policy: None }
}

pub(crate) fn create_request(prompt: &str) -> v1::CreateGenerationRequest {
    v1::CreateGenerationRequest { spec: Some(spec(prompt)), policy: None }
}

/// Creates a generation and returns its id.
pub(crate) async fn create(client: &mut GenerationServiceClient<Channel>, prompt: &str) -> String {
    client.create_generation(create_request(prompt)).await.unwrap().into_inner().generation.unwrap().id
}

/// Polls until the generation has ended; not a watcher, so that nothing depends on it.
pub(crate) async fn ended(client: &mut GenerationServiceClient<Channel>, id: &str) -> v1::Generation {
    let mut after_sequence = 0;
    loop {
        let wait = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        let request = v1::PollGenerationRequest { id: id.into(), after_sequence, after_preview: u64::MAX, wait };
        let polled = client.poll_generation(request).await.unwrap().into_inner();
        after_sequence = polled.events.last().map_or(after_sequence, |event| event.sequence);
        if polled.done {
            let request = v1::GetGenerationRequest { id: id.into() };
            return client.get_generation(request).await.unwrap().into_inner().generation.unwrap();
        }
    }
}

/// A PNG of the given size.
pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    let picture = image::RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([x, y, x ^ y].map(|value| u8::try_from(value % 256).unwrap()))
    });
    let mut file = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Code, reason and wrong fields of a status.
pub(crate) fn told(status: &Status) -> (Code, String, Vec<String>) {
    let details = status.check_error_details().unwrap();
    let fields = details
        .bad_request()
        .map(|bad| bad.field_violations.iter().map(|violation| violation.field.clone()).collect())
        .unwrap_or_default();
    let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
    (status.code(), reason, fields)
}
