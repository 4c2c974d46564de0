// The build for Node: gRPC over HTTP/2, on the Unix socket or on TCP, found by the discovery file.

import { connect as connectSocket } from "node:net";

import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

import type { Easel } from "./client.js";
import { discoveryFile, readDiscovery, readToken } from "./discovery.js";
import { cannotConnect } from "./error.js";
import { baseUrl, callerHeaders, greet, isAbsent } from "./hello.js";
import { type Delivery, Link } from "./link.js";

export { type Discovery, discoveryFile, readDiscovery, readToken } from "./discovery.js";
export * from "./surface.js";
export { type ConnectOptions as WebConnectOptions, connect as connectWeb, PORTS } from "./web.js";

/** Pings on an open connection, so that one on which nothing comes back is noticed. */
const PING = { pingIntervalMs: 20_000, pingTimeoutMs: 20_000 };

/** How to connect. Without anything: the daemon of this user, as its discovery file says. */
export interface ConnectOptions {
  /** A TCP address as `http://127.0.0.1:7461`; it asks for the token. */
  readonly address?: string | undefined;
  /** What `easel token` prints, or a paired token. */
  readonly token?: string | undefined;
  /** A Unix socket; the daemon asks for the same user and for no token. */
  readonly socket?: string | undefined;
  /** Discovery file; default: that of this user. */
  readonly discovery?: string | undefined;
  /** Name under which the daemon counts what this client has under way. Default: one of its own for each connection. */
  readonly clientName?: string | undefined;
  /** How events come. Default: measured at the first run. */
  readonly delivery?: Delivery | undefined;
  /** A stream that is silent for this long is compared with a poll, so that a dead one is noticed. Default: 15 s. */
  readonly silenceMs?: number | undefined;
  /** Gives up. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Connects to a daemon and sees that it answers: by address, by socket, or as the discovery file says, the Unix socket first.
 * Throws `CANNOT_CONNECT` when none runs.
 */
export async function connect(options: ConnectOptions = {}): Promise<Easel> {
  const { address, socket, token, signal } = options;
  if (socket !== undefined) {
    return greet(unixLink(socket, options), signal);
  }
  if (address !== undefined) {
    return greet(tcpLink(address, token, options), signal);
  }
  const file = options.discovery ?? discoveryFile();
  const found = await readDiscovery(file);
  if (found === undefined) {
    throw cannotConnect(file, "there is no discovery file, no daemon runs");
  }
  try {
    return await greet(unixLink(found.socket, options), signal);
  } catch (thrown) {
    const first = found.addresses[0];
    if (first === undefined || !isAbsent(thrown)) {
      throw thrown;
    }
    const secret = token ?? (await readToken(found.tokenFile).catch(() => undefined));
    if (secret === undefined) {
      throw thrown;
    }
    return await greet(tcpLink(first, secret, options), signal);
  }
}

function unixLink(path: string, options: ConnectOptions): Link {
  // The authority must be a host name: HTTP/2 refuses a percent-encoded path in its place.
  const url = "http://localhost";
  const manager = new Http2SessionManager(url, PING, { createConnection: () => connectSocket(path) });
  const interceptors = [callerHeaders(options.clientName, undefined)];
  return new Link(createGrpcTransport({ baseUrl: url, interceptors, sessionManager: manager }), path, options.delivery, options.silenceMs);
}

function tcpLink(address: string, token: string | undefined, options: ConnectOptions): Link {
  const url = baseUrl(address);
  const interceptors = [callerHeaders(options.clientName, token)];
  const { protocol, hostname, port } = new URL(url);
  // Node leaves the brackets of an IPv6 address out of the authority, which HTTP/2 refuses: it gets a name instead.
  const isBare = protocol === "http:" && hostname.startsWith("[");
  const named = isBare ? `http://localhost:${port}` : url;
  const dial = { createConnection: () => connectSocket(Number(port || 80), hostname.slice(1, -1)) };
  const sessionManager = new Http2SessionManager(named, PING, isBare ? dial : undefined);
  const transport = createGrpcTransport({ baseUrl: named, interceptors, sessionManager });
  return new Link(transport, url, options.delivery, options.silenceMs);
}
