// What every build gives: the client, its events, errors, pictures, and the messages of the protocol.

export { Code } from "@connectrpc/connect";
export type { Access, Paired, PairingCode, PairOptions } from "./access.js";
export type { CallOptions, Created, Easel } from "./client.js";
export { EaselError, type FieldViolation, type Problem, Reason, type Resource } from "./error.js";
export {
  type AcceptedEvent,
  type EndedEvent,
  type EventHead,
  type GenerationEvent,
  hasEnded,
  isLast,
  type PreviewEvent,
  type ProgressEvent,
  type QueuedEvent,
  type Result,
  resultOf,
  type SnapshotEvent,
  type SucceededEvent,
} from "./event.js";
export type { Delivery } from "./link.js";
export type { Loading, Models } from "./models.js";
export { blobOf, inlineBlob, mimeType, type Pixels, toImageBitmap, toPixels } from "./picture.js";
export type { GenerateOptions, PictureOptions, PreviewOptions, RunOptions } from "./request.js";
export type { Run } from "./run.js";
export type { SessionEvent } from "./session_watch.js";
export type { RerunOptions, SessionEditOptions, Sessions } from "./sessions.js";
export { sha256 } from "./hash.js";
export { type Picture, type Raster, type TransferOptions, type TransferProgress } from "./transfer.js";
export { PROTOCOL_VERSION } from "./version.js";

export { type Pairing, Scope, type Token } from "./gen/easel/v1/access_pb.js";
export {
  CancelOutcome,
  ColorMatch,
  DisconnectPolicy,
  GenerationState,
  Mode,
  PreviewKind,
  Priority,
  RestartPolicy,
  Provenance,
  ResultKind,
  Reused,
  SelectionResult,
  Stage,
  WholeCanvas,
  type Accepted,
  type CancelGenerationResponse,
  type Generation,
  type GenerationError,
  type GenerationSpec,
  type ListGenerationsResponse,
  type Preview,
  type Progress,
  type Resolved,
  type ResultImage,
  type RunPolicy,
  type Selection,
  type SelectionMask,
  type StageTiming,
} from "./gen/easel/v1/generation_pb.js";
export {
  ChannelOrder,
  type Image,
  ImageFormat,
  type ImageSource,
  type PixelOffset,
  type PixelRect,
  type RawLayout,
  type RawPixels,
  SampleType,
} from "./gen/easel/v1/image_pb.js";
export { type Model, ModelState, Pipeline } from "./gen/easel/v1/model_pb.js";
export type {
  CompareRevisionsResponse,
  Draft,
  Removed,
  Replay,
  Revision,
  Session,
} from "./gen/easel/v1/session_pb.js";
export {
  type GetCapabilitiesResponse,
  type GetStatusResponse,
  type GetVersionResponse,
  type KeptCache,
  KeptKind,
  type Limits,
  type MemoryStatus,
  type PrepareConditioningResponse,
  StageHealth,
  type StageStatus,
} from "./gen/easel/v1/system_pb.js";
