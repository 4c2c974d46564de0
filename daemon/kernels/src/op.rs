//! The thin layer between candle's tensors and the kernels' slices.

use candle_core::{CpuStorage, CustomOp1, DType, Device, Error, Layout, Result, Shape, Storage, StorageRef, Tensor};

/// Whether the kernels can work on this tensor: f32 in the memory of the processor.
pub fn supports(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

/// Runs `kernel` on the values of `x` (made contiguous first) and gives what it made the shape `shape`.
pub(crate) fn apply(
    name: &'static str,
    x: &Tensor,
    shape: impl Into<Shape>,
    kernel: impl Fn(&[f32], &mut [f32]) -> Result<()>,
) -> Result<Tensor> {
    x.contiguous()?.apply_op1_no_bwd(&Op { name, shape: shape.into(), kernel })
}

struct Op<K> {
    name: &'static str,
    shape: Shape,
    kernel: K,
}

impl<K: Fn(&[f32], &mut [f32]) -> Result<()>> CustomOp1 for Op<K> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = within(self.name, storage, layout)?;
        let mut out = unwritten(self.shape.elem_count());
        (self.kernel)(x, &mut out)?;
        Ok((CpuStorage::F32(out), self.shape.clone()))
    }
}

/// A second operand: contiguous, and locked for reading as long as this lives.
pub(crate) struct Operand {
    name: &'static str,
    tensor: Tensor,
}

impl Operand {
    pub(crate) fn new(name: &'static str, tensor: &Tensor) -> Result<Self> {
        Ok(Self { name, tensor: tensor.contiguous()? })
    }

    /// A bias for `output` channels, if there is one.
    pub(crate) fn bias(name: &'static str, bias: Option<&Tensor>, output: usize) -> Result<Option<Self>> {
        let check = |bias: &Tensor| {
            ensure(bias.dims() == [output], name, &format!("a bias ({output})"), bias.shape())?;
            Self::new(name, bias)
        };
        bias.map(check).transpose()
    }

    /// An operand of a shape, if there is one.
    pub(crate) fn optional(
        name: &'static str,
        what: &str,
        tensor: Option<&Tensor>,
        shape: &[usize],
    ) -> Result<Option<Self>> {
        let check = |tensor: &Tensor| {
            ensure(tensor.dims() == shape, name, &format!("{what} {shape:?}"), tensor.shape())?;
            Self::new(name, tensor)
        };
        tensor.map(check).transpose()
    }

    /// Calls `then` with the values of an operand that may be absent.
    pub(crate) fn read_optional<T>(
        operand: Option<&Self>,
        then: impl FnOnce(Option<&[f32]>) -> Result<T>,
    ) -> Result<T> {
        match operand {
            Some(operand) => operand.read(|values| then(Some(values))),
            None => then(None),
        }
    }

    /// Calls `then` with the values.
    pub(crate) fn read<T>(&self, then: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
        let (storage, layout): (StorageRef<'_>, _) = self.tensor.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => then(within(self.name, storage, layout)?),
            _ => refuse(self.name, "an operand in the memory of the processor", self.tensor.shape()),
        }
    }
}

/// The values that a contiguous layout covers.
fn within<'a>(name: &str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => refuse(name, "contiguous values", layout.shape()),
    }
}

/// The error that says what an operation wanted and what it got.
pub(crate) fn refuse<T>(name: &str, wanted: &str, got: &Shape) -> Result<T> {
    Err(Error::Msg(format!("{name} wants {wanted}, not {:?}", got.dims())).bt())
}

/// `refuse`s unless `holds`.
pub(crate) fn ensure(holds: bool, name: &str, wanted: &str, got: &Shape) -> Result<()> {
    if holds { Ok(()) } else { refuse(name, wanted, got) }
}

/// The sizes of a layer over tokens that are rounded already.
pub(crate) struct Rounded {
    /// Tokens.
    pub(crate) rows: usize,
    /// Numbers of a token as they were rounded.
    pub(crate) given: usize,
    /// Numbers of a token that the layer reads.
    pub(crate) input: usize,
    /// Numbers of a token that it writes.
    pub(crate) output: usize,
}

/// Runs a layer over rounded tokens: `shape (..., input)` is that of what was rounded, the result is `(..., output)`, and
/// `residual (..., output)` is handed on.
pub(crate) fn over_rounded(
    name: &'static str,
    sizes: Rounded,
    shape: &[usize],
    residual: Option<&Tensor>,
    kernel: impl FnOnce(Option<&[f32]>, &mut [f32]),
) -> Result<Tensor> {
    let Rounded { rows, given, input, output } = sizes;
    let rounded = Shape::from(shape.to_vec());
    let fits = rounded.elem_count() == rows * input && given == input;
    ensure(fits && shape.last() == Some(&input), name, &format!("(..., {input})"), &rounded)?;
    let mut shape = shape.to_vec();
    if let Some(last) = shape.last_mut() {
        *last = output;
    }
    let residual = Operand::optional(name, "a residual", residual, &shape)?;
    let mut out = unwritten(rows * output);
    Operand::read_optional(residual.as_ref(), |residual| {
        kernel(residual, &mut out);
        Ok(())
    })?;
    Tensor::from_vec(out, shape, &Device::Cpu)
}

/// Memory for a result, every element of which the kernel writes before anybody reads it: filling it with zeros first would
/// cost a pass over memory that the element-wise kernels feel.
pub(crate) fn unwritten(len: usize) -> Vec<f32> {
    let mut memory = Vec::with_capacity(len);
    // SAFETY: the capacity is there; every bit pattern is an `f32`; and each kernel of this crate only writes to its `out`
    // until it has written all of it, which the tests hold it to: they hand it an `out` that is full of NaN.
    #[allow(clippy::uninit_vec, reason = "argued above")]
    unsafe {
        memory.set_len(len);
    }
    memory
}
