//! The dispatcher's way to watchers leads through the store: an event is told when it is written. The queue in between keeps the
//! dispatcher from ever waiting for the disk.

use std::sync::Arc;

use easel_domain::engine::Engine;
use easel_domain::event::{Event, EventKind, Snapshot};
use easel_domain::{Error, GenerationId};
use tokio::sync::oneshot;

use super::{Accepting, Dispatcher, Hubs, Reply, SourceBlob};
use crate::actor::Report;
use crate::hub::Hub;
use crate::scheduler::{Accepted, Answer, Command, JobKey, unknown_generation};
use crate::store::{Accept, Entry, StoreCommand, Write};
use crate::watch::Watch;

impl<E: Engine> Dispatcher<E> {
    /// Hands over what there is room for.
    pub(super) fn tell_store_now(&mut self) {
        while !self.journal.is_empty()
            && let Some(room) = self.store.room_now()
            && let Some(command) = self.journal.pop_front()
        {
            room.fill(command);
        }
    }

    /// Lets the store's thread do something after everything that was told before.
    pub(super) fn after_store(&mut self, then: impl FnOnce() + Send + 'static) {
        self.journal.push_back(StoreCommand::Ask(Box::new(move |_| then())));
    }

    /// Writes what nobody is told.
    pub(super) fn note(&mut self, write: Write) {
        let then = Box::new(|written: Result<(), Error>| {
            if let Err(error) = written {
                tracing::warn!(%error, "the run of a generation could not be noted");
            }
        });
        self.journal.push_back(StoreCommand::Journal(Entry { write, then }));
    }

    /// Writes an event, then tells it.
    pub(super) fn publish(&mut self, key: JobKey, event: Arc<Event>, snapshot: Snapshot) {
        let Some(job) = self.jobs.get(&key) else { return };
        if event.kind.is_last() {
            let state = snapshot.state;
            job.span.in_scope(|| tracing::info!(?state, "generation ended"));
        }
        let (hub, id) = (Arc::clone(&job.hub), snapshot.id.clone());
        // A new live edit ends others before it is told of itself.
        let admitting = self.admitting.as_mut().filter(|_| matches!(event.kind, EventKind::Accepted(_)));
        let entry = match admitting.and_then(|admitting| admitting.accepting.take()) {
            Some(accepting) => {
                let blobs = job.source_blobs();
                self.acceptance(key, (accepting, blobs), hub, (event, snapshot))
            }
            None => {
                let write = match job.plan.is_preparation() {
                    true => Write::Nothing,
                    false => Write::Event { id, event: Arc::clone(&event), progress: snapshot.progress },
                };
                // What has happened is told even when it cannot be written: the picture is there, and its client waits.
                Entry { write, then: Box::new(move |_| hub.publish(event, snapshot)) }
            }
        };
        self.journal.push_back(StoreCommand::Journal(entry));
    }

    /// The first event: with it the generation appears, or it was never there.
    fn acceptance(
        &self,
        key: JobKey,
        (accepting, blobs): (Accepting, Vec<SourceBlob>),
        hub: Arc<Hub>,
        (event, snapshot): (Arc<Event>, Snapshot),
    ) -> Entry {
        let Accepting { request, policy, origin, attach, reply } = accepting;
        let (id, plan) = (snapshot.id.clone(), Arc::clone(&snapshot.plan));
        let preparation = plan.is_preparation();
        let mut blobs = blobs.into_iter();
        let (source, inputs) = (blobs.next(), blobs.collect());
        let accept =
            Accept { id: id.clone(), origin, request, policy, plan, source, inputs, event: Arc::clone(&event) };
        let write = if preparation { Write::Nothing } else { Write::Accept(Box::new(accept)) };
        let (hubs, reports) = (Arc::clone(&self.hubs), self.reports.clone());
        let then = move |written: Result<(), Error>| {
            let (answer, watch) = match written {
                Ok(()) => {
                    hubs.insert(id.clone(), Arc::clone(&hub));
                    hub.publish(event, snapshot);
                    let watch = attach.then(|| Watch::new(hub, 0));
                    (Answer::Created(Ok(Accepted { id, existed: false })), watch)
                }
                Err(error) => {
                    tracing::warn!(%error, "a generation could not be written and is refused");
                    // The dispatcher never waits for the store, so that this comes to an end.
                    let _ = reports.blocking_send(Report::Core(Command::Unstored { key }));
                    (Answer::Created(Err(error)), None)
                }
            };
            // When nobody takes the reply, the watch in it is dropped: that is a disconnect.
            let _ = reply.send(Reply { answer, watch, load: None });
        };
        Entry { write, then: Box::new(then) }
    }

    /// Answers with a generation that was there before, when the store has it.
    pub(super) fn reply_about(&mut self, id: GenerationId, found: bool, attach: bool, reply: oneshot::Sender<Reply>) {
        let hubs = Arc::clone(&self.hubs);
        self.after_store(move || {
            let watch = attach.then(|| attached(&hubs, &id));
            let answer = match found {
                true => Answer::Found(Ok(Some(id))),
                false => Answer::Created(Ok(Accepted { id, existed: true })),
            };
            let _ = reply.send(Reply { answer, watch, load: None });
        });
    }
}

fn attached(hubs: &Hubs, id: &GenerationId) -> Result<Watch, Error> {
    match hubs.get(id).map(|hub| Arc::clone(&hub)) {
        Some(hub) => Watch::new(hub, 0),
        None => Err(unknown_generation(id)),
    }
}
