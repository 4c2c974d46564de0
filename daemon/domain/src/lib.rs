//! The language that the rooms of the daemon share: requests, events, errors, limits, validation and the [`engine`]
//! traits. Entry points: [`GenerationRequest`], [`resolve`](resolve::resolve), [`engine::Engine`], [`Error`].
//! This crate must never know tokio, candle or tonic; it has no clock, thread, file or random source.

pub mod crop;
pub mod engine;
mod error;
pub mod event;
mod hash;
mod kept;
pub mod limits;
pub mod lora;
mod model;
mod picture;
mod pixels;
mod precision;
pub mod provenance;
mod rect;
mod request;
pub mod resolve;
mod selection;
pub mod session;
mod size;

pub use error::{Class, Error, FieldViolation, Reason};
pub use hash::{BlobHash, GenerationId, RequestId, RevisionId, SessionId};
pub use kept::{KeptCache, KeptEntry, KeptKind, Reused};
pub use lora::{LoraBytes, LoraId, LoraInfo, LoraSource, LoraUse, PlannedLora};
pub use model::{Guidance, ModelInfo, Pipeline};
pub use picture::RgbImage;
pub use pixels::{ChannelOrder, NamedSpace, RawLayout, SampleType};
pub use precision::{Network, Precision, Precisions};
pub use rect::Rect;
pub use request::{
    DisconnectPolicy, GenerationRequest, ImageFormat, Mode, PreviewKind, PreviewPolicy, Priority, RestartPolicy,
    RunPolicy, Tiling,
};
pub use resolve::{Plan, Source};
pub use selection::{AlphaMode, Area, ColorMatch, Edges, Padding, Selection, SelectionResult};
pub use size::Size;
