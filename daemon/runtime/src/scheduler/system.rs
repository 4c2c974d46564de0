//! Models, status, readiness and draining.

use easel_domain::engine::Interrupt;
use easel_domain::event::State;
use easel_domain::{Error, Reason};

use super::command::{ActorKind, Answer, Effect, ModelNews, ModelView, Now, StageView, StatusView};
use super::queue::needs;
use super::{Busy, Core, unknown_model};
use crate::StageHealth;

impl Core {
    pub(super) fn unavailable(&self, actor: ActorKind) -> bool {
        self.actors[actor.index()].health == StageHealth::Failed
    }

    /// Takes news of a model in an actor. When it cannot be read, the generations that have begun with it fail; those that wait
    /// try again.
    pub(super) fn model_news(&mut self, actor: ActorKind, name: &str, news: ModelNews, now: Now, fx: &mut Vec<Effect>) {
        let problem = if let ModelNews::Failed(error) = &news { Some(error.clone()) } else { None };
        if !self.models.news(actor, name, news) {
            return;
        }
        if let Some(error) = problem {
            self.fail_all_with(name, &error, now, fx);
        }
        if let Some(view) = self.models.view(name) {
            fx.push(Effect::ModelChanged { name: name.to_owned(), view: Box::new(view) });
        }
    }

    /// Encoders of models that nobody uses go when the machine is short of memory, and come back when it is not.
    pub(super) fn memory_short(&mut self, short: bool, fx: &mut Vec<Effect>) {
        if !short {
            return self.models.restore();
        }
        let relieved = self.models.relieve(|name| needs(&self.active, name));
        fx.extend(relieved.into_iter().map(|model| Effect::Unload { actor: ActorKind::Encoder, model }));
    }

    pub(super) fn load_model(&mut self, name: &str, now: Now) -> Result<Box<ModelView>, Error> {
        if self.draining.is_some() {
            return Err(Error::new(Reason::Draining, "the daemon is about to stop and loads no more models"));
        }
        self.models.want(name);
        self.models.used(name, now.instant, self.config.keep_alive);
        self.models.view(name).map(Box::new).ok_or_else(|| unknown_model(name))
    }

    pub(super) fn unload_model(&mut self, name: &str) -> Answer {
        if self.models.view(name).is_none() {
            return Answer::Model(Err(unknown_model(name)));
        }
        self.models.unload(name);
        Answer::Later
    }

    pub(super) fn status(&self) -> StatusView {
        let queued = self.waiting.len() as u32;
        let stages = ActorKind::ALL.iter().map(|kind| {
            let actor = &self.actors[kind.index()];
            let generation = match actor.busy {
                Busy::With(key) => self.active.get(&key).map(|generation| generation.id.clone()),
                Busy::Idle | Busy::Loading => None,
            };
            StageView {
                health: actor.health,
                generation,
                waiting: self.waiting_for(*kind),
                computed: actor.computed,
                restarts: actor.restarts,
            }
        });
        StatusView {
            draining: self.draining.is_some(),
            queued,
            running: self.active.len() as u32 - queued,
            stages: stages.collect(),
            value_bytes: self.active.values().map(|generation| generation.held_bytes()).sum(),
            previews_dropped: self.previews_dropped,
            ended: self.counts,
        }
    }

    pub(super) fn drain(&mut self, now: Now, fx: &mut Vec<Effect>) {
        if self.draining.is_some() {
            return;
        }
        self.draining = now.instant.checked_add(self.config.drain_timeout).or(Some(now.instant));
        let waiting: Vec<_> = self.waiting.iter().copied().collect();
        waiting.into_iter().for_each(|key| self.stop(key, Interrupt::ShuttingDown, now, fx));
    }

    /// Models that are dropped now; generations that waited for that can begin.
    pub(super) fn tell_unloads(&mut self, fx: &mut Vec<Effect>) {
        for name in self.models.unloads_done() {
            if let Some(view) = self.models.view(&name) {
                fx.push(Effect::Unloaded { name, view: Box::new(view) });
            }
        }
    }

    /// What concerns the daemon as a whole, told when it changes.
    pub(super) fn tell_system(&mut self, fx: &mut Vec<Effect>) {
        let failed = ActorKind::ALL.iter().any(|actor| self.unavailable(*actor));
        let ready = self.draining.is_none() && !self.stalled && !failed;
        if ready != self.ready {
            self.ready = ready;
            fx.push(Effect::Ready(ready));
        }
        if self.draining.is_some() && self.active.is_empty() && !self.drained {
            self.drained = true;
            fx.push(Effect::Drained);
        }
    }

    fn fail_all_with(&mut self, model: &str, error: &Error, now: Now, fx: &mut Vec<Effect>) {
        let begun = self.active.values().filter(|g| g.state == State::Running && g.plan.model == model);
        let keys: Vec<_> = begun.filter(|generation| !generation.stopping()).map(|g| g.key).collect();
        for key in keys {
            if let Some(generation) = self.active.get_mut(&key) {
                generation.failure = Some(error.clone());
                fx.push(Effect::Interrupt { key, interrupt: Interrupt::Cancelled });
            }
            self.settle(key, now, fx);
        }
    }
}
