// Files to and from the daemon: uploads by hash that skip what is there, downloads in chunks that are checked.

import type { MessageInitShape } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";

import { Code } from "@connectrpc/connect";

import { EaselError, protocolError, Reason, toEaselError } from "./error.js";
import { BlobService } from "./gen/easel/v1/blob_pb.js";
import type { RawLayoutSchema } from "./gen/easel/v1/image_pb.js";
import { sha256 } from "./hash.js";
import type { Link } from "./link.js";
import { pause } from "./link.js";

/** Bytes of one chunk of an upload or, where streams are held back, of a download; the daemon takes up to 1 MiB. */
const CHUNK_BYTES = 1024 * 1024;
/** A lost connection is taken up again this often in a row. */
const ATTEMPTS = 6;
const FIRST_PAUSE_MS = 100;

/** A picture for a request: the bytes of a PNG, JPEG, WebP, TIFF, GIF or BMP file, or one that the daemon has already. */
export type Picture = Uint8Array | ArrayBuffer | Blob | { readonly sha256: string } | { readonly raw: Raster };

/** Pixels without a header, as a host has them in memory. */
export interface Raster {
  /** Row by row from the top left, as the layout says. */
  readonly data: Uint8Array;
  /** In pixels. */
  readonly width: number;
  /** In pixels. */
  readonly height: number;
  /** How they lie. Default: RGBA of 8 bits. */
  readonly layout?: MessageInitShape<typeof RawLayoutSchema> | undefined;
  /** ICC profile. Default: sRGB. */
  readonly iccProfile?: Uint8Array | undefined;
}

/** The bytes of a picture that stands here. */
export async function bytesOf(picture: Uint8Array | ArrayBuffer | Blob): Promise<Uint8Array> {
  if (picture instanceof Uint8Array) {
    return picture;
  }
  return new Uint8Array(picture instanceof ArrayBuffer ? picture : await picture.arrayBuffer());
}

/** Says how far a transfer is. */
export type TransferProgress = (doneBytes: number, totalBytes: number) => void;

/** Settings of a transfer. */
export interface TransferOptions {
  /** Gives the transfer up; an upload goes on from there the next time. */
  readonly signal?: AbortSignal | undefined;
  /** Is called as bytes move. */
  readonly onProgress?: TransferProgress | undefined;
}

/** Uploads and gives the hash. Sends nothing when the daemon has the file, and goes on where an earlier upload stopped. */
export async function upload(link: Link, bytes: Uint8Array, options: TransferOptions = {}): Promise<string> {
  const hash = await sha256(bytes);
  await persist(options.signal, () => uploadOnce(link, hash, bytes, options));
  return hash;
}

async function uploadOnce(link: Link, hash: string, bytes: Uint8Array, options: TransferOptions): Promise<void> {
  const { signal, onProgress } = options;
  const call = signal === undefined ? {} : { signal };
  const blobs = createClient(BlobService, link.transport);
  const begun = await blobs.beginUpload({ sha256: hash, sizeBytes: BigInt(bytes.length) }, call);
  let offset = begun.exists ? bytes.length : Number(begun.offset);
  onProgress?.(offset, bytes.length);
  if (begun.exists) {
    return;
  }
  while (offset < bytes.length) {
    const data = bytes.subarray(offset, offset + CHUNK_BYTES);
    const answer = await blobs.appendUpload({ sha256: hash, offset: BigInt(offset), data }, call);
    const next = Number(answer.offset);
    if (next <= offset) {
      throw protocolError("an upload does not move on");
    }
    offset = next;
    onProgress?.(offset, bytes.length);
  }
  await blobs.finishUpload({ sha256: hash }, call);
}

/** Downloads a blob by its hash and checks it; goes on after a lost connection where it stopped. */
export async function download(link: Link, hash: string, options: TransferOptions = {}): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let have = 0;
  const { signal, onProgress } = options;
  const call = signal === undefined ? {} : { signal };
  const blobs = createClient(BlobService, link.transport);
  const { blob } = await persist(signal, () => blobs.getBlob({ sha256: hash }, call));
  const total = Number(blob?.sizeBytes ?? 0n);
  // Held-back streams still give whole answers; in pieces, so that progress is seen and little is lost.
  const piece = (await link.delivery()) === "poll" ? CHUNK_BYTES : total;
  await persist(signal, async () => {
    while (have < total) {
      const request = { sha256: hash, offset: BigInt(have), length: BigInt(Math.min(piece, total - have)) };
      for await (const chunk of blobs.readBlob(request, call)) {
        if (Number(chunk.offset) !== have) {
          throw protocolError(`a chunk at ${chunk.offset} came at ${have}`);
        }
        parts.push(chunk.data);
        have += chunk.data.length;
        onProgress?.(have, total);
      }
    }
  });
  const bytes = new Uint8Array(have);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  if ((await sha256(bytes)) !== hash) {
    const message = "the blob does not have the hash it was named by";
    throw new EaselError(message, { code: Code.DataLoss, reason: "DATA_LOSS" });
  }
  return bytes;
}

/** Tries again after a lost connection. `attempt` must be safe to repeat. */
export async function persist<T>(signal: AbortSignal | undefined, attempt: () => Promise<T>): Promise<T> {
  for (let lost = 0; ; lost += 1) {
    try {
      return await attempt();
    } catch (thrown) {
      const error = toEaselError(thrown, signal?.aborted);
      if (error.reason !== Reason.CONNECTION_LOST || lost >= ATTEMPTS) {
        throw error;
      }
    }
    try {
      await pause(FIRST_PAUSE_MS * 2 ** lost, signal);
    } catch (thrown) {
      throw toEaselError(thrown, true);
    }
  }
}
