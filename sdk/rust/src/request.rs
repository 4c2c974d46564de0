//! Building a request: which picture, and how it is run.

use std::time::Duration;

use easel_proto::v1::{self, image_source::Source, selection::Area};

use crate::client::required;
use crate::{Easel, Error, GenerationStream};

/// Source pictures up to this size go along with the request: an upload would cost three calls more.
const INLINE_BYTES: usize = 64 * 1024;

/// Which previews a client wants; see [`GenerationBuilder::previews`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previews {
    /// How they are made.
    pub kind: v1::PreviewKind,
    /// Longest edge in pixels, 16 to 4096; `None`: as the kind yields it. Never enlarges.
    pub longest_edge_px: Option<u32>,
    /// Encoding.
    pub format: v1::ImageFormat,
    /// A preview after every n-th step, 1 to 100.
    pub every_n_steps: u32,
}

impl Default for Previews {
    /// After every step, decoded, as JPEG.
    fn default() -> Self {
        Self { kind: v1::PreviewKind::Decoded, longest_edge_px: None, format: v1::ImageFormat::Jpeg, every_n_steps: 1 }
    }
}

/// A request under construction; made by [`Easel::generate`] and [`Easel::edit`]. What is not set takes the
/// checkpoint's defaults. Nothing is checked here: the daemon reports every wrong field at once.
#[derive(Clone)]
#[must_use = "a request does nothing until it is started"]
pub struct GenerationBuilder {
    client: Easel,
    spec: v1::GenerationSpec,
    policy: v1::RunPolicy,
    source: Option<Vec<u8>>,
    mask: Option<Vec<u8>>,
}

impl GenerationBuilder {
    pub(crate) fn new(client: Easel, mode: v1::Mode, prompt: String, source: Option<Vec<u8>>) -> Self {
        let spec = v1::GenerationSpec { mode: mode.into(), prompt, ..Default::default() };
        Self { client, spec, policy: v1::RunPolicy::default(), source, mask: None }
    }

    /// Model by its name; default: the daemon's default model.
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.spec.model = name.into();
        self
    }

    /// What to avoid; only models with guidance read it.
    pub fn negative_prompt(mut self, text: impl Into<String>) -> Self {
        self.spec.negative_prompt = text.into();
        self
    }

    /// Size of the result in pixels, rounded to multiples of 16; default: the model's native size, or the source's.
    pub fn size(mut self, width: u32, height: u32) -> Self {
        (self.spec.width, self.spec.height) = (Some(width), Some(height));
        self
    }

    /// Denoising steps, 1 to 100.
    pub fn steps(mut self, steps: u32) -> Self {
        self.spec.num_inference_steps = Some(steps);
        self
    }

    /// Noise levels in place of a number of steps: in (0, 1], strictly decreasing.
    pub fn sigmas(mut self, sigmas: impl Into<Vec<f32>>) -> Self {
        self.spec.sigmas = sigmas.into();
        self
    }

    /// Strength of the prompt, 0 to 30; only models with guidance read it.
    pub fn guidance_scale(mut self, scale: f32) -> Self {
        self.spec.guidance_scale = Some(scale);
        self
    }

    /// Strength of the source picture, 0 to 30; only models with guidance read it.
    pub fn image_guidance_scale(mut self, scale: f32) -> Self {
        self.spec.image_guidance_scale = Some(scale);
        self
    }

    /// Adds a LoRA of the daemon's folder, with what its effect is multiplied with, -4 to 4.
    pub fn lora(mut self, name: impl Into<String>, weight: f32) -> Self {
        let source = Some(v1::lora::Source::Name(name.into()));
        self.spec.loras.push(v1::Lora { source, weight: Some(weight) });
        self
    }

    /// Adds a LoRA that was uploaded, by the SHA-256 of its file.
    pub fn uploaded_lora(mut self, sha256: impl Into<String>, weight: f32) -> Self {
        let source = Some(v1::lora::Source::Sha256(sha256.into()));
        self.spec.loras.push(v1::Lora { source, weight: Some(weight) });
        self
    }

    /// What of the picture the edit changes; outside of it every pixel keeps its bits. [`rectangle`](crate::rectangle)
    /// makes the simplest one, [`mask`](Self::mask) brings a mask. The answer's `changed` is the rectangle to update.
    pub fn selection(mut self, selection: v1::Selection) -> Self {
        self.spec.selection = Some(selection);
        self
    }

    /// The mask of a [`selection`](Self::selection) that has none yet: the bytes of a grey picture, white where the edit may change
    /// something.
    pub fn mask(mut self, picture: impl Into<Vec<u8>>) -> Self {
        self.mask = Some(picture.into());
        self
    }

    /// Seed of the first picture; default: random, and the first event tells.
    pub fn seed(mut self, seed: u64) -> Self {
        self.spec.seed = Some(seed);
        self
    }

    /// Seeds of the pictures, 1 to 16, each one picture; in place of [`seed`](Self::seed) and [`num_images`](Self::num_images).
    pub fn seeds(mut self, seeds: impl Into<Vec<u64>>) -> Self {
        self.spec.seeds = seeds.into();
        self
    }

    /// Number of pictures, 1 to 16; picture i has the seed `seed + i`.
    pub fn num_images(mut self, count: u32) -> Self {
        self.spec.num_images = Some(count);
        self
    }

    /// Encoding of the result; default: PNG.
    pub fn format(mut self, format: v1::ImageFormat) -> Self {
        self.spec.output_format = format.into();
        self
    }

    /// Whether the result's file says how it was made, with the prompts in plain words; default: as the daemon is set.
    pub fn provenance(mut self, embed: bool) -> Self {
        let wanted = if embed { v1::Provenance::Embed } else { v1::Provenance::Off };
        self.spec.provenance = wanted.into();
        self
    }

    /// Previews; default: none.
    pub fn previews(mut self, previews: Previews) -> Self {
        self.policy.previews = Some(v1::PreviewPolicy {
            kind: previews.kind.into(),
            longest_edge_px: previews.longest_edge_px,
            format: previews.format.into(),
            every_n_steps: Some(previews.every_n_steps),
        });
        self
    }

    /// Urgency; default: interactive.
    pub fn priority(mut self, priority: v1::Priority) -> Self {
        self.policy.priority = priority.into();
        self
    }

    /// Lets the generation go on when this client goes away; default: it is cancelled. With it a stream survives a lost
    /// connection without losing work; see [`GenerationStream`].
    pub fn keep_when_disconnected(mut self) -> Self {
        self.policy.on_disconnect = v1::DisconnectPolicy::Keep.into();
        self
    }

    /// Compute stops this long after the creation, 1 ms to 24 h; default: never.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        // A time that does not fit is far over the limit; the daemon says so.
        let most = prost_types::Duration { seconds: i64::MAX, nanos: 0 };
        self.policy.timeout = Some(prost_types::Duration::try_from(timeout).unwrap_or(most));
        self
    }

    /// Id of the request, 1 to 128 characters of `[A-Za-z0-9._:-]`: the same id with the same content returns the first
    /// generation. Default: a random one, so that a start that was lost on the way can be repeated.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.policy.request_id = id.into();
        self
    }

    /// Sends the request and gives its events. Uploads the source picture first when it is large and not yet there.
    pub async fn start(self) -> Result<GenerationStream, Error> {
        let (client, spec, policy) = self.ready().await?;
        GenerationStream::run(client, spec, policy).await
    }

    /// Creates the generation without watching it; it goes on when this client goes away. The id in the answer serves
    /// [`Easel::watch`], [`Easel::cancel`] and [`Easel::generation`].
    pub async fn create(self) -> Result<v1::Generation, Error> {
        let (client, spec, policy) = self.ready().await?;
        required(client.create_spec(spec, policy).await?.generation, "generation")
    }

    /// Starts, waits for the end and gives the files of the pictures in order.
    ///
    /// ```no_run
    /// # async fn example(easel: easel_sdk::Easel) -> Result<(), easel_sdk::Error> {
    /// let files = easel.generate("a red circle on a white background").num_images(2).pictures().await?;
    /// assert_eq!(files.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn pictures(self) -> Result<Vec<Vec<u8>>, Error> {
        let client = self.client.clone();
        let done = self.start().await?.finish().await?;
        let mut files = Vec::with_capacity(done.images.len());
        for result in done.images {
            let image = result.image.ok_or_else(|| Error::protocol("a result came without its picture"))?;
            files.push(client.picture(&image).await?);
        }
        Ok(files)
    }

    async fn ready(mut self) -> Result<(Easel, v1::GenerationSpec, v1::RunPolicy), Error> {
        if let Some(bytes) = self.source.take() {
            self.spec.image = Some(sent(&self.client, bytes).await?);
        }
        if let Some(bytes) = self.mask.take() {
            let selection = self.spec.selection.get_or_insert_default();
            let offset = match selection.area.take() {
                Some(Area::Mask(mask)) => mask.offset,
                _ => None,
            };
            let image = Some(sent(&self.client, bytes).await?);
            selection.area = Some(Area::Mask(v1::SelectionMask { image, offset }));
        }
        name_request(&mut self.policy);
        Ok((self.client, self.spec, self.policy))
    }
}

/// A picture that a request needs: along with it, or uploaded before.
async fn sent(client: &Easel, bytes: Vec<u8>) -> Result<v1::ImageSource, Error> {
    let source = match bytes.len() <= INLINE_BYTES {
        true => Source::Inline(bytes.into()),
        false => Source::Sha256(client.upload(&bytes).await?),
    };
    Ok(v1::ImageSource { source: Some(source) })
}

/// A selection of a rectangle, everything else as it is by default.
pub fn rectangle(x: u32, y: u32, width: u32, height: u32) -> v1::Selection {
    v1::Selection { area: Some(Area::Rectangle(v1::PixelRect { x, y, width, height })), ..Default::default() }
}

/// Gives a request an id, unless it has one: under the same id it can be asked again without being made twice.
pub(crate) fn name_request(policy: &mut v1::RunPolicy) {
    if policy.request_id.is_empty() {
        policy.request_id = uuid::Uuid::new_v4().to_string();
    }
}
