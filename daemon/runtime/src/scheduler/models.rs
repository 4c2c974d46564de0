//! Which networks of which model are in memory, as the actors tell it, and which are wanted there.

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
            ModelNews::Loaded => Network::Present,
            ModelNews::Absent => Network::Absent,
            ModelNews::Failed(error) => {
                model.problem = Some(error);
                model.wanted = false;
                Network::Failed
            }
        };
        true
    }

    /// The model is to be dropped as soon as nobody uses it.
    pub(crate) fn unload(&mut self, name: &str) {
        if let Some(model) = self.get_mut(name) {
            model.unloading = true;
            model.wanted = false;
        }
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
        }
    }
}
