//! The driver of an actor in virtual time: a task. Work takes the time that a seed says, in which it can be stopped, and is then done
//! at once; so a whole daemon runs on one thread, and the same seed gives the same history.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use easel_domain::engine::Engine;

use super::hooks::Pulse;
use super::mailbox::{Letter, Mailbox};
use super::network::Kind;
use super::worker::{ActorContext, ActorHandle, Assignment, Worker};
use crate::Pace;
use crate::stop::StopToken;

/// Time between two looks at the stop token, as between two checkpoints of a stage.
const SLICE: Duration = Duration::from_millis(2);

/// Starts the task of an actor. It ends when the handle is dropped.
pub(crate) fn spawn<E: Engine, K: Kind<E>>(context: ActorContext<E>, mut pace: Pace) -> ActorHandle<K::Task> {
    let (mailbox, pulse) = (Arc::new(Mailbox::default()), Arc::new(Pulse::new()));
    let (inside, beat) = (Arc::clone(&mailbox), Arc::clone(&pulse));
    let run = async move {
        let reports = context.reports.clone();
        let outbox = Arc::new(Mutex::new(VecDeque::new()));
        let put = Arc::clone(&outbox);
        let send = Box::new(move |report| put.lock().unwrap_or_else(PoisonError::into_inner).push_back(report));
        let mut worker: Worker<E, K> = Worker::new(context, beat, send);
        loop {
            let letter: Letter<Assignment<K::Task>> = inside.arrival().await;
            if let Letter::Work(assignment) = &letter {
                work(pace.work(), &assignment.stop).await;
            }
            let more = worker.take(letter);
            let told = std::mem::take(&mut *outbox.lock().unwrap_or_else(PoisonError::into_inner));
            for report in told {
                // Without a dispatcher nobody wants to know.
                let _ = reports.send(report).await;
            }
            if !more {
                return;
            }
        }
    };
    tokio::spawn(run);
    ActorHandle { mailbox, pulse }
}

/// Lets `time` pass, or as much of it as passes before `stop` is raised.
async fn work(time: Duration, stop: &StopToken) {
    let mut left = time;
    while !left.is_zero() && stop.check().is_ok() {
        let slice = left.min(SLICE);
        tokio::time::sleep(slice).await;
        left -= slice;
    }
}
