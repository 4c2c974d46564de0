// Plays the tutorial: the plugin is built from the blocks of the page alone, is what stands in this folder, and works in a browser.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

import { accessible, Daemon, launch, missing, pair, SHOTS } from "../../shared/test/chromium.mjs";

const HERE = join(dirname(fileURLToPath(import.meta.url)), "..");
/** One folder deeper than a plugin of one's own, so that git knows nothing of it. */
const PLUGIN = join(HERE, "build-tutorial");
const PAGE = readFileSync(join(HERE, "TUTORIAL.md"), "utf8");
const BLOCKS = [...PAGE.matchAll(/^```\w+ (\S+)\n([\s\S]*?)^```$/gm)].map(([, name, text]) => ({ name, text }));

test("what the tutorial writes is what stands here", () => {
  assert.deepEqual(BLOCKS.map(({ name }) => name), ["tsconfig.json", "src/css.d.ts", "build.mjs", "src/host/doodle.ts", "src/main.ts"]);
  for (const { name, text } of BLOCKS) {
    assert.equal(text, readFileSync(join(HERE, name), "utf8"), name);
  }
  const minutes = [...PAGE.matchAll(/\((\d+) minutes\)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
  assert.equal(minutes, 15);
});

test("every step builds", () => {
  rmSync(PLUGIN, { recursive: true, force: true });
  cpSync(join(HERE, "app"), join(PLUGIN, "app"), { recursive: true });
  for (const { name, text } of BLOCKS) {
    mkdirSync(dirname(join(PLUGIN, name)), { recursive: true });
    writeFileSync(join(PLUGIN, name), name === "tsconfig.json" ? text.replace("../shared", "../../shared") : text);
  }
  execFileSync(process.execPath, ["build.mjs"], { cwd: PLUGIN, stdio: "inherit" });
});

describe("the plugin of the tutorial", { skip: missing }, () => {
  let daemon, browser, page;

  before(async () => {
    daemon = await Daemon.start("denoise_step_ms=200");
    browser = await launch(daemon);
    page = await browser.newPage({ viewport: { width: 640, height: 480 } });
    await page.goto(pathToFileURL(join(PLUGIN, "build", "index.html")).href);
  });
  after(async () => {
    await browser?.close();
    await daemon?.stop();
    rmSync(PLUGIN, { recursive: true, force: true });
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
