//! Prompts to token ids, with the tokenizers of a checkpoint: `tokenizer/` reads prompts without a picture and
//! `processor/` those with one, as in the reference.

use std::str::FromStr;
use std::sync::Arc;

use easel_domain::{Error, Mode, Reason};
use tokenizers::Tokenizer;

use super::prompt::{IMAGE_PAD, Template, VIDEO_PAD, VISION_START, instruct};
use crate::checkpoint::Checkpoint;
use crate::error::{LoadError, Result};

const TEXT_FILE: &str = "tokenizer/tokenizer.json";
const PICTURE_FILE: &str = "processor/tokenizer.json";

/// The tokenizers of a checkpoint, checked against the templates.
pub struct PromptTokenizer {
    generate: Side,
    edit: Side,
    image_pad: u32,
}

/// One mode: its tokenizer and the tokens of the template's head with the instruction.
struct Side {
    tokenizer: Arc<Tokenizer>,
    template: &'static Template,
    head: Vec<u32>,
}

impl PromptTokenizer {
    /// Reads the tokenizers. Fails when one is missing or damaged, and with [`LoadError::Config`] when the templates do not
    /// have the 34 and 64 tokens that the networks were trained to be without.
    pub fn load(checkpoint: &Checkpoint) -> std::result::Result<Self, LoadError> {
        let text = checkpoint.read(TEXT_FILE)?;
        if checkpoint.contains(PICTURE_FILE) {
            Self::from_json(&text, &checkpoint.read(PICTURE_FILE)?)
        } else {
            Self::from_json(&text, &text)
        }
    }

    /// Parses the two `tokenizer.json` files: for prompts without and with a picture. Fails as [`load`](Self::load) does.
    pub fn from_json(text: &[u8], picture: &[u8]) -> std::result::Result<Self, LoadError> {
        let generate = Arc::new(parse(TEXT_FILE, text)?);
        // Equal files are the rule; the vocabulary is then held once.
        let edit = if picture == text { generate.clone() } else { Arc::new(parse(PICTURE_FILE, picture)?) };
        Self::new(generate, edit)
    }

    /// Token ids of a prompt inside its template, before the picture's token is repeated and before anything is cut off.
    pub fn tokens(&self, mode: Mode, prompt: &str) -> Result<Vec<u32>> {
        let side = self.side(mode);
        encode(&side.tokenizer, &side.template.fill(prompt)).map_err(|what| {
            Error::field(Reason::InvalidRequest, "spec.prompt", format!("cannot be tokenised: {what}")).into()
        })
    }

    /// Token ids of a generate prompt, at most `max_tokens` of them behind the dropped ones: what is longer loses its end, the
    /// template's tail included.
    pub fn generate_tokens(&self, prompt: &str, max_tokens: usize) -> Result<Vec<u32>> {
        let mut ids = self.tokens(Mode::Generate, prompt)?;
        ids.truncate(self.generate.template.dropped + max_tokens);
        Ok(ids)
    }

    /// Token ids of an edit prompt with one picture token for each of the `image_tokens` of its source picture. Fails with
    /// `InvalidRequest` naming `field` when the prompt has picture tokens of its own, for which there is no picture.
    pub fn edit_tokens(&self, prompt: &str, field: &'static str, image_tokens: usize) -> Result<Vec<u32>> {
        for token in [IMAGE_PAD, VIDEO_PAD] {
            if prompt.contains(token) {
                let what = format!("contains {token}, which stands for a picture: remove it");
                return Err(Error::field(Reason::InvalidRequest, field, what).into());
            }
        }
        let ids = self.tokens(Mode::Edit, prompt)?;
        let (before, after) = ids.split_at(self.edit.template.dropped + 1);
        let mut expanded = before.to_vec();
        expanded.resize(before.len() + image_tokens, self.image_pad);
        expanded.extend(after.iter().skip(1));
        Ok(expanded)
    }

    /// Token ids of the template's head and the instruction behind it, which every prompt that carries its instruction begins with
    /// (what follows may change the last of them). The picture has one token.
    pub fn head(&self, mode: Mode) -> &[u32] {
        &self.side(mode).head
    }

    /// Id of a token, if there is one that is written so.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.edit.tokenizer.token_to_id(token)
    }

    /// Id of the token that stands for a picture.
    pub fn image_pad(&self) -> u32 {
        self.image_pad
    }

    /// One more than the largest id.
    pub fn ids(&self) -> usize {
        let most = |side: &Side| side.tokenizer.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1);
        most(&self.generate).max(most(&self.edit))
    }

    fn side(&self, mode: Mode) -> &Side {
        match mode {
            Mode::Generate => &self.generate,
            Mode::Edit => &self.edit,
        }
    }

    fn new(generate: Arc<Tokenizer>, edit: Arc<Tokenizer>) -> std::result::Result<Self, LoadError> {
        let file = PICTURE_FILE;
        let image_pad = special(file, &edit, IMAGE_PAD)?;
        let vision_start = special(file, &edit, VISION_START)?;
        let generate = Side::checked(TEXT_FILE, generate, Mode::Generate)?;
        let edit = Side::checked(file, edit, Mode::Edit)?;
        let dropped = edit.template.dropped;
        if edit.head.get(dropped..dropped + 2) != Some(&[vision_start, image_pad]) {
            let what = format!("{VISION_START} {IMAGE_PAD} are not tokens {dropped} and {} of an edit", dropped + 1);
            return Err(LoadError::config(file, format!("{what}; use the tokenizer of the published checkpoint")));
        }
        Ok(Self { generate, edit, image_pad })
    }
}

impl Side {
    fn checked(file: &str, tokenizer: Arc<Tokenizer>, mode: Mode) -> std::result::Result<Self, LoadError> {
        let template = Template::of(mode);
        let encoded = |text: &str| encode(&tokenizer, text).map_err(|what| LoadError::config(file, what));
        let found = encoded(template.dropped_text())?.len();
        if found != template.dropped {
            let what = format!("the template of {mode:?} begins with {found} tokens, expected {}", template.dropped);
            return Err(LoadError::config(file, format!("{what}; use the tokenizer of the published checkpoint")));
        }
        // The blank at the instruction's end belongs to the word behind it.
        let head = encoded(&[template.head, instruct(mode, "").trim_end()].concat())?;
        Ok(Self { tokenizer, template, head })
    }
}

fn parse(file: &str, bytes: &[u8]) -> std::result::Result<Tokenizer, LoadError> {
    let broken = |what: String| LoadError::config(file, format!("{what}; copy it from the published checkpoint"));
    let text = std::str::from_utf8(bytes).map_err(|e| broken(e.to_string()))?;
    let mut tokenizer = Tokenizer::from_str(text).map_err(|e| broken(e.to_string()))?;
    // The file may carry what its last user had set; the templates decide here.
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|e| broken(e.to_string()))?;
    Ok(tokenizer)
}

fn special(file: &str, tokenizer: &Tokenizer, token: &str) -> std::result::Result<u32, LoadError> {
    let missing =
        || LoadError::config(file, format!("there is no token {token}; use the tokenizer of the published checkpoint"));
    tokenizer.token_to_id(token).ok_or_else(missing)
}

fn encode(tokenizer: &Tokenizer, text: &str) -> std::result::Result<Vec<u32>, String> {
    let encoding = tokenizer.encode_fast(text, true).map_err(|e| e.to_string())?;
    Ok(encoding.get_ids().to_vec())
}
