//! The names of tensors in LoRA files: which layer they belong to and which part they are.
//!
//! Forms: PEFT and diffusers (`unet.PATH.lora_A.weight`, with or without `unet.`, `base_model.model.`, the name of an adapter after
//! `lora_A`), older diffusers (`PATH.lora.down.weight`, `PATH.lora_linear_layer.down.weight`, and `PATH.processor.to_q_lora.down.weight`),
//! kohya (`lora_unet_PATH_WITH_UNDERSCORES.lora_down.weight`); `alpha` beside each.

use std::collections::HashMap;

/// Which of a layer's tensors it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The first factor.
    Down,
    /// The second factor.
    Up,
    /// What the product is scaled with, times the rank.
    Alpha,
    /// A magnitude of DoRA.
    Dora,
}

/// Where a tensor belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A dotted name.
    Dotted(String),
    /// A name in which dots are underscores.
    Flat(String),
    /// A layer of the text encoder.
    TextEncoder,
}

/// The endings that tell the part; what stands before belongs to the layer.
const ENDINGS: [(&str, Part); 11] = [
    (".lora_A.weight", Part::Down),
    (".lora_B.weight", Part::Up),
    (".lora_down.weight", Part::Down),
    (".lora_up.weight", Part::Up),
    (".lora.down.weight", Part::Down),
    (".lora.up.weight", Part::Up),
    (".lora_linear_layer.down.weight", Part::Down),
    (".lora_linear_layer.up.weight", Part::Up),
    (".alpha", Part::Alpha),
    (".dora_scale", Part::Dora),
    (".lora_magnitude_vector", Part::Dora),
];

/// Reads a name; `None` when it has none of the forms.
pub(super) fn read(name: &str) -> Option<(Place, Part)> {
    let name = without_adapter(name);
    if let Some((path, layer, part)) = of_processor(&name) {
        return Some((place(&format!("{path}.{layer}")), part));
    }
    let (before, part) = ENDINGS.iter().find_map(|(ending, part)| Some((name.strip_suffix(ending)?, *part)))?;
    Some((place(before.strip_suffix(".lora").unwrap_or(before)), part))
}

/// `...lora_A.default.weight` is `...lora_A.weight`, and `lora_magnitude_vector.weight` the same without its last part.
fn without_adapter(name: &str) -> String {
    for factor in [".lora_A.", ".lora_B.", ".lora_magnitude_vector."] {
        if let Some((before, rest)) = name.split_once(factor) {
            let end = if factor.starts_with(".lora_m") { "" } else { ".weight" };
            // One part at most stands between: `weight` alone, or the adapter's name and `weight`.
            if rest == "weight" || rest.strip_suffix(".weight").is_some_and(|adapter| !adapter.contains('.')) {
                return format!("{before}{}{end}", factor.trim_end_matches('.'));
            }
        }
    }
    name.to_owned()
}

/// The form of the oldest attention processors: `attn1.processor.to_out_lora.down.weight`.
fn of_processor(name: &str) -> Option<(&str, &'static str, Part)> {
    let (path, rest) = name.split_once(".processor.")?;
    let (layer, rest) = rest.split_once("_lora.")?;
    let layer = match layer {
        "to_q" => "to_q",
        "to_k" => "to_k",
        "to_v" => "to_v",
        "to_out" => "to_out.0",
        _ => return None,
    };
    let part = match rest {
        "down.weight" => Part::Down,
        "up.weight" => Part::Up,
        "alpha" => Part::Alpha,
        _ => return None,
    };
    Some((path, layer, part))
}

fn place(path: &str) -> Place {
    if let Some(flat) = path.strip_prefix("lora_unet_") {
        return Place::Flat(flat.to_owned());
    }
    if path.starts_with("lora_te") || path.starts_with("text_encoder") {
        return Place::TextEncoder;
    }
    let path = path.strip_prefix("base_model.model.").unwrap_or(path);
    Place::Dotted(path.strip_prefix("unet.").unwrap_or(path).to_owned())
}

/// The layers of a U-Net by both forms of their names.
pub(super) struct Places<'a> {
    dotted: HashMap<&'a str, &'a str>,
    flat: HashMap<String, &'a str>,
}

impl<'a> Places<'a> {
    pub(super) fn of(paths: impl Iterator<Item = &'a String> + Clone) -> Self {
        let flat = paths.clone().map(|path| (path.replace('.', "_"), path.as_str())).collect();
        Self { dotted: paths.map(|path| (path.as_str(), path.as_str())).collect(), flat }
    }

    /// The dotted name of a layer; `None` when the U-Net has none there.
    pub(super) fn find(&self, place: &Place) -> Option<&'a str> {
        match place {
            Place::Dotted(path) => self.dotted.get(path.as_str()).copied(),
            Place::Flat(path) => self.flat.get(path).copied(),
            Place::TextEncoder => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_name_is_read() {
        let dotted = |path: &str| Place::Dotted(path.to_owned());
        let table = [
            ("unet.a.0.to_q.lora_A.weight", dotted("a.0.to_q"), Part::Down),
            ("a.0.to_q.lora_B.weight", dotted("a.0.to_q"), Part::Up),
            ("base_model.model.a.to_q.lora_A.default.weight", dotted("a.to_q"), Part::Down),
            ("base_model.model.unet.a.to_q.lora_B.weight", dotted("a.to_q"), Part::Up),
            ("unet.a.to_q.alpha", dotted("a.to_q"), Part::Alpha),
            ("unet.a.to_q.lora.down.weight", dotted("a.to_q"), Part::Down),
            ("a.to_q.lora_linear_layer.up.weight", dotted("a.to_q"), Part::Up),
            ("unet.a.attn1.processor.to_out_lora.up.weight", dotted("a.attn1.to_out.0"), Part::Up),
            ("unet.a.attn1.processor.to_k_lora.down.weight", dotted("a.attn1.to_k"), Part::Down),
            ("lora_unet_a_0_to_q.lora_down.weight", Place::Flat("a_0_to_q".into()), Part::Down),
            ("lora_unet_a_0_to_q.alpha", Place::Flat("a_0_to_q".into()), Part::Alpha),
            ("lora_unet_a.dora_scale", Place::Flat("a".into()), Part::Dora),
            ("unet.a.lora_magnitude_vector", dotted("a"), Part::Dora),
            ("base_model.model.a.lora_magnitude_vector.weight", dotted("a"), Part::Dora),
            ("lora_te_text_model_encoder.lora_up.weight", Place::TextEncoder, Part::Up),
            ("text_encoder.layers.0.lora_A.weight", Place::TextEncoder, Part::Down),
        ];
        for (name, place, part) in table {
            assert_eq!(read(name), Some((place, part)), "{name}");
        }
        for name in ["", "weight", "a.hada_w1_a", "a.lora_A.x.y.weight", "a.lora_A.bias", "a.diff", ".processor._lora."]
        {
            assert_eq!(read(name), None, "{name}");
        }
    }

    #[test]
    fn a_flat_name_finds_its_layer() {
        let paths = ["down_blocks.0.to_out.0".to_owned(), "mid_block.to_q".to_owned()];
        let places = Places::of(paths.iter());
        assert_eq!(places.find(&Place::Flat("down_blocks_0_to_out_0".into())), Some("down_blocks.0.to_out.0"));
        assert_eq!(places.find(&Place::Dotted("mid_block.to_q".into())), Some("mid_block.to_q"));
        assert_eq!(places.find(&Place::Flat("mid_block.to_q".into())), None);
    }
}
