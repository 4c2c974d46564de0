//! What a generation edits: its picture, and for a selection the canvas and the mask, read before anything is admitted.

use std::sync::Arc;

use easel_domain::session::Origin;
use easel_domain::{BlobHash, Error, GenerationRequest, Mode, Plan, Reason, Rect, Selection, resolve};

use super::Runtime;
use crate::dispatch::Source;
use crate::pixels::{self, Edited};
use crate::store::Stored;

/// The file of a picture and its hash.
type File = (BlobHash, Arc<[u8]>);

impl Runtime {
    /// Settles the plan, with the size of the source from its header; only then decodes the source.
    pub(super) async fn resolve(
        &self,
        request: &GenerationRequest,
        origin: &Origin,
        settle: impl Fn(Option<resolve::Source>) -> Result<Plan, Error>,
    ) -> Result<(Plan, Option<Source>), Error> {
        let Some(hash) = request.image.filter(|_| request.mode != Some(Mode::Generate)) else {
            return Ok((settle(None)?, None));
        };
        let blob = self.0.blobs.get(hash).await?.bytes;
        let bytes = Arc::clone(&blob);
        let (size, _) = self.0.pool.run(move || pixels::probe(&bytes)).await;
        let size = size?;
        let Some(selection) = request.selection else {
            let plan = settle(Some(size.into()))?;
            return Ok((plan, Some(self.whole((hash, blob)).await?)));
        };
        // Everything that can be wrong without the pixels is found before they are read.
        settle(Some(resolve::Source { size, selected: Some(Rect::of(size)) }))?;
        let (edited, blobs) = self.edited((hash, blob), selection, origin).await?;
        let mut plan = settle(Some(resolve::Source { size, selected: edited.selected() }))?;
        plan.notes.extend(edited.notes(&plan));
        let source = self.cut(edited, blobs, &plan).await?;
        Ok((plan, Some(source)))
    }

    /// The source of a generation that an earlier run of the daemon had accepted.
    pub(super) async fn source_of(&self, stored: &Stored) -> Result<Option<Source>, Error> {
        let Some(hash) = stored.source else { return Ok(None) };
        let gone = |error: Error| match error.reason {
            Reason::BlobNotFound => {
                let message = "the source picture or its mask was lost: bring it again and create the generation anew";
                Error::new(Reason::DataLoss, message).about("blob", hash.to_string())
            }
            _ => error,
        };
        let blob = self.0.blobs.get(hash).await.map_err(gone)?.bytes;
        let plan = &stored.snapshot.plan;
        let Some(selection) = plan.selection else { return Ok(Some(self.whole((hash, blob)).await?)) };
        let (edited, blobs) = self.edited((hash, blob), selection, &stored.origin).await.map_err(gone)?;
        Ok(Some(self.cut(edited, blobs, plan).await?))
    }

    /// A picture that is edited as a whole.
    async fn whole(&self, (hash, blob): File) -> Result<Source, Error> {
        let bytes = Arc::clone(&blob);
        let (picture, _) = self.0.pool.run(move || pixels::load(&bytes)).await;
        Ok(Source { picture: picture?, edited: None, mask: None, blobs: vec![(hash, blob)] })
    }

    /// The canvas and the mask of a selection, and the files that they were read from.
    async fn edited(
        &self,
        picture: File,
        selection: Selection,
        origin: &Origin,
    ) -> Result<(Arc<Edited>, Vec<File>), Error> {
        let mut blobs = vec![picture];
        if let Some(hash) = selection.mask() {
            blobs.push((hash, self.0.blobs.get(hash).await?.bytes));
        }
        let (files, for_session) = (blobs.clone(), origin.session.is_some());
        let read = move || {
            let mask = files.get(1).map(|(_, bytes)| bytes.as_ref());
            Edited::read(&files[0].1, mask, &selection, for_session)
        };
        let (edited, _) = self.0.pool.run(read).await;
        Ok((Arc::new(edited?), blobs))
    }

    /// What the model sees of a canvas.
    async fn cut(&self, edited: Arc<Edited>, blobs: Vec<File>, plan: &Plan) -> Result<Source, Error> {
        let crop = plan.crop.ok_or_else(super::confused)?;
        let (canvas, plan) = (Arc::clone(&edited), plan.clone());
        let (cut, _) = self.0.pool.run(move || Ok((canvas.view(crop)?, canvas.reach(&plan)))).await;
        let (picture, mask) = cut?;
        Ok(Source { picture, edited: Some(edited), mask, blobs })
    }
}
