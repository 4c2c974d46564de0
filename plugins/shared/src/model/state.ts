// What the panel shows, and what it needs of the daemon.

import type { GenerationEvent, Image, PairingCode, ResultImage } from "@easel/sdk";

import type { Source } from "./host.js";
import type { Trouble } from "./words.js";

/** What was found when the daemon was looked for. */
export type Reached =
  | { readonly kind: "ready"; readonly version: string }
  /** Nobody answers; `asks` when the browser asks the user before a page may call programs of this machine. */
  | { readonly kind: "absent"; readonly asks: boolean }
  /** The browser does not let this page call programs of this machine. */
  | { readonly kind: "blocked" }
  /** It answers and is too old for this plugin. */
  | { readonly kind: "old"; readonly version: string }
  /** It answers and wants a pairing; `why` when a token was refused. */
  | { readonly kind: "unpaired"; readonly why: string | undefined };

export type Connection = Reached | { readonly kind: "searching" } | ({ readonly kind: "pairing" } & PairingCode);

/** What an edit asks for beside its instruction. */
export interface Settings {
  /** Digits; empty for a new one each time. */
  readonly seed: string;
  /** 1 to 4. */
  readonly variations: number;
  /** Try every change of the instruction. */
  readonly live: boolean;
}

/** An edit that is being made. */
export interface Work {
  /** Share that is done, 0 to 1. */
  readonly fraction: number;
  /** What happens, for the user; with the place in the queue. */
  readonly doing: string;
  /** The newest preview of each picture, as URLs. */
  readonly previews: readonly string[];
}

/** A picture that can be placed. */
export interface Choice {
  readonly result: ResultImage;
  /** To be looked at, as a URL. */
  readonly thumbnail: string | undefined;
  readonly placed: boolean;
}

export interface State {
  readonly connection: Connection;
  readonly instruction: string;
  readonly settings: Settings;
  readonly work: Work | undefined;
  /** What was edited last. */
  readonly source: Source | undefined;
  readonly choices: readonly Choice[];
  readonly trouble: Trouble | undefined;
}

/** The daemon, as the panel needs it. */
export interface Daemon {
  /** Looks for it, from the beginning. */
  reach(): Promise<Reached>;
  /** True while the daemon that was found answers. */
  answers(): Promise<boolean>;
  /** Asks the user for a token and remembers it; throws when he says no. */
  pair(name: string, onCode: (code: PairingCode) => void, signal: AbortSignal): Promise<void>;
  /** Gives the token back and forgets it. */
  forget(): Promise<void>;
  /** The events of an edit; aborting cancels it in the daemon. */
  edit(source: Source, instruction: string, settings: Settings, signal: AbortSignal): AsyncIterable<GenerationEvent>;
  /** The bytes of a picture. */
  bytes(image: Image): Promise<Uint8Array>;
}
