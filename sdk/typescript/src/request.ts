// Building a request: which picture, and how it is run.

import type { MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";

import {
  DisconnectPolicy,
  type GenerationSpecSchema,
  PreviewKind,
  type Priority,
  type RunPolicySchema,
} from "./gen/easel/v1/generation_pb.js";
import { ImageFormat, type ImageSourceSchema } from "./gen/easel/v1/image_pb.js";
import { hex } from "./hash.js";
import type { Link } from "./link.js";
import { bytesOf, type Picture, upload } from "./transfer.js";

/** Source pictures up to this size go along with the request: an upload would cost three calls more. */
const INLINE_BYTES = 64 * 1024;

/** Which previews a client wants. */
export interface PreviewOptions {
  /** How they are made; default: decoded. */
  readonly kind?: PreviewKind | undefined;
  /** Longest edge in pixels, 16 to 4096; default: as the kind yields it. Never enlarges. */
  readonly longestEdgePx?: number | undefined;
  /** Encoding; default: JPEG. */
  readonly format?: ImageFormat | undefined;
  /** A preview after every n-th step, 1 to 100; default: 1. */
  readonly everyNSteps?: number | undefined;
}

/** How a generation is run, as far as it does not change the picture. */
export interface RunOptions {
  /** Previews; `true`: after every step, decoded, as JPEG. Default: none. */
  readonly previews?: PreviewOptions | boolean | undefined;
  /** Urgency; default: interactive. */
  readonly priority?: Priority | undefined;
  /**
   * Lets a generation go on when this client goes away, so that a stream survives a lost connection without losing work;
   * default: it is cancelled. Edits of sessions always go on.
   */
  readonly keepWhenDisconnected?: boolean | undefined;
  /** Compute stops this long after the creation, 1 ms to 24 h; default: never. */
  readonly timeoutMs?: number | undefined;
  /**
   * Id of the request, 1 to 128 characters of `[A-Za-z0-9._:-]`: the same id with the same content returns the first generation.
   * Default: a random one, so that a start that was lost on the way can be repeated.
   */
  readonly requestId?: string | undefined;
  /** Aborting cancels the generation in the daemon. */
  readonly signal?: AbortSignal | undefined;
}

type Spec = MessageInitShape<typeof GenerationSpecSchema>;
type SpecFields = Omit<Extract<Spec, { $typeName?: never }>, "$typeName" | "$unknown" | "mode" | "prompt" | "image" | "seed">;

/** What beside prompt and source makes the picture: every field of `GenerationSpec`; what is not set takes the model's defaults. */
export type PictureOptions = SpecFields & {
  /** Seed of the first picture; default: random, and the first event tells. */
  readonly seed?: bigint | number | undefined;
};

/** Everything that a request can say beside prompt and source. Nothing is checked here: the daemon reports every wrong field. */
export type GenerateOptions = PictureOptions & RunOptions;

type Policy = MessageInitShape<typeof RunPolicySchema> & { requestId: string };

/** Splits options into the two messages of a request. */
export function messagesOf(options: GenerateOptions): { spec: Spec; policy: Policy } {
  const { previews, priority, keepWhenDisconnected, timeoutMs, requestId, signal: _, seed, ...fields } = options;
  const spec: Spec = { ...fields, ...(seed === undefined ? {} : { seed: BigInt(seed) }) };
  const policy: Policy = {
    requestId: requestId ?? randomId(),
    ...(previews === undefined || previews === false ? {} : { previews: previewPolicy(previews) }),
    ...(priority === undefined ? {} : { priority }),
    ...(keepWhenDisconnected === true ? { onDisconnect: DisconnectPolicy.KEEP } : {}),
    ...(timeoutMs === undefined ? {} : { timeout: durationFromMs(timeoutMs) }),
  };
  return { spec, policy };
}

function previewPolicy(previews: PreviewOptions | true): NonNullable<Policy["previews"]> {
  const { kind, longestEdgePx, format, everyNSteps } = previews === true ? {} : previews;
  return {
    kind: kind ?? PreviewKind.DECODED,
    format: format ?? ImageFormat.JPEG,
    everyNSteps: everyNSteps ?? 1,
    ...(longestEdgePx === undefined ? {} : { longestEdgePx }),
  };
}

/** A picture as a request names it, uploaded when it is large and not yet there. */
export async function sourceOf(
  link: Link,
  picture: Picture,
  signal?: AbortSignal,
): Promise<MessageInitShape<typeof ImageSourceSchema>> {
  if ("sha256" in picture) {
    return { source: { case: "sha256", value: picture.sha256 } };
  }
  if ("raw" in picture) {
    const { data, width, height, layout, iccProfile } = picture.raw;
    const pixels = { width, height, data: await dataOf(link, data, signal) };
    const value = { ...pixels, ...(layout && { layout }), ...(iccProfile && { iccProfile }) };
    return { source: { case: "raw", value } };
  }
  return { source: await dataOf(link, await bytesOf(picture), signal) };
}

type Data = { case: "inline"; value: Uint8Array } | { case: "sha256"; value: string };

async function dataOf(link: Link, bytes: Uint8Array, signal?: AbortSignal): Promise<Data> {
  if (bytes.length <= INLINE_BYTES) {
    return { case: "inline", value: bytes };
  }
  return { case: "sha256", value: await upload(link, bytes, { signal }) };
}

/** A random id for requests; not secret. */
export function randomId(): string {
  return hex(globalThis.crypto.getRandomValues(new Uint8Array(16)));
}
