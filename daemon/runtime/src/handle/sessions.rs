//! Sessions, as the server asks for them.

use std::sync::Arc;
use std::time::SystemTime;

use easel_domain::engine::Interrupt;
use easel_domain::event::CancelOutcome;
use easel_domain::session::{Difference, Draft, Origin, Replay, Revision, Session, SessionEdit};
use easel_domain::{
    BlobHash, Error, GenerationId, GenerationRequest, ImageFormat, Mode, Reason, RevisionId, RunPolicy, SessionId,
    limits,
};

use super::Runtime;
use crate::scheduler::Command;
use crate::store::{Canvas, SessionChange, Store};
use crate::{Cleaned, Created, Watch, pixels};

/// What is changed of a session; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionUpdate {
    /// Its name.
    pub name: Option<String>,
    /// Whether it is pinned.
    pub pinned: Option<bool>,
    /// The draft of its next edit.
    pub draft: Option<Draft>,
}

/// Where a user goes in the tree of a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Move {
    /// To the revision that the present one was made from.
    Undo,
    /// Back to where the last undo came from.
    Redo,
    /// To a revision.
    To(RevisionId),
}

impl Runtime {
    /// Makes a session; with a picture that is its first revision. Fails with `BlobNotFound` or `InvalidImage`.
    pub async fn create_session(&self, name: String, image: Option<BlobHash>) -> Result<Session, Error> {
        let canvas = match image {
            Some(hash) => Some(self.canvas(hash).await?),
            None => None,
        };
        self.0.store.ask(move |store| store.create_session(&name, canvas.as_ref(), SystemTime::now())).await
    }

    /// A session as it stands. Fails with `SessionNotFound`.
    pub async fn session(&self, id: &SessionId) -> Result<Session, Error> {
        self.renew(id).await?;
        let id = id.clone();
        self.0.store.ask(move |store| store.session(&id)).await
    }

    /// Streams that view a session.
    pub fn session_viewers(&self, id: &SessionId) -> u32 {
        u32::try_from(self.0.store.board().viewers(id)).unwrap_or(u32::MAX)
    }

    /// At most `page_size` sessions, the last changed first, after the one of `after`; a session's place in the list is its time
    /// of change in milliseconds since 1970 and its id.
    pub async fn sessions(&self, page_size: usize, after: Option<(i64, String)>) -> Result<Vec<Session>, Error> {
        let list =
            move |store: &mut Store| store.sessions(page_size, after.as_ref().map(|(ms, id)| (*ms, id.as_str())));
        self.0.store.ask(list).await
    }

    /// Changes a session. Fails with `SessionNotFound`, or `BlobNotFound` when the mask of a draft is not there.
    pub async fn update_session(&self, id: &SessionId, update: SessionUpdate) -> Result<Session, Error> {
        let SessionUpdate { name, pinned, draft } = update;
        self.keep(draft.iter().filter_map(|draft| draft.selection?.mask())).await?;
        let changes =
            [name.map(SessionChange::Rename), pinned.map(SessionChange::Pin), draft.map(SessionChange::Draft)];
        let changes: Vec<_> = changes.into_iter().flatten().collect();
        self.change(id, changes).await
    }

    /// Goes to another revision. Fails with `SessionState` when there is nothing to undo or to redo.
    pub async fn move_in_session(&self, id: &SessionId, to: Move) -> Result<Session, Error> {
        let change = match to {
            Move::Undo => SessionChange::Undo,
            Move::Redo => SessionChange::Redo,
            Move::To(revision) => SessionChange::GoTo(revision),
        };
        self.change(id, vec![change]).await
    }

    async fn change(&self, id: &SessionId, changes: Vec<SessionChange>) -> Result<Session, Error> {
        self.renew(id).await?;
        let id = id.clone();
        self.0.store.ask(move |store| store.change_session(&id, &changes, SystemTime::now())).await
    }

    /// Deletes a session for good, with its pictures, prompts and events; what it still runs is cancelled first.
    pub async fn delete_session(&self, id: &SessionId) -> Result<Cleaned, Error> {
        loop {
            self.cancel_session(id, None).await?;
            let running = self.session(id).await?.active;
            for generation in running {
                let mut watch = self.watch(&generation, 0).await?;
                while watch.next().await.is_some() {}
            }
            let doomed = id.clone();
            match self.0.store.ask(move |store| store.delete_session(&doomed)).await {
                // Somebody has begun another edit in the meantime.
                Err(error) if error.reason == Reason::SessionState => {}
                Err(error) => return Err(error),
                Ok(cleaned) => {
                    self.forget(&cleaned).await?;
                    return Ok(cleaned);
                }
            }
        }
    }

    /// At most `page_size` revisions of a session, oldest first, after `after`.
    pub async fn revisions(
        &self,
        id: &SessionId,
        page_size: usize,
        after: Option<RevisionId>,
    ) -> Result<Vec<Revision>, Error> {
        let id = id.clone();
        self.0.store.ask(move |store| store.revisions(&id, page_size, after.as_ref())).await
    }

    /// A revision of a session. Fails with `SessionNotFound` or `RevisionNotFound`.
    pub async fn revision(&self, id: &SessionId, revision: &RevisionId) -> Result<Revision, Error> {
        let (id, revision) = (id.clone(), revision.clone());
        self.0.store.ask(move |store| store.session(&id).and_then(|_| store.revision(&id, &revision))).await
    }

    /// The picture of a revision. What is missing there was lost on the disk.
    pub async fn revision_picture(&self, revision: &Revision) -> Result<Arc<[u8]>, Error> {
        match self.0.blobs.get(revision.hash).await {
            Ok(blob) => Ok(blob.bytes),
            Err(error) if error.reason == Reason::BlobNotFound => {
                let message =
                    "the picture of the revision was lost from the state folder: make it again from its parent";
                Err(Error::new(Reason::DataLoss, message).about("revision", revision.id.as_str()))
            }
            Err(error) => Err(error),
        }
    }

    /// Edits a revision, or makes one again, as [`create`](Self::create).
    pub async fn create_edit(
        &self,
        id: &SessionId,
        edit: SessionEdit,
        policy: RunPolicy,
        client: String,
    ) -> Result<Created, Error> {
        let (request, origin) = self.request_of(id, edit, client).await?;
        self.create_for(origin, request, policy).await
    }

    /// Edits a revision, or makes one again, as [`run`](Self::run).
    pub async fn run_edit(
        &self,
        id: &SessionId,
        edit: SessionEdit,
        policy: RunPolicy,
        client: String,
    ) -> Result<Watch, Error> {
        let (request, origin) = self.request_of(id, edit, client).await?;
        self.run_for(origin, request, policy).await
    }

    /// Cancels a generation of a session, or all of them, and says what that hit.
    pub async fn cancel_session(
        &self,
        id: &SessionId,
        generation: Option<GenerationId>,
    ) -> Result<Vec<(GenerationId, CancelOutcome)>, Error> {
        let session = self.session(id).await?;
        let ids = match generation {
            Some(generation) if self.belongs(&generation, id).await? => vec![generation],
            Some(generation) => {
                let message =
                    format!("session {id} has no generation {generation}: ListGenerations tells which there are");
                return Err(Error::new(Reason::GenerationNotFound, message).about("generation", generation.to_string()));
            }
            None => session.active,
        };
        let mut outcomes = Vec::with_capacity(ids.len());
        for generation in ids {
            let outcome = self.cancel(&generation, Interrupt::Cancelled).await?;
            outcomes.push((generation, outcome));
        }
        Ok(outcomes)
    }

    /// Measures how two revisions of a session differ.
    pub async fn compare(&self, id: &SessionId, one: &RevisionId, other: &RevisionId) -> Result<Difference, Error> {
        let (one, other) = (self.revision(id, one).await?, self.revision(id, other).await?);
        let (one, other) = (self.revision_picture(&one).await?, self.revision_picture(&other).await?);
        let compare = move || Ok(pixels::difference(&pixels::load(&one)?, &pixels::load(&other)?));
        self.0.pool.run(compare).await.0
    }

    /// The way to a revision; `None`: to where the session stands.
    pub async fn export_replay(&self, id: &SessionId, revision: Option<RevisionId>) -> Result<Replay, Error> {
        let id = id.clone();
        let export = move |store: &mut Store| {
            let session = store.session(&id)?;
            let end = revision.or(session.head).ok_or_else(|| no_picture(&id))?;
            store.replay(&id, &end)
        };
        self.0.store.ask(export).await
    }

    /// Makes a session of a replay whose pictures are there. Fails with `BlobNotFound` or `ReplayInvalid`.
    pub async fn import_replay(&self, mut replay: Replay) -> Result<Session, Error> {
        if replay.canvas.is_none() && replay.steps.is_empty() {
            return Err(Error::new(Reason::ReplayInvalid, "the replay has neither a canvas nor a step"));
        }
        for picture in replay.canvas.iter_mut().chain(replay.steps.iter_mut().map(|step| &mut step.result)) {
            // What a file says of itself does not depend on who wrote the replay.
            let canvas = self.canvas(picture.hash).await?;
            (picture.format, picture.width, picture.height) = (canvas.format, canvas.width, canvas.height);
            let keep = move |store: &mut Store| store.put_blob(canvas.hash, &canvas.bytes, true, SystemTime::now());
            self.0.store.ask(keep).await?;
        }
        self.keep(replay.steps.iter().flat_map(|step| step.request.inputs())).await?;
        self.0.store.ask(move |store| store.import(&replay, SystemTime::now())).await
    }

    /// Sees that blobs are there and in the store, which a row is about to name.
    async fn keep(&self, hashes: impl Iterator<Item = BlobHash>) -> Result<(), Error> {
        for hash in hashes {
            let bytes = self.0.blobs.get(hash).await?.bytes;
            self.0.store.ask(move |store| store.put_blob(hash, &bytes, true, SystemTime::now())).await?;
        }
        Ok(())
    }

    /// Somebody shows interest in a session: its live work may go on.
    pub(super) async fn renew(&self, id: &SessionId) -> Result<(), Error> {
        self.tell(Command::Renew { session: id.clone() }, None).await
    }

    async fn canvas(&self, hash: BlobHash) -> Result<Canvas, Error> {
        let bytes = self.0.blobs.get(hash).await?.bytes;
        let file = Arc::clone(&bytes);
        let (probed, _) = self.0.pool.run(move || easel_imaging::probe(&file)).await;
        let probe = probed.map_err(|mut error| {
            error.violations.iter_mut().for_each(|violation| violation.field = "image".to_owned());
            error
        })?;
        let format = match probe.format {
            "png" => Some(ImageFormat::Png),
            "jpeg" => Some(ImageFormat::Jpeg),
            "webp" => Some(ImageFormat::WebP),
            "tiff" => Some(ImageFormat::Tiff),
            // Read, but never written.
            _ => None,
        };
        Ok(Canvas { hash, format, bytes, width: probe.size.width, height: probe.size.height })
    }

    /// The request that an edit means, and where its result belongs.
    async fn request_of(
        &self,
        id: &SessionId,
        edit: SessionEdit,
        client: String,
    ) -> Result<(GenerationRequest, Origin), Error> {
        let id = id.clone();
        self.renew(&id).await?;
        self.0.store.ask(move |store| request_of(store, &id, edit, client)).await
    }
}

fn request_of(
    store: &mut Store,
    id: &SessionId,
    edit: SessionEdit,
    client: String,
) -> Result<(GenerationRequest, Origin), Error> {
    let session = store.session(id)?;
    store.check_room(id)?;
    let origin = |parent| Origin { session: Some(id.clone()), parent, client };
    if let Some(again) = &edit.rerun {
        let revision = store.revision(id, again)?;
        let Some(made) = &revision.made else {
            let message = "the picture was brought, not made: it cannot be made again";
            return Err(Error::new(Reason::SessionState, message).about("revision", again.as_str()));
        };
        return Ok((edit.again(made), origin(revision.parent)));
    }
    let mut request = edit.request;
    request.output_format = edit.output_format.unwrap_or(ImageFormat::Png);
    if request.prompt.is_empty() {
        request.prompt = session.draft.instruction;
    }
    if request.seeds.is_empty() {
        request.seed = request.seed.or(session.draft.seed);
    }
    let base = edit.revision.or(session.head).filter(|_| request.mode != Some(Mode::Generate));
    match base {
        Some(base) => {
            let revision = store.revision(id, &base)?;
            // A size is that of a whole picture.
            if request.width.is_none() && request.height.is_none() {
                request.selection = request.selection.or(session.draft.selection);
            }
            (request.image, request.mode) = (Some(revision.hash), Some(Mode::Edit));
            Ok((request, origin(Some(base))))
        }
        None if request.mode == Some(Mode::Edit) => Err(no_picture(id)),
        None => {
            request.mode = Some(Mode::Generate);
            Ok((request, origin(None)))
        }
    }
}

fn no_picture(id: &SessionId) -> Error {
    let message = "the session has no picture yet: make one from a text, or create the session with a picture";
    Error::new(Reason::SessionState, message).about("session", id.as_str())
}

const _: () = assert!(limits::MAX_REVISIONS > limits::MAX_REPLAY_STEPS as u64);
