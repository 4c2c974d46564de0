//! Standard health: `""` is liveness and stays SERVING until the daemon stops; the services tell whether their calls
//! can succeed. Only the daemon's own faults move them, never a client's mistake or a full queue.

use easel_proto::v1::{
    access_service_server, blob_service_server, generation_service_server, model_service_server,
    session_service_server, system_service_server,
};
use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// Services that work through the actors.
const OF_ACTORS: [&str; 2] = [generation_service_server::SERVICE_NAME, model_service_server::SERVICE_NAME];

/// Services that answer as long as the process does.
const OF_PROCESS: [&str; 4] = [
    access_service_server::SERVICE_NAME,
    blob_service_server::SERVICE_NAME,
    session_service_server::SERVICE_NAME,
    system_service_server::SERVICE_NAME,
];

/// Registers the services as they are.
pub(crate) async fn begin(reporter: &HealthReporter, ready: &watch::Receiver<bool>) {
    set(reporter, &OF_PROCESS, true).await;
    let serving = *ready.borrow();
    set(reporter, &OF_ACTORS, serving).await;
}

/// Follows the actors until the future is dropped.
pub(crate) async fn follow(reporter: HealthReporter, mut ready: watch::Receiver<bool>) {
    loop {
        let serving = *ready.borrow_and_update();
        set(&reporter, &OF_ACTORS, serving).await;
        if ready.changed().await.is_err() {
            return;
        }
        tracing::debug!("readiness changed");
    }
}

/// Says that the daemon is about to stop: proxies send nothing new.
pub(crate) async fn stop(reporter: &HealthReporter) {
    set(reporter, &OF_ACTORS, false).await;
    set(reporter, &OF_PROCESS, false).await;
    set(reporter, &[""], false).await;
}

async fn set(reporter: &HealthReporter, services: &[&str], serving: bool) {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in services {
        reporter.set_service_status(service, status).await;
    }
}
