//! The actors: encoder, denoiser, VAE. Each is a named OS thread that owns its networks, reads a bounded mailbox and reports
//! to the dispatcher. What it decides stands in [`core`]; what it computes stands in [`network`].

pub(crate) mod core;
pub(crate) mod hooks;
pub(crate) mod mailbox;
pub(crate) mod network;
pub(crate) mod thread;

pub(crate) use mailbox::Control;
pub(crate) use network::{
    DenoiserKind, DenoiserOutput, DenoiserTask, EncoderKind, EncoderTask, VaeKind, VaeOutput, VaeTask,
};
pub(crate) use thread::{ActorContext, ActorHandle, Assignment, Report, spawn};
