//! The handle of the runtime: what the server calls.

mod catalogue;
mod conditioning;
mod housekeeping;
mod loras;
mod memory;
mod models;
mod recover;
mod session_watch;
mod sessions;
mod source;
mod start;
mod system;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use easel_domain::engine::Interrupt;
use easel_domain::event::{CancelOutcome, Snapshot, State};
use easel_domain::session::Origin;
use easel_domain::{
    BlobHash, Error, GenerationId, GenerationRequest, LoraSource, ModelInfo, RawLayout, Reason, RequestId, RunPolicy,
    resolve,
};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use crate::blobs::BlobHandle;
use crate::dispatch::{Envelope, Hubs, Reply, Source};
use crate::hub::{Hub, WatchCounts};
use crate::pixels::{self, PixelPool};
use crate::provenance;
use crate::scheduler::{Answer, Command, NewGeneration, request_conflict, unknown_generation, unknown_model};
use crate::store::{StoreHandle, new_id};
use crate::{Blob, BlobInfo, Polled, RuntimeConfig, UploadState, Watch};
pub(crate) use catalogue::Catalogue;

pub use conditioning::Prepared;
pub use models::LoadWatch;
pub use session_watch::{SessionNews, SessionWatch};
pub use sessions::{Move, SessionUpdate};

/// Answer to [`Runtime::create`].
#[derive(Clone, Debug, PartialEq)]
pub struct Created {
    /// The generation as accepted, or as it stands when it existed.
    pub snapshot: Snapshot,
    /// True when the request id was known with the same content.
    pub existed: bool,
}

/// The running actors. Cheap to clone; all clones are the same runtime. When the last clone goes, the actors end.
#[derive(Clone)]
pub struct Runtime(Arc<Shared>);

/// What the clones of a handle share.
struct Shared {
    commands: mpsc::Sender<Envelope>,
    hubs: Hubs,
    counts: Arc<WatchCounts>,
    blobs: BlobHandle,
    store: StoreHandle,
    pool: PixelPool,
    catalogue: Arc<dyn Catalogue>,
    config: RuntimeConfig,
    default_model: String,
    start_time: SystemTime,
    started: tokio::time::Instant,
    ready: watch::Receiver<bool>,
    drained: watch::Receiver<bool>,
    /// Name of the actor that is frozen.
    stalled: watch::Receiver<Option<&'static str>>,
    /// Closed when the threads of the actors have ended.
    threads: Mutex<mpsc::Receiver<()>>,
}

impl Runtime {
    /// Resolves and admits a generation; its first event is there when this returns. Errors of the request name every
    /// wrong field; `QueueFull`, `MemoryExhausted` and `EngineUnavailable` say when to try again; `Draining` does not.
    pub async fn create(&self, request: GenerationRequest, policy: RunPolicy) -> Result<Created, Error> {
        self.create_for(Origin::default(), request, policy).await
    }

    /// As [`create`](Self::create), and watches from the first event. Dropping the future or the watch is a disconnect.
    pub async fn run(&self, request: GenerationRequest, policy: RunPolicy) -> Result<Watch, Error> {
        self.run_for(Origin::default(), request, policy).await
    }

    /// As [`create`](Self::create), for a client and a session.
    pub async fn create_for(
        &self,
        origin: Origin,
        request: GenerationRequest,
        policy: RunPolicy,
    ) -> Result<Created, Error> {
        let (created, _) = self.submit(request, policy, origin, false).await?;
        Ok(created)
    }

    /// As [`run`](Self::run), for a client and a session.
    pub async fn run_for(&self, origin: Origin, request: GenerationRequest, policy: RunPolicy) -> Result<Watch, Error> {
        let (_, watch) = self.submit(request, policy, origin, true).await?;
        watch.unwrap_or_else(|| Err(confused()))
    }

    /// Watches a generation from the event after `after_sequence` (0: all). Fails with `GenerationNotFound`, or
    /// `InvalidRequest` when `after_sequence` is beyond the newest event.
    pub async fn watch(&self, id: &GenerationId, after_sequence: u64) -> Result<Watch, Error> {
        Watch::new(self.hub(id).await?, after_sequence)
    }

    /// Events after `after_sequence` and the preview after number `after_preview`, waiting up to `wait` (at most
    /// [`easel_domain::limits::MAX_POLL_WAIT`]) for the first of them. Not a watcher in the sense of the disconnect policy.
    pub async fn poll(
        &self,
        id: &GenerationId,
        after_sequence: u64,
        after_preview: u64,
        wait: Duration,
    ) -> Result<Polled, Error> {
        let hub = self.hub(id).await?;
        crate::watch::poll(&hub, after_sequence, after_preview, wait).await
    }

    /// A generation as it stands. Fails with `GenerationNotFound`.
    pub async fn get(&self, id: &GenerationId) -> Result<Snapshot, Error> {
        Ok(self.hub(id).await?.snapshot())
    }

    /// At most `page_size` generations in one of `states` (none: all), newest first, older than `before`; with the id
    /// to pass as `before` for the next page, when there is one.
    pub async fn list(
        &self,
        page_size: usize,
        before: Option<GenerationId>,
        states: &[State],
    ) -> Result<(Vec<Snapshot>, Option<GenerationId>), Error> {
        let page_size = page_size.max(1);
        let wanted = |state: State| states.is_empty() || states.contains(&state);
        let (mut page, mut before) = (Vec::new(), before);
        // The store knows which have ended; which of the others run, their handles know.
        loop {
            let (after, chosen) = (before.clone(), states.to_vec());
            let ids =
                self.0.store.ask(move |store| store.generation_ids(page_size + 1, after.as_ref(), &chosen)).await?;
            let more = ids.len() > page_size;
            for id in ids {
                if page.len() == page_size {
                    return Ok((page, before));
                }
                before = Some(id.clone());
                // One that was removed in the meantime is left out.
                if let Some(snapshot) = self.summary(&id).await?
                    && wanted(snapshot.state)
                {
                    page.push(snapshot);
                }
            }
            if !more {
                return Ok((page, None));
            }
        }
    }

    /// Stops a generation and says what that found. After `WasQueued` or `WasRunning` it ends as cancelled, never with a
    /// result; after `WasFinished` nothing has changed.
    pub async fn cancel(&self, id: &GenerationId, interrupt: Interrupt) -> Result<CancelOutcome, Error> {
        match self.ask(Command::Cancel { id: id.clone(), interrupt }).await?.answer {
            Answer::Cancelled(Err(error)) if error.reason == Reason::GenerationNotFound => {
                // One that ended long ago is in the store alone.
                let found = self.get(id).await.map_err(|_| error)?;
                if found.state.is_end() { Ok(CancelOutcome::WasFinished) } else { Err(unknown_generation(id)) }
            }
            Answer::Cancelled(outcome) => outcome,
            _ => Err(confused()),
        }
    }

    /// Begins or resumes an upload of `size_bytes` bytes. Fails with `InvalidRequest` or `StoreFull`.
    pub async fn begin_upload(&self, hash: BlobHash, size_bytes: u64) -> Result<UploadState, Error> {
        self.0.blobs.begin(hash, size_bytes).await
    }

    /// Appends a chunk of at most [`easel_domain::limits::MAX_CHUNK_BYTES`] and returns where the next one begins. Fails with
    /// `UploadNotFound`, `UploadOffsetMismatch` or `InvalidRequest`.
    pub async fn append_upload(
        &self,
        hash: BlobHash,
        offset: u64,
        data: impl AsRef<[u8]> + Send + 'static,
    ) -> Result<u64, Error> {
        self.0.blobs.append(hash, offset, Box::new(data)).await
    }

    /// Ends an upload. Fails with `BlobHashMismatch` (the upload is dropped then), `UploadNotFound` or `UploadOffsetMismatch` when
    /// bytes are missing. Succeeds as well when the blob is there already.
    pub async fn finish_upload(&self, hash: BlobHash) -> Result<BlobInfo, Error> {
        self.0.blobs.finish(hash).await
    }

    /// Stores bytes, for pictures that stand in a request. Fails with `InvalidRequest` or `StoreFull`.
    pub async fn put_blob(&self, bytes: Arc<[u8]>) -> Result<BlobHash, Error> {
        let content = Arc::clone(&bytes);
        let (hash, _) = self.0.pool.run(move || Ok(pixels::hash(&content))).await;
        let hash = hash?;
        self.0.blobs.put(hash, bytes).await?;
        Ok(hash)
    }

    /// Stores raw pixels as a file that holds the same samples. `icc`: their profile, empty for sRGB; `field`: what errors call them.
    /// Fails with `InvalidImage`, `ImageTooLarge`, `InvalidRequest` or `StoreFull`.
    pub async fn put_raw(
        &self,
        pixels: Arc<[u8]>,
        layout: RawLayout,
        icc: Vec<u8>,
        field: String,
    ) -> Result<BlobHash, Error> {
        let made = move || pixels::file_of_raw(&pixels, &layout, &icc, &field);
        let file = self.0.pool.run(made).await.0?;
        self.put_blob(file.into()).await
    }

    /// A blob with its content. Fails with `BlobNotFound`.
    pub async fn blob(&self, hash: BlobHash) -> Result<Blob, Error> {
        self.0.blobs.get(hash).await
    }

    async fn submit(
        &self,
        request: GenerationRequest,
        policy: RunPolicy,
        origin: Origin,
        attach: bool,
    ) -> Result<(Created, Option<Result<Watch, Error>>), Error> {
        // Before anything else, so that a repeated request works even when its source is gone or the daemon drains.
        if let Some(request_id) = &policy.request_id {
            let find = Command::FindRequest { request_id: request_id.clone(), request: Box::new(request.clone()) };
            let reply = self.send(find, None, attach).await?;
            match reply.answer {
                Answer::Found(Ok(Some(id))) => return self.created(&id, true, reply.watch).await,
                Answer::Found(found) => drop(found?),
                _ => return Err(confused()),
            }
            if let Some(id) = self.find_stored(request_id, &request).await? {
                let watch = if attach { Some(self.watch(&id, 0).await) } else { None };
                return self.created(&id, true, watch).await;
            }
        }
        let model = self.model_info(request.model.as_deref())?;
        let drawn_seed = draw_seed();
        let settle = |source| resolve::resolve(&request, &model, source, drawn_seed);
        let (mut plan, source) = self.resolve(&request, &origin, settle).await?;
        let loras = self.settle_loras(&request, &mut plan).await?;
        let config = &self.0.config;
        provenance::settle(&mut plan, &request, &model, (&config.version, config.provenance))?;
        let reply = self.admit("gen", (request, policy, origin), (plan, source, loras), attach).await?;
        match reply.answer {
            Answer::Created(accepted) => {
                let accepted = accepted?;
                self.created(&accepted.id, accepted.existed, reply.watch).await
            }
            _ => Err(confused()),
        }
    }

    /// Hands a settled request to the core, under a new id with this prefix.
    async fn admit(
        &self,
        prefix: &str,
        (request, policy, origin): (GenerationRequest, RunPolicy, Origin),
        (plan, source, loras): (resolve::Plan, Option<Source>, Vec<LoraSource>),
        attach: bool,
    ) -> Result<Reply, Error> {
        let id = GenerationId::new(new_id(prefix));
        let (source_bytes, canvas_bytes) = source.as_ref().map_or((0, 0), Source::bytes);
        let peak_bytes = self.peak_bytes(&plan, canvas_bytes);
        let new = NewGeneration { id, request, policy, plan, source_bytes, canvas_bytes, origin, peak_bytes, loras };
        self.send(Command::Create(Box::new(new)), source, attach).await
    }

    /// A generation of an earlier run of the daemon with this request id.
    async fn find_stored(
        &self,
        request_id: &RequestId,
        request: &GenerationRequest,
    ) -> Result<Option<GenerationId>, Error> {
        if !self.0.store.durable() {
            return Ok(None);
        }
        let asked = request_id.clone();
        let found = self.0.store.ask(move |store| store.generation_of_request(&asked)).await?;
        match found {
            None => Ok(None),
            Some(stored) if stored.request == *request => Ok(Some(stored.snapshot.id)),
            Some(stored) => Err(request_conflict(request_id, &stored.snapshot.id)),
        }
    }

    async fn created(
        &self,
        id: &GenerationId,
        existed: bool,
        watch: Option<Result<Watch, Error>>,
    ) -> Result<(Created, Option<Result<Watch, Error>>), Error> {
        Ok((Created { snapshot: self.hub(id).await?.snapshot(), existed }, watch))
    }

    /// Memory that a generation needs at its peak beside the networks: a canvas and the one that is made of it come on top of the
    /// engine's own.
    fn peak_bytes(&self, plan: &resolve::Plan, canvas_bytes: u64) -> u64 {
        self.0.catalogue.peak_bytes(plan) + 2 * canvas_bytes
    }

    fn model_info(&self, name: Option<&str>) -> Result<ModelInfo, Error> {
        let name = name.unwrap_or(&self.0.default_model);
        self.0.catalogue.models().into_iter().find(|model| model.name == name).ok_or_else(|| unknown_model(name))
    }

    /// The watch handle of a generation; for one that is known to the store alone, a handle of its own.
    async fn hub(&self, id: &GenerationId) -> Result<Arc<Hub>, Error> {
        if let Some(hub) = self.0.hubs.get(id).map(|hub| Arc::clone(&hub)) {
            return Ok(hub);
        }
        let asked = id.clone();
        let stored = self.0.store.ask(move |store| store.generation(&asked)).await?;
        // It may have come in the meantime.
        if let Some(hub) = self.0.hubs.get(id).map(|hub| Arc::clone(&hub)) {
            return Ok(hub);
        }
        let stored = stored.filter(|stored| stored.snapshot.state.is_end()).ok_or_else(|| unknown_generation(id))?;
        Ok(Arc::new(Hub::restored(stored.snapshot, stored.events, None, Arc::clone(&self.0.counts))))
    }

    /// A generation as it stands; the files of one that ended long ago stay on the disk.
    async fn summary(&self, id: &GenerationId) -> Result<Option<Snapshot>, Error> {
        if let Some(hub) = self.0.hubs.get(id) {
            return Ok(Some(hub.snapshot()));
        }
        let asked = id.clone();
        let found = self.0.store.ask(move |store| store.summary(&asked)).await?;
        Ok(found.filter(|snapshot| snapshot.state.is_end()))
    }

    /// As [`send`](Self::send) for a command without an answer.
    async fn tell(&self, command: Command, source: Option<Source>) -> Result<(), Error> {
        let gone = || Error::new(Reason::Draining, "the daemon stops");
        let (reply, _) = oneshot::channel();
        let envelope = Envelope { command, source, attach: false, reply };
        self.0.commands.send(envelope).await.map_err(|_| gone())
    }

    async fn ask(&self, command: Command) -> Result<Reply, Error> {
        self.send(command, None, false).await
    }

    async fn send(&self, command: Command, source: Option<Source>, attach: bool) -> Result<Reply, Error> {
        let gone = || Error::new(Reason::Draining, "the daemon stops");
        let (reply, answer) = oneshot::channel();
        let envelope = Envelope { command, source, attach, reply };
        self.0.commands.send(envelope).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

/// A seed that nobody chose. It has 32 bits, so that every host can show and repeat it.
fn draw_seed() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1 & u64::from(u32::MAX)
}

/// The dispatcher has answered another question than was asked.
fn confused() -> Error {
    Error::new(Reason::Internal, "the dispatcher gave a wrong kind of answer; report it with the daemon's log")
}
