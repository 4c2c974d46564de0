//! What the drill engine does besides drawing: it takes time, goes wrong where it was told to, and notes when it
//! computed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use easel_domain::engine::{Interrupt, StageControl, StageError};
use easel_domain::{Class, Error, Reason};

use super::DrillConfig;

/// Time between two checkpoints of a pretended computation: a cancellation is seen within it.
const SLICE: Duration = Duration::from_millis(2);

/// When to try again, as an error that a prompt asks for says it.
const TOLD_WAIT: Duration = Duration::from_millis(1500);

/// Intervals that are kept.
const MAX_INTERVALS: usize = 4096;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The stage returns an error: `ModelInvalid` while loading, `EngineFault` elsewhere.
    Error,
    /// The stage panics.
    Panic,
    /// The values are not finite; the VAE's decoder finds out.
    Nan,
    /// The stage stops answering for ever: no checkpoint, no return.
    Freeze,
}

/// Where something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DrillStage {
    /// Reading a network.
    Load,
    /// The encoder.
    Encode,
    /// The VAE's encoder.
    EncodeImage,
    /// The denoiser.
    Denoise,
    /// The VAE's decoder.
    Decode,
}

/// A fault to inject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrillFault {
    /// Where.
    pub stage: DrillStage,
    /// At which part of the stage, from 1: layer, step or strip.
    pub part: u32,
    /// What.
    pub fault: Fault,
    /// How often, then never again; `None`: every time.
    pub times: Option<u32>,
    /// Only for prompts (for `Load`: models) that contain this text; `None`: for all.
    pub prompt_contains: Option<String>,
}

/// A stretch of time in which a stage computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Which stage.
    pub stage: DrillStage,
    /// The prompt that it computed for; empty for the VAE's encoder, which sees none.
    pub prompt: String,
    /// When it began.
    pub start: Instant,
    /// When it ended.
    pub end: Instant,
}

/// Shared by the networks of one drill engine.
pub(super) struct Script {
    config: DrillConfig,
    struck: Vec<AtomicU32>,
    intervals: Mutex<VecDeque<Interval>>,
}

/// One part of a stage, as faults name it.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) stage: DrillStage,
    pub(super) part: u32,
    pub(super) prompt: &'a str,
}

impl Script {
    pub(super) fn new(config: DrillConfig) -> Self {
        let struck = config.faults.iter().map(|_| AtomicU32::new(0)).collect();
        Self { config, struck, intervals: Mutex::default() }
    }

    pub(super) fn config(&self) -> &DrillConfig {
        &self.config
    }

    pub(super) fn intervals(&self) -> Vec<Interval> {
        self.intervals.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Pretends to read a network.
    pub(super) fn load(&self, model: &str, control: &StageControl) -> Result<(), StageError> {
        let here = Part { stage: DrillStage::Load, part: 1, prompt: model };
        const PARTS: u32 = 4;
        for part in 1..=PARTS {
            take(self.config.load / PARTS, control)?;
            self.strike(Part { part, ..here })?;
            control.progress(part, PARTS);
        }
        Ok(())
    }

    /// Pretends to compute `parts` parts of `each`. Says whether the values came out finite.
    pub(super) fn compute(
        &self,
        stage: DrillStage,
        prompt: &str,
        (parts, each): (u32, Duration),
        control: &StageControl,
    ) -> Result<bool, StageError> {
        let mut finite = true;
        for part in 1..=parts.max(1) {
            finite &= self.compute_part(Part { stage, part, prompt }, each, control)?;
            control.progress(part, parts.max(1));
        }
        Ok(finite)
    }

    /// Pretends to compute one part. Says whether the values came out finite.
    pub(super) fn compute_part(
        &self,
        part: Part<'_>,
        time: Duration,
        control: &StageControl,
    ) -> Result<bool, StageError> {
        let start = Instant::now();
        take(time, control)?;
        if part.stage == DrillStage::Encode {
            told(part.prompt)?;
        }
        let finite = self.strike(part)?;
        let mut intervals = self.intervals.lock().unwrap_or_else(PoisonError::into_inner);
        if intervals.len() == MAX_INTERVALS {
            intervals.pop_front();
        }
        let (stage, prompt) = (part.stage, part.prompt.to_owned());
        intervals.push_back(Interval { stage, prompt, start, end: Instant::now() });
        Ok(finite)
    }

    /// Goes wrong if it is time to. Says whether the values stay finite.
    fn strike(&self, here: Part<'_>) -> Result<bool, StageError> {
        let Some(fault) = self.due(here) else { return Ok(true) };
        match fault {
            Fault::Nan => Ok(false),
            Fault::Error if here.stage == DrillStage::Load => {
                Err(Error::new(Reason::ModelInvalid, "the drill says that the model cannot be read")
                    .about("model", here.prompt)
                    .into())
            }
            Fault::Error => Err(Error::new(Reason::EngineFault, "the drill says that the stage failed").into()),
            Fault::Panic => panic!("the drill says that the stage panics"),
            Fault::Freeze => loop {
                std::thread::park();
            },
        }
    }

    fn due(&self, here: Part<'_>) -> Option<Fault> {
        self.config.faults.iter().zip(&self.struck).find_map(|(fault, struck)| {
            let named = fault.prompt_contains.as_ref().is_none_or(|text| here.prompt.contains(text));
            if fault.stage != here.stage || fault.part != here.part || !named {
                return None;
            }
            let before = struck.fetch_add(1, Ordering::Relaxed);
            fault.times.is_none_or(|times| before < times).then_some(fault.fault)
        })
    }
}

/// What a prompt asks for with `drill:REASON`: that error, with details of every kind that its reason may have, so that
/// the author of a client sees each of them without filling a disk.
fn told(prompt: &str) -> Result<(), Error> {
    let asked = prompt.split_whitespace().find_map(|word| word.strip_prefix("drill:"));
    let Some(reason) = asked.and_then(Reason::from_name) else { return Ok(()) };
    let message = format!("the prompt asks for the reason {}", reason.as_str());
    let error = match reason {
        Reason::InvalidRequest | Reason::InvalidImage | Reason::ImageTooLarge | Reason::ModelUnsupported => {
            Error::field(reason, "spec.prompt", message)
        }
        _ => Error::new(reason, message).about("model", "drill").with("asked_by", "prompt"),
    };
    Err(if reason.class() == Class::Capacity { error.retry_after(TOLD_WAIT) } else { error })
}

/// Lets `time` pass in slices with a checkpoint before each. Time that a checkpoint waits does not count.
fn take(time: Duration, control: &StageControl) -> Result<(), Interrupt> {
    let mut left = time;
    loop {
        control.checkpoint()?;
        if left.is_zero() {
            return Ok(());
        }
        let slice = left.min(SLICE);
        std::thread::sleep(slice);
        left -= slice;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_asks_for_any_reason() {
        for reason in Reason::ALL {
            let error = told(&format!("a boat, drill:{} please", reason.as_str())).expect_err("asked for");
            assert_eq!(error.reason, reason);
            assert_eq!(error.retry_after.is_some(), reason.class() == Class::Capacity);
        }
        told("a boat with a drill:UNHEARD_OF").expect("no reason");
        told("a boat").expect("nothing asked for");
    }
}
