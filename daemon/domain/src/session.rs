//! Edit sessions: a canvas, the tree of its revisions, and where in the tree the user stands.

use std::time::SystemTime;

use crate::{BlobHash, GenerationId, GenerationRequest, ImageFormat, Plan, RevisionId, Selection, SessionId};

/// What the viewers of a session prepare together: the edit that comes next.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Draft {
    /// The instruction as far as it is written.
    pub instruction: String,
    /// Seed of the next edit; `None`: the daemon draws one.
    pub seed: Option<u64>,
    /// What of the picture the next edit changes; `None`: everything.
    #[serde(default)]
    pub selection: Option<Selection>,
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
    /// Encoding of the file; `None` for one that the daemon reads and does not write.
    pub format: Option<ImageFormat>,
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
    /// Encoding of the file; `None` for one that the daemon reads and does not write.
    pub format: Option<ImageFormat>,
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

/// An edit of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionEdit {
    /// The revision to edit; `None`: where the session stands.
    pub revision: Option<RevisionId>,
    /// Make this revision again instead; what `request` sets replaces what it was made from.
    pub rerun: Option<RevisionId>,
    /// What to do; without a picture, which is the revision's.
    pub request: GenerationRequest,
    /// Encoding of the result; `None`: as before, else PNG.
    pub output_format: Option<ImageFormat>,
}

impl SessionEdit {
    /// The request that makes a revision again: from the same picture, with what this edit sets.
    pub fn again(&self, made: &Made) -> GenerationRequest {
        let (old, new) = (made.request.clone(), self.request.clone());
        let text = |new: String, old: String| if new.is_empty() { old } else { new };
        // A size is that of a whole picture, so that a selection takes its place and the other way round.
        let sized = new.width.is_some() || new.height.is_some();
        let part = new.selection.is_some() || new.tiling.is_some();
        let old_size = if part { (None, None) } else { (old.width, old.height) };
        GenerationRequest {
            mode: old.mode,
            model: new.model.or(old.model),
            prompt: text(new.prompt, old.prompt),
            negative_prompt: text(new.negative_prompt, old.negative_prompt),
            image: old.image,
            selection: new.selection.or(old.selection.filter(|_| !sized && new.tiling.is_none())),
            tiling: new.tiling.or(old.tiling.filter(|_| !sized && new.selection.is_none())),
            width: new.width.or(old_size.0),
            height: new.height.or(old_size.1),
            num_inference_steps: new.num_inference_steps.or(if new.sigmas.is_empty() {
                old.num_inference_steps
            } else {
                None
            }),
            sigmas: if new.sigmas.is_empty() && new.num_inference_steps.is_none() { old.sigmas } else { new.sigmas },
            guidance_scale: new.guidance_scale.or(old.guidance_scale),
            image_guidance_scale: new.image_guidance_scale.or(old.image_guidance_scale),
            loras: if new.loras.is_empty() { old.loras } else { new.loras },
            seed: new.seed,
            num_images: match new.seeds.is_empty() {
                // As many as before, when a list said how many.
                true => new.num_images.or(old.num_images).or(u32::try_from(old.seeds.len()).ok().filter(|n| *n > 0)),
                false => new.num_images,
            },
            seeds: new.seeds,
            output_format: self.output_format.unwrap_or(old.output_format),
            provenance: new.provenance.or(old.provenance),
        }
    }
}

/// How two pictures differ.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Difference {
    /// True when both have the same size; the rest is there then only.
    pub same_size: bool,
    /// Pixels that differ.
    pub changed_pixels: u64,
    /// All pixels.
    pub pixels: u64,
    /// Mean absolute difference of the channels, 0 to 255.
    pub mean_absolute_difference: f64,
    /// Largest difference of a channel.
    pub max_difference: u8,
    /// Mean squared difference of the channels.
    pub mean_squared_difference: f64,
    /// The smallest rectangle that holds all changes: left, upper edge, width, height.
    pub changed: Option<(u32, u32, u32, u32)>,
}
