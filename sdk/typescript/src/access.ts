// Pairing: how a program that may not read the token file gets a token of its own, and what is known of the tokens that were given.

import { durationFromMs, timestampDate } from "@bufbuild/protobuf/wkt";
import { Code, createClient } from "@connectrpc/connect";

import { ask } from "./call.js";
import type { CallOptions } from "./client.js";
import { EaselError, protocolError } from "./error.js";
import { required } from "./event.js";
import { AccessService, type Pairing, PairingState, Scope, type Token } from "./gen/easel/v1/access_pb.js";
import type { Link } from "./link.js";
import { persist } from "./transfer.js";

/** One wait for the user's answer; the daemon allows up to 60 s, proxies often less. */
const WAIT_MS = 20_000;

/** What to show to the user while a pairing waits. */
export interface PairingCode {
  /** For example "WDJB-MJHT". */
  readonly code: string;
  /** What the user types into a terminal: "easel pair WDJB-MJHT". */
  readonly command: string;
  /** From then on the code is worth nothing; pair again. */
  readonly expires: Date | undefined;
}

/** A token of this program's own, to be stored where only it can read. */
export interface Paired {
  /** For `connect({ token })`, from the same kind of place: a page's token is taken from its origin alone. */
  readonly token: string;
  /** Names it for {@link Access.revoke}. */
  readonly tokenId: string;
  /** What it is good for. */
  readonly scopes: readonly Scope[];
}

/** How to pair. */
export interface PairOptions extends CallOptions {
  /** Is called with what the user has to see. */
  readonly onCode: (code: PairingCode) => void;
  /** Default: read, generate and sessions, which are all that can be paired. */
  readonly scopes?: readonly Scope[] | undefined;
}

/** Pairing and tokens; `easel.access`. */
export class Access {
  private readonly service;

  constructor(link: Link) {
    this.service = createClient(AccessService, link.transport);
  }

  /**
   * Asks the user for a token, and waits for the answer. Needs none itself: `connect()` without a token is enough. `name` is what
   * the user reads, at most 64 bytes. Throws `PAIRING_REJECTED` on a no, and `PAIRING_NOT_FOUND` when the code has expired.
   */
  async pair(name: string, options: PairOptions): Promise<Paired> {
    const { onCode, scopes, signal } = options;
    const request = { clientName: name, scopes: [...(scopes ?? [])] };
    const begun = await ask((call) => this.service.beginPairing(request, call), signal);
    const expires = begun.expireTime === undefined ? undefined : timestampDate(begun.expireTime);
    onCode({ code: begun.code, command: begun.command, expires });
    const poll = { pairingId: begun.pairingId, wait: durationFromMs(WAIT_MS) };
    const call = signal === undefined ? {} : { signal };
    for (;;) {
      const { state, token, tokenId, scopes: given } = await persist(signal, () => this.service.pollPairing(poll, call));
      if (state === PairingState.CONFIRMED) {
        return { token, tokenId, scopes: given };
      }
      if (state === PairingState.REJECTED) {
        const message = "the user has refused to pair this program";
        throw new EaselError(message, { code: Code.PermissionDenied, reason: "PAIRING_REJECTED" });
      }
      if (state !== PairingState.PENDING) {
        throw protocolError(`a pairing stands at ${state}`);
      }
    }
  }

  /** Makes a token worthless; default: the one of this client, which is what a plugin does when it forgets its pairing. */
  async revoke(tokenId = "", options: CallOptions = {}): Promise<Token> {
    return required((await ask((call) => this.service.revokeToken({ tokenId }, call), options.signal)).token, "token");
  }

  /** What waits for the user's answer. This and what follows is for the user alone, over the Unix socket or with his token. */
  async pairings(options: CallOptions = {}): Promise<Pairing[]> {
    return (await ask((call) => this.service.listPairings({}, call), options.signal)).pairings;
  }

  /** The user's yes to a code. */
  async confirm(code: string, options: CallOptions = {}): Promise<Pairing> {
    return required((await ask((call) => this.service.confirmPairing({ code }, call), options.signal)).pairing, "pairing");
  }

  /** The user's no to a code. */
  async reject(code: string, options: CallOptions = {}): Promise<Pairing> {
    return required((await ask((call) => this.service.rejectPairing({ code }, call), options.signal)).pairing, "pairing");
  }

  /** The tokens that were given, without their secrets. */
  async tokens(options: CallOptions = {}): Promise<Token[]> {
    return (await ask((call) => this.service.listTokens({}, call), options.signal)).tokens;
  }
}
