// The events of one generation as an iterator that takes itself up again after a lost connection, over streams or long poll.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";

import { EaselError, lostError, protocolError, Reason, toEaselError } from "./error.js";
import { fromWire, type GenerationEvent, isLast, required, type Result, resultOf } from "./event.js";
import {
  type CancelGenerationResponse,
  type Generation,
  DisconnectPolicy,
  type GenerationEvent as WireEvent,
  GenerationEventSchema,
  GenerationService,
  type GenerationSpecSchema,
  type RunPolicySchema,
} from "./gen/easel/v1/generation_pb.js";
import { type Link, pause } from "./link.js";
import { persist } from "./transfer.js";

/** A lost connection is taken up again this often in a row, after 0.1, 0.2, 0.4, ... 3.2 s: about 6 s, in which a service
 * manager brings a daemon back. */
const ATTEMPTS = 6;
const FIRST_PAUSE_MS = 100;
/** Time that the answer to a request gets after its caller gave up. */
const ANSWER_MS = 2_000;
/** One long poll; the daemon allows up to 60 s, proxies often less. */
const POLL_WAIT_MS = 20_000;
/** Time that the poll gets with which a silent stream is compared. */
const COMPARE_MS = 15_000;

/** What starts a generation. */
export interface Request {
  readonly spec: MessageInitShape<typeof GenerationSpecSchema>;
  readonly policy: MessageInitShape<typeof RunPolicySchema> & { requestId: string };
}

/** Where a run begins: with a request that is still to be sent, with a call that creates, or at a generation that exists. */
export type Origin =
  | { readonly start: () => Promise<Request> }
  | { readonly create: () => Promise<Generation> }
  | { readonly id: string; readonly afterSequence: number };

/** The next of a stream, or word that it was silent. */
const SILENT = Symbol("silent");

/**
 * A generation that is being made: iterate over its events, or wait for its {@link result}. One reader at a time.
 *
 * When the connection breaks, or the daemon cuts a reader that fell behind, it connects again and goes on after the last event
 * that it has given. What the daemon does meanwhile is up to the request: by default it cancels a generation whose last watcher
 * has gone; with `keepWhenDisconnected` it goes on. Leaving the loop early is a disconnect as well.
 *
 * Aborting the signal of the request asks the daemon to cancel; the events then end with `ended`.
 */
export class Run implements AsyncIterableIterator<GenerationEvent> {
  private readonly generations;
  private request: Request | undefined;
  private wire: AsyncIterator<WireEvent> | undefined;
  /** Closes the call behind `wire`; owned by it. */
  private call = new AbortController();
  /** The read of `wire` that a silence has left open. */
  private reading: Promise<IteratorResult<WireEvent>> | undefined;
  private generationId: string | undefined;
  private seen = 0;
  private seenPreview = 0n;
  private lost = 0;
  private over = false;
  private begun = false;
  private pollOnly = false;

  /** Made by the client; programs get one from `generate`, `edit`, `editSession` and `watch`. */
  constructor(
    private readonly link: Link,
    private readonly origin: Origin,
    private readonly signal?: AbortSignal,
  ) {
    this.generations = createClient(GenerationService, link.transport);
    if ("id" in origin) {
      this.generationId = origin.id;
      this.seen = origin.afterSequence;
    }
  }

  /** Id of the generation; known from the first event on. */
  get id(): string | undefined {
    return this.generationId;
  }

  /** Number of the last state event that was given; 0 before the first. `watch` goes on from it. */
  get sequence(): number {
    return this.seen;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next event; throws an {@link EaselError} when the connection is lost for good or the request was refused. */
  async next(): Promise<IteratorResult<GenerationEvent, undefined>> {
    this.begin();
    while (!this.over) {
      try {
        const event = await this.step();
        if (event !== undefined) {
          if (isLast(event)) {
            this.end();
          }
          return { done: false, value: event };
        }
      } catch (thrown) {
        this.end();
        throw toEaselError(thrown, this.gaveUp);
      }
    }
    return { done: true, value: undefined };
  }

  /** Leaves early, as `break` in a loop does. */
  async return(): Promise<IteratorResult<GenerationEvent, undefined>> {
    const early = !this.over;
    this.end();
    // The daemon sees a closed stream, but nobody who no longer polls.
    const cancels = this.request !== undefined && this.request.policy.onDisconnect !== DisconnectPolicy.KEEP;
    if (early && cancels && this.pollOnly && this.generationId !== undefined) {
      await this.cancel().catch(() => undefined);
    }
    return { done: true, value: undefined };
  }

  /** Reads to the end; throws the generation's error when it did not succeed. */
  async result(): Promise<Result> {
    for await (const event of this) {
      if (isLast(event)) {
        return resultOf(event);
      }
    }
    throw protocolError("the events ended without a last one");
  }

  /** Asks the daemon to cancel and says what that hit; the events then end. Needs the first event to have come. */
  async cancel(): Promise<CancelGenerationResponse> {
    const id = this.generationId;
    if (id === undefined) {
      throw protocolError("the generation has no id before its first event");
    }
    try {
      return await this.generations.cancelGeneration({ id });
    } catch (thrown) {
      throw toEaselError(thrown);
    }
  }

  private begin(): void {
    if (this.begun) {
      return;
    }
    this.begun = true;
    if (this.signal?.aborted === true) {
      this.aborted();
    } else {
      this.signal?.addEventListener("abort", this.aborted, { once: true });
    }
  }

  /** Marks the end; nothing is read or sent afterwards. */
  private end(): void {
    this.over = true;
    this.signal?.removeEventListener("abort", this.aborted);
    this.close();
  }

  /** The caller gave up: cancels by the id, or, before there is one, as far as that goes without. */
  private readonly aborted = (): void => {
    if (this.generationId !== undefined) {
      void persist(undefined, () => this.cancel()).catch(() => undefined);
    } else if (this.request === undefined) {
      this.call.abort();
    } else {
      // The request is under way: its answer names what is to be cancelled. One that does not come is not waited for.
      const { call } = this;
      setTimeout(() => {
        if (this.generationId === undefined) {
          call.abort();
        }
      }, ANSWER_MS);
    }
  };

  /** One attempt: an event, or nothing when there is something to try again. */
  private async step(): Promise<GenerationEvent | undefined> {
    let read: IteratorResult<WireEvent> | typeof SILENT;
    try {
      this.wire ??= await this.open();
      read = await this.read(this.wire);
    } catch (thrown) {
      return this.lose(toEaselError(thrown, this.gaveUp));
    }
    if (read === SILENT) {
      await this.compare();
      return undefined;
    }
    if (read.done === true) {
      // The last event has not come: whoever ended the stream was not the generation.
      return this.lose(lostError("the daemon ended the stream early"));
    }
    this.lost = 0;
    return this.take(read.value);
  }

  /** True when the caller gave up before there was anything to cancel. */
  private get gaveUp(): boolean {
    return this.signal?.aborted === true && this.generationId === undefined;
  }

  private learn(id: string): void {
    if (this.generationId === undefined) {
      this.generationId = id;
      if (this.signal?.aborted === true) {
        this.aborted();
      }
    }
  }

  private take(wire: WireEvent): GenerationEvent | undefined {
    const event = fromWire(wire);
    if (event === undefined) {
      return undefined;
    }
    this.learn(event.generationId);
    if (event.kind === "preview") {
      const { number } = event.preview;
      if (number !== 0n && number <= this.seenPreview) {
        return undefined;
      }
      this.seenPreview = number;
      return event;
    }
    if (event.sequence <= this.seen) {
      return undefined;
    }
    this.seen = event.sequence;
    return event;
  }

  /** Notes a lost stream and waits; throws when the error is none that passes, or came too often in a row. */
  private async lose(error: EaselError): Promise<undefined> {
    this.close();
    this.lost += 1;
    // A daemon that stops leaves what it does not finish to its next run; one that is not there yet cannot be reached.
    const comesBack = this.generationId !== undefined && [Reason.CANNOT_CONNECT, "DRAINING"].includes(error.reason);
    const passes = comesBack || error.reason === Reason.CONNECTION_LOST || error.reason === "STREAM_LAGGED";
    if (!passes || this.lost > ATTEMPTS) {
      throw error;
    }
    await pause(FIRST_PAUSE_MS * 2 ** (this.lost - 1), this.generationId === undefined ? this.signal : undefined);
    return undefined;
  }

  private close(): void {
    this.call.abort();
    this.wire = undefined;
    this.reading = undefined;
  }

  private async open(): Promise<AsyncIterator<WireEvent>> {
    this.call = new AbortController();
    const { signal } = this.call;
    this.pollOnly = (await this.link.delivery()) === "poll";
    if (this.generationId !== undefined) {
      return this.pollOnly ? this.poll(signal) : this.watch(this.generationId, signal);
    }
    this.signal?.throwIfAborted();
    if ("create" in this.origin) {
      const { id } = await this.origin.create();
      this.learn(id);
      return this.pollOnly ? this.poll(signal) : this.watch(id, signal);
    }
    this.request ??= "start" in this.origin ? await this.origin.start() : undefined;
    this.signal?.throwIfAborted();
    const request = required(this.request, "request");
    if (!this.pollOnly) {
      return this.start(request, signal);
    }
    const { generation } = await this.generations.createGeneration(request, { signal });
    this.learn(required(generation, "generation").id);
    return this.poll(signal);
  }

  private async *start(request: Request, signal: AbortSignal): AsyncGenerator<WireEvent, undefined> {
    for await (const { event } of this.generations.runGeneration(request, { signal })) {
      yield required(event, "event");
    }
    return undefined;
  }

  private async *watch(id: string, signal: AbortSignal): AsyncGenerator<WireEvent, undefined> {
    const call = { id, afterSequence: BigInt(this.seen) };
    for await (const { event } of this.generations.watchGeneration(call, { signal })) {
      yield required(event, "event");
    }
    return undefined;
  }

  private async *poll(signal: AbortSignal): AsyncGenerator<WireEvent, undefined> {
    const id = this.generationId ?? "";
    for (;;) {
      const call = {
        id,
        afterSequence: BigInt(this.seen),
        afterPreview: this.seenPreview,
        wait: durationFromMs(POLL_WAIT_MS),
      };
      const { events, preview, done } = await this.generations.pollGeneration(call, { signal });
      if (preview !== undefined) {
        const event = { case: "preview", value: preview } as const;
        yield create(GenerationEventSchema, { generationId: id, event });
      }
      yield* events;
      if (done && events.length === 0) {
        return undefined;
      }
    }
  }

  /** Reads on; a stream (not a poll, which answers in time by itself) may turn out silent. */
  private async read(wire: AsyncIterator<WireEvent>): Promise<IteratorResult<WireEvent> | typeof SILENT> {
    const reading = (this.reading ??= wire.next());
    reading.catch(() => undefined);
    if (this.pollOnly || this.generationId === undefined) {
      const read = await reading;
      this.reading = undefined;
      return read;
    }
    let timer: ReturnType<typeof setTimeout> | undefined;
    const silence = new Promise<typeof SILENT>((resolve) => {
      timer = setTimeout(() => resolve(SILENT), this.link.silenceMs);
    });
    try {
      const read = await Promise.race([reading, silence]);
      if (read !== SILENT) {
        this.reading = undefined;
      }
      return read;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Asks whether a silent stream has missed something; then polls from now on. */
  private async compare(): Promise<void> {
    const call = { id: this.generationId ?? "", afterSequence: BigInt(this.seen), afterPreview: this.seenPreview };
    const polled = await this.generations.pollGeneration(call, { timeoutMs: COMPARE_MS }).catch(() => undefined);
    if (polled === undefined) {
      this.close();
    } else if (polled.events.length > 0 || polled.done) {
      this.link.stepDown();
      this.close();
    }
  }
}
