//! How far a packed layer is from the same layer in f32, on the activations of a real run in f32: each layer that could be
//! packed carries a packed twin, which computes the same once more. Serves `easel selftest --quality` and the tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result, Tensor};
use easel_kernels::{BlockLinear, Int8Chain, Int8Conv3x3, Int8Linear, Int8Pointwise};

use easel_domain::Precision;

use super::packing::Form;

/// Collects the errors of all layers. Cheap to clone; clones share what is collected.
#[derive(Clone)]
pub struct Audit {
    precision: Precision,
    errors: Arc<Mutex<BTreeMap<String, Squares>>>,
}

/// Sums over all that a layer has made.
#[derive(Clone, Copy, Default)]
struct Squares {
    apart: f64,
    size: f64,
}

/// A packed layer beside the one in f32.
pub(crate) struct Twin {
    audit: Audit,
    name: String,
    layer: Layer,
}

enum Layer {
    Tokens(Int8Linear),
    Pixels(Int8Pointwise),
    Conv(Int8Conv3x3),
    Blocks(BlockLinear),
}

impl Audit {
    /// Compares with a precision; nothing is collected yet.
    pub fn new(precision: Precision) -> Self {
        Self { precision, errors: Arc::default() }
    }

    /// What a linear layer of so many inputs would be.
    pub(crate) fn form(&self, input: usize) -> Option<Form> {
        let form = Form::of_linear(self.precision, input)?;
        form.fits([1, input]).then_some(form)
    }

    /// Relative error of each layer by its name: the root of the summed squares of the differences over that of the results.
    pub fn errors(&self) -> Vec<(String, f64)> {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        errors
            .iter()
            .map(|(name, sums)| (name.clone(), (sums.apart / sums.size.max(f64::MIN_POSITIVE)).sqrt()))
            .collect()
    }

    pub(super) fn twin(&self, form: Form, weight: &Tensor, name: &str) -> Option<Twin> {
        let (output, input) = (weight.dim(0).ok()?, weight.dim(1).ok()?);
        let values: Vec<f32> = weight.flatten_all().ok()?.to_vec1().ok()?;
        let (shape, packed) = ([output, input], form.pack(&values, [output, input]).into());
        let layer = match form {
            Form::Tokens => Layer::Tokens(Int8Linear::from_packed(&packed, None, shape)?),
            Form::Pixels => Layer::Pixels(Int8Pointwise::from_packed(&packed, None, shape)?),
            Form::Conv => Layer::Conv(Int8Conv3x3::from_packed(&packed, None, shape, false)?),
            Form::Doubling => Layer::Conv(Int8Conv3x3::from_packed(&packed, None, shape, true)?),
            Form::Blocks(format) => Layer::Blocks(BlockLinear::from_packed(format, &packed, None, shape)?),
        };
        Some(Twin { audit: self.clone(), name: name.to_owned(), layer })
    }
}

impl Twin {
    /// Compares with `y`, what the layer in f32 makes of `x` without its bias.
    pub(crate) fn compare(&self, x: &Tensor, y: &Tensor) -> Result<()> {
        let packed = match &self.layer {
            Layer::Tokens(layer) => layer.forward(x)?,
            Layer::Blocks(layer) => layer.forward(x)?,
            Layer::Pixels(layer) => layer.forward(x, None, None)?,
            Layer::Conv(layer) => match Int8Chain::new(&[layer], false, false) {
                Some(chain) => chain.forward(x)?,
                None => return Ok(()),
            },
        };
        let square = |x: &Tensor| x.sqr()?.sum_all()?.to_scalar::<f32>().map(f64::from);
        let (apart, size) = (square(&(packed - y)?)?, square(y)?);
        let mut errors = self.audit.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let sums = errors.entry(self.name.clone()).or_default();
        sums.apart += apart;
        sums.size += size;
        Ok(())
    }
}
