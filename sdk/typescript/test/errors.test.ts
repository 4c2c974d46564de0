// Errors: every one is typed, with reason, fields, retry advice and resource.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Code, connect, connectWeb, type Easel, EaselError, PROTOCOL_VERSION, Reason } from "../src/node.js";
import { Daemon } from "./daemon.js";

async function failure(promise: Promise<unknown>): Promise<EaselError> {
  const error = await promise.then(
    () => assert.fail("it must fail"),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof EaselError, String(error));
  return error;
}

describe("errors", () => {
  let daemon: Daemon;
  let easels: Easel[];
  before(async () => {
    daemon = await Daemon.start("denoise_step_ms=400", "--max-queue", "2");
    const tcp = { address: daemon.address, token: daemon.token };
    easels = [
      await connect({ socket: daemon.found.socket }),
      await connect(tcp),
      await connectWeb(tcp),
      await connectWeb({ ...tcp, delivery: "poll" }),
    ];
  });
  after(() => daemon.stop());

  test("name every wrong field at once", async () => {
    for (const easel of easels) {
      const error = await failure(easel.generate("", { numInferenceSteps: 500, width: 16 }).result());
      assert.equal(error.code, Code.InvalidArgument);
      assert.equal(error.reason, "INVALID_REQUEST");
      const fields = error.violations.map(({ field }) => field);
      assert.ok(fields.includes("spec.prompt") && fields.includes("spec.num_inference_steps"), fields.join());
      assert.ok(error.message.includes("spec.prompt") && !error.isBusy && !error.isConnection);
    }
  });

  test("say what they are about", async () => {
    for (const easel of easels) {
      const error = await failure(easel.generate("a fox", { model: "nowhere" }).result());
      assert.deepEqual(error.resource, { kind: "model", name: "nowhere" });
      assert.equal(error.code, Code.NotFound);
      assert.equal((await failure(easel.generation("nothing"))).reason, "GENERATION_NOT_FOUND");
      assert.equal((await failure(easel.sessions.get("nothing"))).reason, "SESSION_NOT_FOUND");
      assert.equal((await failure(easel.download("0".repeat(64)))).reason, "BLOB_NOT_FOUND");
    }
  });

  test("say when to try again", async () => {
    const [easel] = easels as [Easel];
    const running = await Promise.all(["one", "two"].map(async (prompt) => (await easel.create(prompt)).generation));
    for (const other of easels) {
      const error = await failure(other.generate("three").result());
      assert.equal(error.reason, "QUEUE_FULL");
      assert.ok(error.isBusy && (error.retryAfterMs ?? 0) > 0);
    }
    await Promise.all(running.map(({ id }) => easel.cancel(id)));
  });

  test("a time limit ends a generation with its reason", async () => {
    const error = await failure((easels[0] as Easel).generate("slow", { timeoutMs: 300 }).result());
    assert.equal(error.reason, "DEADLINE_EXCEEDED");
  });

  test("a missing or wrong token is denied, the version needs none", async () => {
    for (const way of [connect, connectWeb]) {
      for (const token of [undefined, "wrong"]) {
        const easel = await way({ address: daemon.address, token });
        const version = await easel.version();
        assert.equal(version.protocolVersion, PROTOCOL_VERSION);
        const error = await failure(easel.status());
        assert.ok(error.isDenied && error.reason === "UNAUTHENTICATED" && error.message.includes("easel token"));
      }
      const broken = await failure(way({ address: daemon.address, token: "two words" }));
      assert.equal(broken.reason, Reason.CLIENT_SETUP);
      assert.ok(!broken.message.includes("two words"), "a token does not end up in a message");
    }
  });

  test("nobody there is said with the place", async () => {
    for (const way of [connect, connectWeb]) {
      const error = await failure(way({ address: "127.0.0.1:1" }));
      assert.ok(error.reason === Reason.CANNOT_CONNECT && error.isConnection, error.reason);
      assert.match(error.message, /http:\/\/127\.0\.0\.1:1/);
      assert.equal((await failure(way({ address: "no address" }))).reason, Reason.CLIENT_SETUP);
    }
    assert.equal((await failure(connect({ socket: "/nowhere/easel.sock" }))).reason, Reason.CANNOT_CONNECT);
    assert.equal((await failure(connect({ discovery: "/nowhere/daemon.json" }))).reason, Reason.CANNOT_CONNECT);
  });

  test("a fault of the engine fails its generation", async () => {
    const own = await Daemon.start("fault=denoise/2/nan");
    const easel = await connect({ socket: own.found.socket });
    const error = await failure(easel.generate("broken").result());
    assert.equal(error.reason, "ENGINE_FAULT");
    await own.stop();
  });
});
