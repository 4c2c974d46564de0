//! The actors: encoder, denoiser, VAE. Each owns its networks, reads a bounded mailbox and reports to the dispatcher. What it decides
//! stands in [`core`], what it does with a letter in [`worker`], what it computes in [`network`]; [`thread`] drives it in a daemon,
//! [`task`] in virtual time.

pub(crate) mod core;
pub(crate) mod hooks;
pub(crate) mod mailbox;
pub(crate) mod network;
pub(crate) mod task;
pub(crate) mod thread;
pub(crate) mod worker;

pub(crate) use mailbox::Control;
pub(crate) use network::{
    DenoiserKind, DenoiserOutput, DenoiserTask, EncoderKind, EncoderTask, VaeKind, VaeOutput, VaeTask,
};
pub(crate) use worker::{ActorContext, ActorHandle, Assignment, Report};
