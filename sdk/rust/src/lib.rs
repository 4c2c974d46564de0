//! Rust client of the Easel daemon: generate and edit pictures on this machine, with progress and previews.
//!
//! Entry point: [`Easel::connect_default`], or [`Easel::connect`] with a [`Target`]. This crate knows the protocol
//! (`easel-proto`) and no other room of the house; it must never know the engine, the runtime or the server.
//!
//! ```no_run
//! # async fn example() -> Result<(), easel_sdk::Error> {
//! use easel_sdk::{Easel, EventKind};
//!
//! let easel = Easel::connect_default().await?;
//! let source = std::fs::read("room.png").expect("room.png can be read");
//! let mut events = easel.edit(source, "make the wall blue").seed(7).start().await?;
//! while let Some(event) = events.next().await {
//!     match event?.kind {
//!         EventKind::Progress(at) => println!("{:.0} %", at.fraction * 100.0),
//!         EventKind::Succeeded(done) => {
//!             let png = easel.picture(done.images[0].image.as_ref().expect("a result has a picture")).await?;
//!             std::fs::write("blue-room.png", png).expect("blue-room.png can be written");
//!         }
//!         EventKind::Ended(end) => return Err(end.error),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A stream that loses its connection comes back by itself and goes on after the last event that it has seen. Every
//! error is one [`Error`] with a gRPC code, a stable reason, a sentence for a person and, where they apply, the wrong
//! fields and when to try again.

mod access;
mod client;
mod connect;
pub mod discovery;
mod error;
mod event;
mod patience;
mod replay;
mod request;
mod session;
mod stream;
mod transfer;
mod viewer;

pub use access::{PairedToken, Pairing};
pub use client::{Easel, LoadStream};
pub use connect::Target;
pub use discovery::Discovery;
pub use error::{Error, FieldViolation, Problem, Resource, reason};
pub use event::{Ended, Event, EventKind, Succeeded};
pub use replay::ReplayFile;
pub use request::{GenerationBuilder, Previews, rectangle};
pub use session::edit;
pub use stream::GenerationStream;
pub use viewer::{Editor, SessionStream};

/// Version of the protocol that this client was built for.
pub use easel_proto::PROTOCOL_VERSION;
/// The messages of the protocol that calls take and give, as generated from `easel/v1/*.proto`.
pub use easel_proto::v1 as proto;
/// gRPC status codes.
pub use tonic::Code;
