//! All services behind one router: gRPC, gRPC-Web, health and both versions of reflection, with the guard in front,
//! and the pages of the Studio and the metrics beside them.

use std::sync::Arc;

use easel_domain::limits::MAX_MESSAGE_BYTES;
use easel_proto::FILE_DESCRIPTOR_SET;
use easel_proto::v1::access_service_server::AccessServiceServer;
use easel_proto::v1::blob_service_server::BlobServiceServer;
use easel_proto::v1::generation_service_server::GenerationServiceServer;
use easel_proto::v1::model_service_server::ModelServiceServer;
use easel_proto::v1::session_service_server::SessionServiceServer;
use easel_proto::v1::system_service_server::SystemServiceServer;
use easel_runtime::Runtime;
use tonic::service::Routes;
use tonic_health::server::HealthReporter;
use tonic_reflection::server::{Builder, Error};
use tonic_web::GrpcWebLayer;

use crate::ServerConfig;
use crate::access::Access;
use crate::guard::{Guard, guard};
use crate::metrics::{Metrics, metrics};
use crate::pages::{Pages, pages};
use crate::services::{Accesses, Blobs, Generations, Models, Sessions, System};
use crate::undecoded;

/// The router for `runtime`. Health is what `reporter` says.
pub(crate) fn router(
    config: &ServerConfig,
    uid: Option<u32>,
    runtime: &Runtime,
    access: Arc<Access>,
    reporter: HealthReporter,
) -> Result<axum::Router, Error> {
    let health = tonic_health::pb::health_server::HealthServer::new(
        tonic_health::server::HealthService::from_health_reporter(reporter),
    );
    let routes = Routes::new(limited!(AccessServiceServer::new(Accesses::new(Arc::clone(&access)))))
        .add_service(limited!(GenerationServiceServer::new(Generations::new(runtime.clone()))))
        .add_service(limited!(BlobServiceServer::new(Blobs::new(runtime.clone()))))
        .add_service(limited!(SessionServiceServer::new(Sessions::new(runtime.clone(), config.version.clone()))))
        .add_service(limited!(ModelServiceServer::new(Models::new(runtime.clone()))))
        .add_service(limited!(SystemServiceServer::new(System::new(runtime.clone(), config))))
        .add_service(limited!(health))
        .add_service(limited!(reflection().build_v1()?))
        .add_service(limited!(reflection().build_v1alpha()?));
    let pages_state = Arc::new(Pages::new(Arc::clone(&access)));
    let guard_state = Arc::new(Guard::new(config, uid, access));
    Ok(routes
        .prepare()
        .into_axum_router()
        .layer(axum::middleware::from_fn(undecoded::explain))
        .layer(GrpcWebLayer::new())
        .layer(axum::middleware::from_fn_with_state(Arc::new(Metrics::new(runtime.clone())), metrics))
        .layer(axum::middleware::from_fn_with_state(pages_state, pages))
        .layer(axum::middleware::from_fn_with_state(guard_state, guard)))
}

/// Both versions describe both, so that a client finds every service that there is, whichever it speaks; the details of errors
/// are described as well, so that grpcurl shows reason and field in clear.
fn reflection() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
}

/// A service that takes messages up to the common limit. The generated servers share no trait for this.
macro_rules! limited {
    ($service:expr) => {
        $service.max_decoding_message_size(MAX_MESSAGE_BYTES)
    };
}
use limited;
