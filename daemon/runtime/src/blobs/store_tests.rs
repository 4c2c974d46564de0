//! Tests of the blob store.

use easel_domain::Reason;

use super::*;
use crate::pixels;

fn now() -> (Instant, SystemTime) {
    (Instant::now(), SystemTime::now())
}

fn bytes(fill: u8, length: usize) -> Arc<[u8]> {
    vec![fill; length].into()
}

fn put(store: &mut BlobStore, fill: u8, length: usize) -> Result<BlobHash, Error> {
    let bytes = bytes(fill, length);
    let hash = pixels::hash(&bytes);
    store.put(hash, bytes, now()).map(|_| hash)
}

fn reason<T: std::fmt::Debug>(result: Result<T, Error>) -> Reason {
    result.expect_err("this must fail").reason
}

#[test]
fn an_upload_resumes_and_becomes_a_blob() {
    let mut store = BlobStore::new(1000);
    let content = bytes(7, 100);
    let hash = pixels::hash(&content);
    let at = now();
    assert_eq!(reason(store.append(hash, 0, &content, at.0)), Reason::UploadNotFound);
    assert_eq!(reason(store.finish(hash, at)), Reason::UploadNotFound);
    assert_eq!(store.begin(hash, 100, at.0), Ok(UploadState { exists: false, offset: 0 }));
    assert_eq!(store.append(hash, 0, &content[..40], at.0), Ok(40));
    assert_eq!(reason(store.append(hash, 0, &content[..40], at.0)), Reason::UploadOffsetMismatch);
    assert_eq!(reason(store.finish(hash, at)), Reason::UploadOffsetMismatch);
    assert_eq!(store.begin(hash, 100, at.0), Ok(UploadState { exists: false, offset: 40 }));
    assert_eq!(reason(store.begin(hash, 99, at.0)), Reason::InvalidRequest);
    assert_eq!(reason(store.append(hash, 40, &content, at.0)), Reason::InvalidRequest);
    assert_eq!(store.append(hash, 40, &content[40..], at.0), Ok(100));
    assert_eq!(store.finish(hash, at).map(|info| info.size_bytes), Ok(100));
    assert_eq!(store.get(hash).map(|blob| blob.bytes), Ok(content));
    assert_eq!(store.begin(hash, 100, at.0), Ok(UploadState { exists: true, offset: 100 }));
    assert_eq!(store.status(), BlobStatus { count: 1, bytes: 100, uploads: 0 });
}

#[test]
fn wrong_bytes_are_dropped() {
    let mut store = BlobStore::new(1000);
    let hash = pixels::hash(&bytes(1, 10));
    let at = now();
    store.begin(hash, 10, at.0).expect("there is room");
    store.append(hash, 0, &bytes(2, 10), at.0).expect("the chunk fits");
    assert_eq!(reason(store.finish(hash, at)), Reason::BlobHashMismatch);
    assert_eq!(reason(store.get(hash)), Reason::BlobNotFound);
    assert_eq!(store.status().uploads, 0);
    assert_eq!(store.begin(hash, 10, at.0), Ok(UploadState { exists: false, offset: 0 }));
}

#[test]
fn sizes_are_checked() {
    let mut store = BlobStore::new(u64::MAX);
    let hash = pixels::hash(b"a");
    assert_eq!(reason(store.begin(hash, 0, now().0)), Reason::InvalidRequest);
    assert_eq!(reason(store.begin(hash, limits::MAX_BLOB_BYTES + 1, now().0)), Reason::InvalidRequest);
    let chunk = vec![0; limits::MAX_CHUNK_BYTES + 1];
    assert_eq!(reason(store.append(hash, 0, &chunk, now().0)), Reason::InvalidRequest);
}

#[test]
fn the_least_recently_used_goes_first_and_what_is_held_stays() {
    let mut store = BlobStore::new(100);
    let first = put(&mut store, 1, 40).expect("there is room");
    let second = put(&mut store, 2, 40).expect("there is room");
    let held = store.get(first).expect("it is there");
    let third = put(&mut store, 3, 40).expect("the second one makes room");
    assert_eq!(reason(store.get(second)), Reason::BlobNotFound);
    assert_eq!(reason(put(&mut store, 4, 61)), Reason::StoreFull);
    assert!(store.get(third).is_ok(), "nothing is dropped when it would not help");
    drop(held);
    put(&mut store, 4, 61).expect("nobody holds the first one any more");
    assert_eq!(reason(store.get(first)), Reason::BlobNotFound);
}

#[test]
fn uploads_are_bounded_and_idle_ones_dropped() {
    let mut store = BlobStore::new(1000);
    let start = now().0;
    let hash = |number: usize| pixels::hash(&number.to_le_bytes());
    for number in 0..limits::MAX_UPLOADS {
        store.begin(hash(number), 10, start).expect("there is room");
    }
    assert_eq!(reason(store.begin(hash(99), 10, start)), Reason::StoreFull);
    let later = start + limits::UPLOAD_IDLE;
    assert_eq!(store.begin(hash(99), 10, later), Ok(UploadState { exists: false, offset: 0 }));
    assert_eq!(store.status().uploads, 1);
    assert_eq!(reason(store.append(hash(0), 0, b"x", later)), Reason::UploadNotFound);
    // What the dropped ones had announced is free again.
    store.begin(hash(100), 990, later).expect("there is room");
}
