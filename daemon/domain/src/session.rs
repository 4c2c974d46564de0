//! Edit sessions: a canvas, the tree of its revisions, and where in the tree the user stands.

use std::time::SystemTime;

use crate::{BlobHash, GenerationId, GenerationRequest, ImageFormat, Plan, RevisionId, SessionId};

/// What the viewers of a session prepare together: the edit that comes next.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Draft {
    /// The instruction as far as it is written.
    pub instruction: String,
    /// Seed of the next edit; `None`: the daemon draws one.
    pub seed: Option<u64>,
}

/// A session as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// What the user calls it; may be empty.
    pub name: String,
    /// A pinned session outlives the retention.
    pub pinned: bool,
    /// Where the user stands; `None` before the first picture.
    pub head: Option<RevisionId>,
    /// Revisions that a redo goes to, the next one last.
    pub redo: Vec<RevisionId>,
    /// The edit that comes next.
    pub draft: Draft,
    /// Number of revisions.
    pub revisions: u64,
    /// Generations of the session that have not ended, oldest first.
    pub active: Vec<GenerationId>,
    /// When it was created.
    pub create_time: SystemTime,
    /// When it last changed.
    pub update_time: SystemTime,
    /// Grows with every change.
    pub version: u64,
}

/// A picture in a session's tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// Its id.
    pub id: RevisionId,
    /// The session that it belongs to.
    pub session: SessionId,
    /// The revision that it was made from; `None` for a root.
    pub parent: Option<RevisionId>,
    /// How it was made; `None` for a picture that was brought.
    pub made: Option<Made>,
    /// Hash of the picture's file.
    pub hash: BlobHash,
    /// Encoding of the file.
    pub format: ImageFormat,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// A live result that the next live result of the same parent replaces, until somebody goes to it.
    pub live: bool,
    /// When it was made.
    pub create_time: SystemTime,
}

/// How a revision was made: enough to make it again.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// The generation.
    pub generation: GenerationId,
    /// Which picture of the generation, from 0.
    pub image_index: u32,
    /// What was asked for.
    pub request: GenerationRequest,
    /// What was resolved.
    pub plan: Plan,
    /// Version of the daemon that made it.
    pub version: String,
}

/// Where a generation belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The session whose tree its result joins.
    pub session: Option<SessionId>,
    /// The revision that it is made from.
    pub parent: Option<RevisionId>,
    /// Who asked, for quotas; empty when unknown.
    pub client: String,
}

/// A picture that a replay names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayPicture {
    /// SHA-256 of its file.
    pub hash: BlobHash,
    /// Encoding of the file.
    pub format: ImageFormat,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// One edit of a replay.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayStep {
    /// What was asked for, with the seed that was resolved.
    pub request: GenerationRequest,
    /// What was resolved.
    pub plan: Plan,
    /// Which picture of the generation goes on, from 0.
    pub image_index: u32,
    /// What came out.
    pub result: ReplayPicture,
    /// Version of the daemon that made it.
    pub version: String,
}

/// The way from a canvas to a revision, with all inputs by their hashes: enough to go it again anywhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// Name of the session.
    pub name: String,
    /// The picture at the beginning; `None` when the first step makes one from a text.
    pub canvas: Option<ReplayPicture>,
    /// The edits in order.
    pub steps: Vec<ReplayStep>,
}
