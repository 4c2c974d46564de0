//! Replays: the way to a revision, taken out of a session or put into a new one.

use std::time::SystemTime;

use easel_domain::session::{Draft, Replay, ReplayPicture, ReplayStep, Revision, Session};
use easel_domain::{BlobHash, Error, GenerationId, Reason, RevisionId, SessionId};
use rusqlite::params;

use super::record::ms;
use super::tree::{MadeRecord, NewRevision};
use super::{Store, new_id, sql_error, to_json};

impl Store {
    /// The way to a revision.
    pub(crate) fn replay(&self, session: &SessionId, revision: &RevisionId) -> Result<Replay, Error> {
        let line = self.line_to(session, revision)?;
        let canvas = line.first().filter(|root| root.made.is_none()).map(picture);
        let steps = line.iter().filter_map(|revision| {
            let made = revision.made.clone()?;
            let mut request = made.request;
            request.seed = made.plan.seeds.is_empty().then_some(made.plan.seed);
            let (plan, image_index, version) = (made.plan, made.image_index, made.version);
            Some(ReplayStep { request, plan, image_index, result: picture(revision), version })
        });
        Ok(Replay { name: self.session(session)?.name, canvas, steps: steps.collect() })
    }

    /// Makes a session of a replay whose pictures are all there. Nothing is computed.
    pub(crate) fn import(&mut self, replay: &Replay, now: SystemTime) -> Result<Session, Error> {
        let id = SessionId::new(new_id("ses"));
        self.transact(true, |store| {
            let sql = "INSERT INTO sessions VALUES (?1, ?2, 0, NULL, '[]', ?3, ?4, ?4, 1)";
            let draft = to_json(&Draft::default())?;
            store.db.execute(sql, params![id.as_str(), replay.name, draft, ms(now)]).map_err(sql_error)?;
            let mut parent = None;
            if let Some(canvas) = &replay.canvas {
                parent = Some(store.import_picture(&id, None, canvas, None, now)?);
            }
            for step in &replay.steps {
                let made = MadeRecord {
                    generation: GenerationId::new("imported"),
                    image_index: step.image_index,
                    request: step.request.clone(),
                    plan: step.plan.clone(),
                    version: step.version.clone(),
                };
                parent = Some(store.import_picture(&id, parent, &step.result, Some(made), now)?);
            }
            store.stand_at(&id, parent.as_ref(), &[])
        })?;
        self.session(&id)
    }

    fn import_picture(
        &mut self,
        session: &SessionId,
        parent: Option<RevisionId>,
        picture: &ReplayPicture,
        made: Option<MadeRecord>,
        now: SystemTime,
    ) -> Result<RevisionId, Error> {
        let ReplayPicture { hash, format, width, height } = *picture;
        let size = self.blob_size(hash, now).ok_or_else(|| missing(hash))?;
        self.insert_revision(NewRevision { session, parent, hash, format, width, height, size, live: false, made }, now)
    }
}

fn picture(revision: &Revision) -> ReplayPicture {
    ReplayPicture { hash: revision.hash, format: revision.format, width: revision.width, height: revision.height }
}

fn missing(hash: BlobHash) -> Error {
    let message = "a picture of the replay is not there: upload it first";
    Error::new(Reason::BlobNotFound, message).about("blob", hash.to_string())
}
