//! The thread that owns the store. Entries of the journal that wait are written in one transaction; each is told to its
//! watchers when that is over.

use std::time::{Duration, Instant, SystemTime};

use easel_domain::{Error, Reason, limits};
use tokio::sync::{mpsc, oneshot};

use super::{SessionBoard, Store, Write};
use crate::Pace;
use crate::clock::now;

/// Something to be written, and what happens when it is. An error says that it could not be.
pub(crate) struct Entry {
    pub(crate) write: Write,
    pub(crate) then: Box<dyn FnOnce(Result<(), Error>) + Send>,
}

/// What the thread is asked for. Questions are methods of [`Store`], which are tested without a thread.
pub(crate) enum StoreCommand {
    Journal(Entry),
    Ask(Box<dyn FnOnce(&mut Store) + Send>),
}

/// Sends to the store's thread, which ends when the last handle goes.
#[derive(Clone, Debug)]
pub(crate) struct StoreHandle {
    commands: mpsc::Sender<StoreCommand>,
    board: SessionBoard,
    durable: bool,
}

impl StoreHandle {
    /// Starts the thread.
    pub(crate) fn spawn(store: Store) -> Result<Self, Error> {
        let (commands, receiver) = mpsc::channel(limits::STORE_MAILBOX);
        let (board, durable) = (store.board(), store.durable());
        let thread = std::thread::Builder::new().name("easel-store".to_owned());
        let started = thread.spawn(move || {
            let mut worker = Worker::new(store);
            let mut commands = receiver;
            while let Some(first) = commands.blocking_recv() {
                worker.take(first, &mut commands);
            }
        });
        started
            .map_err(|error| Error::new(Reason::Internal, format!("the store's thread cannot be started: {error}")))?;
        Ok(Self { commands, board, durable })
    }

    /// The same without a thread: a task that lets each turn take its time.
    pub(crate) fn spawn_task(store: Store, mut pace: Pace) -> Self {
        let (commands, mut receiver) = mpsc::channel(limits::STORE_MAILBOX);
        let (board, durable) = (store.board(), store.durable());
        tokio::spawn(async move {
            let mut worker = Worker::new(store);
            while let Some(first) = receiver.recv().await {
                tokio::time::sleep(pace.write()).await;
                worker.take(first, &mut receiver);
            }
        });
        Self { commands, board, durable }
    }

    pub(crate) fn board(&self) -> &SessionBoard {
        &self.board
    }

    /// True when it outlives the process.
    pub(crate) fn durable(&self) -> bool {
        self.durable
    }

    /// Lets the store do something.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let gone = || Error::new(Reason::Draining, "the daemon stops");
        let (reply, answer) = oneshot::channel();
        let ask = StoreCommand::Ask(Box::new(move |store| {
            // Without somebody who waits for the answer, what was done stays done.
            let _ = reply.send(question(store));
        }));
        self.commands.send(ask).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Room for one command, if there is some now.
    pub(crate) fn room_now(&self) -> Option<Room<'_>> {
        self.commands.try_reserve().ok().map(Room)
    }

    /// Room for one command. Safe to drop while it waits.
    pub(crate) async fn room(&self) -> Option<Room<'_>> {
        self.commands.reserve().await.ok().map(Room)
    }
}

/// Room for one command.
pub(crate) struct Room<'a>(mpsc::Permit<'a, StoreCommand>);

impl Room<'_> {
    pub(crate) fn fill(self, command: StoreCommand) {
        self.0.send(command);
    }
}

/// Ends that could not be written are tried again after this time.
const LATE_PAUSE: Duration = Duration::from_secs(5);

struct Worker {
    store: Store,
    /// Ends that could not be written; the generation would run again after a restart.
    late: Vec<Write>,
    /// When they were last tried.
    tried: Instant,
}

impl Worker {
    fn new(store: Store) -> Self {
        Self { store, late: Vec::new(), tried: now() }
    }

    /// Does what is asked, and what has come in the meantime.
    fn take(&mut self, first: StoreCommand, commands: &mut mpsc::Receiver<StoreCommand>) {
        let mut entries = Vec::new();
        let mut next = Some(first);
        while let Some(command) = next.take() {
            match command {
                StoreCommand::Journal(entry) => entries.push(entry),
                StoreCommand::Ask(ask) => {
                    self.write(&mut entries);
                    ask(&mut self.store);
                }
            }
            if entries.len() < limits::STORE_BATCH {
                next = commands.try_recv().ok();
            }
        }
        self.write(&mut entries);
        // The housekeeping asks every now and then, so that this is reached even when nobody else does.
        if !self.late.is_empty() && now() - self.tried >= LATE_PAUSE {
            self.write_late(SystemTime::now());
        }
    }

    fn write(&mut self, entries: &mut Vec<Entry>) {
        let now = SystemTime::now();
        let all: Vec<&Write> = entries.iter().map(|entry| &entry.write).collect();
        if all.is_empty() {
            return;
        }
        let written = self.store.write(&all, now).map(drop);
        let alone = entries.len() == 1;
        for entry in entries.drain(..) {
            // One that cannot be written must not take the others with it.
            let done = match &written {
                Err(_) if !alone => self.store.write(&[&entry.write], now).map(drop),
                done => done.clone(),
            };
            if done.is_err() && entry.write.is_end() && self.late.len() < limits::MAX_KEPT_GENERATIONS {
                self.late.push(entry.write);
            }
            (entry.then)(done);
        }
    }

    fn write_late(&mut self, wall: SystemTime) {
        self.tried = now();
        let store = &mut self.store;
        self.late.retain(|write| store.write(&[write], wall).is_err());
    }
}
