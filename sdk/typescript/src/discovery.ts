// The discovery file: where the daemon of this user runs. Node only.

import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";

import { setupError } from "./error.js";

/** What the discovery file says. */
export interface Discovery {
  /** Process id of the daemon. */
  readonly pid: number;
  /** Version of the daemon. */
  readonly version: string;
  /** Version of its protocol. */
  readonly protocolVersion: number;
  /** Loopback addresses on which it listens, as `http://127.0.0.1:7461`; empty when it listens on its socket only. */
  readonly addresses: readonly string[];
  /** Unix socket. */
  readonly socket: string;
  /** File with the bearer token that TCP asks for. */
  readonly tokenFile: string;
  /** When the daemon started. */
  readonly startTime: Date;
}

/** Where the daemon of this user writes its discovery file; `stateDir` as `easel serve --state-dir` has it. */
export function discoveryFile(stateDir?: string): string {
  if (stateDir !== undefined) {
    return join(stateDir, "run", "daemon.json");
  }
  if (process.platform === "darwin") {
    return join(homedir(), "Library", "Application Support", "easel", "run", "daemon.json");
  }
  const runtime = process.env["XDG_RUNTIME_DIR"];
  if (runtime !== undefined && runtime !== "") {
    return join(runtime, "easel", "daemon.json");
  }
  const state = process.env["XDG_STATE_HOME"];
  const home = state !== undefined && state !== "" ? state : join(homedir(), ".local", "state");
  return join(home, "easel", "run", "daemon.json");
}

/** Reads a discovery file; `undefined` when there is none, which means that no daemon runs. */
export async function readDiscovery(file: string): Promise<Discovery | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (thrown) {
    if (thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT") {
      return undefined;
    }
    throw setupError(`${file} cannot be read: ${String(thrown)}`);
  }
  const wrong = (why: string): Error => setupError(`${file} is not a discovery file: ${why}`);
  let found: Partial<Record<string, unknown>>;
  try {
    found = JSON.parse(text) as Partial<Record<string, unknown>>;
  } catch (thrown) {
    throw wrong(String(thrown));
  }
  const { pid, version, protocol_version, addresses, socket, token_file, start_time_ms } = found;
  if (typeof socket !== "string" || typeof token_file !== "string" || !Array.isArray(addresses)) {
    throw wrong("socket, token_file and addresses are missing");
  }
  return {
    pid: Number(pid),
    version: String(version),
    protocolVersion: Number(protocol_version),
    addresses: addresses.map(String),
    socket,
    tokenFile: token_file,
    startTime: new Date(Number(start_time_ms)),
  };
}

/** Reads a token file: one line of plain characters. */
export async function readToken(file: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (thrown) {
    throw setupError(`the token file ${file} cannot be read: ${String(thrown)}`);
  }
  const token = text.trim();
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw setupError(`${file} holds no token: one line of plain characters`);
  }
  return token;
}
