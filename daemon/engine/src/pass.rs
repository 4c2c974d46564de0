//! What accompanies a pass through a network: the way to stop it, its progress, and, in tests, an observer.

use candle_core::Tensor;
use easel_domain::engine::{Interrupt, StageControl};

/// Sees the output of every module under its path in the checkpoint; for tests that compare with a reference.
pub trait Tap {
    /// Called with the module's path and output.
    fn record(&mut self, path: &str, output: &Tensor);
}

/// One pass through a network. Without an observer, recording costs one comparison.
pub struct Pass<'a> {
    control: &'a StageControl,
    tap: Option<&'a mut dyn Tap>,
    /// This pass is number `index` of `count` that make up the stage together.
    index: usize,
    count: usize,
}

impl<'a> Pass<'a> {
    /// A pass that can be stopped.
    pub fn new(control: &'a StageControl) -> Self {
        Self::nth(control, 0, 1)
    }

    /// The pass with this index of `count` passes that are one piece of work together.
    pub fn nth(control: &'a StageControl, index: usize, count: usize) -> Self {
        Self { control, tap: None, index, count }
    }

    /// A pass that can be stopped and is observed.
    pub fn observed(control: &'a StageControl, tap: &'a mut dyn Tap) -> Self {
        Self { tap: Some(tap), ..Self::new(control) }
    }

    /// Between two parts of the work: returns the interrupt when there is one.
    pub fn checkpoint(&self) -> Result<(), Interrupt> {
        self.control.checkpoint()
    }

    /// Tells that `done` of `total` parts of this pass are done.
    pub fn progress(&self, done: usize, total: usize) {
        self.control.progress((self.index * total + done) as u32, (self.count * total) as u32);
    }

    /// True when somebody observes; then a value may be computed only to be shown.
    pub fn observes(&self) -> bool {
        self.tap.is_some()
    }

    /// Shows the output of the module at `path`.
    pub fn record(&mut self, path: &str, output: &Tensor) {
        if let Some(tap) = &mut self.tap {
            tap.record(path, output);
        }
    }

    /// Shows the output of `part` of the module at `path`.
    pub fn record_part(&mut self, path: &str, part: &str, output: &Tensor) {
        if let Some(tap) = &mut self.tap {
            tap.record(&format!("{path}.{part}"), output);
        }
    }
}
