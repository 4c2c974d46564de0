//! Files to and from the daemon: uploads by hash that skip what is there, downloads in chunks that are checked.

use easel_proto::v1;
use prost::bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{Easel, Error};

/// Bytes of one chunk of an upload; the daemon takes up to 1 MiB.
const CHUNK_BYTES: usize = 1024 * 1024;

impl Easel {
    /// Uploads a file and gives its SHA-256, by which requests name it. Sends nothing when the daemon has it already, and
    /// goes on where an earlier upload stopped.
    pub async fn upload(&self, bytes: &[u8]) -> Result<String, Error> {
        let sha256 = hash(bytes);
        let mut blobs = self.blobs();
        let begin = v1::BeginUploadRequest { sha256: sha256.clone(), size_bytes: bytes.len() as u64 };
        let state = blobs.begin_upload(begin).await?.into_inner();
        if state.exists {
            return Ok(sha256);
        }
        let mut offset = state.offset;
        while let Some(rest) = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)).filter(|r| !r.is_empty()) {
            let data = Bytes::copy_from_slice(&rest[..rest.len().min(CHUNK_BYTES)]);
            let append = v1::AppendUploadRequest { sha256: sha256.clone(), offset, data };
            let next = blobs.append_upload(append).await?.into_inner().offset;
            if next <= offset {
                return Err(Error::protocol("an upload does not move on"));
            }
            offset = next;
        }
        blobs.finish_upload(v1::FinishUploadRequest { sha256: sha256.clone() }).await?;
        Ok(sha256)
    }

    /// Downloads a blob by its hash and checks it.
    pub async fn download(&self, sha256: &str) -> Result<Vec<u8>, Error> {
        let request = v1::ReadBlobRequest { sha256: sha256.to_owned(), offset: 0, length: 0 };
        let mut chunks = self.blobs().read_blob(request).await?.into_inner();
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.message().await? {
            if chunk.offset != bytes.len() as u64 {
                return Err(Error::protocol(format!("a chunk at {} came at {}", chunk.offset, bytes.len())));
            }
            bytes.extend_from_slice(&chunk.data);
        }
        if hash(&bytes) != sha256 {
            return Err(Error::new(
                tonic::Code::DataLoss,
                "DATA_LOSS",
                "the blob does not have the hash it was named by",
            ));
        }
        Ok(bytes)
    }

    /// The file of a picture that the daemon made: as it came with the message, or fetched by its hash.
    pub async fn picture(&self, image: &v1::Image) -> Result<Vec<u8>, Error> {
        if !image.inline.is_empty() {
            return Ok(image.inline.to_vec());
        }
        self.download(&image.sha256).await
    }
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
