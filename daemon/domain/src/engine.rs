//! What the runtime asks of an engine. An engine is three networks, each owned by the thread of its actor; what passes
//! between them is opaque here. The real engine (DreamLite in candle) and the drill engine implement the same traits.

use std::sync::Arc;

use crate::{
    BlobHash, Error, Guidance, KeptCache, LoraBytes, LoraInfo, LoraSource, Mode, ModelInfo, Plan, Reason, Reused,
    RgbImage, Size, limits,
};

/// Why a stage stopped early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// Somebody cancelled the generation.
    Cancelled,
    /// Its deadline passed.
    DeadlineExceeded,
    /// Its last watcher went away and its policy says to stop then.
    WatcherGone,
    /// The daemon stops.
    ShuttingDown,
    /// A newer live edit of the same session took its place.
    Superseded,
    /// Nobody has shown interest in its live session for too long.
    LeaseExpired,
}

/// How a stage fails.
#[derive(Clone, Debug, PartialEq)]
pub enum StageError {
    /// It was asked to stop and did.
    Interrupted(Interrupt),
    /// It could not do the work.
    Failed(Error),
}

impl From<Interrupt> for StageError {
    fn from(interrupt: Interrupt) -> Self {
        Self::Interrupted(interrupt)
    }
}

impl From<Error> for StageError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The runtime's side of a [`StageControl`].
pub trait StageHooks: Send + Sync {
    /// Called between the parts of a stage: says whether to stop, notes that the stage is alive, and may make a CPU stage
    /// wait while a more urgent one takes its turn.
    fn checkpoint(&self) -> Result<(), Interrupt>;

    /// Called when a part is done: `done` of `total` parts.
    fn progress(&self, done: u32, total: u32);
}

/// Handed to every engine call. The engine calls [`checkpoint`](Self::checkpoint) per layer of the encoder, per block of the U-Net
/// and per block of the VAE, and returns the interrupt when there is one.
#[derive(Clone)]
pub struct StageControl(Arc<dyn StageHooks>);

impl StageControl {
    /// A control with the given hooks.
    pub fn new(hooks: Arc<dyn StageHooks>) -> Self {
        Self(hooks)
    }

    /// A control that never interrupts, for tests and tools.
    pub fn detached() -> Self {
        struct Detached;
        impl StageHooks for Detached {
            fn checkpoint(&self) -> Result<(), Interrupt> {
                Ok(())
            }
            fn progress(&self, _done: u32, _total: u32) {}
        }
        Self(Arc::new(Detached))
    }

    /// To be called between the parts of a stage; see [`StageHooks::checkpoint`].
    pub fn checkpoint(&self) -> Result<(), Interrupt> {
        self.0.checkpoint()
    }

    /// To be called when a part is done; see [`StageHooks::progress`].
    pub fn progress(&self, done: u32, total: u32) {
        self.0.progress(done, total);
    }
}

/// Where a network computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// The processor.
    Cpu,
    /// An Apple GPU.
    Metal,
}

/// A result that passes from stage to stage. The runtime stores, counts and drops it and never looks inside.
pub trait StageValue: Clone + Send + Sync + 'static {
    /// Memory that it holds, in bytes.
    fn size_bytes(&self) -> u64;

    /// Where it lies.
    fn device(&self) -> DeviceKind;
}

/// What the encoder is asked for.
#[derive(Clone, Debug)]
pub struct EncodeSpec {
    /// Generate or edit; chooses the template and the instruction prefix.
    pub mode: Mode,
    /// The prompt as the user wrote it.
    pub prompt: String,
    /// The negative prompt; only pipelines with guidance read it.
    pub negative_prompt: String,
    /// The source picture of an edit.
    pub image: Option<RgbImage>,
}

/// What the denoiser is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct DenoiseSpec {
    /// Working size in pixels.
    pub size: Size,
    /// Number of steps; equals `sigmas.len()` when sigmas are given.
    pub steps: u32,
    /// Noise levels; empty: the scheduler's own.
    pub sigmas: Vec<f32>,
    /// Seed of the noise, as in `torch.Generator("cpu").manual_seed(seed)`.
    pub seed: u64,
    /// Strengths; `None` without guidance.
    pub guidance: Option<Guidance>,
    /// True when there is a source picture.
    pub edit: bool,
    /// LoRAs, added together; their files have been checked for the model.
    pub loras: Vec<LoraSource>,
    /// How much of each pixel of the working size may be redrawn, 0 to 1, row by row: `size.pixels()` values. After each step the
    /// latents become `(1 - mask) * ((1 - sigma) * image_latents + sigma * noise) + mask * latents` with the noise level of that
    /// step's end, where the mask of a latent position is the largest of its pixels. Only for edits; `None`: all is redrawn.
    pub mask: Option<Arc<[f32]>>,
}

/// The Qwen3-VL encoder: prompt (and source picture) to `prompt_embeds`.
pub trait Encoder: Send {
    /// What it makes.
    type PromptEmbeds: StageValue;

    /// Encodes; reports one part of progress per layer, and how much was known from before. Fails with `InvalidRequest` when
    /// the prompt cannot be encoded.
    fn encode(&mut self, spec: &EncodeSpec, control: &StageControl)
    -> Result<(Self::PromptEmbeds, Reused), StageError>;

    /// Reads for later: what all prompts of this mode and picture begin with, and the prompt itself unless it is empty.
    /// Keeps it as [`encode`](Self::encode) does, which then finds it.
    fn prepare(&mut self, spec: &EncodeSpec, control: &StageControl) -> Result<Reused, StageError>;
}

/// A denoising under way: the latents, the schedule and everything that is computed once per picture.
pub trait Denoising: Send + 'static {
    /// Latents of one picture.
    type Latents: StageValue;

    /// Steps that are done.
    fn done(&self) -> u32;

    /// Steps in all.
    fn total(&self) -> u32;

    /// Memory that it holds, in bytes.
    fn size_bytes(&self) -> u64;

    /// The noise levels, one for each step.
    fn sigmas(&self) -> &[f32];

    /// The latents as they are: after the last step the result.
    fn latents(&self) -> Self::Latents;

    /// The prediction of the clean latents after the newest step, `x0 = x_t - sigma * v`; the latents before the first.
    fn predicted(&self) -> Self::Latents;
}

/// The U-Net denoiser.
pub trait Denoiser: Send {
    /// What it reads.
    type PromptEmbeds: StageValue;
    /// What it reads and makes.
    type Latents: StageValue;
    /// Its state between two steps; several may be alive at one time.
    type Denoising: Denoising<Latents = Self::Latents>;

    /// Draws the noise and computes what is the same for all steps. `image_latents` is there exactly when `spec.edit`.
    fn begin(
        &mut self,
        spec: &DenoiseSpec,
        prompt_embeds: &Self::PromptEmbeds,
        image_latents: Option<&Self::Latents>,
    ) -> Result<Self::Denoising, StageError>;

    /// One scheduler step. An interrupted step leaves `state` as it was.
    fn step(&mut self, state: &mut Self::Denoising, control: &StageControl) -> Result<(), StageError>;
}

/// The tiny VAE.
pub trait Vae: Send {
    /// What it reads and makes.
    type Latents: StageValue;

    /// Source picture to `image_latents` for a working size: LANCZOS to that size as the reference does it, then the encoder.
    /// Also tells how much was known from before.
    fn encode(
        &mut self,
        image: &RgbImage,
        size: Size,
        control: &StageControl,
    ) -> Result<(Self::Latents, Reused), StageError>;

    /// Latents to a picture of the working size. Fails with `EngineFault` when the latents are not finite.
    fn decode(&mut self, latents: &Self::Latents, control: &StageControl) -> Result<RgbImage, StageError>;

    /// Latents to a small picture by a linear map, one pixel for each latent position.
    fn project(&mut self, latents: &Self::Latents) -> Result<RgbImage, StageError>;
}

/// The three networks of a checkpoint and the checkpoints that there are. Shared by the actors, which build their own
/// networks from it and rebuild them after a fault.
pub trait Engine: Send + Sync + 'static {
    /// What passes from encoder to denoiser.
    type PromptEmbeds: StageValue;
    /// What passes between denoiser and VAE.
    type Latents: StageValue;
    /// The encoder.
    type Encoder: Encoder<PromptEmbeds = Self::PromptEmbeds>;
    /// The denoiser.
    type Denoiser: Denoiser<PromptEmbeds = Self::PromptEmbeds, Latents = Self::Latents>;
    /// The VAE.
    type Vae: Vae<Latents = Self::Latents>;

    /// The models that there are, the default first. Never empty.
    fn models(&self) -> Vec<ModelInfo>;

    /// Adds a checkpoint folder under a name. Reads and checks its configuration and the headers of its weights, not the
    /// weights. Fails with `ModelInvalid`, `InvalidRequest` or `NameTaken`.
    fn add_model(&self, folder: &std::path::Path, name: &str) -> Result<ModelInfo, Error>;

    /// Reads the encoder of a model.
    fn load_encoder(&self, model: &str, control: &StageControl) -> Result<Self::Encoder, StageError>;

    /// Reads the denoiser of a model.
    fn load_denoiser(&self, model: &str, control: &StageControl) -> Result<Self::Denoiser, StageError>;

    /// Reads the VAE of a model.
    fn load_vae(&self, model: &str, control: &StageControl) -> Result<Self::Vae, StageError>;

    /// Memory of the loaded networks of a model in bytes, as far as they are alive.
    fn resident_bytes(&self, model: &str) -> u64;

    /// Memory that a generation needs at its peak beside the networks, in bytes.
    fn peak_bytes(&self, plan: &Plan) -> u64 {
        plan.working.pixels() * limits::PEAK_BYTES_PER_PIXEL + plan.output.pixels() * 2 * 3
    }

    /// Called when a network was dropped for good: gives the system what it took. Nothing by default.
    fn give_back(&self) {}

    /// What the loaded networks keep between generations.
    fn kept(&self) -> Vec<KeptCache>;

    /// Drops what the networks of a model (`None`: of all) keep; bytes that this frees. Work under way is not disturbed.
    fn clear_kept(&self, model: Option<&str>) -> u64;

    /// The LoRAs of the configured folder, by name, with the models that each fits. Fails with `Internal` when the folder cannot
    /// be read.
    fn loras(&self) -> Result<Vec<LoraInfo>, Error> {
        Ok(Vec::new())
    }

    /// A LoRA of the configured folder. Fails with `LoraNotFound`.
    fn find_lora(&self, name: &str) -> Result<(BlobHash, LoraBytes), Error> {
        let what = format!("there is no LoRA named {name:?}: no folder of LoRAs is configured");
        Err(Error::new(Reason::LoraNotFound, what).about("lora", name))
    }

    /// Checks that a LoRA fits the denoiser of a model. Fails with `LoraInvalid`, `LoraMismatch` or `ModelNotFound`.
    fn check_lora(&self, _model: &str, _lora: &LoraSource) -> Result<(), Error> {
        Ok(())
    }

    /// SHA-256 of a model's weights; waits until files that are not known yet have been read. `None` for one that is not there
    /// or cannot be read.
    fn weights_sha256(&self, model: &str) -> Option<BlobHash> {
        self.models().into_iter().find(|info| info.name == model)?.weights_sha256
    }

    /// Where the stages compute: encoder, denoiser, VAE.
    fn devices(&self) -> [DeviceKind; 3];
}
