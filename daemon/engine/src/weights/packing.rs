//! Weights in a low precision: rounded while they are read, or read where a prepared file has them. Which layers are packed
//! and in which form, the layers say; here it is decided where the bytes come from, and counted what they take.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::Tensor;
use easel_domain::Precision;
use easel_kernels::{BlockFormat, Bytes, Int8Conv3x3, Int8Linear, Int8Pointwise};

use super::Weights;
use super::audit::Audit;
use crate::error::LoadError;
use crate::prepared::{Prepared, Sink};

/// Longest sum of products of bytes; layers with more inputs stay as they are.
const MAX_INT8_INPUTS: usize = 65_536;

/// How the weights of one network are kept. Cheap to clone; clones share the count.
#[derive(Clone, Default)]
pub struct Packing(Arc<State>);

#[derive(Default)]
struct State {
    precision: Precision,
    audit: Option<Audit>,
    prepared: Option<Prepared>,
    sink: Option<Sink>,
    tally: Mutex<Tally>,
}

/// What came of packing a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes of all packed layers.
    pub packed_bytes: u64,
    /// Parameters in them.
    pub packed_parameters: u64,
    /// Layers whose shape does not allow the precision of the network, each with the one that it has: `NAME as f32`.
    pub fallbacks: Vec<String>,
    /// The packed layers, in the order in which they were read.
    pub(crate) layers: Vec<Layer>,
}

/// A packed layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    /// Dotted name of its weights.
    pub(crate) tensor: String,
    pub(crate) form: Form,
    pub(crate) bytes: usize,
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
    /// [`BlockLinear`](easel_kernels::BlockLinear), over tokens.
    Blocks(BlockFormat),
}

impl Form {
    /// That of a linear layer of so many inputs, if it fits.
    pub(crate) fn of_linear(precision: Precision, input: usize) -> Option<Self> {
        match precision {
            Precision::F32 => None,
            Precision::Int8 => Some(Self::Tokens),
            Precision::Q4K
                if input.is_multiple_of(BlockFormat::Q4K.multiple())
                    || !input.is_multiple_of(BlockFormat::Q8_0.multiple()) =>
            {
                Some(Self::Blocks(BlockFormat::Q4K))
            }
            Precision::Q4K | Precision::Q8_0 => Some(Self::Blocks(BlockFormat::Q8_0)),
        }
    }

    /// As files call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tokens => "int8_tokens",
            Self::Pixels => "int8_pixels",
            Self::Conv => "int8_conv3x3",
            Self::Doubling => "int8_doubling_conv3x3",
            Self::Blocks(BlockFormat::Q8_0) => "q8_0",
            Self::Blocks(BlockFormat::Q4K) => "q4k",
        }
    }

    /// Whether a layer `[output, input]` can have this form.
    pub(crate) fn fits(self, [output, input]: [usize; 2]) -> bool {
        let fits = match self {
            Self::Blocks(format) => input.is_multiple_of(format.multiple()),
            _ => input <= MAX_INT8_INPUTS,
        };
        output > 0 && input > 0 && fits
    }

    pub(crate) fn packed_len(self, shape: [usize; 2]) -> usize {
        match self {
            Self::Tokens => Int8Linear::packed_len(shape),
            Self::Pixels => Int8Pointwise::packed_len(shape),
            Self::Conv => Int8Conv3x3::packed_len(shape, false),
            Self::Doubling => Int8Conv3x3::packed_len(shape, true),
            Self::Blocks(format) => format.packed_len(shape),
        }
    }

    pub(crate) fn pack(self, values: &[f32], shape: [usize; 2]) -> Vec<u8> {
        match self {
            Self::Tokens => Int8Linear::pack(values, shape),
            Self::Pixels => Int8Pointwise::pack(values, shape),
            Self::Conv => Int8Conv3x3::pack(values, shape),
            Self::Doubling => Int8Conv3x3::pack_doubling(values, shape),
            Self::Blocks(format) => format.pack(values, shape),
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

    /// Weights that are read where a file has them.
    pub fn prepared(precision: Precision, prepared: Prepared) -> Self {
        Self(Arc::new(State { precision, prepared: Some(prepared), ..State::default() }))
    }

    /// The same, whose layers go to a file too.
    pub(crate) fn with_sink(self, sink: Sink) -> Self {
        Self(Arc::new(State { precision: self.0.precision, sink: Some(sink), ..State::default() }))
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
            self.packing.locked().fallbacks.push(format!("{} as f32", found.tensor));
            return Ok(None);
        }
        let mut tally = self.packing.locked();
        let bytes = form.packed_len(layer);
        tally.layers.push(Layer { tensor: found.tensor.clone(), form, bytes });
        tally.packed_bytes += bytes as u64;
        tally.packed_parameters += shape.iter().product::<usize>() as u64;
        drop(tally);
        if !self.store.reads_tensors {
            return Ok(None);
        }
        let prepared = self.packing.0.prepared.as_ref();
        if let Some(packed) = prepared.and_then(|prepared| prepared.layer(&found.tensor, form, bytes)) {
            return Ok(Some(packed));
        }
        let packed = form.pack(&found.values(found.bytes.clone()), layer);
        if let Some(sink) = &self.packing.0.sink {
            sink.put(&found.tensor, form, &packed);
        }
        Ok(Some(packed.into()))
    }

    /// The form of a linear layer `name (output, input)` in the precision of the network; `None`: f32. Where the inputs are no
    /// multiple of 256, `q4k` falls back to `q8_0`.
    pub(crate) fn form(&self, [_, input]: [usize; 2], name: &str) -> Option<Form> {
        let form = Form::of_linear(self.precision(), input);
        if self.precision() == Precision::Q4K && form == Some(Form::Blocks(BlockFormat::Q8_0)) {
            self.packing.locked().fallbacks.push(format!("{} as q8_0", self.full_name(name)));
        }
        form
    }

    /// The same for a linear layer.
    pub(crate) fn twin_of_linear(&self, weight: &Tensor, name: &str) -> Option<super::audit::Twin> {
        self.twin(self.packing.audit()?.form(weight.dim(1).ok()?)?, weight, name)
    }

    /// What the packed layer of this name is to be compared with, when somebody wants to know.
    pub(crate) fn twin(&self, form: Form, weight: &Tensor, name: &str) -> Option<super::audit::Twin> {
        let audit = self.packing.audit()?;
        self.store.reads_tensors.then(|| audit.twin(form, weight, &self.full_name(name)))?
    }
}
