//! Plays the steps of one scenario.

use std::collections::HashMap;
use std::io;

use easel_sdk::{Easel, Error, GenerationStream, Target, proto};
use proto::image_source::Source;
use serde_json::{Value, json};

use crate::spec::{policy, spec, text};
use crate::{hear, normal, say};

/// What one scenario has made so far.
pub(crate) struct Player {
    target: Target,
    /// The name that the client gives itself.
    name: String,
    client: Option<Easel>,
    ids: HashMap<String, String>,
    streams: HashMap<String, GenerationStream>,
}

impl Player {
    pub(crate) fn new(target: Target, name: String) -> Self {
        Self { target, name, client: None, ids: HashMap::new(), streams: HashMap::new() }
    }

    /// Plays a step. An error of the client is a line; an error of this is a broken driver.
    pub(crate) async fn step(&mut self, step: &Value) -> Result<(), Box<dyn std::error::Error>> {
        if step["op"] == "driver" {
            say(&json!({"driver": step["do"]}))?;
            hear()?;
            return Ok(());
        }
        if let Err(error) = self.play(step).await {
            let of = step["as"].as_str().or(step["of"].as_str()).unwrap_or_default();
            say(&normal::line(of, "error", normal::error(&error)))?;
        }
        Ok(())
    }

    async fn play(&mut self, step: &Value) -> Result<(), Error> {
        let easel = self.client().await?;
        let name = step["as"].as_str().or(step["of"].as_str()).unwrap_or_default().to_owned();
        match text(&step["op"]).as_str() {
            "run" => {
                let stream = easel.run_spec(self.spec(step, &easel).await?, policy(&step["policy"])).await?;
                self.streams.insert(name, stream);
            }
            "create" => {
                let made = easel.create_spec(self.spec(step, &easel).await?, policy(&step["policy"])).await?;
                let found = made.generation.unwrap_or_default();
                tell(&normal::line(&name, "created", json!({"existed": made.existed})));
                self.ids.insert(name, found.id);
            }
            "watch" => {
                let stream = easel.watch(self.id(step), step["after"].as_u64().unwrap_or(0)).await?;
                self.streams.insert(name, stream);
            }
            "read" => self.read(&name, &step["until"]).await?,
            "drop" => drop(self.streams.remove(&name)),
            "cancel" => {
                let hit = easel.cancel(self.id(step)).await?;
                let outcome = normal::short(hit.outcome().as_str_name(), "CANCEL_OUTCOME");
                tell(&normal::line(&name, "cancelled", json!({"outcome": outcome})));
            }
            "get" => tell(&normal::generation(&name, &easel.generation(self.id(step)).await?)),
            "await" => while normal::state(&easel.generation(self.id(step)).await?) != text(&step["state"]) {},
            "prepare" => {
                let done = easel.prepare(self.spec(step, &easel).await?).await?;
                tell(&json!({"prepared": {"timings": normal::timings(&done.timings)}}));
            }
            "upload" => tell(&json!({"uploaded": {"sha256": easel.upload(&file(step)).await?}})),
            "download" => self.download(step, &easel).await?,
            _ => return self.rest(step, name, &easel).await,
        }
        Ok(())
    }

    /// Models and sessions.
    async fn rest(&mut self, step: &Value, name: String, easel: &Easel) -> Result<(), Error> {
        let id = self.id(step);
        match text(&step["op"]).as_str() {
            "version" => {
                let version = easel.version().await?.protocol_version;
                tell(&json!({"version": {"protocol_version": version}}));
            }
            "models" => {
                let mut models = Vec::new();
                for model in easel.models().await? {
                    let mut said = normal::model(&model);
                    said["pipeline"] = normal::short(model.pipeline().as_str_name(), "PIPELINE").into();
                    models.push(said);
                }
                tell(&json!({"models": models}));
            }
            "load" => {
                let mut loading = easel.load_model(text(&step["model"])).await?;
                let mut last = proto::Model::default();
                while let Some(state) = loading.next().await {
                    last = state?.0;
                }
                tell(&json!({"loaded": normal::model(&last)}));
            }
            "unload" => {
                tell(&json!({"unloaded": normal::model(&easel.unload_model(text(&step["model"])).await?)}));
            }
            "add_model" => {
                let added = easel.add_model(text(&step["folder"]), Some(text(&step["name"]))).await?;
                tell(&json!({"added": normal::model(&added)}));
            }
            "session" => {
                let picture = step["file"].is_string().then(|| file(step));
                let session = easel.create_session(text(&step["name"]), picture).await?;
                tell(&normal::session(&name, &session));
                self.ids.insert(name, session.id);
            }
            "edit" => {
                let session = self.ids.get(&text(&step["session"])).cloned().unwrap_or_default();
                let edit = proto::SessionEdit {
                    spec: Some(spec(&step["spec"])),
                    policy: Some(policy(&step["policy"])),
                    ..Default::default()
                };
                let stream = easel.edit_session(session, edit).await?;
                self.streams.insert(name, stream);
            }
            "undo" => tell(&normal::session(&name, &easel.undo(id).await?)),
            "redo" => tell(&normal::session(&name, &easel.redo(id).await?)),
            "get_session" => tell(&normal::session(&name, &easel.session(id).await?)),
            "delete_session" => {
                let removed = easel.delete_session(id).await?;
                tell(&normal::line(&name, "deleted", json!({"sessions": removed.sessions})));
            }
            "revisions" => {
                let found: Vec<_> = easel.revisions(id).await?.iter().map(normal::revision).collect();
                tell(&normal::line(&name, "revisions", found.into()));
            }
            other => panic!("this runner does not know {other}"),
        }
        Ok(())
    }

    async fn client(&mut self) -> Result<Easel, Error> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        Ok(self.client.insert(Easel::connect(&self.target).await?.named(&self.name)?).clone())
    }

    /// The id that a step is about.
    fn id(&self, step: &Value) -> String {
        let known = |name: &str| self.ids.get(name).cloned();
        let of = step["of"].as_str().unwrap_or_default();
        let streamed = || self.streams.get(of).and_then(|stream| stream.id()).map(str::to_owned);
        step["id"].as_str().map(str::to_owned).or_else(|| known(of)).or_else(streamed).unwrap_or_default()
    }

    async fn spec(&self, step: &Value, easel: &Easel) -> Result<proto::GenerationSpec, Error> {
        let mut spec = spec(&step["spec"]);
        if step["spec"]["file"].is_string() {
            let sha256 = easel.upload(&file(&step["spec"])).await?;
            spec.image = Some(proto::ImageSource { source: Some(Source::Sha256(sha256)) });
        }
        Ok(spec)
    }

    async fn read(&mut self, name: &str, until: &Value) -> Result<(), Error> {
        let Some(stream) = self.streams.get_mut(name) else { return Ok(()) };
        while let Some(event) = stream.next().await {
            let line = normal::event(name, &event?);
            if let Some(id) = stream.id() {
                self.ids.insert(name.to_owned(), id.to_owned());
            }
            tell(&line);
            if matches(until, &line) {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn download(&self, step: &Value, easel: &Easel) -> Result<(), Error> {
        // The hash of a file is what an upload of it answers; the daemon has it already and takes no byte.
        let sha256 = match step["sha256"].as_str() {
            Some(sha256) => sha256.to_owned(),
            None => easel.upload(&file(step)).await?,
        };
        // The client checks the hash of what came.
        let bytes = easel.download(&sha256).await?;
        tell(&json!({"downloaded": {"sha256": sha256, "bytes": bytes.len()}}));
        Ok(())
    }
}

/// True when a line is what a `read` reads up to.
fn matches(until: &Value, line: &Value) -> bool {
    match until {
        Value::String(kind) => line.get(kind).is_some(),
        Value::Object(wanted) => wanted.iter().all(|(kind, fields)| {
            let found = line.get(kind);
            let has = |found: &Value| fields.as_object().is_none_or(|all| all.iter().all(|(k, v)| found[k] == *v));
            found.is_some_and(has)
        }),
        _ => false,
    }
}

fn file(step: &Value) -> Vec<u8> {
    std::fs::read(text(&step["file"])).expect("the driver made the file")
}

fn tell(line: &Value) {
    let told: io::Result<()> = say(line);
    told.expect("the driver reads what is printed");
}
