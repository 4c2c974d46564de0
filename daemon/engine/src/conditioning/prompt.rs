//! What is written around a prompt before it is tokenised: the chat templates of both modes and the instruction prefixes.
//! Source: diffusers `pipeline_dreamlite.py`, `pipeline_dreamlite_mobile.py`.

use easel_domain::{Mode, Pipeline};

/// The special token that stands for one token of a picture.
pub const IMAGE_PAD: &str = "<|image_pad|>";
/// The special token before a picture.
pub const VISION_START: &str = "<|vision_start|>";
/// The special token that stands for one token of a video.
pub const VIDEO_PAD: &str = "<|video_pad|>";

/// The text around a prompt and how much of it is not shown to the denoiser.
#[derive(Debug, PartialEq, Eq)]
pub struct Template {
    /// Before the prompt.
    pub head: &'static str,
    /// After the prompt.
    pub tail: &'static str,
    /// Tokens at the beginning that are dropped from the result.
    pub dropped: usize,
}

const TAIL: &str = "<|im_end|>\n<|im_start|>assistant\n";

const GENERATE: Template = Template {
    head: "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial \
           relationships of the objects and background:<|im_end|>\n<|im_start|>user\n",
    tail: TAIL,
    dropped: 34,
};

const EDIT: Template = Template {
    head: "<|im_start|>system\nDescribe the key features of the input image (color, shape, size, texture, objects, \
           background), then explain how the user's text instruction should alter or modify the image. Generate a new image \
           that meets the user's requirements while maintaining consistency with the original input where \
           appropriate.<|im_end|>\n<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>",
    tail: TAIL,
    dropped: 64,
};

impl Template {
    /// The template of a mode.
    pub fn of(mode: Mode) -> &'static Self {
        match mode {
            Mode::Generate => &GENERATE,
            Mode::Edit => &EDIT,
        }
    }

    /// Puts a prompt into its place.
    pub fn fill(&self, prompt: &str) -> String {
        [self.head, prompt, self.tail].concat()
    }

    /// The part of the head that is dropped from the result: all of it, or what stands before the picture.
    pub fn dropped_text(&self) -> &'static str {
        self.head.split(VISION_START).next().unwrap_or(self.head)
    }
}

/// Writes the instruction that tells the networks which of their tasks the prompt asks for.
pub fn instruct(mode: Mode, prompt: &str) -> String {
    match mode {
        Mode::Generate => format!("[Generate]: {prompt}"),
        Mode::Edit => format!(
            "[Edit]: A diptych with two side-by-side images of the same scene. Compared to the right side, the left one has \
             {prompt}"
        ),
    }
}

/// The prompts of a batch in the order of the reference. The negative prompt carries no instruction.
pub fn batch(pipeline: Pipeline, mode: Mode, prompt: &str, negative_prompt: &str) -> Vec<String> {
    let positive = instruct(mode, prompt);
    let negative = || negative_prompt.to_owned();
    match (pipeline, mode) {
        (Pipeline::Mobile, _) => vec![positive],
        (Pipeline::Base, Mode::Generate) => vec![negative(), positive],
        (Pipeline::Base, Mode::Edit) => vec![negative(), negative(), positive],
    }
}
