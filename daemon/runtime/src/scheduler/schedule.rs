//! Who is next: the most urgent work for each idle actor.

use std::cmp::Reverse;
use std::time::Duration;

use easel_domain::event::{EventKind, Stage, State};
use easel_domain::{PreviewKind, Priority, limits};

use super::command::{ActorKind, Effect, JobKey, Now, Urgency, Work};
use super::generation::{Generation, Once};
use super::{Busy, Core};

impl Core {
    /// Hands work to every idle actor for which there is some.
    pub(super) fn schedule(&mut self, now: Now, fx: &mut Vec<Effect>) {
        if self.is_idle(ActorKind::Encoder)
            && let Some(key) = self.next_to_begin(now)
        {
            self.begin(key, now, fx);
        }
        // After that, since the next one may need the room of a model.
        self.send_unloads(fx);
        if self.is_idle(ActorKind::Denoiser)
            && let Some((key, urgency)) = self.next_to_step(now)
        {
            self.step(key, urgency, now, fx);
        }
        if self.is_idle(ActorKind::Vae)
            && let Some((key, work, urgency)) = self.next_for_vae(now)
        {
            self.start_vae(key, (work, urgency), now, fx);
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

    /// The most urgent generation that the denoiser can go on with; among equals one that it has begun, then the oldest. One
    /// that more urgent ones have kept waiting for too long gets one step in between. Says how urgent it is.
    fn next_to_step(&self, now: Now) -> Option<(JobKey, Urgency)> {
        let ready = || self.active.values().filter(|generation| generation.can_step());
        let next = ready().min_by_key(|generation| {
            let begun = generation.denoising > 0 || generation.steps_done > 0;
            (Reverse(generation.policy.priority), !begun, generation.key)
        })?;
        let starved =
            longest_starved(ready(), next.policy.priority, |generation| generation.ready_for(Stage::Denoise, now));
        let chosen = starved.unwrap_or(next);
        Some((chosen.key, Urgency::new(next.policy.priority, chosen.key)))
    }

    /// The most urgent first, its final before its source; previews when nothing else waits. As for the denoiser, one that
    /// has waited for too long goes in between.
    fn next_for_vae(&self, now: Now) -> Option<(JobKey, Work, Urgency)> {
        let running = || self.active.values().filter(|g| g.state == State::Running && !g.stopping());
        let work_of = |generation: &Generation| match generation.decodes.front() {
            Some(image) => Some((0, Work::Decode { image: *image })),
            None => (generation.image == Once::Todo).then_some((1, Work::EncodeImage)),
        };
        let ready = || running().filter(|generation| work_of(generation).is_some());
        let urgent = ready().min_by_key(|generation| {
            (Reverse(generation.policy.priority), work_of(generation).map(|(kind, _)| kind), generation.key)
        });
        if let Some(next) = urgent {
            let waited = |generation: &Generation| match work_of(generation) {
                Some((0, _)) => generation.ready_for(Stage::Decode, now),
                _ => generation.ready_for(Stage::EncodeImage, now),
            };
            let chosen = longest_starved(ready(), next.policy.priority, waited).unwrap_or(next);
            let (_, work) = work_of(chosen)?;
            return Some((chosen.key, work, Urgency::new(next.policy.priority, chosen.key)));
        }
        let shown = running().filter(|generation| generation.preview.is_some() && !generation.preview_running);
        let next = shown.min_by_key(|generation| (Reverse(generation.policy.priority), generation.key))?;
        let (image, step) = next.preview?;
        let kind = next.policy.previews.map_or(PreviewKind::Projection, |previews| previews.kind);
        Some((next.key, Work::Preview { image, step, kind }, next.urgency()))
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
        self.waiting.remove(&key);
        generation.state = State::Running;
        generation.position = 0;
        generation.prompt = Once::Running;
        self.models.want(&generation.plan.model);
        self.had_turn(key, now);
        self.start(key, Work::EncodePrompt, now, fx);
        self.tell_positions(now, fx);
    }

    fn step(&mut self, key: JobKey, urgency: Urgency, now: Now, fx: &mut Vec<Effect>) {
        let Some(generation) = self.active.get_mut(&key) else { return };
        generation.stepping = true;
        let (image, preview) = (generation.denoising, generation.previews_next_step());
        let first = generation.steps_done == 0;
        let work = Work::Step { image, preview };
        if first {
            self.tell_start(key, work, now, fx);
        }
        self.start_as(key, (work, urgency), now, fx);
    }

    fn start_vae(&mut self, key: JobKey, (work, urgency): (Work, Urgency), now: Now, fx: &mut Vec<Effect>) {
        let Some(generation) = self.active.get_mut(&key) else { return };
        match work {
            Work::EncodeImage => generation.image = Once::Running,
            Work::Decode { .. } => {
                generation.decodes.pop_front();
            }
            _ => {
                generation.preview = None;
                generation.preview_running = true;
                return self.start_as(key, (work, urgency), now, fx);
            }
        }
        self.tell_start(key, work, now, fx);
        self.start_as(key, (work, urgency), now, fx);
    }

    /// Starts work and tells that its stage begins.
    pub(super) fn start(&mut self, key: JobKey, work: Work, now: Now, fx: &mut Vec<Effect>) {
        self.tell_start(key, work, now, fx);
        self.start_silently(key, work, now, fx);
    }

    fn tell_start(&mut self, key: JobKey, work: Work, now: Now, fx: &mut Vec<Effect>) {
        let Some(generation) = self.active.get_mut(&key) else { return };
        let total = match work {
            Work::Step { .. } => generation.plan.steps,
            _ => 1,
        };
        let progress = generation.moved(work, 0, total);
        Self::emit(generation, EventKind::Progress(progress), now, fx);
    }

    pub(super) fn start_silently(&mut self, key: JobKey, work: Work, now: Now, fx: &mut Vec<Effect>) {
        let Some(urgency) = self.active.get(&key).map(Generation::urgency) else { return };
        self.start_as(key, (work, urgency), now, fx);
    }

    fn start_as(&mut self, key: JobKey, (work, urgency): (Work, Urgency), now: Now, fx: &mut Vec<Effect>) {
        let Some(generation) = self.active.get_mut(&key) else { return };
        generation.started(work, now);
        fx.push(Effect::Start { key, work, urgency });
        if let Some(actor) = super::actor_of(work) {
            self.actors[actor.index()].busy = Busy::With(key);
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

/// Of those in a class below `class` the one that has waited longest, if it is more than it has to put up with.
fn longest_starved<'a>(
    ready: impl Iterator<Item = &'a Generation>,
    class: Priority,
    waited: impl Fn(&Generation) -> Duration,
) -> Option<&'a Generation> {
    let starved = ready.filter(|generation| {
        let below = class as u32 - (generation.policy.priority as u32).min(class as u32);
        below > 0 && waited(generation) >= limits::STEP_AGING * below
    });
    starved.max_by_key(|generation| (waited(generation), Reverse(generation.key)))
}
