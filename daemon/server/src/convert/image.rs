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

    /// A result, with its file when it fits.
    pub(crate) fn result(&mut self, image: &EncodedImage) -> v1::Image {
        self.image(image, MAX_INLINE_RESULT_BYTES)
    }

    /// A preview, with its file when it fits at all, since it is nowhere else to be had.
    pub(crate) fn preview(&mut self, image: &EncodedImage) -> v1::Image {
        self.image(image, MAX_INLINE_ANSWER_BYTES)
    }

    /// Whether a result of so many bytes may stand inline; counts it if so.
    pub(crate) fn takes(&mut self, bytes: usize) -> bool {
        let fits = bytes <= MAX_INLINE_RESULT_BYTES.min(self.0);
        self.0 -= if fits { bytes } else { 0 };
        fits
    }

    fn image(&mut self, image: &EncodedImage, most: usize) -> v1::Image {
        v1::Image {
            format: names::wire_format(image.format).into(),
            width: image.width,
            height: image.height,
            sha256: image.hash.map(|hash| hash.to_string()).unwrap_or_default(),
            size_bytes: image.size_bytes,
            inline: self.take(&image.bytes, most),
        }
    }

    fn take(&mut self, file: &Arc<[u8]>, most: usize) -> Bytes {
        if file.len() > most.min(self.0) {
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

#[cfg(test)]
mod tests {
    use easel_domain::ImageFormat;

    use super::*;

    fn picture(bytes: usize) -> EncodedImage {
        EncodedImage::new(ImageFormat::Png, (1, 1), None, vec![7; bytes].into())
    }

    #[test]
    fn results_stand_inline_up_to_their_limit_and_the_answers() {
        const MOST: usize = MAX_INLINE_RESULT_BYTES;
        let mut budget = InlineBudget::one_answer();
        assert!(budget.result(&picture(MOST + 1)).inline.is_empty());
        let inline: Vec<_> = (0..4).map(|_| budget.result(&picture(MOST)).inline.len()).collect();
        assert_eq!(inline, [MOST, MOST, MOST, 0]);
        assert!(budget.preview(&picture(1)).inline.is_empty());
        assert_eq!(InlineBudget::one_answer().preview(&picture(MOST + 1)).inline.len(), MOST + 1);
        assert!(InlineBudget::none().result(&picture(1)).inline.is_empty());
    }
}
