//! A daemon in virtual time, and wires to it that can be cut or held.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use easel_proto::v1;
use easel_proto::v1::system_service_client::SystemServiceClient;
use easel_runtime::drill::{DrillConfig, DrillEngine, DrillFault, DrillStage, Fault};
use easel_runtime::{Pace, Runtime, RuntimeConfig};
use easel_server::{MemoryConnector, ServeError, Server, ServerConfig};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use crate::support::quick;

pub(super) const LONGEST_WORK: Duration = Duration::from_millis(60);
pub(super) const LONGEST_WRITE: Duration = Duration::from_millis(10);

/// How long a connection stays half open; the daemon's keep-alive finds out before.
const HALF_OPEN: Duration = Duration::from_secs(120);

/// Where nothing moves any more for this long in virtual time, something hangs.
const STUCK: Duration = Duration::from_secs(1800);

pub(super) struct Daemon {
    memory: MemoryConnector,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServeError>>,
}

/// Makes connections. Clones share nothing else.
#[derive(Clone)]
pub(super) struct Wire(MemoryConnector);

/// A connection; dropped, it is cut.
pub(super) struct Line {
    pub(super) channel: Channel,
    held: watch::Sender<bool>,
}

impl Daemon {
    pub(super) fn start(seed: u64, home: &Path) -> Self {
        let runtime_config = RuntimeConfig {
            max_queued_generations: 8,
            max_client_generations: 24,
            drain_timeout: Duration::from_secs(2),
            recovery_grace: Duration::from_secs(10),
            state_dir: Some(home.to_owned()),
            ..RuntimeConfig::default()
        };
        let fault = |stage, fault, word: &str| DrillFault {
            stage,
            part: 1,
            fault,
            times: None,
            prompt_contains: Some(word.to_owned()),
        };
        let drill = DrillConfig {
            faults: vec![
                fault(DrillStage::Encode, Fault::Error, "unreadable"),
                fault(DrillStage::Denoise, Fault::Panic, "panics"),
                fault(DrillStage::Decode, Fault::Nan, "infinite"),
            ],
            ..quick()
        };
        let pace = Pace::new(seed, LONGEST_WORK, LONGEST_WRITE);
        let engine = Arc::new(DrillEngine::new(drill));
        let runtime = Runtime::start_in_virtual_time(engine, runtime_config, pace).unwrap();
        let config = ServerConfig { memory: true, lame_duck: Duration::from_millis(100), ..ServerConfig::default() };
        let bound = Server::bind(config).unwrap();
        let memory = bound.memory().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(bound.serve(runtime, async move {
            let _ = stopped.await;
        }));
        Self { memory, stop, serving }
    }

    pub(super) fn wire(&self) -> Wire {
        Wire(self.memory.clone())
    }

    /// Tells the daemon to stop and waits until it has.
    pub(super) async fn drain(self) {
        self.stop.send(()).unwrap();
        soon(self.serving).await.unwrap().unwrap();
    }

    /// Nothing of any generation is left, and nobody watches; what no client heard of has its time to end.
    pub(super) async fn assert_at_rest(&self) {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let line = self.wire().line();
        let status = SystemServiceClient::new(line.channel.clone()).get_status(v1::GetStatusRequest {}).await;
        let status = status.unwrap().into_inner();
        assert_eq!((status.queued, status.running, status.watchers), (0, 0, 0), "{status:?}");
        assert_eq!(status.memory.unwrap().stage_value_bytes, 0);
        assert!(status.stages.iter().all(|stage| stage.generation_id.is_empty() && stage.waiting == 0));
    }
}

impl Wire {
    /// A new connection, made when it is first used.
    pub(super) fn line(&self) -> Line {
        let memory = self.0.clone();
        let (held, hold) = watch::channel(false);
        let connect = tower::service_fn(move |_| {
            let (memory, mut hold) = (memory.clone(), hold.clone());
            async move {
                let mut daemon = memory.connect().await?;
                let (ours, mut theirs) = tokio::io::duplex(1 << 16);
                tokio::spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut theirs, &mut daemon) => {}
                        // Both ends stay open, and nothing goes through, until the daemon closes its own.
                        () = until_held(&mut hold) => tokio::time::sleep(HALF_OPEN).await,
                    }
                });
                Ok::<_, std::io::Error>(TokioIo::new(ours))
            }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect);
        Line { channel, held }
    }
}

impl Line {
    /// From now on nothing goes through, and neither side is told.
    pub(super) fn hold(&self) {
        self.held.send_replace(true);
    }
}

async fn until_held(hold: &mut watch::Receiver<bool>) {
    if hold.wait_for(|held| *held).await.is_err() {
        std::future::pending().await
    }
}

/// Fails the test instead of waiting for ever.
pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(STUCK, future).await.expect("this comes to an end")
}
