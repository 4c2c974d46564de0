//! The two ways that an operation can go: the fused kernels of the processor, or plain candle operations.

use std::cell::Cell;

use candle_core::Tensor;

thread_local! {
    static PLAIN: Cell<bool> = const { Cell::new(false) };
}

/// Does `work` with plain candle operations alone, whatever the device: to compare the two ways.
pub fn plainly<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            PLAIN.set(self.0);
        }
    }
    let _restore = Restore(PLAIN.replace(true));
    work()
}

/// Whether a fused kernel may take what comes.
pub(super) fn fused(x: &Tensor) -> bool {
    !PLAIN.get() && easel_kernels::supports(x)
}
