// What a host application has to give. One folder of a plugin (`host/`) implements it; nothing else knows the application.

import type { Image, Picture, PictureOptions, PixelRect } from "@easel/sdk";

/** What the user has chosen in the host, as it goes to the daemon. */
export interface Source {
  /** What is edited, for the user: "fill of Card, 640 x 480". */
  readonly label: string;
  /** The picture. */
  readonly picture: Picture;
  /** What of it may change: a mask as a picture, and where its corner lies. Default: everything. */
  readonly selection?: { readonly mask: Picture; readonly x: number; readonly y: number } | undefined;
  /** How the result shall come. Default: a PNG of the size of the picture. */
  readonly options?: PictureOptions | undefined;
  /** Where the result goes, for the host alone. */
  readonly place: unknown;
}

/** A finished picture on its way into the document. */
export interface Placed {
  /** The file, or the pixels when those were asked for. */
  readonly bytes: Uint8Array;
  readonly image: Image;
  /** What of the picture has changed; absent when that is everything. */
  readonly changed: PixelRect | undefined;
  /** Names the layer. */
  readonly instruction: string;
}

/** Small texts that outlast the panel; may be lost. */
export interface Memory {
  get(key: string): Promise<string | undefined>;
  /** `undefined` forgets. */
  set(key: string, value: string | undefined): Promise<void>;
}

/** A host application. */
export interface Host {
  /** What the user reads when the plugin pairs, at most 64 bytes. */
  readonly name: string;
  readonly memory: Memory;
  /** Reads what the user has chosen, and lets go of the document again. Throws a {@link HostProblem} when that cannot be edited. */
  read(): Promise<Source>;
  /** Puts a result where its source was, as one step to undo. Throws a {@link HostProblem} when the place is gone. */
  place(source: Source, placed: Placed): Promise<void>;
}

/** What the user can mend in the host: choose something, free a layer. The message says how. */
export class HostProblem extends Error {
  override readonly name = "HostProblem";
}
