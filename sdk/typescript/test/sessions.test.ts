// Sessions, files and models, as programs use them.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { connect, connectWeb, type Easel, ModelState, type SessionEvent, sha256 } from "../src/node.js";
import { Daemon, ROOT } from "./daemon.js";
import { bufferingFetch, Proxy } from "./proxy.js";

const SHAPES = readFileSync(join(ROOT, "examples", "shapes.png"));

let daemon: Daemon;
let easel: Easel;
before(async () => {
  daemon = await Daemon.start("denoise_step_ms=30");
  easel = await connect({ socket: daemon.found.socket });
});
after(() => daemon.stop());

describe("sessions", () => {
  test("edit, undo, redo, branch, make again, compare", async () => {
    const { id } = await easel.sessions.create("a room", SHAPES);
    await easel.sessions.edit(id, "make the wall blue", { seed: 1 }).result();
    await easel.sessions.edit(id, "add a lamp", { seed: 2 }).result();
    const [root, blue, lamp] = await easel.sessions.revisions(id);
    assert.ok(root !== undefined && blue !== undefined && lamp !== undefined);
    assert.equal(lamp.parentRevisionId, blue.id);
    assert.equal((await easel.sessions.undo(id)).headRevisionId, blue.id);
    assert.equal((await easel.sessions.redo(id)).headRevisionId, lamp.id);
    assert.equal((await easel.sessions.goTo(id, root.id)).headRevisionId, root.id);
    await easel.sessions.edit(id, "make it night", { revisionId: blue.id }).result();
    await easel.sessions.rerun(id, lamp.id, { seed: 9 }).result();
    const all = await easel.sessions.revisions(id);
    assert.deepEqual(all.slice(3).map(({ parentRevisionId }) => parentRevisionId), [blue.id, blue.id]);
    assert.equal(all[4]?.resolved?.seed, 9n);
    const difference = await easel.sessions.compare(id, lamp.id, all[4]?.id ?? "");
    assert.ok(!difference.identical && difference.sameSize);
    const named = await easel.sessions.update(id, { name: "the room", pinned: true, draft: { instruction: "a cat" } });
    assert.deepEqual([named.name, named.pinned, named.draft?.instruction], ["the room", true, "a cat"]);
    assert.ok((await easel.sessions.list()).some((session) => session.id === id));
    const replay = await easel.sessions.exportReplay(id, lamp.id);
    assert.equal(replay.steps.length, 2);
    const copy = await easel.sessions.importReplay(replay, "copy");
    assert.equal(copy.revisionCount, 3n);
    assert.ok((await easel.sessions.delete(id)).sessions === 1n);
    await assert.rejects(easel.sessions.get(id), { reason: "SESSION_NOT_FOUND" });
  });

  for (const held of [false, true]) {
    test(`two viewers see the same${held ? ", also where streams are held back" : ""}`, async () => {
      const { id } = await easel.sessions.create("shared");
      const tcp = { address: daemon.address, token: daemon.token };
      const viewers = [
        easel,
        await connectWeb(held ? { ...tcp, fetch: bufferingFetch } : tcp),
      ];
      const seen = viewers.map(async (viewer) => {
        const events: SessionEvent[] = [];
        for await (const event of viewer.sessions.watch(id)) {
          events.push(event);
          if (event.kind === "session" && event.session.headRevisionId !== "") {
            await viewer.sessions.delete(id).catch(() => undefined);
          }
        }
        return events;
      });
      await easel.sessions.edit(id, "a circle", { seed: 4, previews: true }).result();
      const [one, other] = (await Promise.all(seen)).map((events) => {
        assert.equal(events.at(-1)?.kind, "deleted");
        assert.equal(events[0]?.kind, "session");
        const own = events.flatMap((event) => (event.kind === "generation" ? [event.event] : []));
        return own.filter(({ sequence }) => sequence > 0).map(({ sequence, kind }) => `${sequence} ${kind}`);
      });
      assert.ok((one?.length ?? 0) > 5);
      // A viewer that looks from time to time may learn of the end before the last numbers; what it has seen is in order.
      const [short, long] = [one ?? [], other ?? []].sort((a, b) => a.length - b.length) as [string[], string[]];
      assert.deepEqual(short, long.slice(0, short.length));
    });
  }

  test("a viewer comes back after a lost connection", async () => {
    const { id } = await easel.sessions.create("cut");
    const proxy = await Proxy.start(daemon.port);
    const viewer = await connectWeb({ address: proxy.address, token: daemon.token });
    const kinds: string[] = [];
    for await (const event of viewer.sessions.watch(id)) {
      kinds.push(event.kind);
      if (kinds.length === 1) {
        proxy.cut();
      } else if (event.kind === "lost") {
        proxy.mend();
      } else if (event.kind === "session" && event.session.name === "") {
        break;
      } else if (event.kind === "session") {
        await easel.sessions.update(id, { name: "" });
      }
    }
    assert.deepEqual(kinds.filter((kind, at) => kind !== kinds[at - 1]), ["session", "lost", "session"]);
    await proxy.stop();
  });

  test("a watch ends with its signal", async () => {
    const { id } = await easel.sessions.create("short");
    const stop = new AbortController();
    let count = 0;
    for await (const _ of easel.sessions.watch(id, { signal: stop.signal })) {
      count += 1;
      stop.abort();
    }
    assert.equal(count, 1);
  });
});

describe("files", () => {
  test("go up once, in pieces, and come down as they were", async () => {
    const bytes = randomBytes(3 * 1024 * 1024 + 17);
    const tcp = { address: daemon.address, token: daemon.token };
    for (const client of [easel, await connectWeb(tcp), await connectWeb({ ...tcp, delivery: "poll" })]) {
      const steps: number[] = [];
      const hash = await client.upload(bytes, { onProgress: (done) => steps.push(done) });
      assert.equal(hash, await sha256(bytes));
      assert.equal(steps.at(-1), bytes.length);
      assert.equal(steps.length, client === easel ? 5 : 1, "what is there is not sent again");
      assert.deepEqual(Buffer.from(await client.download(hash)), bytes);
    }
  });

  test("an upload goes on where it was cut", async () => {
    const bytes = randomBytes(4 * 1024 * 1024);
    const proxy = await Proxy.start(daemon.port);
    const client = await connectWeb({ address: proxy.address, token: daemon.token });
    const steps: number[] = [];
    await client.upload(bytes, {
      onProgress: (done) => {
        steps.push(done);
        if (steps.length === 3) {
          proxy.cut();
          setTimeout(() => proxy.mend(), 100);
        }
      },
    });
    assert.ok(steps.every((done, at) => done >= (steps[at - 1] ?? 0)), "nothing is sent twice");
    assert.ok(steps.length >= 6 && steps.at(-1) === bytes.length);
    await proxy.stop();
  });

  test("a large source is uploaded, a small one goes along, a known one is named", async () => {
    const blobs = async (): Promise<bigint> => (await easel.status()).blobs?.count ?? 0n;
    const before = await blobs();
    await easel.edit(new Blob([SHAPES]), "small", { seed: 1 }).result();
    const hash = await easel.upload(SHAPES);
    const { images } = await easel.edit({ sha256: hash }, "small", { seed: 1 }).result();
    assert.equal(images[0]?.image?.width, 512, "as the source");
    assert.ok((await blobs()) > before);
  });

  test("what is no picture is said", async () => {
    await assert.rejects(easel.edit(new Uint8Array([1, 2, 3]), "no").result(), { reason: "INVALID_IMAGE" });
  });
});

describe("the daemon", () => {
  test("tells models, limits and how it is doing", async () => {
    const [model] = await easel.models.list();
    assert.equal(model?.name, "drill");
    assert.equal((await easel.models.get("drill")).name, "drill");
    assert.ok(((await easel.capabilities()).limits?.maxNumImages ?? 0) >= 16);
    assert.equal((await easel.status()).stages.length, 3);
    await easel.models.unload("drill");
    let last;
    for await (const { model: loading, fraction } of easel.models.load("drill")) {
      last = { state: loading.state, fraction };
    }
    assert.deepEqual(last, { state: ModelState.LOADED, fraction: 1 });
    await assert.rejects(easel.models.get("nowhere"), { reason: "MODEL_NOT_FOUND" });
    const prepared = await easel.prepare({ prompt: "" , image: { source: { case: "inline", value: SHAPES } } });
    assert.ok(prepared.total !== undefined);
    assert.deepEqual(await easel.kept(), []);
    assert.equal(await easel.clearKept(), 0n);
  });

  test("is found by its discovery file, over TCP when the socket is gone", async () => {
    assert.equal((await connect({ discovery: daemon.discovery })).place, daemon.found.socket);
    const own = await Daemon.start();
    await rm(own.found.socket);
    assert.equal((await connect({ discovery: own.discovery })).place, own.found.addresses[0]);
    await own.stop();
  });
});
