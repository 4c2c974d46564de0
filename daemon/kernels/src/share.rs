//! How work is handed out to the threads of the pool.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

/// Does the tasks `0..count`, each thread taking the next one when it is done with the last: a thread that is held up holds up one
/// task, where parts of a range that were handed out beforehand would wait for it. `scratch` makes what a thread works with.
pub(crate) fn share<S>(count: usize, scratch: impl Fn() -> S + Sync, work: impl Fn(&mut S, usize) + Sync) {
    let threads = rayon::current_num_threads().min(count);
    let next = AtomicUsize::new(0);
    let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|task| *task < count);
    let run = |_| {
        let Some(mut task) = take() else { return };
        let mut scratch = scratch();
        loop {
            work(&mut scratch, task);
            match take() {
                Some(next) => task = next,
                None => return,
            }
        }
    };
    if threads < 2 {
        run(0);
    } else {
        (0..threads).into_par_iter().with_max_len(1).for_each(run);
    }
}
