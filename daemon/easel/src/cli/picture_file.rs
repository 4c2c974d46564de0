//! A picture file and what it says of its making. The file may come from anywhere: everything in it is checked here.

use std::path::Path;

use easel_domain::provenance::Parameters;
use easel_imaging::Found;

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
        let probe = easel_imaging::probe(&bytes).map_err(|error| {
            let why = error.violations.first().map_or(error.message.clone(), |wrong| wrong.description.clone());
            Failure::new(Exit::Request, format!("{} {why}", path.display()))
        })?;
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
