//! The LoRAs of a request: where their files are, and whether they fit, before anything is admitted.

use std::sync::Arc;

use easel_domain::{
    BlobHash, Error, GenerationRequest, LoraBytes, LoraId, LoraInfo, LoraSource, Plan, PlannedLora, Reason,
};

use super::Runtime;

impl Runtime {
    /// The LoRAs of the configured folder, by name. Fails with `Internal` when it cannot be read.
    pub async fn loras(&self) -> Result<Vec<LoraInfo>, Error> {
        let catalogue = Arc::clone(&self.0.catalogue);
        self.0.pool.run(move || catalogue.loras()).await.0
    }

    /// Finds the files of a request's LoRAs, checks them for the model of the plan, and writes down in it what they are.
    /// Fails with `LoraNotFound`, `BlobNotFound`, `LoraInvalid` or `LoraMismatch`.
    pub(super) async fn settle_loras(
        &self,
        request: &GenerationRequest,
        plan: &mut Plan,
    ) -> Result<Vec<LoraSource>, Error> {
        let mut sources = Vec::with_capacity(request.loras.len());
        for used in &request.loras {
            let (name, (sha256, bytes)) = match &used.id {
                LoraId::Name(name) => (Some(name.clone()), self.named_lora(name.clone()).await?),
                LoraId::Sha256(hash) => (None, (*hash, self.uploaded_lora(*hash).await?)),
            };
            sources.push(LoraSource { lora: PlannedLora { name, sha256, weight: used.weight }, bytes });
        }
        let (catalogue, model, checked) = (Arc::clone(&self.0.catalogue), plan.model.clone(), sources.clone());
        if !checked.is_empty() {
            let check = move || checked.iter().try_for_each(|source| catalogue.check_lora(&model, source));
            self.0.pool.run(check).await.0?;
        }
        plan.loras = sources.iter().map(|source| source.lora.clone()).collect();
        Ok(sources)
    }

    /// The files of a plan that was made before. Fails with `DataLoss` when one is not what it was.
    pub(super) async fn loras_again(&self, plan: &Plan) -> Result<Vec<LoraSource>, Error> {
        let mut sources = Vec::with_capacity(plan.loras.len());
        for lora in &plan.loras {
            let found = match &lora.name {
                Some(name) => self.named_lora(name.clone()).await,
                None => self.uploaded_lora(lora.sha256).await.map(|bytes| (lora.sha256, bytes)),
            };
            match found {
                Ok((sha256, bytes)) if sha256 == lora.sha256 => sources.push(LoraSource { lora: lora.clone(), bytes }),
                Ok(_) | Err(Error { reason: Reason::LoraNotFound | Reason::BlobNotFound, .. }) => {
                    let label = lora.label();
                    let what = format!(
                        "the LoRA {label} is not there as it was: bring it again and create the generation anew"
                    );
                    return Err(Error::new(Reason::DataLoss, what).about("lora", label));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(sources)
    }

    /// Reads the whole file the first time, to know its hash.
    async fn named_lora(&self, name: String) -> Result<(BlobHash, LoraBytes), Error> {
        let catalogue = Arc::clone(&self.0.catalogue);
        self.0.pool.run(move || catalogue.find_lora(&name)).await.0
    }

    async fn uploaded_lora(&self, hash: BlobHash) -> Result<LoraBytes, Error> {
        Ok(LoraBytes::Memory(self.0.blobs.get(hash).await?.bytes))
    }
}
