// Connecting from a program that has `fetch`: browsers, plugin frames, UXP. gRPC-Web over HTTP/1.1.

import { createGrpcWebTransport } from "@connectrpc/connect-web";

import type { Easel } from "./client.js";
import { cannotConnect } from "./error.js";
import { baseUrl, callerHeaders, greet, hello, isAbsent } from "./hello.js";
import { type Delivery, Link } from "./link.js";

/** The ports of the daemon: the first free one of them is taken. */
export const PORTS: readonly number[] = [7461, 7462, 7463, 7464];
/** Time that each port gets to answer. */
const PROBE_MS = 1_500;

/** How to connect. */
export interface ConnectOptions {
  /** Where the daemon is, as `http://127.0.0.1:7461`. Default: the ports of the daemon on this machine are tried. */
  readonly address?: string | undefined;
  /** Token of this program, from a pairing or from `easel token`. Without it only version and pairing answer. */
  readonly token?: string | undefined;
  /** Name under which the daemon counts what this client has under way. Default: one of its own for each connection. */
  readonly clientName?: string | undefined;
  /** How events come. Default: measured at the first run. */
  readonly delivery?: Delivery | undefined;
  /** A stream that is silent for this long is compared with a poll, so that a dead one is noticed. Default: 15 s. */
  readonly silenceMs?: number | undefined;
  /** In place of the global `fetch`. */
  readonly fetch?: typeof globalThis.fetch | undefined;
  /** Gives up. */
  readonly signal?: AbortSignal | undefined;
}

/** A daemon that was found. */
export interface FoundDaemon {
  /** For {@link ConnectOptions.address}. */
  readonly address: string;
  /** Version of the daemon. */
  readonly version: string;
  /** Version of its protocol. */
  readonly protocolVersion: number;
}

/**
 * Connects to a daemon and sees that it answers. Throws `CANNOT_CONNECT` when none does; a browser does not say whether nothing
 * listens there or whether it forbids the page to look (see {@link localAccess}).
 */
export async function connect(options: ConnectOptions = {}): Promise<Easel> {
  if (options.address !== undefined) {
    return greet(link(baseUrl(options.address), options), options.signal);
  }
  const found = (await findDaemons(options))[0];
  if (found === undefined) {
    throw cannotConnect(`the ports ${PORTS[0]} to ${PORTS[PORTS.length - 1]} of this machine`, "is easel running?");
  }
  return greet(link(found.address, options), options.signal);
}

/** The daemons of this machine that answer, by port. */
export async function findDaemons(options: ConnectOptions = {}): Promise<FoundDaemon[]> {
  // Some hosts allow the one name, some the other.
  for (const host of ["127.0.0.1", "localhost"]) {
    const probes = PORTS.map(async (port) => {
      const address = `http://${host}:${port}`;
      try {
        const { version, protocolVersion } = await hello(link(address, options), PROBE_MS, options.signal);
        return { address, version, protocolVersion };
      } catch (thrown) {
        if (isAbsent(thrown) || options.signal?.aborted !== true) {
          return undefined;
        }
        throw thrown;
      }
    });
    const found = (await Promise.all(probes)).filter((daemon) => daemon !== undefined);
    if (found.length > 0) {
      return found;
    }
  }
  return [];
}

/** What a browser thinks of pages that call programs of this machine. */
export type LocalAccess = "granted" | "denied" | "prompt" | "unknown";

/** Whether the browser lets this page call programs of this machine; `unknown` where it has no such rule or does not tell. */
export async function localAccess(): Promise<LocalAccess> {
  for (const name of ["loopback-network", "local-network-access"]) {
    try {
      const status = await navigator.permissions.query({ name: name as PermissionName });
      return status.state;
    } catch {
      // Not a permission that this browser knows.
    }
  }
  return "unknown";
}

function link(url: string, options: ConnectOptions): Link {
  const { token, delivery, fetch } = options;
  const interceptors = [callerHeaders(options.clientName, token)];
  const transport = createGrpcWebTransport({
    baseUrl: url,
    interceptors,
    fetch: wholeBodies(fetch ?? globalThis.fetch.bind(globalThis)),
  });
  return new Link(transport, url, delivery, options.silenceMs);
}

/** Gives answers a body stream where the host's `fetch` knows whole bodies only, as some versions of UXP do. */
function wholeBodies(fetch: typeof globalThis.fetch): typeof globalThis.fetch {
  return async (input, init) => {
    const response = await fetch(input, init);
    if (typeof response.body?.getReader === "function" || response.body === null) {
      return response;
    }
    const bytes = new Uint8Array(await response.arrayBuffer());
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(bytes);
        controller.close();
      },
    });
    return { status: response.status, headers: response.headers, body } as Response;
  };
}
