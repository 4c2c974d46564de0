//! The drill engine's timings and faults as one line of text, so that the author of a client can set them from outside.

use std::time::Duration;

use super::{DrillConfig, DrillFault, DrillStage, Fault};

/// Longest time of one part of a stage.
const MAX_PART_MS: u64 = 60 * 60 * 1000;

impl DrillConfig {
    /// Reads settings like `denoise_step_ms=200 fault=denoise/2/panic/1`, with spaces or commas between them, over the defaults. A fault is
    /// stage, part from 1, kind, and how often (default: every time): stages are load, encode, encode_image, denoise and decode;
    /// kinds are error, panic, nan and freeze. Fails with a sentence that names what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut config = Self::default();
        for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').ok_or_else(|| format!("{word:?} is no name=value"))?;
            match name {
                "load_ms" => config.load = milliseconds(value)?,
                "encode_layer_ms" => config.encode_layer = milliseconds(value)?,
                "encode_layers" => config.encode_layers = number(value, 1, 1000)? as u32,
                "denoise_step_ms" => config.denoise_step = milliseconds(value)?,
                "vae_strip_ms" => config.vae_strip = milliseconds(value)?,
                "vae_strips" => config.vae_strips = number(value, 1, 1000)? as u32,
                "native_px" => config.native_px = number(value, 4, 128)? as u32 * 16,
                "fault" => config.faults.push(fault(value)?),
                _ => {
                    return Err(format!(
                        "{name:?} is unknown, there are load_ms, encode_layer_ms, encode_layers, denoise_step_ms, \
                         vae_strip_ms, vae_strips, native_px (in 16 pixels) and fault"
                    ));
                }
            }
        }
        Ok(config)
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    number(text, 0, MAX_PART_MS).map(Duration::from_millis)
}

fn number(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("{text:?} must be a whole number from {least} to {most}"))
}

fn fault(text: &str) -> Result<DrillFault, String> {
    let wrong = || format!("{text:?} must be stage/part/kind or stage/part/kind/times, as denoise/2/panic/1");
    let parts: Vec<_> = text.split('/').collect();
    let (stage, part, kind, times) = match parts[..] {
        [stage, part, kind] => (stage, part, kind, None),
        [stage, part, kind, times] => (stage, part, kind, Some(times)),
        _ => return Err(wrong()),
    };
    let stage = match stage {
        "load" => DrillStage::Load,
        "encode" => DrillStage::Encode,
        "encode_image" => DrillStage::EncodeImage,
        "denoise" => DrillStage::Denoise,
        "decode" => DrillStage::Decode,
        _ => return Err(wrong()),
    };
    let fault = match kind {
        "error" => Fault::Error,
        "panic" => Fault::Panic,
        "nan" => Fault::Nan,
        "freeze" => Fault::Freeze,
        _ => return Err(wrong()),
    };
    let part = number(part, 1, 1000)? as u32;
    let times = times.map(|times| number(times, 1, 1_000_000)).transpose()?.map(|times| times as u32);
    Ok(DrillFault { stage, part, fault, times, prompt_contains: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timings_and_faults_are_read() {
        let config =
            DrillConfig::parse("denoise_step_ms=7, fault=denoise/2/panic/1 fault=decode/1/nan").expect("right");
        assert_eq!(config.denoise_step, Duration::from_millis(7));
        assert_eq!(config.load, DrillConfig::default().load);
        let kinds: Vec<_> = config.faults.iter().map(|f| (f.stage, f.part, f.fault, f.times)).collect();
        let expected = [(DrillStage::Denoise, 2, Fault::Panic, Some(1)), (DrillStage::Decode, 1, Fault::Nan, None)];
        assert_eq!(kinds, expected);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, why) in [
            ("denoise_step_ms", "no name=value"),
            ("denoise_ms=5", "denoise_step_ms"),
            ("load_ms=-1", "from 0"),
            ("fault=denoise/0/panic", "from 1"),
            ("fault=denoise/1/burn", "stage/part/kind"),
        ] {
            let error = DrillConfig::parse(text).expect_err("wrong");
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
