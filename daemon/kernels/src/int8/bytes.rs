//! Packed weights: bytes that a layer reads and somebody else may keep, such as a mapped file.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Part of some memory that is shared, read only. Cheap to clone.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl Bytes {
    /// A part of what `owner` keeps; `None` when it is not within it.
    pub fn part(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Option<Self> {
        (*owner).as_ref().get(range.clone())?;
        Some(Self { owner, range })
    }

    /// A part of this part; `None` when it is not within it.
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        self.as_slice().get(range.clone())?;
        let start = self.range.start;
        Some(Self { owner: self.owner.clone(), range: start + range.start..start + range.end })
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Splits into what is before `at`, and the numbers behind it.
    pub(crate) fn split_floats(&self, at: usize) -> Option<(Self, Vec<f32>)> {
        let (head, tail) = (self.slice(0..at)?, self.slice(at..self.len())?);
        let (numbers, rest) = tail.as_slice().as_chunks::<4>();
        rest.is_empty().then(|| (head, numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self { owner: Arc::new(bytes), range }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}
