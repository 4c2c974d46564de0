//! What is done from time to time: retention, and ends that could not be written.

use std::sync::Weak;
use std::time::SystemTime;

use easel_domain::{Error, limits};

use super::{Runtime, Shared};
use crate::Cleaned;
use crate::scheduler::Command;

/// Looks after the store until the runtime has gone.
pub(super) async fn run(shared: Weak<Shared>) {
    let mut ticks = tokio::time::interval(limits::STORE_TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        let runtime = Runtime(shared);
        // A machine that slept may have passed times by its clock that nobody was woken at.
        let _ = runtime.tell(Command::Tick, None).await;
        match runtime.0.store.ask(|store| store.clean(SystemTime::now())).await {
            Ok(cleaned) => {
                // Fails only when the runtime ends, and with it what is to be forgotten.
                let _ = runtime.forget(&cleaned).await;
            }
            Err(error) => tracing::warn!(%error, "old sessions could not be removed"),
        }
    }
}

impl Runtime {
    /// Removes every session that is not pinned and every ended generation, with their pictures, prompts and events; without `all`
    /// those alone that the retention does not keep. Says what was removed.
    pub async fn collect_garbage(&self, all: bool) -> Result<Cleaned, Error> {
        let clean = move |store: &mut crate::store::Store| match all {
            true => store.clean_all(SystemTime::now()),
            false => store.clean(SystemTime::now()),
        };
        let cleaned = self.0.store.ask(clean).await?;
        self.forget(&cleaned).await?;
        Ok(cleaned)
    }

    /// What the store has removed goes from memory as well.
    pub(super) async fn forget(&self, cleaned: &Cleaned) -> Result<(), Error> {
        if !cleaned.generations.is_empty() {
            self.ask(Command::ForgetAll(cleaned.generations.clone())).await?;
        }
        if !cleaned.blobs.is_empty() {
            self.0.blobs.forget(cleaned.blobs.clone()).await?;
        }
        Ok(())
    }
}
