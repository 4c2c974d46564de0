//! What a stage keeps between generations, so that a second instruction on the same canvas does not compute again what the
//! first one did. Bounded in bytes; the least recently used goes first. Keys name all that a value depends on, so that a kept
//! value has the bits that computing it again would give.

use easel_domain::{RgbImage, Size};
use sha2::{Digest, Sha256};

/// A picture by its content: SHA-256 of its size and pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PictureKey([u8; 32]);

impl PictureKey {
    pub(crate) fn of(image: &RgbImage) -> Self {
        let Size { width, height } = image.size();
        let hash = Sha256::new().chain_update(width.to_le_bytes()).chain_update(height.to_le_bytes());
        Self(hash.chain_update(image.pixels()).finalize().into())
    }
}

/// Values by their keys, the most recently used last. There are few, and each took seconds to make: a walk finds them.
#[derive(Debug)]
pub(crate) struct Kept<K, V> {
    limit: u64,
    held: u64,
    entries: Vec<Entry<K, V>>,
}

#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    value: V,
    bytes: u64,
}

impl<K: PartialEq, V: Clone> Kept<K, V> {
    /// Keeps up to `limit` bytes; with 0 nothing.
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, held: 0, entries: Vec::new() }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        let at = self.entries.iter().position(|entry| entry.key == *key)?;
        let entry = self.entries.remove(at);
        let value = entry.value.clone();
        self.entries.push(entry);
        Some(value)
    }

    /// Keeps a value of `bytes`, unless it alone is over the limit; drops others to make room.
    pub(crate) fn put(&mut self, key: K, value: V, bytes: u64) {
        if let Some(at) = self.entries.iter().position(|entry| entry.key == key) {
            self.held -= self.entries.remove(at).bytes;
        }
        if bytes > self.limit {
            return;
        }
        while self.held + bytes > self.limit {
            self.held -= self.entries.remove(0).bytes;
        }
        self.held += bytes;
        self.entries.push(Entry { key, value, bytes });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut kept = Kept::new(10);
        kept.put("a", 1, 4);
        kept.put("b", 2, 4);
        assert_eq!(kept.get(&"a"), Some(1));
        kept.put("c", 3, 4);
        assert_eq!((kept.get(&"a"), kept.get(&"b"), kept.get(&"c")), (Some(1), None, Some(3)));
        assert_eq!(kept.held, 8);
    }

    #[test]
    fn what_is_over_the_limit_alone_drops_nobody() {
        let mut kept = Kept::new(10);
        kept.put("a", 1, 10);
        kept.put("b", 2, 11);
        assert_eq!((kept.get(&"a"), kept.get(&"b")), (Some(1), None));
        kept.put("a", 3, 11);
        assert_eq!((kept.get(&"a"), kept.held), (None, 0), "an old value does not outlive its successor");
        let mut nothing = Kept::new(0);
        nothing.put("a", 1, 1);
        assert_eq!(nothing.get(&"a"), None);
    }

    #[test]
    fn a_picture_is_known_by_size_and_pixels() {
        let picture = |width, height, value| {
            RgbImage::new(width, height, vec![value; width as usize * height as usize * 3]).expect("a picture")
        };
        let key = PictureKey::of(&picture(4, 2, 7));
        assert_eq!(key, PictureKey::of(&picture(4, 2, 7)));
        assert_ne!(key, PictureKey::of(&picture(2, 4, 7)));
        assert_ne!(key, PictureKey::of(&picture(4, 2, 8)));
    }
}
