//! Between the wire and the domain: requests come in through one total conversion each, which names every wrong field
//! at once and never panics; what the runtime tells goes out.

pub(crate) mod access;
mod artist;
pub(crate) mod blob;
mod check;
pub(crate) mod event;
pub(crate) mod image;
pub(crate) mod list;
pub(crate) mod model;
pub(crate) mod names;
mod raw;
pub(crate) mod request;
mod selection;
pub(crate) mod session;
pub(crate) mod system;
pub(crate) mod time;

pub(crate) use check::Check;
pub(crate) use image::InlineBudget;
