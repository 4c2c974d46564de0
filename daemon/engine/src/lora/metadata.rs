//! What diffusers writes about an adapter into the metadata of its file: the configuration of PEFT, from which alphas come that
//! no tensor tells.

use std::collections::{BTreeMap, HashMap};

use easel_domain::Error;
use serde::Deserialize;

use super::{LoraFile, invalid};

/// The key of the metadata.
const KEY: &str = "lora_adapter_metadata";

/// The scales of an adapter; empty when the file says nothing.
#[derive(Default)]
pub(super) struct Metadata {
    alpha: Option<f64>,
    patterns: Vec<(String, f64)>,
    rank_stabilised: bool,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "unet.lora_alpha")]
    alpha: Option<f64>,
    #[serde(rename = "unet.alpha_pattern")]
    patterns: Option<BTreeMap<String, f64>>,
    #[serde(rename = "unet.use_rslora")]
    rank_stabilised: Option<bool>,
    #[serde(rename = "unet.use_dora")]
    dora: Option<bool>,
    #[serde(rename = "unet.lora_bias")]
    bias: Option<bool>,
}

impl Metadata {
    pub(super) fn read(metadata: Option<&HashMap<String, String>>, file: &LoraFile) -> Result<Self, Error> {
        let Some(text) = metadata.and_then(|metadata| metadata.get(KEY)) else { return Ok(Self::default()) };
        let raw: Raw = serde_json::from_str(text)
            .map_err(|error| invalid(file, &format!("its metadata {KEY} cannot be read ({error})")))?;
        if raw.dora == Some(true) {
            return Err(invalid(
                file,
                "it is a DoRA, which is not supported: train it as a plain LoRA, or merge it into the checkpoint",
            ));
        }
        if raw.bias == Some(true) {
            return Err(invalid(file, "it has biases, which are not supported: train it without lora_bias"));
        }
        Ok(Self {
            alpha: raw.alpha,
            patterns: raw.patterns.unwrap_or_default().into_iter().collect(),
            rank_stabilised: raw.rank_stabilised == Some(true),
        })
    }

    /// The scale of a layer, `alpha / rank` (with rank stabilisation `alpha / sqrt(rank)`); `None` when the file does not say.
    pub(super) fn scale(&self, path: &str, rank: usize) -> Option<f64> {
        let pattern = self.patterns.iter().find(|(pattern, _)| matches(pattern, path));
        let alpha = pattern.map(|(_, alpha)| *alpha).or(self.alpha)?;
        let rank = rank as f64;
        Some(alpha / if self.rank_stabilised { rank.sqrt() } else { rank })
    }
}

/// PEFT looks for a pattern at the end of a name, as a regular expression after a dot or the beginning
/// (`peft.utils.other.get_pattern_key`). Understood are plain names and `.*`; `\.` is a dot.
fn matches(pattern: &str, path: &str) -> bool {
    let plain = pattern.trim_start_matches('^').trim_end_matches('$').replace("\\.", ".");
    let parts: Vec<&str> = plain.split(".*").collect();
    let starts = (0..=path.len()).filter(|at| *at == 0 || path.as_bytes().get(at.wrapping_sub(1)) == Some(&b'.'));
    starts.into_iter().any(|start| path.get(start..).is_some_and(|rest| covers(&parts, rest)))
}

/// Whether the parts, with anything between them, are the whole text.
fn covers(parts: &[&str], text: &str) -> bool {
    match parts {
        [] => text.is_empty(),
        [only] => text == *only,
        [first, middle @ .., last] => {
            let Some(mut rest) = text.strip_prefix(first) else { return false };
            for part in middle {
                let Some(at) = rest.find(part) else { return false };
                rest = &rest[at + part.len()..];
            }
            rest.len() >= last.len() && rest.ends_with(last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_looked_for_at_the_end_of_a_name() {
        for (pattern, path, expected) in [
            ("to_q", "mid_block.attn1.to_q", true),
            ("to_q", "mid_block.attn1.into_q", false),
            ("attn1.to_q", "mid_block.attn1.to_q", true),
            ("mid_block\\..*\\.to_q", "mid_block.attentions.0.attn1.to_q", true),
            ("mid_block\\..*\\.to_q", "up.mid_block.a.to_k", false),
            ("^mid_block.to_q$", "mid_block.to_q", true),
            ("", "mid_block.to_q", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }
}
