// A daemon with the drill engine on private folders, for one test file.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { discoveryFile, type Discovery, readDiscovery, readToken } from "../src/node.js";

/** The root of the tree, above sdk/typescript/build/test. */
export const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "..", "..");

const BINARY = process.env["EASEL_BIN"] ?? join(ROOT, "target", "debug", "easel");

export class Daemon {
  private constructor(
    readonly home: string,
    private readonly settings: readonly string[],
  ) {}

  process!: ChildProcess;
  found!: Discovery;
  token!: string;

  /** Starts a daemon; `drill` are timings and faults of the drill engine. */
  static async start(drill = "", ...settings: string[]): Promise<Daemon> {
    const home = mkdtempSync(join(tmpdir(), "easel-ts-"));
    const daemon = new Daemon(home, ["--port", "0", "--drill", drill, ...(settings.includes("--engine") ? [] : ["--engine", "drill"]), ...settings]);
    await daemon.run();
    return daemon;
  }

  get stateDir(): string {
    return join(this.home, "state");
  }

  get discovery(): string {
    return discoveryFile(this.stateDir);
  }

  get address(): string {
    const address = this.found.addresses.find((one) => one.includes("127.0.0.1"));
    if (address === undefined) {
      throw new Error("the daemon does not listen on 127.0.0.1");
    }
    return address;
  }

  get port(): number {
    return Number(new URL(this.address).port);
  }

  /** Runs it, again after {@link kill}. */
  async run(): Promise<void> {
    const environment = Object.entries(process.env).filter(([name]) => !name.startsWith("EASEL_"));
    const env = { ...Object.fromEntries(environment), HOME: this.home, XDG_RUNTIME_DIR: this.home, XDG_CONFIG_HOME: this.home };
    const settings = ["serve", "--state-dir", this.stateDir, "--drain-timeout-s", "1", ...this.settings];
    this.process = spawn(BINARY, settings, { env, stdio: ["ignore", "ignore", "pipe"] });
    let log = "";
    this.process.stderr?.on("data", (text: Buffer) => (log += text.toString()));
    this.process.on("error", (error) => (log += String(error)));
    const { pid } = this.process;
    for (let tries = 0; tries < 600; tries += 1) {
      const found = existsSync(this.discovery) ? await readDiscovery(this.discovery).catch(() => undefined) : undefined;
      if (found !== undefined && found.pid === pid) {
        this.found = found;
        this.token = await readToken(found.tokenFile);
        return;
      }
      if (this.process.exitCode !== null) {
        break;
      }
      await sleep(50);
    }
    throw new Error(`the daemon did not start: ${log}`);
  }

  /** Ends it as a power cut would. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    if (this.process.exitCode === null && this.process.signalCode === null) {
      const ended = once(this.process, "exit");
      this.process.kill(signal);
      await ended;
    }
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.home, { recursive: true, force: true });
  }
}
