// Pairing: a program without a token shows a code, the user confirms it, and the token is good for what it says.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { connect, connectWeb, type Easel, type PairingCode, Reason, Scope } from "../src/node.js";
import { Daemon } from "./daemon.js";

describe("pairing", () => {
  let daemon: Daemon;
  let user: Easel;
  before(async () => {
    daemon = await Daemon.start();
    user = await connect({ socket: daemon.found.socket });
  });
  after(() => daemon.stop());

  const plugins = { node: connect, web: connectWeb };
  for (const [name, reach] of Object.entries(plugins)) {
    test(`a plugin (${name}) gets a token when the user says yes, and none when he says no`, async () => {
      const stranger = await reach({ address: daemon.address });
      let shown: PairingCode | undefined;
      const paired = await stranger.access.pair("A plugin", {
        onCode: (code) => {
          shown = code;
          void user.access.confirm(code.code.toLowerCase());
        },
      });
      assert.match(shown?.code ?? "", /^[A-Z0-9]{4}-[A-Z0-9]{4}$/);
      assert.equal(shown?.command, `easel pair ${shown?.code}`);
      assert.ok((shown?.expires?.getTime() ?? 0) > Date.now());
      assert.deepEqual(paired.scopes, [Scope.READ, Scope.GENERATE, Scope.SESSIONS]);

      const plugin = await reach({ address: daemon.address, token: paired.token });
      assert.equal((await plugin.generate("a fox", { seed: 1 }).result()).images.length, 1);
      await assert.rejects(plugin.models.unload("drill"), { reason: "PERMISSION_DENIED" });
      await assert.rejects(plugin.access.tokens(), { reason: "PERMISSION_DENIED" });
      const known = await user.access.tokens();
      assert.ok(known.some(({ tokenId, clientName }) => tokenId === paired.tokenId && clientName === "A plugin"));

      assert.equal((await plugin.access.revoke()).tokenId, paired.tokenId);
      await assert.rejects(plugin.status(), { reason: "UNAUTHENTICATED" });

      const refused = stranger.access.pair("A plugin", { onCode: ({ code }) => void user.access.reject(code) });
      await assert.rejects(refused, { reason: "PAIRING_REJECTED" });
    });
  }

  test("a pairing that is given up waits for nobody", async () => {
    const stranger = await connectWeb({ address: daemon.address });
    const stop = new AbortController();
    const options = { onCode: () => stop.abort(), signal: stop.signal, scopes: [Scope.READ] };
    await assert.rejects(stranger.access.pair("Nobody", options), { reason: Reason.ABORTED });
    const [waiting] = await user.access.pairings();
    assert.deepEqual(waiting?.scopes, [Scope.READ]);
  });
});
