//! Which networks of which model are in memory, as the actors tell it, which are wanted there, and which have to go: those that
//! nobody has used for their time, and those in whose place another is needed.

use std::time::{Duration, Instant};

use easel_domain::{Error, ModelInfo};

use super::command::{ActorKind, ModelNews, ModelView};
use crate::ModelState;

/// A model's network in one actor.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Network {
    Absent,
    /// Share that is read, 0 to 1.
    Loading(f32),
    Present,
    Failed,
}

#[derive(Debug)]
struct Model {
    info: ModelInfo,
    networks: [Network; 3],
    /// Somebody asked for it: idle actors read it.
    wanted: bool,
    /// Somebody asked to drop it: no generation begins with it until it is dropped.
    unloading: bool,
    /// The unloads have been handed to the actors.
    unload_sent: bool,
    problem: Option<Error>,
    /// Memory of the networks that are there, in bytes.
    bytes: u64,
    /// When it was last used, or asked for.
    used: Option<Instant>,
    /// How long it stays after that; `None`: for ever.
    keep: Option<Duration>,
    /// Its encoder went when the machine was short of memory.
    relieved: bool,
}

/// All models, the default first.
#[derive(Debug)]
pub(crate) struct Models {
    list: Vec<Model>,
    default: String,
}

impl Models {
    pub(crate) fn new(models: Vec<ModelInfo>, default: String) -> Self {
        let mut models = Self { list: models.into_iter().map(Model::new).collect(), default };
        models.list.sort_by_key(|model| model.info.name != models.default);
        models
    }

    pub(crate) fn add(&mut self, info: ModelInfo) {
        if self.get(&info.name).is_none() {
            self.list.push(Model::new(info));
        }
    }

    pub(crate) fn views(&self) -> Vec<ModelView> {
        self.list.iter().map(|model| self.view_of(model)).collect()
    }

    pub(crate) fn view(&self, name: &str) -> Option<ModelView> {
        self.get(name).map(|model| self.view_of(model))
    }

    /// Somebody needs the model: idle actors read it, and one that failed is tried again.
    pub(crate) fn want(&mut self, name: &str) {
        let Some(model) = self.get_mut(name) else { return };
        model.wanted = true;
        model.problem = None;
        for network in &mut model.networks {
            if *network == Network::Failed {
                *network = Network::Absent;
            }
        }
    }

    /// A model that an idle actor should read.
    pub(crate) fn wanted_by(&self, actor: ActorKind) -> Option<&str> {
        let wanted = |model: &&Model| {
            model.wanted
                && !model.unloading
                && model.problem.is_none()
                && model.networks[actor.index()] == Network::Absent
        };
        self.list.iter().find(wanted).map(|model| model.info.name.as_str())
    }

    /// Takes news of an actor. Returns true when somebody who follows the model should hear of it.
    pub(crate) fn news(&mut self, actor: ActorKind, name: &str, news: ModelNews) -> bool {
        let Some(model) = self.get_mut(name) else { return false };
        model.networks[actor.index()] = match news {
            ModelNews::Loading(share) => Network::Loading(share),
            ModelNews::Loaded { bytes } => {
                model.bytes = bytes;
                Network::Present
            }
            ModelNews::Absent => Network::Absent,
            ModelNews::Failed(error) => {
                model.problem = Some(error);
                model.wanted = false;
                Network::Failed
            }
        };
        if model.networks.iter().all(|network| *network == Network::Absent) {
            model.bytes = 0;
        }
        true
    }

    /// Somebody used a model until now, or asked for it. It stays for `keep` from now on; `None`: for ever.
    pub(crate) fn used(&mut self, name: &str, now: Instant, keep: Option<Duration>) {
        if let Some(model) = self.get_mut(name) {
            (model.used, model.keep) = (Some(now), keep);
        }
    }

    /// When the next model has been idle for its time; none of those that are in use.
    pub(crate) fn next_idle(&self, in_use: impl Fn(&str) -> bool) -> Option<Instant> {
        let due = |model: &Model| model.used?.checked_add(model.keep?);
        self.list.iter().filter(|model| model.is_idle(&in_use)).filter_map(due).min()
    }

    /// Lets those go that have been idle for their time.
    pub(crate) fn unload_idle(&mut self, now: Instant, in_use: impl Fn(&str) -> bool) {
        for model in self.list.iter_mut().filter(|model| model.is_idle(&in_use)) {
            let idle = model.used.map(|used| now.saturating_duration_since(used));
            if model.keep.is_some_and(|keep| idle.is_none_or(|idle| idle >= keep)) {
                model.leave();
            }
        }
    }

    /// Memory of all networks that are there or on their way, in bytes; with `also` when that is not yet among them.
    pub(crate) fn bytes_with(&self, also: &str) -> u64 {
        let counted = |model: &&Model| model.is_there() || model.wanted || model.info.name == also;
        self.list.iter().filter(counted).map(Model::size).sum()
    }

    /// Memory of one model's networks when they are loaded, in bytes.
    pub(crate) fn bytes_of(&self, name: &str) -> u64 {
        self.get(name).map_or(0, Model::size)
    }

    /// Lets idle models go until `excess` bytes are free, the one that was used longest ago first. Says whether any goes.
    pub(crate) fn make_room(&mut self, excess: u64, in_use: impl Fn(&str) -> bool) -> bool {
        let mut idle: Vec<_> = self.list.iter_mut().filter(|model| model.is_idle(&in_use)).collect();
        idle.sort_by_key(|model| model.used);
        let mut freed = 0;
        for model in idle {
            if freed >= excess {
                break;
            }
            freed += model.size();
            model.leave();
        }
        freed > 0
    }

    /// The machine is short of memory: the encoders of idle models go, which are the largest of their networks. Returns whose.
    pub(crate) fn relieve(&mut self, in_use: impl Fn(&str) -> bool) -> Vec<String> {
        let encoder = ActorKind::Encoder.index();
        let large = |model: &&mut Model| model.is_idle(&in_use) && model.networks[encoder] == Network::Present;
        let relieved = self.list.iter_mut().filter(large).map(|model| {
            (model.wanted, model.relieved) = (false, true);
            model.info.name.clone()
        });
        relieved.collect()
    }

    /// There is memory again: what has gone for want of it is read in the background.
    pub(crate) fn restore(&mut self) {
        for model in self.list.iter_mut().filter(|model| model.relieved) {
            (model.relieved, model.wanted) = (false, model.is_there());
        }
    }

    /// The model is to be dropped as soon as nobody uses it.
    pub(crate) fn unload(&mut self, name: &str) {
        if let Some(model) = self.get_mut(name) {
            model.leave();
        }
    }

    /// Some model is about to be dropped.
    pub(crate) fn any_leaves(&self) -> bool {
        self.list.iter().any(|model| model.unloading)
    }

    pub(crate) fn is_unloading(&self, name: &str) -> bool {
        self.get(name).is_some_and(|model| model.unloading)
    }

    /// Models whose unloads can be handed out now, given which are in use.
    pub(crate) fn unloads_due(&mut self, in_use: impl Fn(&str) -> bool) -> Vec<String> {
        let due =
            self.list.iter_mut().filter(|model| model.unloading && !model.unload_sent && !in_use(&model.info.name));
        due.map(|model| {
            model.unload_sent = true;
            model.info.name.clone()
        })
        .collect()
    }

    /// Models that are dropped now, each told once.
    pub(crate) fn unloads_done(&mut self) -> Vec<String> {
        let gone = |model: &&mut Model| model.unload_sent && model.networks.iter().all(|n| *n == Network::Absent);
        let done = self.list.iter_mut().filter(gone);
        done.map(|model| {
            model.unloading = false;
            model.unload_sent = false;
            model.problem = None;
            model.info.name.clone()
        })
        .collect()
    }

    fn get(&self, name: &str) -> Option<&Model> {
        self.list.iter().find(|model| model.info.name == name)
    }

    fn get_mut(&mut self, name: &str) -> Option<&mut Model> {
        self.list.iter_mut().find(|model| model.info.name == name)
    }

    fn view_of(&self, model: &Model) -> ModelView {
        let share = |network: &Network| match network {
            Network::Absent | Network::Failed => 0.0,
            Network::Loading(share) => share.clamp(0.0, 1.0),
            Network::Present => 1.0,
        };
        let present = model.networks.iter().filter(|network| **network == Network::Present).count();
        let loading = model.networks.iter().any(|network| matches!(network, Network::Loading(_)));
        let state = if model.problem.is_some() {
            ModelState::Failed
        } else if present == model.networks.len() {
            ModelState::Loaded
        } else if loading || model.wanted {
            ModelState::Loading
        } else {
            ModelState::Unloaded
        };
        ModelView {
            info: model.info.clone(),
            state,
            fraction: model.networks.iter().map(share).sum::<f32>() / model.networks.len() as f32,
            problem: model.problem.clone(),
            default: model.info.name == self.default,
        }
    }
}

impl Model {
    fn new(info: ModelInfo) -> Self {
        Self {
            info,
            networks: [Network::Absent; 3],
            wanted: false,
            unloading: false,
            unload_sent: false,
            problem: None,
            bytes: 0,
            used: None,
            keep: None,
            relieved: false,
        }
    }

    /// One of its networks is there or being read.
    fn is_there(&self) -> bool {
        self.networks.iter().any(|network| matches!(network, Network::Present | Network::Loading(_)))
    }

    /// Memory of all its networks in bytes, as predicted, or as it is when that is more.
    fn size(&self) -> u64 {
        self.bytes.max(self.info.loaded_bytes)
    }

    fn is_idle(&self, in_use: impl Fn(&str) -> bool) -> bool {
        self.is_there() && !self.unloading && !in_use(&self.info.name)
    }

    fn leave(&mut self) {
        (self.unloading, self.wanted, self.relieved) = (true, false, false);
    }
}
