//! The gRPC contract of Easel: messages, clients and servers of package `easel.v1`, generated from `easel/v1/*.proto`, and the
//! descriptor set that reflection serves. Entry point: [`v1`]. This crate must never know another crate of the
//! workspace; conversion to and from the domain's types lives in `easel-server`.

/// Package `easel.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all)]
pub mod v1 {
    tonic::include_proto!("easel.v1");
}

/// The encoded `google.protobuf.FileDescriptorSet` of `easel.v1` and everything it imports.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/easel_descriptor.bin"));

/// Version of the protocol; grows by one when something is added, see `GetVersionResponse`.
pub const PROTOCOL_VERSION: u32 = 2;
