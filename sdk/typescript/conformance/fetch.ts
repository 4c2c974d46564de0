// What stands in for `fetch` in the runner: over a Unix socket, which Node's own does not reach, and one that holds bodies back until
// their end, as some plugin hosts do.

import { request } from "node:http";
import { Readable } from "node:stream";

/** `fetch` over a Unix socket, as far as gRPC-Web needs it. */
export function overSocket(path: string): typeof fetch {
  return (input, init) => {
    const { pathname } = new URL(input instanceof Request ? input.url : input);
    const headers = Object.fromEntries(new Headers(init?.headers));
    return new Promise((resolve, reject) => {
      const signal = init?.signal ?? undefined;
      const call = request({ socketPath: path, path: pathname, method: init?.method, headers, signal });
      call.on("error", reject);
      call.on("response", (answer) => {
        const told = Object.entries(answer.headers).map(([name, value]) => [name, String(value)] as [string, string]);
        const body = Readable.toWeb(answer) as ReadableStream<Uint8Array>;
        resolve(new Response(body, { status: answer.statusCode ?? 500, headers: told }));
      });
      call.end(init?.body as Uint8Array);
    });
  };
}

/** Gives an answer when all of it is there. */
export function heldBack(fetch: typeof globalThis.fetch): typeof globalThis.fetch {
  return async (input, init) => {
    const answer = await fetch(input, init);
    const bytes = await answer.arrayBuffer();
    return new Response(bytes, { status: answer.status, headers: answer.headers });
  };
}
