//! A picture file, what it says of its making, and how two of them differ. The file may come from anywhere: everything in it is checked here.

use std::path::Path;

use easel_domain::provenance::Parameters;
use easel_domain::{ChannelOrder, SampleType};
use easel_imaging::{Canvas, Found};

use super::pictures::read_input;
use crate::exit::{Exit, Failure};

/// A picture that can be read.
pub(super) struct PictureFile {
    pub(super) bytes: Vec<u8>,
    /// Name of its format, for example "png".
    pub(super) format: &'static str,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) making: Making,
}

/// What a file says of its making.
pub(super) enum Making {
    /// Nothing.
    Unsaid,
    /// Something that cannot be used, for this reason.
    Unusable(String),
    /// This.
    Said(Box<Parameters>),
}

impl PictureFile {
    /// Reads a file; `-` is standard input.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = read_input(path)?;
        let probe = easel_imaging::probe(&bytes)
            .map_err(|error| Failure::new(Exit::Request, format!("{} {}", path.display(), error.description())))?;
        let making = making(&bytes);
        Ok(Self { format: probe.format, width: probe.size.width, height: probe.size.height, bytes, making })
    }

    /// The parameters, or why there are none.
    pub(super) fn parameters(&self) -> Result<&Parameters, Failure> {
        match &self.making {
            Making::Said(parameters) => Ok(parameters),
            Making::Unusable(why) => Err(Failure::new(Exit::Request, why.clone())),
            Making::Unsaid => Err(Failure::new(Exit::NotFound, NOTHING)),
        }
    }
}

/// What is said of a file without parameters.
pub(super) const NOTHING: &str = "the file does not say how it was made: it is not Easel's, was saved by a program that \
                                  left that out, or was made with provenance off";

/// What the bytes of a picture say.
pub(super) fn making(bytes: &[u8]) -> Making {
    let text = match easel_imaging::find_parameters(bytes) {
        Found::Nothing => return Making::Unsaid,
        Found::Damaged(why) => return Making::Unusable(format!("the parameters in the file are damaged: {why}")),
        Found::Text(text) => text,
    };
    match serde_json::from_str::<serde_json::Value>(&text) {
        // Other programs keep JSON in the same places.
        Ok(value) if value.get("easel_parameters").is_none() => return Making::Unsaid,
        Ok(value) if value["easel_parameters"].as_u64().is_none_or(|format| format > Parameters::FORMAT.into()) => {
            let (found, known) = (&value["easel_parameters"], Parameters::FORMAT);
            return Making::Unusable(format!(
                "the parameters in the file have version {found}, this program reads {known}"
            ));
        }
        Ok(_) => {}
        Err(error) => return Making::Unusable(format!("the parameters in the file are damaged: {error}")),
    }
    match serde_json::from_str(&text) {
        Ok(parameters) => Making::Said(Box::new(parameters)),
        Err(error) => Making::Unusable(format!("the parameters in the file are damaged: {error}")),
    }
}

/// The largest difference of a channel, alpha among them, in 255ths rounded up; `None` when the sizes differ or one cannot be read.
pub(super) fn difference(made: &[u8], wanted: &[u8]) -> Option<u8> {
    let (made, wanted) = (Canvas::open(made).ok()?, Canvas::open(wanted).ok()?);
    if made.size() != wanted.size() {
        return None;
    }
    if made.channels() == wanted.channels() && made.icc() == wanted.icc() && made.samples() == wanted.samples() {
        return Some(0);
    }
    let values = |canvas: &Canvas| {
        let (_, bytes) = canvas.to_raw(ChannelOrder::Rgba, SampleType::U16);
        bytes.as_chunks().0.iter().map(|&bytes| u16::from_le_bytes(bytes)).collect::<Vec<_>>()
    };
    let most = values(&made).iter().zip(&values(&wanted)).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
    // Floats beyond what 16 bits tell apart differ as well.
    Some(most.div_ceil(257).max(1) as u8)
}

/// What a person is told of a comparison; `unlike` when there is no difference to name.
pub(super) fn verdict(same_bytes: bool, max_difference: Option<u8>, unlike: &str) -> String {
    match max_difference {
        _ if same_bytes => "the same bytes".to_owned(),
        Some(0) => "the same pixels; the files differ in what stands beside them".to_owned(),
        Some(by) => format!("pixels differ by {by} of 255 at most"),
        None => unlike.to_owned(),
    }
}
