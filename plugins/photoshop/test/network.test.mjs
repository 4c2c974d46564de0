// The panel in Chromium with the fakes of Photoshop's modules, against a drill daemon: its network half, with answers that come as they
// are sent and with answers that are held back until their end, as UXP may do it.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

import { accessible, Daemon, launch, missing, pair, SHOTS, until, user } from "../../shared/test/chromium.mjs";

const BUILD = join(dirname(fileURLToPath(import.meta.url)), "..", "build", "test");

for (const [name, query] of [["as they are sent", ""], ["held back until their end", "?buffered"]]) {
  describe(`Photoshop's panel with answers ${name}`, { skip: missing }, () => {
    let daemon, browser, page;

    before(async () => {
      daemon = await Daemon.start("denoise_step_ms=200");
      browser = await launch(daemon);
      page = await browser.newPage({ viewport: { width: 320, height: 600 } });
      // A page of the disk has no origin, and asks nobody whether it may reach this machine.
      const html = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Easel</title><link rel="stylesheet" href="page.css"><body><script src="page.js"></script></body></html>';
      writeFileSync(join(BUILD, "page.html"), html);
      await page.goto(pathToFileURL(join(BUILD, "page.html")).href + query);
    });
    after(async () => {
      await browser?.close();
      await daemon?.stop();
    });

    const field = () => page.getByRole("textbox", { name: "Instruction" });
    const layers = () => page.evaluate(() => globalThis.photoshop.layers.map(({ name, pixels, mask }) => ({ name, region: pixels?.region, mask: mask?.region })));
    const history = () => page.evaluate(() => globalThis.photoshop.history);

    async function instruct(text) {
      await field().fill(text);
      await field().press("Enter");
    }

    test("pairs, and edits the whole picture into a layer", async () => {
      await pair(page, daemon);
      await page.getByLabel("Seed").fill("3");
      await instruct("make it gold");
      await page.getByRole("progressbar").waitFor();
      await page.getByText("Placed").waitFor();
      assert.deepEqual(await layers(), [
        { name: "make it gold", region: { left: 0, top: 0, right: 200, bottom: 150 }, mask: undefined },
        { name: "Ground", region: { left: 0, top: 0, right: 200, bottom: 150 }, mask: undefined },
      ]);
      assert.deepEqual(await history(), ["Open", "Easel: make it gold"]);
      await accessible(page, "placed");
      await page.screenshot({ path: join(SHOTS, `photoshop${query === "" ? "" : "-buffered"}.png`) });
    });

    test("the selection becomes the mask, and what lies around it comes back as it was", async () => {
      await page.evaluate(() => globalThis.select(40, 50, 80, 90));
      await instruct("make this blue");
      await until(page, async () => (await layers()).length, 3);
      const [layer] = await layers();
      assert.deepEqual(layer, {
        name: "make this blue",
        region: { left: 0, top: 0, right: 144, bottom: 150 },
        mask: { left: 40, top: 50, right: 80, bottom: 90 },
      });
      const differs = await page.evaluate(() => {
        const [above, below] = globalThis.photoshop.layers;
        const found = { inside: 0, outside: 0 };
        for (let y = 0; y < 150; y += 1) {
          for (let x = 0; x < 144; x += 1) {
            const [a, b] = [(y * 144 + x) * 4, (y * 200 + x) * 4];
            const same = [0, 1, 2].every((c) => above.pixels.data[a + c] === below.pixels.data[b + c]);
            found[x >= 40 && x < 80 && y >= 50 && y < 90 ? "inside" : "outside"] += same ? 0 : 1;
          }
        }
        return found;
      });
      assert.equal(differs.outside, 0);
      assert.ok(differs.inside > 1000, `${differs.inside} pixels`);
      await page.evaluate(() => globalThis.select());
    });

    test("cancels in the daemon, and tries again", async () => {
      await instruct("to be cancelled");
      await page.getByText(/drawing, step/).waitFor();
      await page.getByRole("button", { name: "Cancel" }).click();
      await page.getByRole("progressbar").waitFor({ state: "detached" });
      const { generations } = await (await user(daemon)).list({ pageSize: 1 });
      assert.equal(generations[0].error.reason, "CANCELLED");
      assert.equal((await layers()).length, 3);
    });

    test("Photoshop was never held while the daemon worked", async () => {
      const { seen, watched } = await page.evaluate(() => ({ seen: globalThis.seen, watched: globalThis.watched }));
      assert.equal(seen.modalDuringCalls, false);
      assert.equal(watched.undisposed, 0);
      assert.ok(query === "" ? seen.streams > 0 && seen.whole === 0 : seen.whole > 0 && seen.streams === 0, JSON.stringify(seen));
    });
  });
}
