// What viewers of a session see, as one iterator that takes itself up again, over a stream or by polling.

import { createClient } from "@connectrpc/connect";

import { EaselError, lostError, Reason, toEaselError } from "./error.js";
import { fromWire, type GenerationEvent, isLast, required } from "./event.js";
import { type Session, type SessionEvent as WireEvent, SessionService } from "./gen/easel/v1/session_pb.js";
import { type Link, pause } from "./link.js";
import { Run } from "./run.js";

/** Pauses before a lost session is taken up again double from the first to the last, without end. */
const FIRST_PAUSE_MS = 100;
const LAST_PAUSE_MS = 3_200;
/** How often a session is looked at where streams are held back. */
const LOOK_MS = 700;

/** What a viewer of a session sees; match it by `kind`. */
export type SessionEvent =
  /** The session as it stands: first of all, and after each change. When several come at once, the newest wins. */
  | { readonly kind: "session"; readonly session: Session }
  /** An event of one of its generations; each generation's events come in order and without gaps. */
  | { readonly kind: "generation"; readonly event: GenerationEvent }
  /** The connection is lost, and is being taken up again. */
  | { readonly kind: "lost"; readonly error: EaselError }
  /** The session was deleted; the last event. */
  | { readonly kind: "deleted"; readonly sessionId: string };

/** See `Sessions.watch`. */
export async function* watchSession(
  link: Link,
  sessionId: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<SessionEvent, undefined> {
  const seen = new Map<string, number>();
  for (let lost = 0; signal?.aborted !== true; ) {
    const call = new AbortController();
    const stop = (): void => call.abort();
    signal?.addEventListener("abort", stop, { once: true });
    try {
      const polls = (await link.delivery()) === "poll";
      const events = polls ? poll(link, sessionId, call.signal) : stream(link, sessionId, call.signal);
      for await (const event of events) {
        lost = 0;
        if (event.kind === "generation" && !isNew(event.event, seen)) {
          continue;
        }
        yield event;
        if (event.kind === "deleted") {
          return undefined;
        }
      }
      throw lostError("the daemon ended the stream early");
    } catch (thrown) {
      const error = toEaselError(thrown, signal?.aborted);
      if (error.reason === Reason.ABORTED) {
        return undefined;
      }
      if (!error.isConnection && error.reason !== "DRAINING" && error.reason !== "STREAM_LAGGED") {
        throw error;
      }
      yield { kind: "lost", error };
    } finally {
      signal?.removeEventListener("abort", stop);
      call.abort();
    }
    await pause(Math.min(FIRST_PAUSE_MS * 2 ** lost, LAST_PAUSE_MS), signal).catch(() => undefined);
    lost += 1;
  }
  return undefined;
}

/** Remembers how far each generation was told; false for what was told before. */
function isNew(event: GenerationEvent, seen: Map<string, number>): boolean {
  if (event.sequence === 0) {
    return true;
  }
  if (event.sequence <= (seen.get(event.generationId) ?? 0)) {
    return false;
  }
  seen.set(event.generationId, event.sequence);
  return true;
}

async function* stream(link: Link, sessionId: string, signal: AbortSignal): AsyncGenerator<SessionEvent, undefined> {
  const service = createClient(SessionService, link.transport);
  for await (const { event } of service.watchSession({ sessionId }, { signal })) {
    const typed = typedEvent(required(event, "event"));
    if (typed !== undefined) {
      yield typed;
    }
  }
  return undefined;
}

function typedEvent({ event }: WireEvent): SessionEvent | undefined {
  switch (event.case) {
    case "session":
      return { kind: "session", session: event.value };
    case "generation": {
      const typed = fromWire(event.value);
      return typed === undefined ? undefined : { kind: "generation", event: typed };
    }
    case "deleted":
      return { kind: "deleted", sessionId: event.value.sessionId };
    case undefined:
      return undefined;
  }
}

/** The same by unary calls alone: looks at the session, and polls each of its generations beside. */
async function* poll(link: Link, sessionId: string, signal: AbortSignal): AsyncGenerator<SessionEvent, undefined> {
  const waiting: SessionEvent[] = [];
  let wake: () => void = () => undefined;
  const failed: { error?: unknown } = {};
  const tell = (event: SessionEvent): void => {
    waiting.push(event);
    wake();
  };
  const fail = (error: unknown): void => {
    failed.error ??= error;
    wake();
  };
  look(link, sessionId, signal, tell).catch(fail);
  for (;;) {
    while (waiting.length > 0) {
      yield waiting.shift() as SessionEvent;
    }
    if (failed.error !== undefined) {
      throw failed.error;
    }
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
}

async function look(
  link: Link,
  sessionId: string,
  signal: AbortSignal,
  tell: (event: SessionEvent) => void,
): Promise<void> {
  const service = createClient(SessionService, link.transport);
  const followed = new Set<string>();
  let version: bigint | undefined;
  for (;;) {
    let session: Session;
    try {
      session = required((await service.getSession({ sessionId }, { signal })).session, "session");
    } catch (thrown) {
      if (version !== undefined && toEaselError(thrown).reason === "SESSION_NOT_FOUND") {
        tell({ kind: "deleted", sessionId });
        return;
      }
      throw thrown;
    }
    if (session.version !== version) {
      version = session.version;
      tell({ kind: "session", session });
    }
    for (const id of session.activeGenerationIds.filter((active) => !followed.has(active))) {
      followed.add(id);
      void follow(new Run(link, { id, afterSequence: 0 }), signal, tell);
    }
    await pause(LOOK_MS, signal);
  }
}

/** Tells the events of a generation. What fails here fails at the session's next look as well. */
async function follow(run: Run, signal: AbortSignal, tell: (event: SessionEvent) => void): Promise<void> {
  const stop = (): void => void run.return();
  signal.addEventListener("abort", stop, { once: true });
  try {
    for await (const event of run) {
      tell({ kind: "generation", event });
      if (isLast(event)) {
        break;
      }
    }
  } catch {
    // The session's own calls report it.
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
