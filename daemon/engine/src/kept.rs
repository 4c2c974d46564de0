//! What a stage keeps between generations, so that a second instruction on the same canvas does not compute again what the
//! first one did. Bounded in bytes; the least recently used goes first. Keys name all that a value depends on, so that a kept
//! value has the bits that computing it again would give.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use easel_domain::{KeptCache, KeptEntry, KeptKind, RgbImage, Size};
use sha2::{Digest, Sha256};

/// A picture by its content: SHA-256 of its size and pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PictureKey(pub(crate) [u8; 32]);

impl PictureKey {
    pub(crate) fn of(image: &RgbImage) -> Self {
        let Size { width, height } = image.size();
        let hash = Sha256::new().chain_update(width.to_le_bytes()).chain_update(height.to_le_bytes());
        Self(hash.chain_update(image.pixels()).finalize().into())
    }
}

/// What tells kept values apart.
pub(crate) trait Key: PartialEq + Debug + Send {
    /// What sort of value it stands for.
    const KIND: KeptKind;

    /// The source picture that the value depends on.
    fn picture(&self) -> Option<PictureKey>;

    /// The working size that the value depends on.
    fn size(&self) -> Option<Size> {
        None
    }
}

/// Values by their keys, the most recently used last. There are few, and each took seconds to make: a walk finds them. Owned by
/// the network that makes the values; whoever lists them sees them through a [`KeptList`].
#[derive(Debug)]
pub(crate) struct Kept<K, V>(Arc<Mutex<Shelf<K, V>>>);

#[derive(Debug)]
struct Shelf<K, V> {
    limit: u64,
    held: u64,
    hits: u64,
    misses: u64,
    entries: Vec<Entry<K, V>>,
}

#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    value: V,
    bytes: u64,
    uses: u64,
    used: Instant,
}

impl<K: Key + 'static, V: Clone + Send + 'static> Kept<K, V> {
    /// Keeps up to `limit` bytes, 0: nothing; `list` shows it as long as it lives.
    pub(crate) fn new(limit: u64, list: &KeptList) -> Self {
        let shelf = Arc::new(Mutex::new(Shelf { limit, held: 0, hits: 0, misses: 0, entries: Vec::new() }));
        let shown: Arc<dyn Shown> = Arc::clone(&shelf) as Arc<dyn Shown>;
        list.add(Arc::downgrade(&shown));
        Self(shelf)
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let mut shelf = lock(&self.0);
        let Some(at) = shelf.entries.iter().position(|entry| entry.key == *key) else {
            shelf.misses += 1;
            return None;
        };
        shelf.hits += 1;
        let mut entry = shelf.entries.remove(at);
        (entry.uses, entry.used) = (entry.uses + 1, Instant::now());
        let value = entry.value.clone();
        shelf.entries.push(entry);
        Some(value)
    }

    /// Keeps a value of `bytes`, unless it alone is over the limit; drops others to make room. One that is there already
    /// stays as it is.
    pub(crate) fn put(&self, key: K, value: V, bytes: u64) {
        let mut shelf = lock(&self.0);
        if bytes > shelf.limit || shelf.entries.iter().any(|entry| entry.key == key) {
            return;
        }
        while shelf.held + bytes > shelf.limit {
            shelf.held -= shelf.entries.remove(0).bytes;
        }
        shelf.held += bytes;
        shelf.entries.push(Entry { key, value, bytes, uses: 0, used: Instant::now() });
    }
}

/// A shelf without its types.
trait Shown: Send + Sync {
    fn report(&self, model: &str) -> KeptCache;
    fn clear(&self) -> u64;
}

impl<K: Key, V: Send> Shown for Mutex<Shelf<K, V>> {
    fn report(&self, model: &str) -> KeptCache {
        let shelf = lock(self);
        let entry = |entry: &Entry<K, V>| KeptEntry {
            bytes: entry.bytes,
            uses: entry.uses,
            idle: entry.used.elapsed(),
            picture: entry.key.picture().map(|picture| picture.0),
            size: entry.key.size(),
        };
        KeptCache {
            model: model.to_owned(),
            kind: K::KIND,
            limit_bytes: shelf.limit,
            hits: shelf.hits,
            misses: shelf.misses,
            entries: shelf.entries.iter().map(entry).collect(),
        }
    }

    fn clear(&self) -> u64 {
        let mut shelf = lock(self);
        shelf.entries.clear();
        std::mem::take(&mut shelf.held)
    }
}

/// What the loaded networks of a model keep, for those who list and clear it. Owned by the registry; holds nothing alive.
#[derive(Clone, Default)]
pub(crate) struct KeptList(Arc<Mutex<Vec<Weak<dyn Shown>>>>);

impl KeptList {
    fn add(&self, shelf: Weak<dyn Shown>) {
        let mut shelves = lock(&self.0);
        shelves.retain(|shelf| shelf.strong_count() > 0);
        shelves.push(shelf);
    }

    fn alive(&self) -> Vec<Arc<dyn Shown>> {
        lock(&self.0).iter().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn report(&self, model: &str) -> Vec<KeptCache> {
        self.alive().iter().map(|shelf| shelf.report(model)).collect()
    }

    /// Drops all values; the bytes that they held.
    pub(crate) fn clear(&self) -> u64 {
        self.alive().iter().map(|shelf| shelf.clear()).sum()
    }
}

/// A shelf is whole between any two statements that can panic.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Key for &'static str {
        const KIND: KeptKind = KeptKind::Prefix;

        fn picture(&self) -> Option<PictureKey> {
            None
        }
    }

    fn held(list: &KeptList) -> u64 {
        list.report("m").iter().map(KeptCache::bytes).sum()
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let list = KeptList::default();
        let kept = Kept::new(10, &list);
        kept.put("a", 1, 4);
        kept.put("b", 2, 4);
        assert_eq!(kept.get(&"a"), Some(1));
        kept.put("c", 3, 4);
        assert_eq!((kept.get(&"a"), kept.get(&"b"), kept.get(&"c")), (Some(1), None, Some(3)));
        assert_eq!(held(&list), 8);
    }

    #[test]
    fn what_is_over_the_limit_alone_drops_nobody() {
        let list = KeptList::default();
        let kept = Kept::new(10, &list);
        kept.put("a", 1, 10);
        kept.put("b", 2, 11);
        assert_eq!((kept.get(&"a"), kept.get(&"b")), (Some(1), None));
        let nothing = Kept::new(0, &list);
        nothing.put("a", 1, 1);
        assert_eq!(nothing.get(&"a"), None);
    }

    #[test]
    fn what_is_kept_is_listed_cleared_and_gone_with_its_owner() {
        let list = KeptList::default();
        let kept = Kept::new(10, &list);
        kept.put("a", 1, 6);
        assert_eq!((kept.get(&"a"), kept.get(&"b")), (Some(1), None));
        let report = list.report("m");
        assert_eq!((report.len(), report[0].hits, report[0].misses, report[0].entries[0].uses), (1, 1, 1, 1));
        assert_eq!((list.clear(), held(&list), kept.get(&"a")), (6, 0, None));
        kept.put("c", 3, 10);
        assert_eq!(kept.get(&"c"), Some(3), "there is room again");
        drop(kept);
        assert!(list.report("m").is_empty());
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
