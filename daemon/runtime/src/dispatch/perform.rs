//! What the dispatcher does when the core has decided.

use std::sync::Arc;
use std::time::{Duration, Instant};

use easel_domain::engine::Engine;
use easel_domain::event::Snapshot;
use easel_domain::{DisconnectPolicy, Error, GenerationId, Plan, Reason, RunPolicy};
use tracing::Instrument;

use super::job::Job;
use super::{Dispatcher, Reply};
use crate::actor::{Assignment, Control, Report};
use crate::hub::Hub;
use crate::pixels;
use crate::scheduler::{
    ActorKind, Answer, Command, Effect, JobKey, Outcome, Run, Took, Urgency, Work, actor_of, stage_of,
};
use crate::store::{StoreCommand, Write};

impl<E: Engine> Dispatcher<E> {
    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Open { key, id, policy, plan, loras, run, snapshot } => {
                self.open(key, id, (&policy, plan, run), *snapshot);
                self.with_job(key, |job| job.loras = loras);
            }
            Effect::Publish { key, event, snapshot } => self.publish(key, event, *snapshot),
            Effect::Start { key, work, urgency } => self.start(key, work, urgency),
            Effect::Interrupt { key, interrupt } => {
                if let Some(job) = self.jobs.get(&key) {
                    job.stop.raise(interrupt);
                    self.slots.nudge();
                }
            }
            Effect::DropSource { key } => self.with_job(key, |job| job.source = None),
            Effect::DropConditioning { key } => {
                self.with_job(key, |job| (job.embeds, job.image_latents) = (None, Vec::new()))
            }
            Effect::Lapse { id } => {
                if self.hubs.get(&id).is_none_or(|hub| hub.watchers() == 0) {
                    self.echo.push_back(Command::WatchersGone { id });
                }
            }
            Effect::Close { key } => drop(self.jobs.remove(&key)),
            Effect::Suspend { key } => {
                if let Some(job) = self.jobs.remove(&key) {
                    job.span.in_scope(|| tracing::info!("generation goes on when the daemon is back"));
                    let hub = Arc::clone(&job.hub);
                    self.note(Write::Rest { id: hub.id().clone() });
                    self.after_store(move || hub.suspend());
                }
            }
            Effect::Forget { id } => {
                self.hubs.remove(&id);
                // Again behind its first event, which may be on its way through the store still.
                let (hubs, gone) = (Arc::clone(&self.hubs), id.clone());
                self.after_store(move || drop(hubs.remove(&gone)));
                let forget = move |store: &mut crate::store::Store| {
                    if let Err(error) = store.forget(&id) {
                        tracing::warn!(%error, "a generation could not be forgotten");
                    }
                };
                if !self.store.durable() {
                    self.journal.push_back(StoreCommand::Ask(Box::new(forget)));
                }
            }
            Effect::Load { actor, model, urgency } => self.load(actor, model, urgency),
            Effect::Unload { actor, model } => self.unload_from(actor, model),
            Effect::ModelChanged { name, view } => {
                if let Some(sender) = self.loads.get(&name) {
                    sender.send_replace(*view);
                }
            }
            Effect::Unloaded { name, view } => {
                for reply in self.unloads.remove(&name).unwrap_or_default() {
                    let answer = Answer::Model(Ok(view.clone()));
                    let _ = reply.send(Reply { answer, watch: None, load: None });
                }
            }
            Effect::Ready(ready) => drop(self.ready.send_replace(ready)),
            Effect::Drained => {
                // Their threads end when their mailboxes are closed.
                self.actors = None;
                let drained = self.drained.clone();
                // Not before everything is written and told.
                self.after_store(move || {
                    drained.send_replace(true);
                });
            }
        }
    }

    fn with_job(&mut self, key: JobKey, change: impl FnOnce(&mut Job<E>)) {
        if let Some(job) = self.jobs.get_mut(&key) {
            change(job);
        }
    }

    fn open(
        &mut self,
        key: JobKey,
        id: GenerationId,
        (policy, plan, run): (&RunPolicy, Arc<Plan>, Run),
        snapshot: Snapshot,
    ) {
        let known = self.hubs.get(&id).map(|hub| Arc::clone(&hub));
        let again = known.is_some();
        let hub = known.unwrap_or_else(|| {
            let may_end = policy.on_disconnect == DisconnectPolicy::Cancel || policy.keep_until.is_some();
            let gone = may_end.then(|| Arc::clone(&self.gone));
            Arc::new(Hub::new(snapshot, gone, Arc::clone(&self.counts)))
        });
        let span = tracing::info_span!("generation", id = id.as_str(), model = plan.model.as_str());
        span.in_scope(
            || tracing::info!(mode = ?plan.mode, size = %plan.working, steps = plan.steps, "generation accepted"),
        );
        let source = self.admitting.as_mut().and_then(|admitting| admitting.source.take());
        let job = Job::new((hub, self.stop.child(), span), plan, (policy.previews, run.number), source);
        self.jobs.insert(key, job);
        if again {
            self.note(Write::Rerun { id, fault: run.after_fault });
        }
    }

    fn start(&mut self, key: JobKey, work: Work, urgency: Urgency) {
        let sent = match actor_of(work) {
            Some(_) => self.start_on_actor(key, work, urgency),
            None => self.start_on_pool(key, work),
        };
        if !sent {
            let error = Error::new(Reason::Internal, "a stage could not be started; report it with the daemon's log");
            tracing::error!(?work, "a stage could not be started");
            let outcome = Outcome::Failed(error);
            self.echo.push_back(Command::Done { key, work, outcome, took: Took::default(), still_busy: false });
        }
    }

    /// False when a value is missing or the mailbox is full; neither happens as long as the core's count of work is right.
    fn start_on_actor(&mut self, key: JobKey, work: Work, urgency: Urgency) -> bool {
        let (Some(job), Some(actors)) = (self.jobs.get_mut(&key), &self.actors) else { return false };
        let (stage, image) = stage_of(work);
        let span = tracing::info_span!(parent: &job.span, "stage", ?stage, image);
        let (model, stop) = (job.plan.model.clone(), job.stop.clone());
        match work {
            Work::EncodePrompt => {
                let job = Some((key, work, job.encode_task()));
                actors.encoder.mailbox.work(Assignment { model, job, urgency, stop, span }).is_ok()
            }
            Work::Step { image, preview } => job.denoiser_task(image, preview).is_some_and(|task| {
                let job = Some((key, work, task));
                actors.denoiser.mailbox.work(Assignment { model, job, urgency, stop, span }).is_ok()
            }),
            _ => job.vae_task(work).is_some_and(|task| {
                let job = Some((key, work, task));
                actors.vae.mailbox.work(Assignment { model, job, urgency, stop, span }).is_ok()
            }),
        }
    }

    fn start_on_pool(&mut self, key: JobKey, work: Work) -> bool {
        let Some(job) = self.jobs.get_mut(&key) else { return false };
        let (stage, image) = stage_of(work);
        let span = tracing::info_span!(parent: &job.span, "stage", ?stage, image);
        let (pool, reports, stop, hub) =
            (self.pool.clone(), self.reports.clone(), job.stop.clone(), Arc::clone(&job.hub));
        match work {
            Work::Finish { image } => {
                let Some(pictures) = job.take_pictures(image) else { return false };
                let blobs = self.blobs.clone();
                let (plan, edited, maker) = (Arc::clone(&job.plan), job.edited.clone(), Arc::clone(&self.maker));
                let finish = pixels::Finish { plan, image, edited, maker, stop: stop.clone() };
                let finish = async move {
                    let start = Instant::now();
                    let (made, waited) = pool.run(move || finish.make(&pictures)).await;
                    let stored = match made {
                        Ok(mut made) => {
                            for file in std::iter::once(&mut made.image).chain(&mut made.canvas) {
                                if let Some(hash) = file.hash {
                                    file.bytes = blobs.keep_result(hash, Arc::clone(&file.bytes)).await;
                                }
                            }
                            Ok(made)
                        }
                        Err(error) => Err(error),
                    };
                    let outcome = match (stop.check(), stored) {
                        (Err(interrupt), _) => Outcome::Interrupted(interrupt),
                        (Ok(()), Ok(made)) => Outcome::Picture(Box::new(made)),
                        (Ok(()), Err(error)) => Outcome::Failed(error),
                    };
                    report_pixels(&reports, (key, work), outcome, (start, waited)).await;
                };
                tokio::spawn(finish.instrument(span));
            }
            Work::ShowPreview { image, step } => {
                let (Some(picture), Some(policy)) = (job.preview_picture.take(), job.previews) else { return false };
                let run = job.run;
                let show = async move {
                    let start = Instant::now();
                    let (made, waited) = pool.run(move || pixels::preview(&picture, policy, (image, step, run))).await;
                    let outcome = match made {
                        Ok(preview) => {
                            hub.show(preview);
                            Outcome::Shown
                        }
                        Err(error) => Outcome::Failed(error),
                    };
                    report_pixels(&reports, (key, work), outcome, (start, waited)).await;
                };
                tokio::spawn(show.instrument(span));
            }
            _ => return false,
        }
        true
    }

    fn load(&mut self, actor: ActorKind, model: String, urgency: Urgency) {
        let span = tracing::info_span!("load", model = model.as_str(), actor = actor.name());
        let stop = self.stop.clone();
        let sent = self.actors.as_ref().is_some_and(|actors| match actor {
            ActorKind::Encoder => {
                actors.encoder.mailbox.work(Assignment { model, job: None, urgency, stop, span }).is_ok()
            }
            ActorKind::Denoiser => {
                actors.denoiser.mailbox.work(Assignment { model, job: None, urgency, stop, span }).is_ok()
            }
            ActorKind::Vae => actors.vae.mailbox.work(Assignment { model, job: None, urgency, stop, span }).is_ok(),
        });
        if !sent {
            self.echo.push_back(Command::Free { actor });
        }
    }

    fn unload_from(&mut self, actor: ActorKind, model: String) {
        let control = Control::Unload(model.clone());
        let sent = self.actors.as_ref().is_some_and(|actors| match actor {
            ActorKind::Encoder => actors.encoder.mailbox.control(control).is_ok(),
            ActorKind::Denoiser => actors.denoiser.mailbox.control(control).is_ok(),
            ActorKind::Vae => actors.vae.mailbox.control(control).is_ok(),
        });
        if !sent {
            let news = crate::scheduler::ModelNews::Absent;
            self.echo.push_back(Command::Model { actor, model, news });
        }
    }
}

async fn report_pixels<E: Engine>(
    reports: &tokio::sync::mpsc::Sender<Report<E>>,
    (key, work): (JobKey, Work),
    outcome: Outcome,
    (start, waited): (Instant, Duration),
) {
    let took = Took { waited, computed: start.elapsed().saturating_sub(waited) };
    // Without a dispatcher nobody wants to know.
    let _ = reports.send(Report::Core(Command::Done { key, work, outcome, took, still_busy: false })).await;
}
