//! Blobs in memory, by the hash of their content, and uploads under way: the types, and the actor that owns the store.

mod store;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use easel_domain::{BlobHash, Error, Reason, limits};
use tokio::sync::{mpsc, oneshot};

use crate::BlobStatus;
use crate::store::StoreHandle;
use store::BlobStore;

/// What is known about a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobInfo {
    /// SHA-256 of its content.
    pub hash: BlobHash,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// When it was stored.
    pub create_time: SystemTime,
}

/// A blob and its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// What is known about it.
    pub info: BlobInfo,
    /// The content. While somebody holds it, the blob stays in the store.
    pub bytes: Arc<[u8]>,
}

/// Where an upload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadState {
    /// True when the blob is there already and nothing needs to be sent.
    pub exists: bool,
    /// Bytes that are there: the next chunk begins here.
    pub offset: u64,
}

/// A chunk of bytes, whatever the transport holds it in.
pub(crate) type Chunk = Box<dyn AsRef<[u8]> + Send>;

type Reply<T> = oneshot::Sender<Result<T, Error>>;

enum Command {
    Begin(BlobHash, u64, Reply<UploadState>),
    Append(BlobHash, u64, Chunk, Reply<u64>),
    Finish(BlobHash, Reply<BlobInfo>),
    /// The hash was computed from the bytes by the sender.
    Put(BlobHash, Arc<[u8]>, Reply<Arc<[u8]>>),
    Get(BlobHash, Reply<Blob>),
    Forget(Vec<BlobHash>, Reply<()>),
    Status(Reply<BlobStatus>),
}

/// Sends to the actor that owns the blobs in memory, which ends when the last handle goes, and to the store on disk. With a
/// state folder the memory is a cache: what was put is in both.
#[derive(Clone, Debug)]
pub(crate) struct BlobHandle {
    memory: mpsc::Sender<Command>,
    store: StoreHandle,
}

impl BlobHandle {
    /// Starts the actor on the current tokio runtime.
    pub(crate) fn spawn(max_bytes: u64, store: StoreHandle) -> Self {
        let (memory, commands) = mpsc::channel(limits::ACTOR_MAILBOX);
        tokio::spawn(run(BlobStore::new(max_bytes), commands));
        Self { memory, store }
    }

    pub(crate) async fn begin(&self, hash: BlobHash, size_bytes: u64) -> Result<UploadState, Error> {
        if let Some(size) = self.stored_size(hash).await? {
            return Ok(UploadState { exists: true, offset: size });
        }
        self.ask(|reply| Command::Begin(hash, size_bytes, reply)).await
    }

    pub(crate) async fn append(&self, hash: BlobHash, offset: u64, chunk: Chunk) -> Result<u64, Error> {
        match self.ask(|reply| Command::Append(hash, offset, chunk, reply)).await {
            Err(error) if error.reason == Reason::UploadNotFound => self.stored_size(hash).await?.ok_or(error),
            done => done,
        }
    }

    pub(crate) async fn finish(&self, hash: BlobHash) -> Result<BlobInfo, Error> {
        let info = match self.ask(|reply| Command::Finish(hash, reply)).await {
            Err(error) if error.reason == Reason::UploadNotFound => {
                return self.stored(hash).await?.map(|blob| blob.info).ok_or(error);
            }
            done => done?,
        };
        if self.store.durable() {
            let blob = self.ask(|reply| Command::Get(hash, reply)).await?;
            self.write(hash, blob.bytes, true).await?;
        }
        Ok(info)
    }

    /// Keeps bytes and returns them as they are kept: holding them keeps the blob in memory.
    pub(crate) async fn put(&self, hash: BlobHash, bytes: Arc<[u8]>) -> Result<Arc<[u8]>, Error> {
        if self.store.durable() {
            self.write(hash, Arc::clone(&bytes), true).await?;
        }
        self.cache(hash, bytes).await
    }

    /// Keeps a result. One that cannot be kept goes to its client all the same. Without a wait for the disk: the end of the
    /// generation waits for it.
    pub(crate) async fn keep_result(&self, hash: BlobHash, bytes: Arc<[u8]>) -> Arc<[u8]> {
        if self.store.durable()
            && let Err(error) = self.write(hash, Arc::clone(&bytes), false).await
        {
            tracing::warn!(%error, "a result could not be written to the disk");
        }
        match self.cache(hash, Arc::clone(&bytes)).await {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(%error, "a result could not be kept in memory");
                bytes
            }
        }
    }

    pub(crate) async fn get(&self, hash: BlobHash) -> Result<Blob, Error> {
        let missing = match self.ask(|reply| Command::Get(hash, reply)).await {
            Err(error) if error.reason == Reason::BlobNotFound => error,
            done => return done,
        };
        let mut blob = self.stored(hash).await?.ok_or(missing)?;
        blob.bytes = self.cache(hash, blob.bytes).await?;
        Ok(blob)
    }

    /// Drops blobs from memory that the store has removed.
    pub(crate) async fn forget(&self, hashes: Vec<BlobHash>) -> Result<(), Error> {
        self.ask(|reply| Command::Forget(hashes, reply)).await
    }

    pub(crate) async fn status(&self) -> Result<BlobStatus, Error> {
        self.ask(Command::Status).await
    }

    /// With a state folder a cache that is full of what is in use is no reason to refuse anything.
    async fn cache(&self, hash: BlobHash, bytes: Arc<[u8]>) -> Result<Arc<[u8]>, Error> {
        let copy = Arc::clone(&bytes);
        match self.ask(|reply| Command::Put(hash, copy, reply)).await {
            Err(error) if error.reason == Reason::StoreFull && self.store.durable() => Ok(bytes),
            done => done,
        }
    }

    async fn write(&self, hash: BlobHash, bytes: Arc<[u8]>, synced: bool) -> Result<(), Error> {
        self.store.ask(move |store| store.put_blob(hash, &bytes, synced, SystemTime::now())).await
    }

    async fn stored(&self, hash: BlobHash) -> Result<Option<Blob>, Error> {
        self.store.ask(move |store| store.blob(hash, SystemTime::now())).await
    }

    async fn stored_size(&self, hash: BlobHash) -> Result<Option<u64>, Error> {
        self.store.ask(move |store| Ok(store.blob_size(hash, SystemTime::now()))).await
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Error> {
        let gone = || Error::new(Reason::Draining, "the daemon stops");
        let (reply, answer) = oneshot::channel();
        self.memory.send(command(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

async fn run(mut store: BlobStore, mut commands: mpsc::Receiver<Command>) {
    // Idle uploads hold memory, so that they are looked for even when nobody asks for anything.
    let mut sweep = tokio::time::interval(limits::UPLOAD_IDLE / 4);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let command = tokio::select! {
            command = commands.recv() => command,
            _ = sweep.tick() => {
                store.sweep(now().0);
                continue;
            }
        };
        match command {
            Some(command) => handle(&mut store, command),
            None => return,
        }
    }
}

/// A closed reply means that nobody waits for the answer any more; what was done stays done.
fn handle(store: &mut BlobStore, command: Command) {
    let now = now();
    match command {
        Command::Begin(hash, size, reply) => drop(reply.send(store.begin(hash, size, now.0))),
        Command::Append(hash, offset, chunk, reply) => {
            let chunk: &[u8] = (*chunk).as_ref();
            drop(reply.send(store.append(hash, offset, chunk, now.0)));
        }
        Command::Finish(hash, reply) => drop(reply.send(store.finish(hash, now))),
        Command::Put(hash, bytes, reply) => drop(reply.send(store.put(hash, bytes, now))),
        Command::Get(hash, reply) => drop(reply.send(store.get(hash))),
        Command::Forget(hashes, reply) => {
            hashes.into_iter().for_each(|hash| store.forget(hash));
            drop(reply.send(Ok(())));
        }
        Command::Status(reply) => drop(reply.send(Ok(store.status()))),
    }
}

fn now() -> (Instant, SystemTime) {
    (crate::clock::now(), SystemTime::now())
}
