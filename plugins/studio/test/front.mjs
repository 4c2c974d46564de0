// Serves the built Studio and the daemon's services under one address, as the daemon itself does, and can cut the connection.

import { createServer, request } from "node:http";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { extname, join } from "node:path";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };
/** The daemon's own policy for its pages; the Studio must work under it. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'";

export class Front {
  #sockets = new Set();
  #cut = false;

  static async start(daemon, dist) {
    const front = new Front();
    front.server = createServer((asked, answer) => front.#serve(asked, answer, daemon, dist));
    front.server.on("connection", (socket) => {
      if (front.#cut) {
        socket.resetAndDestroy();
        return;
      }
      front.#sockets.add(socket);
      socket.on("close", () => front.#sockets.delete(socket));
    });
    front.server.listen(0, "127.0.0.1");
    await once(front.server, "listening");
    return front;
  }

  get address() {
    return `http://127.0.0.1:${this.server.address().port}/`;
  }

  cut() {
    this.#cut = true;
    this.#sockets.forEach((socket) => socket.resetAndDestroy());
  }

  mend() {
    this.#cut = false;
  }

  stop() {
    this.cut();
    this.server.close();
  }

  #serve(asked, answer, daemon, dist) {
    if (asked.method === "GET") {
      const path = asked.url === "/" ? "/index.html" : new URL(asked.url, "http://x").pathname;
      try {
        const bytes = readFileSync(join(dist, path));
        answer.writeHead(200, { "content-type": TYPES[extname(path)], "content-security-policy": POLICY });
        answer.end(bytes);
      } catch {
        answer.writeHead(404).end();
      }
      return;
    }
    const { origin: _, host: __, ...headers } = asked.headers;
    const url = new URL(asked.url, daemon.address);
    const call = request(url, { method: asked.method, headers: { ...headers, authorization: `Bearer ${daemon.token}` } });
    call.on("response", (response) => {
      answer.writeHead(response.statusCode, response.headers);
      response.pipe(answer);
    });
    call.on("error", () => answer.destroy());
    answer.on("close", () => call.destroy());
    asked.pipe(call);
  }
}
