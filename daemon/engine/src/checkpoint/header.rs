//! The header of a safetensors file, checked so thoroughly that the tensors can be cut out afterwards without a doubt:
//! 8 bytes of little-endian length, JSON of that length, then the data (https://github.com/huggingface/safetensors#format).

use std::collections::HashMap;
use std::ops::Range;

use easel_domain::limits::MAX_SAFETENSORS_HEADER_BYTES;
use serde::Deserialize;

use crate::error::LoadError;

/// How numbers are stored in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    F32,
    F16,
    Bf16,
}

impl Format {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// A tensor in a file.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) shape: Vec<usize>,
    /// `Err` holds the name of a type that is not read; it is an error only when somebody asks for the tensor.
    pub(crate) format: Result<Format, String>,
    /// Bytes in the file, checked to lie within it.
    pub(crate) bytes: Range<usize>,
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// Reads the tensors of a file. `file` is its name for messages.
pub(crate) fn read_header(file: &str, bytes: &[u8]) -> Result<HashMap<String, Entry>, LoadError> {
    let bad = |what: String| LoadError::Header { file: file.into(), what };
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(&[0x80, 0x02]) || bytes.starts_with(&[0x80, 0x04]) {
        return Err(LoadError::Pickle { file: file.into() });
    }
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(truncated(file, 8, bytes.len() as u64));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_SAFETENSORS_HEADER_BYTES {
        return Err(bad(format!("its header claims {length} bytes, more than {MAX_SAFETENSORS_HEADER_BYTES}")));
    }
    let Some((json, data)) = rest.split_at_checked(length as usize) else {
        return Err(truncated(file, 8 + length, bytes.len() as u64));
    };
    let raw: HashMap<String, serde_json::Value> =
        serde_json::from_slice(json).map_err(|e| bad(format!("its header is not JSON ({e})")))?;
    let data_start = 8 + length as usize;
    let mut entries = HashMap::with_capacity(raw.len());
    for (name, value) in raw.into_iter().filter(|(name, _)| name != "__metadata__") {
        let raw: RawEntry =
            serde_json::from_value(value).map_err(|e| bad(format!("the entry of {name} is broken ({e})")))?;
        let entry = check(file, &name, &raw, data_start, data.len())?;
        entries.insert(name, entry);
    }
    Ok(entries)
}

/// The metadata of a file whose header was read; `None` when it has none.
pub(crate) fn read_metadata(bytes: &[u8]) -> Option<HashMap<String, String>> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let json = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let mut header: HashMap<String, serde_json::Value> = serde_json::from_slice(json).ok()?;
    serde_json::from_value(header.remove("__metadata__")?).ok()
}

fn check(file: &str, name: &str, raw: &RawEntry, data_start: usize, data_bytes: usize) -> Result<Entry, LoadError> {
    let bad = |what: &str| LoadError::Header { file: file.into(), what: format!("{name} {what}") };
    let (begin, end) = raw.data_offsets;
    let count = raw.shape.iter().try_fold(1u64, |product, side| product.checked_mul(*side));
    let count = count.filter(|n| *n <= isize::MAX as u64).ok_or_else(|| bad("has a shape that overflows"))?;
    let span = end.checked_sub(begin).ok_or_else(|| bad("ends before it begins"))?;
    let format = match raw.dtype.as_str() {
        "F32" => Ok(Format::F32),
        "F16" => Ok(Format::F16),
        "BF16" => Ok(Format::Bf16),
        other => Err(other.to_owned()),
    };
    if let Ok(format) = &format
        && count.checked_mul(format.bytes() as u64) != Some(span)
    {
        return Err(bad(&format!("has shape {:?} in {span} bytes", raw.shape)));
    }
    if end > data_bytes as u64 {
        let promised = (data_start as u64).saturating_add(end);
        return Err(truncated(file, promised, (data_start + data_bytes) as u64));
    }
    let shape = raw.shape.iter().map(|side| *side as usize).collect();
    Ok(Entry { shape, format, bytes: data_start + begin as usize..data_start + end as usize })
}

fn truncated(file: &str, expected_bytes: u64, found_bytes: u64) -> LoadError {
    LoadError::Truncated { file: file.into(), expected_bytes, found_bytes }
}
