//! The pixel pool: decoding, resizing and encoding of pictures, on a few blocking threads beside the actors.

mod finish;
mod raw;
mod selection;

use std::sync::Arc;
use std::time::{Duration, Instant};

use easel_domain::event::{EncodedImage, Preview};
use easel_domain::session::Difference;
use easel_domain::{BlobHash, Error, PreviewPolicy, Reason, Rect, RgbImage, Size, limits};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

pub(crate) use finish::Finish;
pub(crate) use raw::file_of_raw;
pub(crate) use selection::Edited;

/// A bounded share of the blocking threads. Clones are the same pool.
#[derive(Clone, Debug)]
pub(crate) struct PixelPool {
    places: Arc<Semaphore>,
    /// Work is done where it is asked for.
    inline: bool,
}

impl PixelPool {
    pub(crate) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(limits::PIXEL_WORKERS)), inline: false }
    }

    /// One without threads, for virtual time.
    pub(crate) fn inline() -> Self {
        Self { inline: true, ..Self::new() }
    }

    /// Waits for a worker and lets it do `work`; also returns how long it waited. The worker's place is given back when
    /// the work is over, even if the caller has gone.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> (Result<T, Error>, Duration) {
        if self.inline {
            return (work(), Duration::ZERO);
        }
        let start = Instant::now();
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return (Err(Error::new(Reason::Draining, "the daemon stops")), start.elapsed());
        };
        let waited = start.elapsed();
        let span = tracing::Span::current();
        let worker = tokio::task::spawn_blocking(move || {
            let _place = place;
            span.in_scope(work)
        });
        let result = worker.await.unwrap_or_else(|error| {
            tracing::error!(%error, "pixel work panicked");
            Err(Error::new(Reason::Internal, "work on the pixels of a picture failed; report it with the daemon's log"))
        });
        (result, waited)
    }
}

/// SHA-256 of bytes.
pub(crate) fn hash(bytes: &[u8]) -> BlobHash {
    BlobHash(Sha256::digest(bytes).into())
}

/// Size of a picture from its header, with errors that name the field of the request.
pub(crate) fn probe(bytes: &[u8]) -> Result<Size, Error> {
    easel_imaging::probe(bytes).map(|probe| probe.size).map_err(|error| error.in_field("spec.image"))
}

/// A picture from its file, with errors that name the field of the request.
pub(crate) fn load(bytes: &[u8]) -> Result<RgbImage, Error> {
    easel_imaging::load(bytes).map_err(|error| error.in_field("spec.image"))
}

/// A part of a picture. Fails with `Internal` when it reaches over the picture.
pub(crate) fn part(picture: &RgbImage, part: Rect) -> Result<RgbImage, Error> {
    if part.is_empty() || !Rect::of(picture.size()).contains(part) {
        return Err(Error::new(Reason::Internal, format!("{part} is no part of a picture of {}", picture.size())));
    }
    let (stride, width) = (picture.width() as usize * 3, part.width as usize * 3);
    let rows = picture.pixels().chunks_exact(stride).skip(part.y as usize).take(part.height as usize);
    let left = part.x as usize * 3;
    let pixels: Vec<u8> = rows.flat_map(|row| &row[left..left + width]).copied().collect();
    RgbImage::new(part.width, part.height, pixels)
}

/// How two pictures differ.
pub(crate) fn difference(one: &RgbImage, other: &RgbImage) -> Difference {
    let pixels = one.size().pixels();
    if one.size() != other.size() {
        return Difference { same_size: false, pixels, ..Difference::default() };
    }
    let (mut sum, mut squares, mut most, mut changed_pixels) = (0_u64, 0_u64, 0_u8, 0_u64);
    let (mut left, mut top, mut right, mut bottom) = (u32::MAX, u32::MAX, 0, 0);
    for (at, (a, b)) in (0_u64..).zip(one.pixels().chunks_exact(3).zip(other.pixels().chunks_exact(3))) {
        if a == b {
            continue;
        }
        let (x, y) = ((at % u64::from(one.width())) as u32, (at / u64::from(one.width())) as u32);
        changed_pixels += 1;
        (left, right, top, bottom) = (left.min(x), right.max(x), top.min(y), bottom.max(y));
        for (a, b) in a.iter().zip(b) {
            let by = a.abs_diff(*b);
            most = most.max(by);
            sum += u64::from(by);
            squares += u64::from(by).pow(2);
        }
    }
    let values = (pixels * 3) as f64;
    Difference {
        same_size: true,
        changed_pixels,
        pixels,
        mean_absolute_difference: sum as f64 / values,
        max_difference: most,
        mean_squared_difference: squares as f64 / values,
        changed: (changed_pixels > 0).then(|| (left, top, right - left + 1, bottom - top + 1)),
    }
}

/// A preview as the policy asks for it; its number is given where it is shown.
pub(crate) fn preview(
    picture: &RgbImage,
    policy: PreviewPolicy,
    (image_index, step, epoch): (u32, u32, u32),
) -> Result<Preview, Error> {
    let longest = policy.longest_edge_px.unwrap_or(limits::MAX_PREVIEW_EDGE_PX).clamp(1, limits::MAX_PREVIEW_EDGE_PX);
    let small = easel_imaging::fit(picture, longest);
    let bytes: Arc<[u8]> = easel_imaging::encode(&small, policy.format)?.into();
    let image = EncodedImage::new(policy.format, (small.width(), small.height()), None, bytes);
    Ok(Preview { number: 0, image_index, step, epoch, kind: policy.kind, image })
}
