//! Pictures that go out, and how many bytes of them stand in one answer.

use std::sync::Arc;

use bytes::Bytes;
use easel_domain::event::EncodedImage;
use easel_domain::limits::{MAX_INLINE_ANSWER_BYTES, MAX_INLINE_RESULT_BYTES};
use easel_proto::v1;

use super::names;

/// Bytes of pictures that may still stand in an answer, so that the message stays below what clients take.
#[derive(Debug)]
pub(crate) struct InlineBudget(usize);

impl InlineBudget {
    /// For an answer about one generation.
    pub(crate) fn one_answer() -> Self {
        Self(MAX_INLINE_ANSWER_BYTES)
    }

    /// For a list: pictures by their hash only.
    pub(crate) fn none() -> Self {
        Self(0)
    }

    /// The picture, with its file when it fits.
    pub(crate) fn image(&mut self, image: &EncodedImage) -> v1::Image {
        v1::Image {
            format: names::wire_format(image.format).into(),
            width: image.width,
            height: image.height,
            sha256: image.hash.map(|hash| hash.to_string()).unwrap_or_default(),
            size_bytes: u64::try_from(image.bytes.len()).unwrap_or(u64::MAX),
            inline: self.take(&image.bytes),
        }
    }

    fn take(&mut self, file: &Arc<[u8]>) -> Bytes {
        if file.len() > MAX_INLINE_RESULT_BYTES.min(self.0) {
            return Bytes::new();
        }
        self.0 -= file.len();
        shared(file)
    }
}

/// The same bytes without a copy.
pub(crate) fn shared(bytes: &Arc<[u8]>) -> Bytes {
    Bytes::from_owner(Arc::clone(bytes))
}
