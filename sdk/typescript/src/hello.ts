// The first call on a link: is somebody there, and does he speak our protocol.

import { createClient, type Interceptor } from "@connectrpc/connect";

import { Easel } from "./client.js";
import { cannotConnect, EaselError, Reason, setupError, toEaselError } from "./error.js";
import { type GetVersionResponse, SystemService } from "./gen/easel/v1/system_pb.js";
import type { Link } from "./link.js";
import { randomId } from "./request.js";
import { CLIENT_VERSION } from "./version.js";

/** A daemon that has not said its version within this time is taken for dead. */
export const HELLO_TIMEOUT_MS = 5_000;

/** The version of the daemon at the end of a link. */
export async function hello(link: Link, timeoutMs: number, signal?: AbortSignal): Promise<GetVersionResponse> {
  try {
    const call = signal === undefined ? { timeoutMs } : { timeoutMs, signal };
    return await createClient(SystemService, link.transport).getVersion({}, call);
  } catch (thrown) {
    const error = toEaselError(thrown, signal?.aborted);
    if (error.reason === "DEADLINE_EXCEEDED") {
      throw cannotConnect(link.place, `no answer within ${timeoutMs} ms`);
    }
    throw error.reason === Reason.CONNECTION_LOST ? cannotConnect(link.place, error) : error;
  }
}

/** A client for a link at whose end a daemon answers. */
export async function greet(link: Link, signal?: AbortSignal): Promise<Easel> {
  await hello(link, HELLO_TIMEOUT_MS, signal);
  return new Easel(link);
}

/** An address as a URL without its end: `127.0.0.1:7461` becomes `http://127.0.0.1:7461`. */
export function baseUrl(address: string): string {
  const url = address.includes("://") ? address : `http://${address}`;
  try {
    return new URL(url).href.replace(/\/+$/, "");
  } catch {
    throw setupError(`${address} is not an address: give http://HOST:PORT`);
  }
}

/**
 * Sends with every call who calls and by what right: the token, and a name by which the daemon is fair between clients. Throws when
 * the token has characters that a header cannot carry.
 */
export function callerHeaders(name: string | undefined, token: string | undefined): Interceptor {
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token)) {
    throw setupError("the token has characters that a header cannot carry");
  }
  const client = name ?? `typescript-${CLIENT_VERSION}-${randomId().slice(0, 8)}`;
  return (next) => (request) => {
    request.header.set("easel-client", client);
    if (token !== undefined) {
      request.header.set("authorization", `Bearer ${token}`);
    }
    return next(request);
  };
}

/** True for errors that mean "nobody there", after which another place may be tried. */
export function isAbsent(thrown: unknown): boolean {
  return thrown instanceof EaselError && thrown.isConnection;
}
