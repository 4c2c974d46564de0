//! Counts the layers of an encoding, so that its progress is one number over both towers and all prompts.

use crate::pass::Pass;

/// Layers that are done and layers in all.
#[derive(Debug)]
pub(super) struct Parts {
    done: usize,
    total: usize,
}

impl Parts {
    /// Nothing of `total` layers is done.
    pub(super) fn new(total: usize) -> Self {
        Self { done: 0, total }
    }

    /// One more layer is done.
    pub(super) fn advance(&mut self, pass: &Pass<'_>) {
        self.done += 1;
        pass.progress(self.done, self.total);
    }
}
