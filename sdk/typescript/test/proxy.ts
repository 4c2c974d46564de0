// What stands between a client and a daemon in the tests: a proxy that cuts connections, and a fetch that holds answers back.

import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

/** A TCP proxy whose connections can be cut, and that can refuse new ones. */
export class Proxy {
  private readonly sockets = new Set<Socket>();
  private refusing = false;
  /** Connections that were made through it. */
  count = 0;

  private constructor(private readonly server: Server) {}

  static async start(port: number): Promise<Proxy> {
    const server = createServer();
    const proxy = new Proxy(server);
    server.on("connection", (near) => proxy.join(near, port));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return proxy;
  }

  get address(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Cuts every connection; refuses new ones until {@link mend}. */
  cut(): void {
    this.refusing = true;
    for (const socket of this.sockets) {
      socket.resetAndDestroy();
    }
  }

  mend(): void {
    this.refusing = false;
  }

  async stop(): Promise<void> {
    this.cut();
    this.server.close();
    await once(this.server, "close");
  }

  private join(near: Socket, port: number): void {
    if (this.refusing) {
      near.resetAndDestroy();
      return;
    }
    this.count += 1;
    const far = connect(port, "127.0.0.1");
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      this.sockets.add(from);
      from.on("error", () => to.destroy());
      from.on("close", () => {
        this.sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  }
}

/** A fetch as of hosts that give an answer when it is complete and not before. */
export const bufferingFetch: typeof fetch = async (input, init) => {
  const response = await fetch(input, init);
  const body = await response.arrayBuffer();
  return new Response(body, { status: response.status, headers: response.headers });
};

/** A fetch as of hosts without body streams: `arrayBuffer` is all there is. */
export const streamlessFetch: typeof fetch = async (input, init) => {
  const response = await fetch(input, init);
  const body = await response.arrayBuffer();
  const { status, headers } = response;
  return { status, headers, body: {}, arrayBuffer: () => Promise.resolve(body) } as unknown as Response;
};
