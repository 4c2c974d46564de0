//! What an actor does with a letter: its networks and how they are called. A panic or a fault costs the job that was running
//! and the network, never the actor. Who reads the letters and takes the reports away is the business of a driver: a thread
//! ([`super::thread`]), or a task in virtual time ([`super::task`]).

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use easel_domain::engine::{Engine, Interrupt, StageControl, StageError};
use easel_domain::{Error, Reason};
use tokio::sync::mpsc;
use tracing::Span;

use super::core::{ActorCore, Decision, Input};
use super::hooks::{HookParts, Hooks, Pulse, Tell};
use super::mailbox::{Control, Letter, Mailbox};
use super::network::{DenoiserOutput, EncoderOutput, Kind, VaeOutput};
use crate::StageHealth;
use crate::clock::now;
use crate::scheduler::{Command, JobKey, ModelNews, Outcome, Took, Urgency, Work};
use crate::slots::ComputeSlots;
use crate::stop::StopToken;

/// A piece of work, or a model to read.
pub(crate) struct Assignment<T> {
    pub(crate) model: String,
    /// `None`: only read the model.
    pub(crate) job: Option<(JobKey, Work, T)>,
    pub(crate) urgency: Urgency,
    pub(crate) stop: StopToken,
    pub(crate) span: Span,
}

/// A piece of work that is over.
pub(crate) struct Finished<O> {
    pub(crate) key: JobKey,
    pub(crate) work: Work,
    pub(crate) outcome: Outcome,
    /// There exactly when the outcome is a success.
    pub(crate) output: Option<O>,
    pub(crate) took: Took,
    pub(crate) still_busy: bool,
}

/// What the dispatcher is told by the actors and the pixel pool.
pub(crate) enum Report<E: Engine> {
    Encoder(Box<Finished<EncoderOutput<E>>>),
    Denoiser(Box<Finished<DenoiserOutput<E>>>),
    Vae(Box<Finished<VaeOutput<E::Latents>>>),
    /// Something for the core alone.
    Core(Command),
}

/// What an actor shares with the rest.
pub(crate) struct ActorContext<E: Engine> {
    pub(crate) engine: Arc<E>,
    pub(crate) reports: mpsc::Sender<Report<E>>,
    /// `None`: the stage does not compute on the CPU.
    pub(crate) slots: Option<Arc<ComputeSlots>>,
    /// Stops with the daemon.
    pub(crate) stop: StopToken,
    /// Dropped when the thread ends; whoever waits for that holds the other end.
    pub(crate) _alive: mpsc::Sender<()>,
}

/// The dispatcher's end of an actor.
pub(crate) struct ActorHandle<T> {
    pub(crate) mailbox: Arc<Mailbox<Assignment<T>>>,
    pub(crate) pulse: Arc<Pulse>,
}

impl<T> Drop for ActorHandle<T> {
    fn drop(&mut self) {
        self.mailbox.close();
    }
}

/// Takes a report on its way to the dispatcher.
pub(super) type SendReport<E> = Box<dyn Fn(Report<E>) + Send>;

/// See the module.
pub(super) struct Worker<E: Engine, K: Kind<E>> {
    context: ActorContext<E>,
    pulse: Arc<Pulse>,
    core: ActorCore,
    networks: HashMap<String, K::Network>,
    send: SendReport<E>,
}

/// How an engine call came out.
enum Called<T> {
    Made(T),
    Interrupted(Interrupt),
    Failed(Error),
    /// A panic, or values that are not finite.
    Fault(Error),
}

impl<E: Engine, K: Kind<E>> Worker<E, K> {
    pub(super) fn new(context: ActorContext<E>, pulse: Arc<Pulse>, send: SendReport<E>) -> Self {
        Self { context, pulse, core: ActorCore::default(), networks: HashMap::new(), send }
    }

    /// Does what a letter says; false when it was the last.
    pub(super) fn take(&mut self, letter: Letter<Assignment<K::Task>>) -> bool {
        match letter {
            Letter::Control(Control::Unload(model)) => self.unload(&model),
            Letter::Work(assignment) => {
                let span = assignment.span.clone();
                span.in_scope(|| self.work(assignment));
            }
            Letter::Closed => return false,
        }
        self.pulse.rest();
        true
    }

    fn unload(&mut self, model: &str) {
        self.core.handle(Input::Unload { model }, now());
        self.drop_network(model);
        self.context.engine.give_back();
        self.tell_model(model, ModelNews::Absent);
    }

    fn work(&mut self, assignment: Assignment<K::Task>) {
        let Assignment { model, job, urgency, stop, .. } = assignment;
        let ready = match self.core.handle(Input::Wanted { model: &model }, now()) {
            Decision::Load => self.load(&model, urgency, &stop),
            Decision::Refuse(wait) => {
                let error = Error::new(Reason::EngineUnavailable, format!("the {} is out of order", K::KIND.name()))
                    .retry_after(wait);
                if job.is_none() {
                    self.tell_model(&model, ModelNews::Failed(error.clone()));
                }
                Err(Outcome::Failed(error))
            }
            _ => Ok(()),
        };
        match (job, ready) {
            (Some((key, work, task)), Ok(())) => self.compute(&model, (key, work, task), urgency, stop),
            (Some((key, work, _)), Err(outcome)) => self.finish(key, work, outcome, Took::default(), false),
            // How the reading went was told when it was over; told again it would reach who asked in between.
            (None, _) => self.tell(Command::Free { actor: K::KIND }),
        }
    }

    fn compute(&mut self, model: &str, (key, work, task): (JobKey, Work, K::Task), urgency: Urgency, stop: StopToken) {
        let reports = self.context.reports.clone();
        let tell: Tell = Box::new(move |done, total| {
            // Only a hint: without room for it the next one will do.
            if !matches!(work, Work::Step { .. } | Work::Preview { .. }) {
                let _ = reports.try_send(Report::Core(Command::Moved { key, work, done, total }));
            }
        });
        let hooks = match self.hooks(urgency, stop, tell) {
            Ok(hooks) => hooks,
            Err(interrupt) => {
                return self.finish(key, work, Outcome::Interrupted(interrupt), Took::default(), false);
            }
        };
        let (start, before) = (now(), hooks.waited());
        let called = match self.networks.get_mut(model) {
            Some(network) => call(&hooks, |control| K::run(network, task, control)),
            None => Called::Failed(Error::new(Reason::Internal, "the network of the model is not there")),
        };
        hooks.end();
        let turns = hooks.waited().saturating_sub(before);
        let took = Took { waited: hooks.waited(), computed: (now() - start).saturating_sub(turns) };
        tracing::debug!(
            actor = K::KIND.name(),
            ?work,
            computed_ms = took.computed.as_millis() as u64,
            "stage returned"
        );
        match called {
            Called::Made(output) => {
                let outcome = K::outcome(&output);
                self.send(K::report(Finished { key, work, outcome, output: Some(output), took, still_busy: false }));
            }
            Called::Interrupted(interrupt) => self.finish(key, work, Outcome::Interrupted(interrupt), took, false),
            Called::Failed(error) => self.finish(key, work, Outcome::Failed(error), took, false),
            Called::Fault(error) => self.fault(model, |this, still_busy| {
                this.finish(key, work, Outcome::Failed(error), took, still_busy);
            }),
        }
    }

    /// Drops the network, tells, and builds it again if the budget allows it.
    fn fault(&mut self, model: &str, finish: impl FnOnce(&mut Self, bool)) {
        self.drop_network(model);
        match self.core.handle(Input::Fault { model }, now()) {
            Decision::GiveUp(until) => {
                tracing::error!(actor = K::KIND.name(), "the restarts are used up");
                self.tell_model(model, ModelNews::Absent);
                self.tell_health(StageHealth::Failed, Some(until));
                finish(self, false);
            }
            _ => {
                self.tell_model(model, ModelNews::Absent);
                self.tell_health(StageHealth::Restarting, None);
                finish(self, true);
                // When it cannot be read now, the next request tries again and is told why.
                let stop = self.context.stop.clone();
                let _ = self.load(model, Urgency::background(), &stop);
                self.tell_health(StageHealth::Ready, None);
                self.tell(Command::Free { actor: K::KIND });
            }
        }
    }

    /// Reads a network; on failure says how the job that needs it ends.
    fn load(&mut self, model: &str, urgency: Urgency, stop: &StopToken) -> Result<(), Outcome> {
        let (reports, name) = (self.context.reports.clone(), model.to_owned());
        let tell: Tell = Box::new(move |done, total| {
            let news = ModelNews::Loading(done as f32 / total.max(1) as f32);
            let command = Command::Model { actor: K::KIND, model: name.clone(), news };
            // Only a hint: without room for it the next one will do.
            let _ = reports.try_send(Report::Core(command));
        });
        self.tell_model(model, ModelNews::Loading(0.0));
        let hooks = match self.hooks(urgency, stop.clone(), tell) {
            Ok(hooks) => hooks,
            Err(interrupt) => {
                self.tell_model(model, ModelNews::Absent);
                return Err(Outcome::Interrupted(interrupt));
            }
        };
        let engine = Arc::clone(&self.context.engine);
        let start = now();
        let called = call(&hooks, |control| K::load(&engine, model, control));
        hooks.end();
        let ok = matches!(called, Called::Made(_));
        self.core.handle(Input::Loaded { model, ok }, now());
        match called {
            Called::Made(network) => {
                tracing::info!(
                    actor = K::KIND.name(),
                    model,
                    took_ms = (now() - start).as_millis() as u64,
                    "model read"
                );
                self.networks.insert(model.to_owned(), network);
                let bytes = self.context.engine.resident_bytes(model);
                self.tell_model(model, ModelNews::Loaded { bytes });
                Ok(())
            }
            Called::Interrupted(interrupt) => {
                self.tell_model(model, ModelNews::Absent);
                Err(Outcome::Interrupted(interrupt))
            }
            Called::Failed(error) => {
                self.tell_model(model, ModelNews::Failed(error.clone()));
                Err(Outcome::Failed(error))
            }
            Called::Fault(error) => {
                if let Decision::GiveUp(until) = self.core.handle(Input::Fault { model }, now()) {
                    self.tell_health(StageHealth::Failed, Some(until));
                }
                self.tell_model(model, ModelNews::Failed(error.clone()));
                Err(Outcome::Failed(error))
            }
        }
    }

    fn hooks(&self, urgency: Urgency, stop: StopToken, tell: Tell) -> Result<Arc<Hooks>, Interrupt> {
        let (pulse, slots) = (Arc::clone(&self.pulse), self.context.slots.clone());
        Hooks::begin(HookParts { stop, pulse, slots, urgency, tell }).map(Arc::new)
    }

    fn drop_network(&mut self, model: &str) {
        let network = self.networks.remove(model);
        // One that has panicked may panic again while it is dropped.
        if catch_unwind(AssertUnwindSafe(|| drop(network))).is_err() {
            tracing::error!(actor = K::KIND.name(), "a network panicked while it was dropped");
        }
    }

    fn finish(&mut self, key: JobKey, work: Work, outcome: Outcome, took: Took, still_busy: bool) {
        self.send(K::report(Finished { key, work, outcome, output: None, took, still_busy }));
    }

    fn tell_model(&mut self, model: &str, news: ModelNews) {
        self.tell(Command::Model { actor: K::KIND, model: model.to_owned(), news });
    }

    fn tell_health(&mut self, health: StageHealth, until: Option<Instant>) {
        let restarts = self.core.restarts();
        self.tell(Command::Health { actor: K::KIND, health, until, restarts });
    }

    fn tell(&mut self, command: Command) {
        self.send(Report::Core(command));
    }

    fn send(&mut self, report: Report<E>) {
        self.pulse.rest();
        (self.send)(report);
    }
}

/// Calls the engine and sorts what comes back. Faults get an incident id, which stands in the log as well.
fn call<T>(hooks: &Arc<Hooks>, body: impl FnOnce(&StageControl) -> Result<T, StageError>) -> Called<T> {
    let control = StageControl::new(Arc::clone(hooks) as Arc<_>);
    let fault = |what: &str| {
        let incident = uuid::Uuid::new_v4().simple().to_string();
        let incident = incident.get(..8).unwrap_or_default();
        tracing::error!(incident, what, "a stage failed");
        let message = format!("the engine failed, incident {incident}: {what}; report it with the daemon's log");
        Called::Fault(Error::new(Reason::EngineFault, message))
    };
    match catch_unwind(AssertUnwindSafe(|| body(&control))) {
        Ok(Ok(made)) => Called::Made(made),
        Ok(Err(StageError::Interrupted(interrupt))) => Called::Interrupted(interrupt),
        Ok(Err(StageError::Failed(error))) if error.reason == Reason::EngineFault => fault(&error.message),
        Ok(Err(StageError::Failed(error))) => Called::Failed(error),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            fault(text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic"))
        }
    }
}
