//! The driver of an actor in a daemon: a named thread, since networks compute for long and block.

use std::sync::Arc;

use easel_domain::engine::Engine;
use easel_domain::{Error, Reason};

use super::hooks::Pulse;
use super::mailbox::Mailbox;
use super::network::Kind;
use super::worker::{ActorContext, ActorHandle, Worker};

/// Starts the thread of an actor. It ends when the handle is dropped.
pub(crate) fn spawn<E: Engine, K: Kind<E>>(context: ActorContext<E>) -> Result<ActorHandle<K::Task>, Error> {
    let (mailbox, pulse) = (Arc::new(Mailbox::default()), Arc::new(Pulse::new()));
    let (inside, beat) = (Arc::clone(&mailbox), Arc::clone(&pulse));
    let run = move || {
        let reports = context.reports.clone();
        // Waits for room; the dispatcher never waits for an actor. Without a dispatcher nobody wants to know.
        let send = Box::new(move |report| drop(reports.blocking_send(report)));
        let mut worker: Worker<E, K> = Worker::new(context, beat, send);
        while worker.take(inside.receive()) {}
    };
    std::thread::Builder::new()
        .name(K::KIND.name().to_owned())
        .spawn(run)
        .map_err(|error| Error::new(Reason::Internal, format!("cannot start the thread of an actor: {error}")))?;
    Ok(ActorHandle { mailbox, pulse })
}
