// The plugin that the tutorial builds works in a browser.

import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";

import { accessible, Daemon, launch, missing, pair, SHOTS } from "../../shared/test/chromium.mjs";
import { build, HERE } from "./tutorial.mjs";

describe("the plugin of the tutorial", { skip: missing }, () => {
  let plugin, daemon, browser, page;

  before(async () => {
    plugin = build("build-tutorial");
    daemon = await Daemon.start("denoise_step_ms=200");
    browser = await launch(daemon);
    page = await browser.newPage({ viewport: { width: 640, height: 480 } });
    await page.goto(pathToFileURL(join(plugin, "build", "index.html")).href);
  });
  after(async () => {
    await browser?.close();
    await daemon?.stop();
    rmSync(join(HERE, "build-tutorial"), { recursive: true, force: true });
  });

  const drawing = () => page.evaluate(() => globalThis.doodle.canvas.toDataURL());
  const field = () => page.getByRole("textbox", { name: "Instruction" });

  test("does what step 4 says", async () => {
    await page.getByRole("heading", { name: "Not paired yet" }).waitFor();
    const { clientName } = await pair(page, daemon);
    assert.equal(clientName, "Doodle");
    const canvas = page.getByLabel("Drawing");
    const { x, y } = await canvas.boundingBox();
    await page.mouse.move(x + 40, y + 60);
    await page.mouse.down();
    await page.mouse.move(x + 160, y + 90, { steps: 12 });
    await page.mouse.up();
    const drawn = await drawing();
    await field().fill("make the background blue");
    await field().press("Enter");
    await page.getByRole("progressbar").waitFor();
    await page.getByText("Placed").waitFor();
    assert.notEqual(await drawing(), drawn);
    await page.screenshot({ path: join(SHOTS, "template.png") });
    await accessible(page, "the plugin of the tutorial");
    await page.getByRole("button", { name: "Undo" }).click();
    assert.equal(await drawing(), drawn);

    await page.getByLabel("Variations").selectOption("3");
    await field().fill("a red house");
    await field().press("Enter");
    await page.getByRole("button", { name: /^Place variation 3/ }).click();
    await page.getByText("Placed").waitFor();
    assert.notEqual(await drawing(), drawn);

    await page.getByLabel("Live").check();
    await field().pressSequentially(" at night");
    await page.getByRole("button", { name: /^Place variation 1/ }).waitFor();

    await page.reload();
    await field().waitFor();
    await daemon.kill();
    await page.getByRole("heading", { name: "Easel is not running" }).waitFor();
    // The browser knows the old port only: the new daemon gets it.
    daemon.settings.splice(0, 2, "--port", String(daemon.port));
    await daemon.run();
    await field().waitFor();
  });
});
