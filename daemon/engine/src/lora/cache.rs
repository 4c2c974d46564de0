//! The LoRAs that were read last, for the next picture with them; the least recently used goes first when there is no room.

use std::sync::{Arc, Mutex, PoisonError};

use easel_domain::{BlobHash, Error};

use super::Lora;

/// Owned by the engine, shared by its denoisers. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Cache(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    limit_bytes: u64,
    /// The least recently used first.
    entries: Vec<(Key, Arc<Lora>)>,
}

/// The content of the file, and the layers for which it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) sha256: BlobHash,
    /// Names the layers of a U-Net: equal for checkpoints with equal layers.
    pub(crate) layers: u64,
}

impl Cache {
    /// A cache for so many bytes.
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(State { limit_bytes, entries: Vec::new() })))
    }

    /// What is kept under a key, else what `read` makes, which is kept when there is room for it.
    pub(crate) fn get_or_read(&self, key: Key, read: impl FnOnce() -> Result<Lora, Error>) -> Result<Arc<Lora>, Error> {
        {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = state.entries.iter().position(|(kept, _)| *kept == key) {
                let entry = state.entries.remove(at);
                let lora = Arc::clone(&entry.1);
                state.entries.push(entry);
                return Ok(lora);
            }
        }
        let lora = Arc::new(read()?);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lora.bytes <= state.limit_bytes {
            state.entries.push((key, Arc::clone(&lora)));
            while state.bytes() > state.limit_bytes {
                state.entries.remove(0);
            }
        }
        Ok(lora)
    }

    /// Bytes that are kept.
    #[cfg(test)]
    fn bytes(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).bytes()
    }

    /// Drops all; bytes that this frees.
    pub(crate) fn clear(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = state.bytes();
        state.entries.clear();
        bytes
    }
}

impl State {
    fn bytes(&self) -> u64 {
        self.entries.iter().map(|(_, lora)| lora.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let cache = Cache::new(100);
        let key = |number: u8| Key { sha256: BlobHash([number; 32]), layers: 1 };
        let lora = |bytes: u64| Lora { layers: BTreeMap::new(), bytes };
        let put = |number: u8, bytes: u64| cache.get_or_read(key(number), || Ok(lora(bytes))).map(|lora| lora.bytes);
        assert_eq!(put(1, 40), Ok(40));
        assert_eq!(put(2, 40), Ok(40));
        assert_eq!(put(1, 7), Ok(40), "it is kept");
        assert_eq!(put(3, 30), Ok(30));
        assert_eq!(cache.bytes(), 70);
        assert_eq!(put(2, 20), Ok(20), "it made room and is read again");
        assert_eq!(put(4, 101), Ok(101), "it is too large to be kept");
        assert_eq!((cache.bytes(), cache.clear(), cache.bytes()), (90, 90, 0));
    }
}
