// Events, resume and cancellation over every transport: gRPC on the socket and on TCP, gRPC-Web by stream and by long poll.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import {
  connect,
  connectWeb,
  type Easel,
  EaselError,
  type GenerationEvent,
  GenerationState,
  hasEnded,
  inlineBlob,
  isLast,
  type Run,
  Stage,
} from "../src/node.js";
import { Daemon } from "./daemon.js";
import { bufferingFetch, Proxy, streamlessFetch } from "./proxy.js";

const SLOW = "denoise_step_ms=150";

/** An event without what differs from run to run. */
function normal(event: GenerationEvent): string {
  const { sequence } = event;
  switch (event.kind) {
    case "accepted":
      return `${sequence} accepted seed ${event.generation.resolved?.seed}`;
    case "queued":
      return `${sequence} queued`;
    case "progress":
      return `${sequence} ${Stage[event.progress.stage]} ${event.progress.done}/${event.progress.total}`;
    case "succeeded":
      return `${sequence} succeeded ${event.images.map(({ image }) => image?.sha256).join()}`;
    case "ended":
      return `${sequence} ended ${event.cancelled} ${event.error.reason}`;
    default:
      return event.kind;
  }
}

async function collect(run: Run, at?: (event: GenerationEvent, all: GenerationEvent[]) => void | Promise<void>) {
  const all: GenerationEvent[] = [];
  for await (const event of run) {
    all.push(event);
    await at?.(event, all);
  }
  return all;
}

function checkGapless(events: GenerationEvent[]): void {
  const numbers = events.filter(({ sequence }) => sequence > 0).map(({ sequence }) => sequence);
  assert.deepEqual(numbers, Array.from(numbers, (_, at) => at + 1));
  assert.ok(isLast(events[events.length - 1] as GenerationEvent));
}

/** Waits until a generation has ended in the daemon. Not by a watch, which would keep it going. */
async function ended(easel: Easel, id: string): Promise<GenerationState> {
  for (;;) {
    const { state } = await easel.generation(id);
    if (hasEnded(state)) {
      return state;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe("events", { concurrency: 2 }, () => {
  let daemon: Daemon;
  let direct: Easel;
  before(async () => {
    daemon = await Daemon.start(SLOW);
    direct = await connect({ discovery: daemon.discovery });
  });
  after(() => daemon.stop());

  const ways: Record<string, () => Promise<Easel>> = {
    "gRPC on the Unix socket": () => connect({ socket: daemon.found.socket }),
    "gRPC on TCP": () => connect({ address: daemon.address, token: daemon.token }),
    "gRPC-Web": () => connectWeb({ address: daemon.address, token: daemon.token }),
    "gRPC-Web held back": () =>
      connectWeb({ address: daemon.address, token: daemon.token, fetch: bufferingFetch }),
    "gRPC-Web without body streams": () =>
      connectWeb({ address: daemon.address, token: daemon.token, fetch: streamlessFetch }),
  };

  test("are the same over every transport, and how they come is measured", async () => {
    const told: string[][] = [];
    for (const [name, way] of Object.entries(ways)) {
      const easel = await way();
      const held = name.includes("held back") || name.includes("without");
      assert.equal(await easel.delivery(), held ? "poll" : "stream", name);
      const events = await collect(easel.generate("a red circle", { seed: 7, previews: true }));
      checkGapless(events);
      assert.ok(events.some(({ kind }) => kind === "preview"), `${name} shows previews`);
      told.push(events.filter(({ kind }) => kind !== "preview").map(normal));
    }
    for (const events of told) {
      assert.deepEqual(events, told[0]);
    }
    assert.equal(told[0]?.[0], "1 accepted seed 7");
  });

  test("give the result and its picture", async () => {
    const { images, totalMs } = await direct.generate("two", { seed: 1n, numImages: 2 }).result();
    assert.deepEqual(images.map(({ seed }) => seed), [1n, 2n]);
    assert.ok(totalMs > 0);
    const image = images[1]?.image;
    assert.ok(image !== undefined);
    const file = await direct.picture(image);
    assert.deepEqual(Array.from(file.subarray(1, 4)), Array.from(Buffer.from("PNG")));
    assert.equal((await direct.pictureBlob(image)).type, "image/png");
    assert.deepEqual(await direct.download(image.sha256), file);
  });

  test("show previews as pictures", async () => {
    const events = await collect(direct.generate("previews", { previews: { longestEdgePx: 64 } }));
    const previews = events.filter((event) => event.kind === "preview");
    assert.ok(previews.length > 0);
    for (const { preview } of previews) {
      const blob = inlineBlob(preview.image);
      assert.equal(blob?.type, "image/jpeg");
      assert.ok((preview.image?.width ?? 0) <= 64);
    }
  });

  for (const [name, way] of Object.entries(ways)) {
    test(`${name}: aborting cancels in the daemon and ends the events`, async () => {
      const easel = await way();
      const abort = new AbortController();
      const run = easel.generate("to be aborted", { signal: abort.signal, keepWhenDisconnected: true });
      const events = await collect(run, (event) => {
        if (event.kind === "progress" && event.progress.stage === Stage.DENOISE) {
          abort.abort();
        }
      });
      checkGapless(events);
      const last = events.at(-1);
      assert.ok(last?.kind === "ended" && last.cancelled && last.error.reason === "CANCELLED");
      assert.equal((await direct.generation(run.id ?? "")).state, GenerationState.CANCELLED);
    });

    test(`${name}: leaving the loop cancels what is not to be kept`, async () => {
      const easel = await way();
      let id = "";
      for await (const event of easel.generate("to be left")) {
        id = event.generationId;
        if (event.kind === "progress") {
          break;
        }
      }
      assert.equal(await ended(direct, id), GenerationState.CANCELLED);
      for await (const event of easel.generate("to be kept", { keepWhenDisconnected: true })) {
        id = event.generationId;
        break;
      }
      assert.equal(await ended(direct, id), GenerationState.SUCCEEDED);
    });
  }

  test("a signal that was aborted before sends nothing", async () => {
    const before = (await direct.list()).generations.length;
    const run = direct.generate("never", { signal: AbortSignal.abort() });
    await assert.rejects(run.result(), (error) => error instanceof EaselError && error.reason === "ABORTED");
    assert.equal((await direct.list()).generations.length, before);
  });

  test("a signal that is aborted before the first event cancels as well", async () => {
    for (const way of Object.values(ways)) {
      const easel = await way();
      await easel.delivery();
      const abort = new AbortController();
      const requestId = `early-${Math.random()}`;
      const run = easel.generate("early", { signal: abort.signal, requestId });
      const reading = run.next();
      abort.abort();
      const rest = await reading.then(() => collect(run)).catch((error: unknown) => error);
      const { generations } = await direct.list();
      const made = generations.find((generation) => generation.requestId === requestId);
      if (made === undefined) {
        assert.ok(rest instanceof EaselError && rest.reason === "ABORTED");
      } else {
        assert.equal(await ended(direct, made.id), GenerationState.CANCELLED);
      }
    }
  });

  test("a request id makes creating idempotent", async () => {
    const requestId = `same-${Math.random()}`;
    const first = await direct.create("once", { requestId, seed: 1 });
    const second = await direct.create("once", { requestId, seed: 1 });
    assert.deepEqual([first.existed, second.existed], [false, true]);
    assert.equal(second.generation.id, first.generation.id);
    await assert.rejects(direct.create("twice", { requestId, seed: 1 }), { reason: "REQUEST_ID_CONFLICT" });
    assert.equal((await direct.watch(first.generation.id).result()).images.length, 1);
  });

  test("cancelling by id says what it hit", async () => {
    const { id } = (await direct.create("to be cancelled")).generation;
    await direct.cancel(id);
    assert.equal(await ended(direct, id), GenerationState.CANCELLED);
  });
});

describe("a lost connection", { concurrency: 2 }, () => {
  let daemon: Daemon;
  before(async () => (daemon = await Daemon.start(SLOW)));
  after(() => daemon.stop());

  const ways: Record<string, (address: string) => Promise<Easel>> = {
    "gRPC": (address) => connect({ address, token: daemon.token }),
    "gRPC-Web": (address) => connectWeb({ address, token: daemon.token }),
    "gRPC-Web held back": (address) => connectWeb({ address, token: daemon.token, fetch: bufferingFetch }),
  };
  for (const [name, way] of Object.entries(ways)) {
    test(`${name}: a cut in the middle loses and doubles nothing`, async () => {
      const proxy = await Proxy.start(daemon.port);
      const easel = await way(proxy.address);
      let cuts = 0;
      const events = await collect(easel.generate("cut", { keepWhenDisconnected: true, seed: 5 }), (event) => {
        if (event.kind === "progress" && event.progress.stage === Stage.DENOISE && cuts < 2) {
          cuts += 1;
          proxy.cut();
          setTimeout(() => proxy.mend(), 150);
        }
      });
      assert.equal(cuts, 2);
      assert.ok(proxy.count >= 3, "it has connected again");
      checkGapless(events);
      assert.equal(events.at(-1)?.kind, "succeeded");
      await proxy.stop();
    });

    test(`${name}: a cut before the first event does not make the picture twice`, async () => {
      const proxy = await Proxy.start(daemon.port);
      const easel = await way(proxy.address);
      await easel.delivery();
      proxy.cut();
      setTimeout(() => proxy.mend(), 250);
      const requestId = `cut-${Math.random()}`;
      const events = await collect(easel.generate("cut early", { requestId, keepWhenDisconnected: true }));
      checkGapless(events);
      const direct = await connect({ socket: daemon.found.socket });
      const made = (await direct.list()).generations.filter((generation) => generation.requestId === requestId);
      assert.equal(made.length, 1);
      await proxy.stop();
    });

    test(`${name}: a daemon that stays away is an error in the end`, async () => {
      const proxy = await Proxy.start(daemon.port);
      const easel = await way(proxy.address);
      const run = easel.generate("away", { keepWhenDisconnected: true });
      await run.next();
      proxy.cut();
      await assert.rejects(collect(run), (error) => error instanceof EaselError && error.isConnection);
      await proxy.stop();
    });
  }

  test("a stream that turns silent is noticed, and polled from then on", async () => {
    const tcp = { address: daemon.address, token: daemon.token };
    const direct = await connectWeb(tcp);
    const { id } = (await direct.create("silent")).generation;
    const held = await connectWeb({ ...tcp, delivery: "stream", silenceMs: 200, fetch: bufferingFetch });
    const early = await collect(held.watch(id), async (event, all) => {
      if (all.length === 1) {
        assert.equal((await direct.generation(id)).state, GenerationState.RUNNING, "told while it runs");
      }
    });
    checkGapless(early);
    assert.equal(await held.delivery(), "poll");
  });

  test("an edit of a session goes on in the next run of the daemon", async () => {
    const own = await Daemon.start(SLOW);
    const easel = await connect({ socket: own.found.socket });
    const session = await easel.sessions.create("killed");
    let killed = false;
    const events = await collect(easel.sessions.edit(session.id, "a circle", { seed: 3 }), async (event) => {
      if (event.kind === "progress" && event.progress.stage === Stage.DENOISE && !killed) {
        killed = true;
        await own.kill();
        await own.run();
      }
    });
    checkGapless(events);
    assert.equal(events.at(-1)?.kind, "succeeded");
    await own.stop();
  });
});
