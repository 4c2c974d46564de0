// What happens to a generation, as a program likes to match it.

import { durationMs, timestampDate } from "@bufbuild/protobuf/wkt";

import { type EaselError, fromGenerationError, protocolError } from "./error.js";
import {
  type Generation,
  type GenerationEvent as WireEvent,
  GenerationState,
  type Preview,
  type Progress,
  type ResultImage,
  type StageTiming,
} from "./gen/easel/v1/generation_pb.js";

/** What every event has. */
export interface EventHead {
  /** Number of the state event, from 1 without gaps; 0 for previews, which are not numbered. */
  readonly sequence: number;
  /** Id of the generation. */
  readonly generationId: string;
  /** When it happened, where the daemon says so. */
  readonly time: Date | undefined;
}

/** First event, before any work: what was resolved. */
export interface AcceptedEvent extends EventHead {
  readonly kind: "accepted";
  readonly generation: Generation;
}

/** The place in the queue has changed; 1 is next. */
export interface QueuedEvent extends EventHead {
  readonly kind: "queued";
  readonly position: number;
}

/** A stage begins, moves on or ends. */
export interface ProgressEvent extends EventHead {
  readonly kind: "progress";
  readonly progress: Progress;
}

/** How far the picture has come. The newest wins; a slow reader misses some. */
export interface PreviewEvent extends EventHead {
  readonly kind: "preview";
  readonly preview: Preview;
}

/** What a generation made. */
export interface Result {
  /** The pictures, by index. */
  readonly images: readonly ResultImage[];
  /** Time of each stage. */
  readonly timings: readonly StageTiming[];
  /** From acceptance to the end. */
  readonly totalMs: number;
}

/** Last event of a success. */
export interface SucceededEvent extends EventHead, Result {
  readonly kind: "succeeded";
}

/** Last event otherwise. */
export interface EndedEvent extends EventHead {
  readonly kind: "ended";
  /** True when it was cancelled (by a call, a lost connection or a deadline), false when it failed. */
  readonly cancelled: boolean;
  readonly error: EaselError;
  readonly timings: readonly StageTiming[];
}

/** In place of events that the daemon no longer keeps: the generation as it stands. */
export interface SnapshotEvent extends EventHead {
  readonly kind: "snapshot";
  readonly generation: Generation;
}

/** One event of a generation; match it by `kind`. */
export type GenerationEvent =
  | AcceptedEvent
  | QueuedEvent
  | ProgressEvent
  | PreviewEvent
  | SucceededEvent
  | EndedEvent
  | SnapshotEvent;

/** From the message on the wire; an event of a kind that this client does not know is `undefined`. */
export function fromWire(wire: WireEvent): GenerationEvent | undefined {
  const head: EventHead = {
    sequence: Number(wire.sequence),
    generationId: wire.generationId,
    time: wire.time === undefined ? undefined : timestampDate(wire.time),
  };
  const { event } = wire;
  switch (event.case) {
    case "accepted":
      return { ...head, kind: "accepted", generation: required(event.value.generation, "generation") };
    case "queued":
      return { ...head, kind: "queued", position: event.value.position };
    case "progress":
      return { ...head, kind: "progress", progress: required(event.value.progress, "progress") };
    case "preview":
      return { ...head, kind: "preview", preview: event.value };
    case "succeeded": {
      const { images, timings, total } = event.value;
      return { ...head, kind: "succeeded", images, timings, totalMs: total === undefined ? 0 : durationMs(total) };
    }
    case "ended": {
      const { state, error, timings } = event.value;
      const cancelled = state === GenerationState.CANCELLED;
      return { ...head, kind: "ended", cancelled, error: fromGenerationError(error), timings };
    }
    case "snapshot":
      return { ...head, kind: "snapshot", generation: required(event.value.generation, "generation") };
    case undefined:
      return undefined;
  }
}

/** True for the last event of a generation. */
export function isLast(event: GenerationEvent): boolean {
  return (
    event.kind === "succeeded" ||
    event.kind === "ended" ||
    (event.kind === "snapshot" && hasEnded(event.generation.state))
  );
}

/** True for the three states in which a generation can end. */
export function hasEnded(state: GenerationState): boolean {
  const ends = [GenerationState.SUCCEEDED, GenerationState.FAILED, GenerationState.CANCELLED];
  return ends.includes(state);
}

/** The result that the last event carries; throws the generation's error when it did not succeed. */
export function resultOf(event: GenerationEvent): Result {
  switch (event.kind) {
    case "succeeded":
      return event;
    case "ended":
      throw event.error;
    case "snapshot": {
      const { state, error, images, timings, createTime, endTime } = event.generation;
      if (state !== GenerationState.SUCCEEDED) {
        throw fromGenerationError(error);
      }
      const known = createTime !== undefined && endTime !== undefined;
      const totalMs = known ? timestampDate(endTime).getTime() - timestampDate(createTime).getTime() : 0;
      return { images, timings, totalMs };
    }
    default:
      throw protocolError(`the event ${event.kind} ends no generation`);
  }
}

export function required<T>(part: T | undefined, what: string): T {
  if (part === undefined) {
    throw protocolError(`an answer came without its ${what}`);
  }
  return part;
}
