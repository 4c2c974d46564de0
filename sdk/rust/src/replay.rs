//! Replay files: a replay as JSON that a person can read, with its pictures inside, so that one file is enough to make the
//! same pictures again on another machine.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use easel_proto::v1::{self, image_source::Source};
use serde::{Deserialize, Serialize};

use crate::{Easel, Error};

/// Version of the file.
const FILE_VERSION: u32 = 1;

/// A replay with its pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayFile {
    /// The way, with all inputs by their hashes.
    pub replay: v1::Replay,
    /// The files of its pictures by their SHA-256.
    pub pictures: BTreeMap<String, Vec<u8>>,
}

impl ReplayFile {
    /// The way to a revision (default: where the session stands) with the pictures on it.
    pub async fn export(easel: &Easel, session: impl Into<String>, revision: Option<String>) -> Result<Self, Error> {
        let replay = easel.export_replay(session, revision).await?;
        let mut pictures = BTreeMap::new();
        for hash in hashes(&replay) {
            let bytes = easel.download(&hash).await?;
            pictures.insert(hash, bytes);
        }
        Ok(Self { replay, pictures })
    }

    /// Makes a session of it.
    pub async fn import(&self, easel: &Easel, name: Option<String>) -> Result<v1::Session, Error> {
        self.upload(easel).await?;
        easel.import_replay(self.replay.clone(), name).await
    }

    /// Uploads its pictures.
    pub async fn upload(&self, easel: &Easel) -> Result<(), Error> {
        for (hash, bytes) in &self.pictures {
            let found = easel.upload(bytes).await?;
            if found != *hash {
                return Err(invalid(format!("a picture has the hash {found} and is named {hash}")));
            }
        }
        Ok(())
    }

    /// The file as text.
    pub fn to_json(&self) -> String {
        let pictures = self.pictures.iter().map(|(hash, bytes)| (hash.clone(), STANDARD.encode(bytes))).collect();
        let file = File {
            easel_replay: FILE_VERSION,
            easel_version: self.replay.easel_version.clone(),
            name: self.replay.name.clone(),
            models: self.replay.models.iter().map(Model::of).collect(),
            canvas: self.replay.canvas.as_ref().map(Picture::of),
            steps: self.replay.steps.iter().map(Step::of).collect(),
            pictures,
        };
        serde_json::to_string_pretty(&file).unwrap_or_default()
    }

    /// Reads a file. Fails with `REPLAY_INVALID`, saying what is wrong.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let file: File = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
        if file.easel_replay != FILE_VERSION {
            let found = file.easel_replay;
            return Err(invalid(format!("it has version {found}, this program reads {FILE_VERSION}")));
        }
        let decode = |(hash, text): (String, String)| match STANDARD.decode(text) {
            Ok(bytes) => Ok((hash, bytes)),
            Err(error) => Err(invalid(format!("picture {hash} is no base64: {error}"))),
        };
        let replay = v1::Replay {
            format_version: FILE_VERSION,
            easel_version: file.easel_version,
            name: file.name,
            canvas: file.canvas.map(Picture::wire),
            steps: file.steps.into_iter().map(Step::wire).collect(),
            models: file.models.into_iter().map(Model::wire).collect(),
        };
        Ok(Self { replay, pictures: file.pictures.into_iter().map(decode).collect::<Result<_, _>>()? })
    }
}

fn invalid(what: String) -> Error {
    Error::new(tonic::Code::InvalidArgument, "REPLAY_INVALID", format!("the replay file cannot be used: {what}"))
}

/// Every picture that a replay names.
fn hashes(replay: &v1::Replay) -> BTreeSet<String> {
    let sources = replay.steps.iter().filter_map(|step| source_of(step.spec.as_ref()?));
    let results = replay.steps.iter().filter_map(|step| step.result.as_ref());
    let named = results.chain(&replay.canvas).map(|image| image.sha256.clone());
    sources.chain(named).collect()
}

fn source_of(spec: &v1::GenerationSpec) -> Option<String> {
    match spec.image.as_ref()?.source.as_ref()? {
        Source::Sha256(hash) => Some(hash.clone()),
        Source::Inline(_) | Source::Raw(_) => None,
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    easel_replay: u32,
    easel_version: String,
    name: String,
    models: Vec<Model>,
    canvas: Option<Picture>,
    steps: Vec<Step>,
    pictures: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Model {
    name: String,
    parameters: u64,
    file_bytes: u64,
    license: String,
}

impl Model {
    fn of(wire: &v1::ReplayModel) -> Self {
        let v1::ReplayModel { name, parameters, file_bytes, license } = wire.clone();
        Self { name, parameters, file_bytes, license }
    }

    fn wire(self) -> v1::ReplayModel {
        let Self { name, parameters, file_bytes, license } = self;
        v1::ReplayModel { name, parameters, file_bytes, license }
    }
}

#[derive(Serialize, Deserialize)]
struct Picture {
    sha256: String,
    format: i32,
    width: u32,
    height: u32,
}

impl Picture {
    fn of(wire: &v1::Image) -> Self {
        Self { sha256: wire.sha256.clone(), format: wire.format, width: wire.width, height: wire.height }
    }

    fn wire(self) -> v1::Image {
        let Self { sha256, format, width, height } = self;
        v1::Image { sha256, format, width, height, ..Default::default() }
    }
}

/// A number of 64 bits as text: many readers of JSON keep 53.
mod wide {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A LoRA of a step: how it was named, and the hash of its file.
#[derive(Serialize, Deserialize)]
struct Lora {
    /// Its name in the folder of the daemon that made the picture; none for one that was uploaded.
    name: Option<String>,
    sha256: String,
    weight: f32,
}

impl Lora {
    fn of(asked: &v1::Lora, resolved: &v1::ResolvedLora) -> Self {
        let name = match &asked.source {
            Some(v1::lora::Source::Name(name)) => Some(name.clone()),
            _ => None,
        };
        Self { name, sha256: resolved.sha256.clone(), weight: resolved.weight }
    }

    fn asked(&self) -> v1::Lora {
        let source = match &self.name {
            Some(name) => v1::lora::Source::Name(name.clone()),
            None => v1::lora::Source::Sha256(self.sha256.clone()),
        };
        v1::Lora { source: Some(source), weight: Some(self.weight) }
    }

    fn resolved(&self) -> v1::ResolvedLora {
        v1::ResolvedLora {
            name: self.name.clone().unwrap_or_default(),
            sha256: self.sha256.clone(),
            weight: self.weight,
        }
    }
}

/// A list of such numbers.
mod wide_list {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(numbers: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(numbers.iter().map(u64::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
    }
}

#[derive(Serialize, Deserialize)]
struct Step {
    model: String,
    prompt: String,
    negative_prompt: String,
    /// SHA-256 of the source; none for a picture from a text.
    source: Option<String>,
    #[serde(with = "wide")]
    seed: u64,
    /// Seeds when a list was asked for, as text like `seed`; files of before have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "wide_list")]
    seeds: Vec<u64>,
    asked_width: Option<u32>,
    asked_height: Option<u32>,
    asked_steps: Option<u32>,
    sigmas: Vec<f32>,
    asked_guidance_scale: Option<f32>,
    asked_image_guidance_scale: Option<f32>,
    asked_images: Option<u32>,
    output_format: i32,
    /// `Provenance`; files of before say nothing, and their pictures neither.
    #[serde(default = "without_provenance")]
    provenance: i32,
    working_width: u32,
    working_height: u32,
    width: u32,
    height: u32,
    num_inference_steps: u32,
    guidance_scale: Option<f32>,
    image_guidance_scale: Option<f32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    loras: Vec<Lora>,
    num_images: u32,
    image_index: u32,
    result: Picture,
    easel_version: String,
}

fn without_provenance() -> i32 {
    v1::Provenance::Off.into()
}

impl Step {
    fn of(wire: &v1::ReplayStep) -> Self {
        let spec = wire.spec.clone().unwrap_or_default();
        let resolved = wire.resolved.clone().unwrap_or_default();
        Self {
            model: resolved.model,
            source: source_of(&spec),
            prompt: spec.prompt,
            negative_prompt: spec.negative_prompt,
            seed: resolved.seed,
            seeds: spec.seeds,
            asked_width: spec.width,
            asked_height: spec.height,
            asked_steps: spec.num_inference_steps,
            sigmas: spec.sigmas,
            asked_guidance_scale: spec.guidance_scale,
            asked_image_guidance_scale: spec.image_guidance_scale,
            asked_images: spec.num_images,
            output_format: spec.output_format,
            provenance: spec.provenance,
            working_width: resolved.working_width,
            working_height: resolved.working_height,
            width: resolved.width,
            height: resolved.height,
            num_inference_steps: resolved.num_inference_steps,
            guidance_scale: resolved.guidance_scale,
            image_guidance_scale: resolved.image_guidance_scale,
            loras: spec.loras.iter().zip(&resolved.loras).map(|(asked, lora)| Lora::of(asked, lora)).collect(),
            num_images: resolved.num_images,
            image_index: wire.image_index,
            result: Picture::of(&wire.result.clone().unwrap_or_default()),
            easel_version: wire.easel_version.clone(),
        }
    }

    fn wire(self) -> v1::ReplayStep {
        let mode = if self.source.is_some() { v1::Mode::Edit } else { v1::Mode::Generate };
        let spec = v1::GenerationSpec {
            mode: mode.into(),
            model: self.model.clone(),
            prompt: self.prompt,
            negative_prompt: self.negative_prompt,
            image: self.source.map(|hash| v1::ImageSource { source: Some(Source::Sha256(hash)) }),
            width: self.asked_width,
            height: self.asked_height,
            num_inference_steps: self.asked_steps,
            sigmas: self.sigmas.clone(),
            guidance_scale: self.asked_guidance_scale,
            image_guidance_scale: self.asked_image_guidance_scale,
            loras: self.loras.iter().map(Lora::asked).collect(),
            seed: self.seeds.is_empty().then_some(self.seed),
            seeds: self.seeds.clone(),
            num_images: self.asked_images,
            output_format: self.output_format,
            provenance: self.provenance,
            ..Default::default()
        };
        let resolved = v1::Resolved {
            mode: mode.into(),
            model: self.model,
            seed: self.seed,
            seeds: self.seeds,
            working_width: self.working_width,
            working_height: self.working_height,
            width: self.width,
            height: self.height,
            num_inference_steps: self.num_inference_steps,
            sigmas: self.sigmas,
            guidance_scale: self.guidance_scale,
            image_guidance_scale: self.image_guidance_scale,
            num_images: self.num_images,
            output_format: self.output_format,
            provenance: self.provenance,
            loras: self.loras.iter().map(Lora::resolved).collect(),
            ..Default::default()
        };
        v1::ReplayStep {
            spec: Some(spec),
            resolved: Some(resolved),
            image_index: self.image_index,
            result: Some(self.result.wire()),
            easel_version: self.easel_version,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_back_to_the_last_bit() {
        let spec = v1::GenerationSpec {
            mode: v1::Mode::Edit.into(),
            model: "m".into(),
            prompt: "make it \"blue\"\n".into(),
            image: Some(v1::ImageSource { source: Some(Source::Sha256("ab".into())) }),
            sigmas: vec![1.0, 0.123_456_79, 1e-7],
            guidance_scale: Some(0.1),
            loras: vec![
                v1::Lora { source: Some(v1::lora::Source::Name("ink".into())), weight: Some(0.7) },
                v1::Lora { source: Some(v1::lora::Source::Sha256("ef".into())), weight: Some(-1.0) },
            ],
            seed: Some(u64::MAX),
            ..Default::default()
        };
        let resolved = v1::Resolved {
            mode: v1::Mode::Edit.into(),
            model: "m".into(),
            seed: u64::MAX,
            sigmas: spec.sigmas.clone(),
            num_inference_steps: 3,
            guidance_scale: Some(0.1),
            loras: vec![
                v1::ResolvedLora { name: "ink".into(), sha256: "01".into(), weight: 0.7 },
                v1::ResolvedLora { name: String::new(), sha256: "ef".into(), weight: -1.0 },
            ],
            num_images: 1,
            ..Default::default()
        };
        let step = v1::ReplayStep {
            spec: Some(spec),
            resolved: Some(resolved),
            image_index: 0,
            result: Some(v1::Image { sha256: "cd".into(), width: 7, height: 8, ..Default::default() }),
            easel_version: "1".into(),
        };
        let mut listed = step.clone();
        let seeds = vec![u64::MAX, 3];
        listed.resolved.as_mut().expect("it is set").seeds = seeds.clone();
        let spec = listed.spec.as_mut().expect("it is set");
        (spec.seed, spec.seeds) = (None, seeds);
        let steps = vec![step, listed];
        let replay = v1::Replay { format_version: 1, name: "s".into(), steps, ..Default::default() };
        let file = ReplayFile { replay, pictures: [("ab".to_owned(), vec![0, 255, 7])].into() };
        assert_eq!(ReplayFile::from_json(&file.to_json()).expect("readable"), file);
        assert_eq!(hashes(&file.replay).into_iter().collect::<Vec<_>>(), ["ab", "cd"]);
    }

    #[test]
    fn what_is_no_replay_says_why() {
        for (text, why) in [("{", "EOF"), ("[]", "invalid"), ("{\"easel_replay\": 9}", "missing field")] {
            let error = ReplayFile::from_json(text).expect_err("it is none");
            assert_eq!(error.reason, "REPLAY_INVALID");
            assert!(error.message.contains(why), "{}", error.message);
        }
    }
}
