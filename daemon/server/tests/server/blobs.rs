//! Blobs: uploads that stop half-way and go on, hashes that do not fit, downloads in chunks.

use easel_proto::v1;
use easel_proto::v1::blob_service_client::BlobServiceClient;
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use crate::support::{Daemon, create_request, ended, png, quick, sha256, told};

const MIB: usize = 1024 * 1024;

async fn begin(client: &mut BlobServiceClient<Channel>, sha256: &str, size: usize) -> v1::BeginUploadResponse {
    let request = v1::BeginUploadRequest { sha256: sha256.into(), size_bytes: u64::try_from(size).unwrap() };
    client.begin_upload(request).await.unwrap().into_inner()
}

fn chunk(sha256: &str, offset: usize, data: &[u8]) -> v1::AppendUploadRequest {
    let offset = u64::try_from(offset).unwrap();
    v1::AppendUploadRequest { sha256: sha256.into(), offset, data: data.to_vec().into() }
}

async fn finish(client: &mut BlobServiceClient<Channel>, sha256: &str) -> Result<v1::Blob, tonic::Status> {
    let request = v1::FinishUploadRequest { sha256: sha256.into() };
    client.finish_upload(request).await.map(|answer| answer.into_inner().blob.unwrap())
}

fn noise(size: usize) -> Vec<u8> {
    (0..size).map(|i| u8::try_from((i * i / 7 + i) % 251).unwrap()).collect()
}

#[tokio::test]
async fn an_upload_goes_on_where_it_stopped() {
    let daemon = Daemon::start(quick()).await;
    let file = noise(MIB + MIB / 2);
    let hash = sha256(&file);
    let mut client = daemon.blobs();
    let begun = begin(&mut client, &hash, file.len()).await;
    assert_eq!((begun.exists, begun.offset), (false, 0));
    client.append_upload(chunk(&hash, 0, &file[..MIB])).await.unwrap();

    // Another client, after a lost connection.
    let mut client = daemon.blobs();
    let again = begin(&mut client, &hash, file.len()).await;
    assert_eq!((again.exists, again.offset), (false, u64::try_from(MIB).unwrap()));
    let early = finish(&mut client, &hash).await.unwrap_err();
    assert_eq!(told(&early).0, Code::OutOfRange);
    let wrong = client.append_upload(chunk(&hash, 5, &file[5..10])).await.unwrap_err();
    assert_eq!((told(&wrong).0, told(&wrong).1.as_str()), (Code::OutOfRange, "UPLOAD_OFFSET_MISMATCH"));
    assert!(wrong.message().contains(&MIB.to_string()), "{}", wrong.message());
    let info = wrong.get_error_details().error_info().unwrap().clone();
    assert_eq!(info.metadata["expected_offset"], MIB.to_string());
    let next = client.append_upload(chunk(&hash, MIB, &file[MIB..])).await.unwrap().into_inner();
    assert_eq!(next.offset, u64::try_from(file.len()).unwrap());
    let blob = finish(&mut client, &hash).await.unwrap();
    assert_eq!((blob.sha256.as_str(), blob.size_bytes), (hash.as_str(), next.offset));
    assert!(begin(&mut client, &hash, file.len()).await.exists);
    assert_eq!(client.get_blob(v1::GetBlobRequest { sha256: hash }).await.unwrap().into_inner().blob.unwrap(), blob);
}

#[tokio::test]
async fn bytes_with_another_hash_are_lost_data() {
    let daemon = Daemon::start(quick()).await;
    let mut client = daemon.blobs();
    let hash = sha256(b"what was announced");
    begin(&mut client, &hash, 4).await;
    client.append_upload(chunk(&hash, 0, b"else")).await.unwrap();
    let status = finish(&mut client, &hash).await.unwrap_err();
    assert_eq!((told(&status).0, told(&status).1.as_str()), (Code::DataLoss, "BLOB_HASH_MISMATCH"));
    let gone = client.get_blob(v1::GetBlobRequest { sha256: hash }).await.unwrap_err();
    assert_eq!((told(&gone).0, told(&gone).1.as_str()), (Code::NotFound, "BLOB_NOT_FOUND"));
}

#[tokio::test]
async fn wrong_uploads_are_refused() {
    let daemon = Daemon::start(quick()).await;
    let mut client = daemon.blobs();
    let request = v1::BeginUploadRequest { sha256: "nonsense".into(), size_bytes: 0 };
    let both = client.begin_upload(request).await.unwrap_err();
    assert_eq!(told(&both).2, ["sha256", "size_bytes"]);
    let request = v1::BeginUploadRequest { sha256: "ab".repeat(32), size_bytes: u64::MAX };
    assert_eq!(told(&client.begin_upload(request).await.unwrap_err()).2, ["size_bytes"]);
    for data in [vec![], vec![0; MIB + 1]] {
        let status = client.append_upload(chunk(&"ab".repeat(32), 0, &data)).await.unwrap_err();
        assert_eq!((told(&status).0, told(&status).2), (Code::InvalidArgument, vec!["data".to_owned()]));
    }
    let nobody = client.append_upload(chunk(&"ab".repeat(32), 0, b"x")).await.unwrap_err();
    assert_eq!((told(&nobody).0, told(&nobody).1.as_str()), (Code::NotFound, "UPLOAD_NOT_FOUND"));
}

#[tokio::test]
async fn a_large_result_comes_by_its_hash_in_chunks() {
    let daemon = Daemon::start(quick()).await;
    let mut client = daemon.generations();
    let mut request = create_request("large");
    let spec = request.spec.as_mut().unwrap();
    (spec.width, spec.height) = (Some(1024), Some(768));
    spec.output_format = v1::ImageFormat::Tiff.into();
    let id = client.create_generation(request).await.unwrap().into_inner().generation.unwrap().id;
    let generation = ended(&mut client, &id).await;
    let image = generation.images[0].image.clone().unwrap();
    let size = usize::try_from(image.size_bytes).unwrap();
    assert!(size > MIB && image.inline.is_empty(), "{size} bytes");

    let read = async |offset: u64, length: u64| {
        let request = v1::ReadBlobRequest { sha256: image.sha256.clone(), offset, length };
        let stream = daemon.blobs().read_blob(request).await.unwrap().into_inner();
        stream.map(Result::unwrap).collect::<Vec<_>>().await
    };
    let chunks = read(0, 0).await;
    let mut file = Vec::new();
    for chunk in &chunks {
        assert_eq!(chunk.offset, u64::try_from(file.len()).unwrap());
        assert!(chunk.data.len() <= MIB);
        file.extend_from_slice(&chunk.data);
    }
    assert_eq!((file.len(), sha256(&file)), (size, image.sha256.clone()));
    assert_eq!(image::load_from_memory(&file).unwrap().width(), 1024);

    let part = read(10, 5).await;
    assert_eq!((part.len(), part[0].offset, &part[0].data[..]), (1, 10, &file[10..15]));
    assert!(read(image.size_bytes, 0).await.is_empty());
    let beyond = v1::ReadBlobRequest { sha256: image.sha256.clone(), offset: image.size_bytes + 1, length: 1 };
    let beyond = daemon.blobs().read_blob(beyond).await.unwrap_err();
    assert_eq!(told(&beyond).2, ["offset"]);
}

#[tokio::test]
async fn an_answer_holds_no_more_pictures_than_clients_take() {
    let daemon = Daemon::start(quick()).await;
    let mut client = daemon.generations();
    let mut request = create_request("many");
    let spec = request.spec.as_mut().unwrap();
    (spec.width, spec.height, spec.num_images) = (Some(512), Some(512), Some(6));
    spec.output_format = v1::ImageFormat::Tiff.into();
    let id = client.create_generation(request).await.unwrap().into_inner().generation.unwrap().id;
    let images = ended(&mut client, &id).await.images;
    let inline = images.iter().filter(|made| !made.image.as_ref().unwrap().inline.is_empty()).count();
    assert_eq!(images.len(), 6);
    assert!((1..6).contains(&inline), "{inline} pictures inline");
}

#[tokio::test]
async fn an_uploaded_picture_can_be_edited() {
    let daemon = Daemon::start(quick()).await;
    let file = png(64, 64);
    let hash = sha256(&file);
    let mut blobs = daemon.blobs();
    begin(&mut blobs, &hash, file.len()).await;
    blobs.append_upload(chunk(&hash, 0, &file)).await.unwrap();
    finish(&mut blobs, &hash).await.unwrap();
    let mut request = create_request("make it green");
    request.spec.as_mut().unwrap().image =
        Some(v1::ImageSource { source: Some(v1::image_source::Source::Sha256(hash)) });
    let mut client = daemon.generations();
    let id = client.create_generation(request).await.unwrap().into_inner().generation.unwrap().id;
    assert_eq!(ended(&mut client, &id).await.state(), v1::GenerationState::Succeeded);
}
