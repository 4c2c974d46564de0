// The daemon for a panel: finds it in its range of ports, keeps the token, edits. The one place that knows the network.

import {
  connect,
  type Easel,
  EaselError,
  findDaemons,
  type GenerateOptions,
  type GenerationEvent,
  type Image,
  ImageFormat,
  localAccess,
  type PairingCode,
  type PictureOptions,
  Priority,
  PROTOCOL_VERSION,
} from "@easel/sdk/browser";

import type { Memory, Source } from "../model/host.js";
import type { Daemon, Reached, Settings } from "../model/state.js";

/** Longest edge of a preview: a panel is narrow. */
const PREVIEW_PX = 512;

export interface ClientOptions {
  readonly memory: Memory;
  /** Name under which the daemon counts what this plugin does: "figma". */
  readonly clientName: string;
  /** From where this page came, as the daemon sees it: a token is taken from there alone. "program" outside of browsers. */
  readonly origin: string;
  /** Where the daemon is, when that is known; default: its ports are tried. */
  readonly address?: string | undefined;
  /** In place of the global `fetch`. */
  readonly fetch?: typeof globalThis.fetch | undefined;
}

export class Client implements Daemon {
  private easel: Easel | undefined;

  constructor(private readonly options: ClientOptions) {}

  async reach(): Promise<Reached> {
    const { fetch } = this.options;
    const found = await this.find();
    if (found === undefined) {
      const access = await localAccess();
      return access === "denied" ? { kind: "blocked" } : { kind: "absent", asks: access === "prompt" };
    }
    if (found.protocolVersion < PROTOCOL_VERSION) {
      return { kind: "old", version: found.version };
    }
    const token = await this.options.memory.get(this.key);
    this.easel = await connect({ address: found.address, token, fetch, clientName: this.options.clientName });
    if (token === undefined) {
      return { kind: "unpaired", why: undefined };
    }
    try {
      await this.easel.capabilities();
      return { kind: "ready", version: found.version };
    } catch (thrown) {
      if (!(thrown instanceof EaselError)) {
        throw thrown;
      }
      return thrown.isDenied ? { kind: "unpaired", why: "The pairing is no longer good: it was revoked." } : { kind: "absent", asks: false };
    }
  }

  async answers(): Promise<boolean> {
    return this.known().version().then(() => true, () => false);
  }

  async pair(name: string, onCode: (code: PairingCode) => void, signal: AbortSignal): Promise<void> {
    const { token } = await this.known().access.pair(name, { onCode, signal });
    await this.options.memory.set(this.key, token);
  }

  async forget(): Promise<void> {
    await this.options.memory.set(this.key, undefined);
    // A token that is refused cannot be given back, and a daemon that is away does not hear it.
    await this.easel?.access.revoke().catch(() => undefined);
  }

  async *edit(source: Source, instruction: string, settings: Settings, signal: AbortSignal): AsyncGenerator<GenerationEvent> {
    const easel = this.known();
    const { picture, selection } = source;
    const options: GenerateOptions = {
      ...source.options,
      ...(settings.seed === "" ? {} : { seed: BigInt(settings.seed) }),
      ...(selection === undefined ? {} : { selection: await this.selected(selection, source.options?.selection, signal) }),
      numImages: settings.variations,
      priority: settings.live ? Priority.LIVE : Priority.INTERACTIVE,
      previews: { longestEdgePx: PREVIEW_PX, format: ImageFormat.JPEG },
      keepWhenDisconnected: !settings.live,
      signal,
    };
    yield* easel.edit(picture, instruction, options);
  }

  /** The message of a selection: its mask goes up like any picture. */
  private async selected(
    { mask, x, y }: NonNullable<Source["selection"]>,
    how: PictureOptions["selection"],
    signal: AbortSignal,
  ): Promise<NonNullable<PictureOptions["selection"]>> {
    const image = await this.known().source(mask, { signal });
    return { ...how, area: { case: "mask", value: { image, offset: { x, y } } } } as NonNullable<PictureOptions["selection"]>;
  }

  bytes(image: Image): Promise<Uint8Array> {
    return this.known().picture(image);
  }

  private get key(): string {
    return `easel.token.${this.options.origin}`;
  }

  private async find(): Promise<{ address: string; version: string; protocolVersion: number } | undefined> {
    const { address, fetch } = this.options;
    if (address === undefined) {
      return (await findDaemons({ fetch }))[0];
    }
    try {
      const { version, protocolVersion } = await (await connect({ address, fetch })).version();
      return { address, version, protocolVersion };
    } catch {
      return undefined;
    }
  }

  private known(): Easel {
    if (this.easel === undefined) {
      throw new Error("the daemon was not found yet");
    }
    return this.easel;
  }
}
