//! Pixels: reading, resizing and writing pictures, and putting what a model draws back into an artist's canvas.
//!
//! Two ways lead in. [`load`], [`probe`], [`resize`], [`encode`] and [`fit`] do what the reference (diffusers with Pillow) does, bit for bit,
//! in 8-bit RGB: ordinary edits. A [`Canvas`] keeps depth, alpha and profile, for edits that must leave the rest of a document alone:
//!
//! 1. [`Canvas::open`] or [`Canvas::from_raw`]; the same for a mask picture.
//! 2. [`Mask::rectangle`] or [`Mask::from_picture`], then [`Mask::shaped`]; its [`Mask::bounds`] go to `easel_domain::crop::crop_for`.
//! 3. [`Canvas::view`] of the crop, [`resize`] to the working size: what the model gets. [`Mask::reach`] says what it may redraw.
//! 4. [`Patch::new`] of the model's picture for the crop's rectangle (or [`blend_tiles`] for a plan of tiles), then [`composite`] into the
//!    canvas, or [`layer`] for a layer of its own. The answer says which rectangle changed.
//! 5. [`write`] with [`Output`], or [`Canvas::to_raw`]. [`find_parameters`] reads what `write` keeps in a file.
//!
//! This crate must never know candle or tokio; it computes, and never opens a file by itself.

mod canvas;
mod colour;
mod composite;
mod decode;
mod encode;
mod mask;
mod metadata;
mod patch;
mod resample;
mod sheet;
mod tiles;
mod write;

pub use canvas::{Canvas, Channels, Samples};
pub use composite::{Placed, Put, composite, layer};
pub use decode::{Probe, load, probe};
pub use encode::encode;
pub use mask::Mask;
pub use metadata::{Found, find_parameters, fits_a_file};
pub use patch::Patch;
pub use resample::{Filter, fit, resize};
pub use sheet::{Cell, contact_sheet};
pub use tiles::blend_tiles;
pub use write::{Output, losses, write};
