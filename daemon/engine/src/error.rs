//! How reading a checkpoint and computing with it can fail: typed, so that nobody looks for substrings, and each with a
//! sentence that says how to mend it.

use candle_core::Error as TensorError;
use easel_domain::engine::{Interrupt, StageError};
use easel_domain::{Error, Reason};

/// Why a checkpoint cannot be used. `file` is always relative to the checkpoint folder, so that the message may travel to
/// a client without telling it where the folder lies.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file that every checkpoint has is not there.
    #[error("{file} is missing; copy it from the published checkpoint")]
    MissingFile {
        /// The file.
        file: String,
    },
    /// The operating system refuses to read a file.
    #[error("{file} cannot be read ({source}); check that it is a regular file and who may read it")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// A component has no weights at all.
    #[error(
        "{component} has no weights; it needs diffusion_pytorch_model.safetensors or model.safetensors (or their .index.json)"
    )]
    NoWeights {
        /// Folder of the component.
        component: String,
    },
    /// Weights in a format that can run code when it is read.
    #[error(
        "{file} is a pickle, which is never read; convert it to safetensors (`save_pretrained(..., safe_serialization=True)`)"
    )]
    Pickle {
        /// The file.
        file: String,
    },
    /// A weight file ends before its header says.
    #[error("{file} is cut off: {found_bytes} bytes where its header promises {expected_bytes}; download it again")]
    Truncated {
        /// The file.
        file: String,
        /// Bytes that the header speaks of.
        expected_bytes: u64,
        /// Bytes that there are.
        found_bytes: u64,
    },
    /// The header of a weight file makes no sense.
    #[error("{file} is not a safetensors file: {what}; download it again")]
    Header {
        /// The file.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// The network needs a tensor that no file of the component has.
    #[error("{file} has no tensor {tensor} of shape {expected:?}; config.json and the weights do not belong together")]
    MissingTensor {
        /// The file, or the index of several files.
        file: String,
        /// Dotted name.
        tensor: String,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
    },
    /// A tensor has another shape than the configuration asks for.
    #[error(
        "{file}: {tensor} has shape {found:?}, expected {expected:?}; config.json and the weights do not belong together"
    )]
    WrongShape {
        /// The file.
        file: String,
        /// Dotted name.
        tensor: String,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A tensor of a type that no network is stored in.
    #[error(
        "{file}: {tensor} is stored as {found}; only F32, F16 and BF16 are read, save the checkpoint in one of them"
    )]
    WrongDtype {
        /// The file.
        file: String,
        /// Dotted name.
        tensor: String,
        /// The type in the file.
        found: String,
    },
    /// A JSON file that cannot be parsed, or a setting that is unknown or contradicts another.
    #[error("{file}: {what}")]
    Config {
        /// The file.
        file: String,
        /// The setting, what is wrong with it and what would be right.
        what: String,
    },
    /// A file of packed weights is not what was written.
    #[error("{file} is damaged: {what}; run `easel models quantize` again, or remove it")]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// A file of packed weights was made from other weights than those that the checkpoint has.
    #[error("{file} was made from other weights than the model has now; run `easel models quantize` again")]
    Stale {
        /// The file.
        file: String,
    },
    /// A file of packed weights cannot be written.
    #[error("{file} cannot be written ({source}); look at the free space and the rights of its folder")]
    Unwritable {
        /// The file.
        file: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The device refused a tensor (out of memory, for example).
    #[error("{file}: {tensor} cannot be moved to the device: {source}")]
    Device {
        /// The file.
        file: String,
        /// Dotted name.
        tensor: String,
        /// What candle says.
        source: Box<TensorError>,
    },
}

impl LoadError {
    /// A complaint about a JSON file.
    pub fn config(file: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Config { file: file.into(), what: what.into() }
    }
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        Self::new(Reason::ModelInvalid, error.to_string())
    }
}

/// How a computation fails.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It was asked to stop.
    #[error("interrupted")]
    Interrupted(Interrupt),
    /// The request cannot be done; the error says why in the caller's words.
    #[error(transparent)]
    Request(Error),
    /// The checkpoint cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A tensor operation failed, which is our mistake or the device's.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] TensorError),
    /// A stage produced values that are not finite.
    #[error("{0} are not finite; try another seed, fewer steps or weaker guidance")]
    NotFinite(&'static str),
}

impl From<Interrupt> for EngineError {
    fn from(interrupt: Interrupt) -> Self {
        Self::Interrupted(interrupt)
    }
}

impl From<Error> for EngineError {
    fn from(error: Error) -> Self {
        Self::Request(error)
    }
}

impl From<EngineError> for StageError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Interrupted(interrupt) => Self::Interrupted(interrupt),
            EngineError::Request(error) => Self::Failed(error),
            EngineError::Load(error) => Self::Failed(error.into()),
            fault @ (EngineError::Tensor(_) | EngineError::NotFinite(_)) => {
                Self::Failed(Error::new(Reason::EngineFault, fault.to_string()))
            }
        }
    }
}

/// Result of a computation.
pub type Result<T> = std::result::Result<T, EngineError>;
