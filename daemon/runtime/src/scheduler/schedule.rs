//! Who is next: the most urgent work for each idle actor.

use std::cmp::Reverse;

use easel_domain::event::{EventKind, Stage, State};
use easel_domain::{PreviewKind, Priority, limits};

use super::command::{ActorKind, Effect, JobKey, Now, Urgency, Work};
use super::generation::Once;
use super::{Busy, Core};

impl Core {
    /// Hands work to every idle actor for which there is some.
    pub(super) fn schedule(&mut self, now: Now, fx: &mut Vec<Effect>) {
        self.send_unloads(fx);
        if self.is_idle(ActorKind::Encoder)
            && let Some(key) = self.next_to_begin()
        {
            self.begin(key, now, fx);
        }
        if self.is_idle(ActorKind::Denoiser)
            && let Some(key) = self.next_to_step()
        {
            self.step(key, now, fx);
        }
        if self.is_idle(ActorKind::Vae)
            && let Some((key, work)) = self.next_for_vae()
        {
            self.start_vae(key, work, now, fx);
        }
        for actor in ActorKind::ALL {
            if self.is_idle(actor)
                && let Some(model) = self.models.wanted_by(actor)
            {
                let urgency = self.urgency_of_model(model);
                fx.push(Effect::Load { actor, model: model.to_owned(), urgency });
                self.actors[actor.index()].busy = Busy::Loading;
            }
        }
    }

    /// Pieces of work that wait for an actor.
    pub(super) fn waiting_for(&self, actor: ActorKind) -> u32 {
        let count = match actor {
            ActorKind::Encoder => self.waiting.len(),
            ActorKind::Denoiser => self.active.values().filter(|generation| generation.can_step()).count(),
            ActorKind::Vae => self
                .active
                .values()
                .filter(|generation| !generation.stopping() && generation.state == State::Running)
                .map(|generation| {
                    let image = usize::from(generation.image == Once::Todo);
                    image + generation.decodes.len() + usize::from(generation.preview.is_some())
                })
                .sum(),
        };
        count as u32
    }

    fn is_idle(&self, actor: ActorKind) -> bool {
        self.actors[actor.index()].busy == Busy::Idle
    }

    /// The first of the queue that may begin: there is room among the begun ones of its class or higher, and nobody wants its
    /// model dropped. More urgent ones find room even when less urgent ones have taken theirs.
    fn next_to_begin(&self) -> Option<JobKey> {
        let begun_from = |class: Priority| {
            let begun = self.active.values().filter(|generation| generation.state == State::Running);
            begun.filter(|generation| generation.policy.priority >= class).count()
        };
        self.waiting.values().copied().find(|key| {
            self.active.get(key).is_some_and(|generation| {
                begun_from(generation.policy.priority) < limits::MAX_BEGUN_GENERATIONS
                    && !self.models.is_unloading(&generation.plan.model)
            })
        })
    }

    /// The most urgent generation that the denoiser can go on with; among equals one that it has begun, then the oldest.
    fn next_to_step(&self) -> Option<JobKey> {
        let ready = self.active.values().filter(|generation| generation.can_step());
        let next = ready.min_by_key(|generation| {
            let begun = generation.denoising > 0 || generation.steps_done > 0;
            (Reverse(generation.policy.priority), !begun, generation.key)
        });
        next.map(|generation| generation.key)
    }

    /// Finals before sources before previews; a preview only when nothing else waits.
    fn next_for_vae(&self) -> Option<(JobKey, Work)> {
        let running = || self.active.values().filter(|g| g.state == State::Running && !g.stopping());
        let finals = running().filter_map(|generation| {
            let image = *generation.decodes.front()?;
            Some((Reverse(generation.policy.priority), 0, generation.key, Work::Decode { image }))
        });
        let sources = running()
            .filter(|generation| generation.image == Once::Todo)
            .map(|generation| (Reverse(generation.policy.priority), 1, generation.key, Work::EncodeImage));
        let urgent = finals.chain(sources).min_by_key(|(class, kind, key, _)| (*class, *kind, *key));
        if let Some((_, _, key, work)) = urgent {
            return Some((key, work));
        }
        let shown = running().filter(|generation| generation.preview.is_some() && !generation.preview_running);
        let next = shown.min_by_key(|generation| (Reverse(generation.policy.priority), generation.key))?;
        let (image, step) = next.preview?;
        let kind = next.policy.previews.map_or(PreviewKind::Projection, |previews| previews.kind);
        Some((next.key, Work::Preview { image, step, kind }))
    }

    /// Reading a network is as urgent as the most urgent generation that has begun and will need it; were it less, the steps of
    /// that very generation would keep its VAE away until the last of them, and with it all previews.
    fn urgency_of_model(&self, model: &str) -> Urgency {
        let begun = self.active.values().filter(|generation| generation.state == State::Running);
        let urgencies =
            begun.filter(|generation| generation.plan.model == model).map(|generation| generation.urgency());
        urgencies.min().unwrap_or(Urgency::background())
    }

    fn begin(&mut self, key: JobKey, now: Now, fx: &mut Vec<Effect>) {
        let Some(generation) = self.active.get_mut(&key) else { return };
        self.waiting.remove(&generation.urgency());
        generation.state = State::Running;
        generation.position = 0;
        generation.prompt = Once::Running;
        self.models.want(&generation.plan.model);
        self.start(key, Work::EncodePrompt, now, fx);
        self.tell_positions(now, fx);
    }

    fn step(&mut self, key: JobKey, now: Now, fx: &mut Vec<Effect>) {
        let Some(generation) = self.active.get_mut(&key) else { return };
        generation.stepping = true;
        let (image, preview) = (generation.denoising, generation.previews_next_step());
        let first = generation.steps_done == 0;
        let work = Work::Step { image, preview };
        if first {
            self.start(key, work, now, fx);
        } else {
            self.start_silently(key, work, now, fx);
        }
    }

    fn start_vae(&mut self, key: JobKey, work: Work, now: Now, fx: &mut Vec<Effect>) {
        let Some(generation) = self.active.get_mut(&key) else { return };
        match work {
            Work::EncodeImage => generation.image = Once::Running,
            Work::Decode { .. } => {
                generation.decodes.pop_front();
            }
            _ => {
                generation.preview = None;
                generation.preview_running = true;
                return self.start_silently(key, work, now, fx);
            }
        }
        self.start(key, work, now, fx);
    }

    /// Starts work and tells that its stage begins.
    pub(super) fn start(&mut self, key: JobKey, work: Work, now: Now, fx: &mut Vec<Effect>) {
        let Some(generation) = self.active.get_mut(&key) else { return };
        let total = match work {
            Work::Step { .. } => generation.plan.steps,
            _ => 1,
        };
        let progress = generation.moved(work, 0, total);
        Self::emit(generation, EventKind::Progress(progress), now, fx);
        self.start_silently(key, work, now, fx);
    }

    pub(super) fn start_silently(&mut self, key: JobKey, work: Work, now: Now, fx: &mut Vec<Effect>) {
        let Some(generation) = self.active.get_mut(&key) else { return };
        generation.started(work, now);
        fx.push(Effect::Start { key, work, urgency: generation.urgency() });
        if let Some(actor) = super::actor_of(work) {
            self.actors[actor.index()].busy = Busy::With(key);
        }
    }

    /// Tells every waiting generation whose place has changed.
    pub(super) fn tell_positions(&mut self, now: Now, fx: &mut Vec<Effect>) {
        for (position, key) in (1..).zip(self.waiting.values()) {
            let Some(generation) = self.active.get_mut(key) else { continue };
            if generation.position != position {
                generation.position = position;
                Self::emit(generation, EventKind::Queued { position }, now, fx);
            }
        }
    }

    fn send_unloads(&mut self, fx: &mut Vec<Effect>) {
        let begun = |name: &str| self.active.values().any(|g| g.state == State::Running && g.plan.model == name);
        for model in self.models.unloads_due(begun) {
            fx.extend(ActorKind::ALL.map(|actor| Effect::Unload { actor, model: model.clone() }));
        }
    }

    /// A decoded picture goes on to the pixel pool at once.
    pub(super) fn finish(&mut self, key: JobKey, image: u32, now: Now, fx: &mut Vec<Effect>) {
        if let Some(generation) = self.active.get_mut(&key) {
            generation.ready(Stage::Finish, now);
        }
        self.start(key, Work::Finish { image }, now, fx);
    }
}
