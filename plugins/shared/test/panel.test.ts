// The panel's model with a host and a daemon of the test's own: no page, no network, no waiting.

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { Code, EaselError, type GenerationEvent, type Image, type PairingCode, type ResultImage, Stage } from "@easel/sdk";

import { added, parse, Walk } from "../src/model/history.js";
import { type Host, HostProblem, type Placed, type Source } from "../src/model/host.js";
import { Panel } from "../src/model/panel.js";
import { pictureUrl } from "../src/model/picture_url.js";
import type { Daemon, Reached, Settings } from "../src/model/state.js";

const image = (sha256: string): Image => ({ sha256, format: 1, width: 4, height: 4, inline: new Uint8Array([1, 2, 3]), sizeBytes: 3n }) as Image;
const head = { sequence: 1, generationId: "gen_1", time: undefined };
const succeeded = (...names: string[]): GenerationEvent => ({
  ...head,
  kind: "succeeded",
  images: names.map((name, index) => ({ index, seed: BigInt(index), image: image(name) }) as ResultImage),
  timings: [],
  totalMs: 1,
});
const progress = (done: number): GenerationEvent =>
  ({ ...head, kind: "progress", progress: { stage: Stage.DENOISE, done, total: 4, imageIndex: 0, fraction: done / 4 } }) as GenerationEvent;
const failed = (reason: string, code = Code.Internal): EaselError => new EaselError(`it was ${reason}`, { code, reason });

class TestHost implements Host {
  readonly name = "Test";
  readonly kept = new Map<string, string>();
  readonly placed: Placed[] = [];
  problem: string | undefined;
  reads = 0;
  readonly memory = {
    get: async (key: string) => this.kept.get(key),
    set: async (key: string, value: string | undefined) => void (value === undefined ? this.kept.delete(key) : this.kept.set(key, value)),
  };

  async read(): Promise<Source> {
    this.reads += 1;
    if (this.problem !== undefined) {
      throw new HostProblem(this.problem);
    }
    return { label: "layer", picture: new Uint8Array(3), place: this.reads };
  }

  async place(_: Source, placed: Placed): Promise<void> {
    this.placed.push(placed);
  }
}

class TestDaemon implements Daemon {
  reached: Reached = { kind: "ready", version: "1" };
  alive = true;
  forgotten = 0;
  readonly asked: { instruction: string; settings: Settings; signal: AbortSignal }[] = [];
  play: (signal: AbortSignal, instruction: string) => AsyncIterable<GenerationEvent> = async function* () {
    yield succeeded("one");
  };
  confirm: (code: PairingCode) => Promise<void> = async () => undefined;

  reach = async (): Promise<Reached> => this.reached;
  answers = async (): Promise<boolean> => this.alive;
  bytes = async ({ sha256 }: Image): Promise<Uint8Array> => new TextEncoder().encode(sha256);

  async pair(_: string, onCode: (code: PairingCode) => void): Promise<void> {
    const code = { code: "ABCD-EFGH", command: "easel pair ABCD-EFGH", expires: undefined };
    onCode(code);
    await this.confirm(code);
  }

  async forget(): Promise<void> {
    this.forgotten += 1;
  }

  edit(_: Source, instruction: string, settings: Settings, signal: AbortSignal): AsyncIterable<GenerationEvent> {
    this.asked.push({ instruction, settings, signal });
    return this.play(signal, instruction);
  }
}

describe("the panel", () => {
  let host: TestHost;
  let daemon: TestDaemon;
  let panel: Panel;
  /** The pauses that are under way; the test ends them. */
  let pauses: { ms: number; end: () => void }[];
  let stop: AbortController;

  beforeEach(async () => {
    [host, daemon, pauses, stop] = [new TestHost(), new TestDaemon(), [], new AbortController()];
    await fresh();
  });

  async function fresh(): Promise<void> {
    panel = new Panel(host, daemon, (ms, signal) => new Promise((end) => {
      const pause = { ms, end };
      pauses.push(pause);
      signal.addEventListener("abort", () => {
        pauses = pauses.filter((one) => one !== pause);
        end();
      });
    }));
    void panel.run(stop.signal);
    await until(() => panel.state.connection.kind !== "searching");
  }

  /** Ends the pause of a length. */
  function over(ms: number): void {
    const at = pauses.findIndex((pause) => pause.ms === ms);
    assert.notEqual(at, -1, `nobody waits ${ms} ms`);
    pauses.splice(at, 1)[0]?.end();
  }

  async function until(done: () => boolean): Promise<void> {
    for (let turns = 0; turns < 1000; turns += 1) {
      if (done()) {
        return;
      }
      await Promise.resolve();
    }
    assert.fail(JSON.stringify({ ...panel.state, source: undefined, choices: panel.state.choices.length }));
  }

  test("one picture is placed at once, under the name of its instruction", async () => {
    panel.write("  make it blue ");
    await panel.edit();
    assert.deepEqual(host.placed.map(({ bytes, instruction }) => [new TextDecoder().decode(bytes), instruction]), [["one", "make it blue"]]);
    assert.equal(panel.state.choices[0]?.placed, true);
    assert.equal(panel.state.work, undefined);
    assert.equal(daemon.asked[0]?.settings.live, false);
  });

  test("of several the user takes his pick", async () => {
    daemon.play = async function* () {
      yield succeeded("one", "two", "three");
    };
    panel.change({ variations: 3, seed: "7" });
    panel.write("a lamp");
    await panel.edit();
    assert.equal(host.placed.length, 0);
    assert.equal(panel.state.choices.length, 3);
    await panel.place(2);
    assert.deepEqual(panel.state.choices.map(({ placed }) => placed), [false, false, true]);
    assert.equal(new TextDecoder().decode(host.placed[0]?.bytes), "three");
  });

  test("tells queue, step and previews while it works, and stops when it is cancelled", async () => {
    const seen: unknown[] = [];
    panel.subscribe(() => seen.push(panel.state.work?.doing));
    daemon.play = async function* (signal) {
      yield { ...head, kind: "queued", position: 2 };
      yield progress(1);
      yield { ...head, kind: "preview", preview: { imageIndex: 0, image: { ...image(""), format: 2 } } } as GenerationEvent;
      await new Promise((done) => signal.addEventListener("abort", done));
      yield { ...head, kind: "ended", cancelled: true, error: failed("CANCELLED", Code.Canceled), timings: [] };
    };
    panel.write("slow");
    const edit = panel.edit();
    await until(() => panel.state.work?.previews.length === 1);
    assert.equal(panel.state.work?.previews[0], "data:image/jpeg;base64,AQID");
    assert.equal(panel.state.work?.fraction, 0.25);
    assert.ok(seen.includes("waiting, number 2 in the queue") && seen.includes("drawing, step 2 of 4"), seen.join());
    panel.cancel();
    await edit;
    assert.deepEqual([panel.state.work, panel.state.trouble, host.placed.length], [undefined, undefined, 0]);
  });

  test("live: the newest instruction wins, and waits to be placed", async () => {
    const ends: (() => void)[] = [];
    daemon.play = async function* (_, instruction) {
      await new Promise<void>((done) => ends.push(done));
      yield succeeded(instruction);
    };
    panel.change({ live: true, variations: 4 });
    panel.write("a");
    panel.write("a b");
    assert.equal(pauses.filter(({ ms }) => ms === 350).length, 1);
    over(350);
    await until(() => daemon.asked.length === 1);
    assert.deepEqual([daemon.asked[0]?.instruction, daemon.asked[0]?.settings.variations, daemon.asked[0]?.settings.live], ["a b", 1, true]);
    panel.write("a b c");
    over(350);
    await until(() => daemon.asked.length === 2);
    assert.equal(daemon.asked[0]?.signal.aborted, true);
    ends.forEach((end) => end());
    await until(() => panel.state.work === undefined);
    assert.deepEqual(panel.state.choices.map(({ result }) => result.image?.sha256), ["a b c"]);
    assert.equal(host.placed.length, 0);
    await panel.place(0);
    assert.equal(host.placed[0]?.instruction, "a b c");
  });

  test("history, settings and what was being written", async () => {
    for (const instruction of ["one", "two", "one"]) {
      panel.write(instruction);
      await panel.edit();
    }
    panel.change({ seed: "9", variations: 2 });
    await fresh();
    assert.deepEqual(panel.state.settings, { seed: "9", variations: 2, live: false });
    panel.write("new");
    const walked = ([-1, -1, -1, 1, 1, 1] as const).map((by) => {
      panel.browse(by);
      return panel.state.instruction;
    });
    assert.deepEqual(walked, ["one", "two", "two", "one", "new", "new"]);
  });

  test("what the host refuses is said, and what the daemon refuses", async () => {
    host.problem = "Select a layer.";
    panel.write("x");
    await panel.edit();
    assert.equal(panel.state.trouble?.message, "Select a layer.");
    host.problem = undefined;
    daemon.play = async function* () {
      throw new EaselError("full", { code: Code.ResourceExhausted, reason: "QUEUE_FULL", retryAfterMs: 1500 });
    };
    await panel.edit();
    assert.equal(panel.state.trouble?.retryAfterMs, 1500);
    panel.dismiss();
    assert.equal(panel.state.trouble, undefined);
  });

  test("a revoked pairing leads to a new one", async () => {
    daemon.play = async function* () {
      throw failed("UNAUTHENTICATED", Code.Unauthenticated);
    };
    panel.write("x");
    await panel.edit();
    assert.deepEqual(panel.state.connection, { kind: "unpaired", why: "it was UNAUTHENTICATED" });
    assert.equal(daemon.forgotten, 1);
    daemon.confirm = async () => assert.equal(panel.state.connection.kind, "pairing");
    await panel.pair();
    await until(() => panel.state.connection.kind === "ready");
    daemon.reached = { kind: "unpaired", why: undefined };
    daemon.confirm = async () => {
      throw failed("PAIRING_REJECTED", Code.PermissionDenied);
    };
    await panel.pair();
    assert.deepEqual(panel.state.connection, { kind: "unpaired", why: "it was PAIRING_REJECTED" });
    await until(() => pauses.some(({ ms }) => ms === 2000));
    assert.deepEqual(panel.state.connection, { kind: "unpaired", why: "it was PAIRING_REJECTED" }, "why stays to be read");
  });

  test("a daemon that goes is looked for until it is back", async () => {
    over(5000);
    await until(() => pauses.some(({ ms }) => ms === 5000));
    daemon.alive = false;
    daemon.reached = { kind: "absent", asks: false };
    over(5000);
    await until(() => panel.state.connection.kind === "absent");
    daemon.reached = { kind: "old", version: "0.0.9" };
    panel.retry();
    await until(() => panel.state.connection.kind === "old");
    daemon.reached = { kind: "ready", version: "2" };
    await until(() => pauses.some(({ ms }) => ms === 2000));
    panel.retry();
    await until(() => panel.state.connection.kind === "ready");
    stop.abort();
    panel.retry();
  });
});

test("history is read with care", () => {
  assert.deepEqual([parse("["), parse('{"a":1}'), parse('["a",1]'), parse(undefined)], [[], [], ["a"], []]);
  assert.equal(added(Array.from({ length: 60 }, (_, at) => String(at)), "x").length, 50);
  assert.equal(new Walk().step([], -1, "draft"), undefined);
});

test("a picture as a URL", () => {
  for (const length of [0, 1, 2, 3, 100]) {
    const bytes = Uint8Array.from({ length }, (_, at) => at * 37);
    assert.equal(pictureUrl(bytes, "image/png"), `data:image/png;base64,${Buffer.from(bytes).toString("base64")}`);
  }
});
