// A link is a transport with what is known about it: where it leads, and whether streams come through as they are sent.

import { createClient, type Transport } from "@connectrpc/connect";

import { SystemService } from "./gen/easel/v1/system_pb.js";
import { Health } from "./gen/health_pb.js";

/** How events reach this program. */
export type Delivery = "stream" | "poll";

/** A transport to one daemon. */
export class Link {
  private measured: Promise<Delivery> | undefined;

  /**
   * @param transport carries the calls
   * @param place where it leads, for messages
   * @param forced how events come, when it is known before
   * @param silenceMs a stream that is silent for this long is compared with a poll, so that a dead or held-back one is noticed
   */
  constructor(
    readonly transport: Transport,
    readonly place: string,
    forced?: Delivery,
    readonly silenceMs = 15_000,
  ) {
    this.measured = forced === undefined ? undefined : Promise.resolve(forced);
  }

  /** How events come over this link; measured once. */
  delivery(): Promise<Delivery> {
    this.measured ??= measure(this.transport).catch((error: unknown) => {
      this.measured = undefined;
      throw error;
    });
    return this.measured;
  }

  /** Notes that a stream was held back after all. */
  stepDown(): void {
    this.measured = Promise.resolve("poll");
  }
}

/** Time that a stream gets beyond a unary call that was sent after it. */
const GRACE_MS = 250;

/**
 * Opens a stream that answers at once and then stays open (the standard health watch, which needs no token). When its first
 * message has not come although a call that was sent later has been answered, somebody on the way holds streams back.
 */
async function measure(transport: Transport): Promise<Delivery> {
  const stop = new AbortController();
  try {
    const watch = createClient(Health, transport).watch({ service: "" }, { signal: stop.signal });
    const first = watch[Symbol.asyncIterator]().next();
    // A stream that fails at once has come through, and what is wrong shows at the first call that matters.
    const streamed = first.then(
      () => "stream" as const,
      () => "stream" as const,
    );
    const answered = async (): Promise<Delivery> => {
      const system = createClient(SystemService, transport);
      await system.getVersion({}, { signal: stop.signal });
      await pause(GRACE_MS, stop.signal);
      await system.getVersion({}, { signal: stop.signal });
      return "poll";
    };
    return await Promise.race([streamed, answered()]);
  } finally {
    stop.abort();
  }
}

/** Waits; rejects when the signal is aborted. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (): void => {
      clearTimeout(timer);
      reject(new Error("the wait was given up"));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", fail);
      resolve();
    }, ms);
    if (signal?.aborted === true) {
      fail();
    } else {
      signal?.addEventListener("abort", fail, { once: true });
    }
  });
}
