// The host for the panel, from within the frame: everything is asked of the sandbox by messages.

import { type Host, HostProblem, type Placed, type Source } from "@easel/panel";

import type { Answer, Ask, Place, Read } from "./messages.js";

/** Where Figma's own page lives: whom a page of the daemon talks to, and from whom alone it takes answers. */
const FIGMA = "https://www.figma.com";

/** How this frame reaches the sandbox. */
export interface Wire {
  /** Of the plugin; empty in the frame that Figma itself makes. */
  readonly pluginId: string;
  /** Where Figma's page is, as the target of messages: "*" from a frame without an origin. */
  readonly target: string;
}

/** The frame that Figma makes has no origin and needs no name; a page of the daemon has its plugin's in its address. */
export function wireOf(address: URL): Wire {
  const pluginId = address.searchParams.get("plugin") ?? "";
  return pluginId === "" ? { pluginId, target: "*" } : { pluginId, target: FIGMA };
}

export class FigmaHost implements Host {
  readonly name = "Figma";
  readonly memory = {
    get: async (key: string) => (await this.ask({ do: "get", key })) as string | undefined,
    set: async (key: string, value: string | undefined) => void (await this.ask({ do: "set", key, value })),
  };
  /** Of the plugin, as the sandbox says; for the page of the daemon. */
  pluginId = "";
  private calls = 0;
  private readonly open = new Map<number, { done: (value: unknown) => void; fail: (error: Error) => void }>();

  constructor(private readonly wire: Wire) {
    this.pluginId = wire.pluginId;
    addEventListener("message", (event: MessageEvent<{ pluginMessage?: Answer | { plugin: string } } | undefined>) => {
      const message = event.data?.pluginMessage;
      if (event.source === parent && (wire.target === "*" || event.origin === wire.target) && message !== undefined) {
        this.hear(message);
      }
    });
  }

  async read(): Promise<Source> {
    const { label, bytes, place } = (await this.ask({ do: "read" })) as Read;
    return { label, picture: bytes, place };
  }

  async place({ place }: Source, { bytes, instruction }: Placed): Promise<void> {
    await this.ask({ do: "place", place: place as Place, bytes, name: instruction });
  }

  private hear(message: Answer | { plugin: string }): void {
    if ("plugin" in message) {
      this.pluginId = message.plugin;
      return;
    }
    const waiting = this.open.get(message.call);
    this.open.delete(message.call);
    if (message.problem === undefined) {
      waiting?.done(message.value);
    } else {
      waiting?.fail(new HostProblem(message.problem));
    }
  }

  private ask(ask: Ask): Promise<unknown> {
    const call = (this.calls += 1);
    return new Promise((done, fail) => {
      this.open.set(call, { done, fail });
      const { pluginId, target } = this.wire;
      parent.postMessage({ pluginMessage: { ...ask, call }, ...(pluginId === "" ? {} : { pluginId }) }, target);
    });
  }
}
