//! Weights in a low precision: rounded while they are read, or read where a prepared file has them. Which layers are packed
//! and in which form, the layers say; here it is decided where the bytes come from, and counted what they take.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::Tensor;
use easel_domain::Precision;
use easel_kernels::{Bytes, Int8Conv3x3, Int8Linear, Int8Pointwise};

use super::Weights;
use super::audit::Audit;
use crate::error::LoadError;

/// Longest sum of products of bytes; layers with more inputs stay as they are.
const MAX_INT8_INPUTS: usize = 65_536;

/// How the weights of one network are kept. Cheap to clone; clones share the count.
#[derive(Clone, Default)]
pub struct Packing(Arc<State>);

#[derive(Default)]
struct State {
    precision: Precision,
    audit: Option<Audit>,
    tally: Mutex<Tally>,
}

/// What came of packing a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes of all packed layers.
    pub packed_bytes: u64,
    /// Parameters in them.
    pub packed_parameters: u64,
    /// Layers that should be packed and whose shape does not allow it, which stay in f32.
    pub fallbacks: Vec<String>,
}

/// How the weights of a layer are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// [`Int8Linear`], over tokens.
    Tokens,
    /// [`Int8Pointwise`], over channels-first pixels.
    Pixels,
    /// [`Int8Conv3x3`].
    Conv,
    /// The same, that doubles first.
    Doubling,
}

impl Form {
    /// As files call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tokens => "int8_tokens",
            Self::Pixels => "int8_pixels",
            Self::Conv => "int8_conv3x3",
            Self::Doubling => "int8_doubling_conv3x3",
        }
    }

    /// Whether a layer `[output, input]` can have this form.
    pub(crate) fn fits(self, [output, input]: [usize; 2]) -> bool {
        output > 0 && (1..=MAX_INT8_INPUTS).contains(&input)
    }

    pub(crate) fn packed_len(self, shape: [usize; 2]) -> usize {
        match self {
            Self::Tokens => Int8Linear::packed_len(shape),
            Self::Pixels => Int8Pointwise::packed_len(shape),
            Self::Conv => Int8Conv3x3::packed_len(shape, false),
            Self::Doubling => Int8Conv3x3::packed_len(shape, true),
        }
    }

    pub(crate) fn pack(self, values: &[f32], shape: [usize; 2]) -> Vec<u8> {
        match self {
            Self::Tokens => Int8Linear::pack(values, shape),
            Self::Pixels => Int8Pointwise::pack(values, shape),
            Self::Conv => Int8Conv3x3::pack(values, shape),
            Self::Doubling => Int8Conv3x3::pack_doubling(values, shape),
        }
    }
}

impl Packing {
    /// Weights rounded to a precision while they are read.
    pub fn new(precision: Precision) -> Self {
        Self(Arc::new(State { precision, ..State::default() }))
    }

    /// Weights in f32, and beside each layer that could be packed what `audit` compares it with.
    pub fn audited(audit: Audit) -> Self {
        Self(Arc::new(State { audit: Some(audit), ..State::default() }))
    }

    /// The precision of the layers that are packed.
    pub fn precision(&self) -> Precision {
        self.0.precision
    }

    pub(crate) fn audit(&self) -> Option<&Audit> {
        self.0.audit.as_ref()
    }

    /// What came of it so far.
    pub fn tally(&self) -> Tally {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, Tally> {
        self.0.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Weights {
    /// The precision of the layers that can be packed.
    pub fn precision(&self) -> Precision {
        self.packing.precision()
    }

    /// Memory that the network takes: packed layers as they are, all other parameters as f32, the tables in files included.
    pub fn resident_bytes(&self) -> u64 {
        let tally = self.packing.tally();
        4 * self.parameters().saturating_sub(tally.packed_parameters) + tally.packed_bytes
    }

    /// Reads `name`, a tensor of exactly this shape whose first sides are `[output, input]`, packed into a form. `None` when it
    /// is to stay in f32: since it does not fit the form, or does not lie in the processor's memory, or is not to be read at all.
    pub(crate) fn packed(&self, form: Form, shape: &[usize], name: &str) -> Result<Option<Bytes>, LoadError> {
        let found = self.find(shape, name)?;
        let layer = [shape[0], shape[1]];
        if !form.fits(layer) || !self.device.is_cpu() {
            self.packing.locked().fallbacks.push(found.tensor.clone());
            return Ok(None);
        }
        let mut tally = self.packing.locked();
        tally.packed_bytes += form.packed_len(layer) as u64;
        tally.packed_parameters += shape.iter().product::<usize>() as u64;
        drop(tally);
        if !self.store.reads_tensors {
            return Ok(None);
        }
        Ok(Some(form.pack(&found.values(found.bytes.clone()), layer).into()))
    }

    /// What the packed layer of this name is to be compared with, when somebody wants to know.
    pub(crate) fn twin(&self, form: Form, weight: &Tensor, name: &str) -> Option<super::audit::Twin> {
        let audit = self.packing.audit()?;
        self.store.reads_tensors.then(|| audit.twin(form, weight, &self.full_name(name)))?
    }
}
