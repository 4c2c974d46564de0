// The one error of this client: what the daemon said, with its details decoded, or what happened on the way to it.

import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";

import {
  BadRequestSchema,
  ErrorInfoSchema,
  ResourceInfoSchema,
  RetryInfoSchema,
} from "./gen/details_pb.js";
import type { GenerationError } from "./gen/easel/v1/generation_pb.js";

/** Reasons that this client gives itself; all others come from the daemon. */
export const Reason = {
  /** No daemon answers at the given place. */
  CANNOT_CONNECT: "CANNOT_CONNECT",
  /** The connection broke and could not be taken up again. */
  CONNECTION_LOST: "CONNECTION_LOST",
  /** The caller gave up by its `AbortSignal`. */
  ABORTED: "ABORTED",
  /** The daemon sent something that the protocol does not allow. */
  PROTOCOL_VIOLATED: "PROTOCOL_VIOLATED",
  /** Something on this side is wrong: an address, a token, a discovery file, a picture. */
  CLIENT_SETUP: "CLIENT_SETUP",
  /** The answer came from something that is not an Easel daemon, or from one that gave no reason. */
  UNKNOWN: "UNKNOWN",
} as const;

/** One wrong field of a request. */
export interface FieldViolation {
  /** Path of the field as in the proto, for example `spec.prompt`. */
  readonly field: string;
  /** What is wrong and what would be right. */
  readonly description: string;
}

/** What an error is about. */
export interface Resource {
  /** Kind: "model", "blob", "generation", "session" or "file". */
  readonly kind: string;
  /** Name. */
  readonly name: string;
}

/** The parts of an {@link EaselError} beside its message. */
export interface Problem {
  /** gRPC status code. */
  readonly code: Code;
  /** Stable reason, for programs: the daemon's, or one of {@link Reason}. */
  readonly reason: string;
  /** Wrong fields, all of them at once. */
  readonly violations?: readonly FieldViolation[] | undefined;
  /** Try again after this time, where that helps. */
  readonly retryAfterMs?: number | undefined;
  /** What the error is about, where it is about one thing. */
  readonly resource?: Resource | undefined;
  /** Further facts of the reason, by name. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  /** What it was made of. */
  readonly cause?: unknown;
}

/** What went wrong, for programs and for persons: `message` says what happened and how to mend it. */
export class EaselError extends Error {
  override readonly name = "EaselError";
  readonly code: Code;
  readonly reason: string;
  readonly violations: readonly FieldViolation[];
  readonly retryAfterMs: number | undefined;
  readonly resource: Resource | undefined;
  readonly metadata: Readonly<Record<string, string>>;

  constructor(message: string, problem: Problem) {
    super(message, problem.cause === undefined ? undefined : { cause: problem.cause });
    this.code = problem.code;
    this.reason = problem.reason;
    this.violations = problem.violations ?? [];
    this.retryAfterMs = problem.retryAfterMs;
    this.resource = problem.resource;
    this.metadata = problem.metadata ?? {};
  }

  /** True when no daemon could be reached, or the connection to it was lost for good. */
  get isConnection(): boolean {
    return this.reason === Reason.CANNOT_CONNECT || this.reason === Reason.CONNECTION_LOST;
  }

  /** True when the same request may succeed later: the daemon is full, about to stop or rebuilding a part of itself. */
  get isBusy(): boolean {
    return !this.isConnection && (this.code === Code.ResourceExhausted || this.code === Code.Unavailable);
  }

  /** True when the token is missing, wrong or revoked, or does not allow the call: pair again. */
  get isDenied(): boolean {
    return this.code === Code.Unauthenticated || this.code === Code.PermissionDenied;
  }
}

export function setupError(message: string): EaselError {
  return new EaselError(message, { code: Code.InvalidArgument, reason: Reason.CLIENT_SETUP });
}

export function protocolError(message: string): EaselError {
  return new EaselError(message, { code: Code.Internal, reason: Reason.PROTOCOL_VIOLATED });
}

export function lostError(cause: string): EaselError {
  const message = `the connection was lost: ${cause}`;
  return new EaselError(message, { code: Code.Unavailable, reason: Reason.CONNECTION_LOST });
}

export function abortedError(): EaselError {
  return new EaselError("the call was given up", { code: Code.Canceled, reason: Reason.ABORTED });
}

export function cannotConnect(place: string, cause: unknown): EaselError {
  const why = cause instanceof Error ? cause.message : String(cause);
  const message = `no daemon answers at ${place}: ${why}`;
  return new EaselError(message, { code: Code.Unavailable, reason: Reason.CANNOT_CONNECT, cause });
}

/** Codes that a transport gives when the other side went away; with a reason of the daemon's they mean what it says. */
const LOST_CODES = [Code.Unavailable, Code.Unknown, Code.Internal, Code.Aborted, Code.Canceled, Code.DataLoss];

/** Whatever a call threw, as an {@link EaselError}. `aborted` says that the caller had given up. */
export function toEaselError(thrown: unknown, aborted = false): EaselError {
  if (thrown instanceof EaselError) {
    return thrown;
  }
  if (aborted) {
    return abortedError();
  }
  const error = ConnectError.from(thrown);
  const info = error.findDetails(ErrorInfoSchema)[0];
  if (info !== undefined) {
    return fromDetails(error, info.reason, info.metadata);
  }
  if (error.code === Code.DeadlineExceeded) {
    return new EaselError(error.rawMessage, { code: error.code, reason: "DEADLINE_EXCEEDED", cause: thrown });
  }
  if (LOST_CODES.includes(error.code)) {
    return lostError(error.rawMessage || "the daemon went away");
  }
  const message = error.rawMessage || Code[error.code];
  return new EaselError(message, { code: error.code, reason: Reason.UNKNOWN, cause: thrown });
}

function fromDetails(error: ConnectError, reason: string, metadata: Record<string, string>): EaselError {
  const violations: FieldViolation[] = [];
  for (const request of error.findDetails(BadRequestSchema)) {
    violations.push(...request.fieldViolations.map(({ field, description }) => ({ field, description })));
  }
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  const about = error.findDetails(ResourceInfoSchema)[0];
  return new EaselError(error.rawMessage, {
    code: error.code,
    reason,
    violations,
    retryAfterMs: delay === undefined ? undefined : durationMs(delay),
    resource: about === undefined ? undefined : { kind: about.resourceType, name: about.resourceName },
    metadata,
    cause: error,
  });
}

/** The error in an event that ends a generation. */
export function fromGenerationError(error: GenerationError | undefined): EaselError {
  if (error === undefined) {
    return protocolError("a generation ended without its error");
  }
  const named = error.resourceName !== "";
  return new EaselError(error.message, {
    code: error.code as Code,
    reason: error.reason,
    violations: error.violations.map(({ field, description }) => ({ field, description })),
    retryAfterMs: error.retryAfter === undefined ? undefined : durationMs(error.retryAfter),
    resource: named ? { kind: error.resourceType, name: error.resourceName } : undefined,
    metadata: error.metadata,
  });
}
