//! The client: one connection to one daemon, cheap to clone, with a method for each thing that can be asked for.

use std::path::Path;
use std::time::Duration;

use easel_proto::v1::{
    self, blob_service_client::BlobServiceClient, generation_service_client::GenerationServiceClient,
    model_service_client::ModelServiceClient, system_service_client::SystemServiceClient,
};
use tonic::Streaming;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::connect::{self, Bearer, Transport};
use crate::discovery::Places;
use crate::{Discovery, Error, GenerationBuilder, GenerationStream, Target};

/// A daemon that has not said its version within this time is taken for dead.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to a daemon. Clones share it; a lost connection is made again by the next call.
#[derive(Clone)]
pub struct Easel {
    channel: Channel,
    bearer: Bearer,
    target: Target,
}

impl Easel {
    /// Connects to the daemon of this user, as its discovery file says: over the Unix socket, else over TCP.
    /// Fails with [`CANNOT_CONNECT`](crate::reason::CANNOT_CONNECT) when none runs.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), easel_sdk::Error> {
    /// let easel = easel_sdk::Easel::connect_default().await?;
    /// for model in easel.models().await? {
    ///     println!("{}: {}", model.name, model.description);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect_default() -> Result<Self, Error> {
        Self::connect_discovered(&Places::of_this_user()?.discovery_file()).await
    }

    /// Connects to the daemon that a discovery file names.
    pub async fn connect_discovered(file: &Path) -> Result<Self, Error> {
        let Some(discovery) = Discovery::read(file)? else {
            return Err(Error::cannot_connect(file.display(), "there is no discovery file, no daemon runs"));
        };
        let mut last = None;
        for target in discovery.targets() {
            match Self::connect(&target).await {
                Ok(client) => return Ok(client),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::cannot_connect(file.display(), "the discovery file names no place")))
    }

    /// Connects to a daemon and sees that it answers.
    pub async fn connect(target: &Target) -> Result<Self, Error> {
        let (channel, bearer) = connect::connect(target).await?;
        let client = Self { channel, bearer, target: target.clone() };
        match tokio::time::timeout(HELLO_TIMEOUT, client.version()).await {
            Ok(Ok(_)) => Ok(client),
            Ok(Err(error)) if error.is_connection() => Err(Error::cannot_connect(target, error)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::cannot_connect(target, format!("no answer within {HELLO_TIMEOUT:?}"))),
        }
    }

    /// The same connection under a name of its own, 1 to 128 visible ASCII characters: the daemon counts quotas by it. Without
    /// one, each TCP connection counts for itself, and the user's own programs on the Unix socket have no quota.
    pub fn named(mut self, name: &str) -> Result<Self, Error> {
        let value = MetadataValue::try_from(name).ok().filter(|_| !name.is_empty() && name.len() <= 128);
        let wrong = || Error::setup("the name of a client must be 1 to 128 visible ASCII characters");
        self.bearer.name = Some(value.ok_or_else(wrong)?);
        Ok(self)
    }

    /// Where this client is connected to.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// A request for a picture from a text; [`start`](GenerationBuilder::start) sends it.
    pub fn generate(&self, prompt: impl Into<String>) -> GenerationBuilder {
        GenerationBuilder::new(self.clone(), v1::Mode::Generate, prompt.into(), None)
    }

    /// A request for an edit of `picture` (the bytes of a PNG, JPEG, WebP, TIFF, GIF or BMP file) by an instruction.
    pub fn edit(&self, picture: impl Into<Vec<u8>>, instruction: impl Into<String>) -> GenerationBuilder {
        GenerationBuilder::new(self.clone(), v1::Mode::Edit, instruction.into(), Some(picture.into()))
    }

    /// The events of a generation after a sequence number, 0 for all.
    pub async fn watch(&self, id: impl Into<String>, after_sequence: u64) -> Result<GenerationStream, Error> {
        GenerationStream::watch(self.clone(), id.into(), after_sequence).await
    }

    /// A generation as it stands.
    pub async fn generation(&self, id: impl Into<String>) -> Result<v1::Generation, Error> {
        let request = v1::GetGenerationRequest { id: id.into() };
        required(self.generations().get_generation(request).await?.into_inner().generation, "generation")
    }

    /// Generations, newest first, a page at a time; the page's token is empty at the end.
    pub async fn list(&self, request: v1::ListGenerationsRequest) -> Result<v1::ListGenerationsResponse, Error> {
        Ok(self.generations().list_generations(request).await?.into_inner())
    }

    /// Cancels a generation and says what that hit.
    pub async fn cancel(&self, id: impl Into<String>) -> Result<v1::CancelGenerationResponse, Error> {
        Ok(self.generations().cancel_generation(v1::CancelGenerationRequest { id: id.into() }).await?.into_inner())
    }

    /// The models, the default first.
    pub async fn models(&self) -> Result<Vec<v1::Model>, Error> {
        Ok(self.model_service().list_models(v1::ListModelsRequest {}).await?.into_inner().models)
    }

    /// The LoRAs of the daemon's folder, by name.
    pub async fn loras(&self) -> Result<Vec<v1::LoraInfo>, Error> {
        Ok(self.model_service().list_loras(v1::ListLorasRequest {}).await?.into_inner().loras)
    }

    /// One model.
    pub async fn model(&self, name: impl Into<String>) -> Result<v1::Model, Error> {
        let request = v1::GetModelRequest { name: name.into() };
        required(self.model_service().get_model(request).await?.into_inner().model, "model")
    }

    /// Adds a checkpoint folder of the daemon's machine; only over the Unix socket. `folder` is an absolute path; without
    /// a name the folder's own is taken.
    pub async fn add_model(&self, folder: impl Into<String>, name: Option<String>) -> Result<v1::Model, Error> {
        let request = v1::AddModelRequest { folder: folder.into(), name: name.unwrap_or_default() };
        required(self.model_service().add_model(request).await?.into_inner().model, "model")
    }

    /// Loads a model and tells how far it is, until it is ready.
    pub async fn load_model(&self, name: impl Into<String>) -> Result<LoadStream, Error> {
        let request = v1::LoadModelRequest { name: name.into() };
        Ok(LoadStream(self.model_service().load_model(request).await?.into_inner()))
    }

    /// Frees a model's memory when its running work is done.
    pub async fn unload_model(&self, name: impl Into<String>) -> Result<v1::Model, Error> {
        let request = v1::UnloadModelRequest { name: name.into() };
        required(self.model_service().unload_model(request).await?.into_inner().model, "model")
    }

    /// Queue, stages and memory of the daemon.
    pub async fn status(&self) -> Result<v1::GetStatusResponse, Error> {
        Ok(self.system().get_status(v1::GetStatusRequest {}).await?.into_inner())
    }

    /// Reads prompt and picture of a request for later, so that its generation finds them: to be called while a user still
    /// types. The prompt may be empty. Dropping the future stops the reading.
    pub async fn prepare(&self, spec: v1::GenerationSpec) -> Result<v1::PrepareConditioningResponse, Error> {
        let request = v1::PrepareConditioningRequest { spec: Some(spec) };
        Ok(self.system().prepare_conditioning(request).await?.into_inner())
    }

    /// What the loaded models keep between generations.
    pub async fn kept(&self) -> Result<Vec<v1::KeptCache>, Error> {
        Ok(self.system().list_conditioning(v1::ListConditioningRequest {}).await?.into_inner().caches)
    }

    /// Drops what a model (`None`: all) keeps between generations; bytes that this frees.
    pub async fn clear_kept(&self, model: Option<String>) -> Result<u64, Error> {
        let request = v1::ClearConditioningRequest { model: model.unwrap_or_default() };
        Ok(self.system().clear_conditioning(request).await?.into_inner().freed_bytes)
    }

    /// Limits, defaults and models.
    pub async fn capabilities(&self) -> Result<v1::GetCapabilitiesResponse, Error> {
        Ok(self.system().get_capabilities(v1::GetCapabilitiesRequest {}).await?.into_inner())
    }

    /// Version of the daemon and of its protocol; needs no token.
    pub async fn version(&self) -> Result<v1::GetVersionResponse, Error> {
        Ok(self.system().get_version(v1::GetVersionRequest {}).await?.into_inner())
    }

    /// Runs a request as the protocol has it, and gives its events; [`generate`](Self::generate) and [`edit`](Self::edit) are
    /// more comfortable.
    pub async fn run_spec(
        &self,
        spec: v1::GenerationSpec,
        mut policy: v1::RunPolicy,
    ) -> Result<GenerationStream, Error> {
        if policy.request_id.is_empty() {
            policy.request_id = uuid::Uuid::new_v4().to_string();
        }
        GenerationStream::run(self.clone(), spec, policy).await
    }

    /// Creates a generation from a request as the protocol has it, without watching it. The answer says whether its request
    /// id was known, with the same content.
    pub async fn create_spec(
        &self,
        spec: v1::GenerationSpec,
        mut policy: v1::RunPolicy,
    ) -> Result<v1::CreateGenerationResponse, Error> {
        if policy.request_id.is_empty() {
            policy.request_id = uuid::Uuid::new_v4().to_string();
        }
        let request = v1::CreateGenerationRequest { spec: Some(spec), policy: Some(policy) };
        Ok(self.generations().create_generation(request).await?.into_inner())
    }

    pub(crate) async fn run_call(
        &self,
        spec: v1::GenerationSpec,
        policy: v1::RunPolicy,
    ) -> Result<Streaming<v1::RunGenerationResponse>, Error> {
        let request = v1::RunGenerationRequest { spec: Some(spec), policy: Some(policy) };
        Ok(self.generations().run_generation(request).await?.into_inner())
    }

    pub(crate) async fn watch_call(
        &self,
        id: String,
        after_sequence: u64,
    ) -> Result<Streaming<v1::WatchGenerationResponse>, Error> {
        let request = v1::WatchGenerationRequest { id, after_sequence };
        Ok(self.generations().watch_generation(request).await?.into_inner())
    }

    pub(crate) fn blobs(&self) -> BlobServiceClient<Transport> {
        BlobServiceClient::new(self.transport())
    }

    pub(crate) fn transport(&self) -> Transport {
        InterceptedService::new(self.channel.clone(), self.bearer.clone())
    }

    fn generations(&self) -> GenerationServiceClient<Transport> {
        GenerationServiceClient::new(self.transport())
    }

    fn model_service(&self) -> ModelServiceClient<Transport> {
        ModelServiceClient::new(self.transport())
    }

    fn system(&self) -> SystemServiceClient<Transport> {
        SystemServiceClient::new(self.transport())
    }
}

/// The loading of a model: the model as it stands and the share that is loaded, 0 to 1.
pub struct LoadStream(Streaming<v1::LoadModelResponse>);

impl LoadStream {
    /// The next state; `None` when the model is ready.
    pub async fn next(&mut self) -> Option<Result<(v1::Model, f32), Error>> {
        let answer = match self.0.message().await {
            Ok(answer) => answer?,
            Err(status) => return Some(Err(status.into())),
        };
        Some(required(answer.model, "model").map(|model| (model, answer.fraction)))
    }
}

pub(crate) fn required<T>(part: Option<T>, what: &str) -> Result<T, Error> {
    part.ok_or_else(|| Error::protocol(format!("an answer came without its {what}")))
}
