//! The folder of LoRAs that the operator has chosen: what lies in it, by the names of its files without their ending.

use std::path::Path;
use std::sync::Arc;

use easel_domain::limits::MAX_LISTED_LORAS;
use easel_domain::lora::is_lora_name;
use easel_domain::{BlobHash, Error, LoraBytes, LoraInfo, Reason};

use super::{LoraFile, Targets, check, inspect};
use crate::digests::Digests;

const ENDING: &str = ".safetensors";

/// What lies in the folder, by name, with the models that each fits.
pub(crate) fn list(folder: &Path, models: &[(String, Arc<Targets>)]) -> Result<Vec<LoraInfo>, Error> {
    let failed = |error: std::io::Error| {
        Error::new(
            Reason::Internal,
            format!("the folder of LoRAs cannot be read: {error}; look at the setting lora_folder"),
        )
    };
    let mut names = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        // Nobody has put anything there yet.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        names.extend(
            name.to_str()
                .and_then(|name| name.strip_suffix(ENDING))
                .filter(|name| is_lora_name(name))
                .map(str::to_owned),
        );
    }
    names.sort();
    names.truncate(MAX_LISTED_LORAS);
    Ok(names.into_iter().map(|name| describe(folder, name, models)).collect())
}

fn describe(folder: &Path, name: String, models: &[(String, Arc<Targets>)]) -> LoraInfo {
    let file = LoraFile::on_disk(name.clone(), folder.join(format!("{name}{ENDING}")));
    match inspect(&file) {
        Ok(info) => {
            let fitting = models.iter().filter(|(_, targets)| check(&file, targets).is_ok());
            LoraInfo { models: fitting.map(|(model, _)| model.clone()).collect(), ..info }
        }
        Err(error) => LoraInfo {
            name,
            min_rank: 0,
            max_rank: 0,
            layers: 0,
            file_bytes: 0,
            models: Vec::new(),
            problem: Some(error.message),
        },
    }
}

/// The file of a name and its digest.
pub(crate) fn find(folder: Option<&Path>, name: &str, digests: &Digests) -> Result<(BlobHash, LoraBytes), Error> {
    let missing = |what: &str| {
        Error::new(Reason::LoraNotFound, format!("there is no LoRA named {name:?}: {what}")).about("lora", name)
    };
    let folder = folder
        .ok_or_else(|| missing("no folder is configured, set lora_folder, or upload the file and name its hash"))?;
    if !is_lora_name(name) {
        return Err(missing("a name has letters, digits, '.', '_' and '-' only"));
    }
    let path = folder.join(format!("{name}{ENDING}"));
    match digests.of_file(&path) {
        Ok(hash) => Ok((hash, LoraBytes::File(path))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(missing("list the LoRAs to see which there are"))
        }
        Err(error) => Err(missing(&format!("its file cannot be read ({error})"))),
    }
}
