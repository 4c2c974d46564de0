// The Studio in a real Chromium against a drill daemon: every function, a lost connection, two windows, accessibility, pictures.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { Daemon, ROOT } from "../../../sdk/typescript/build/test/daemon.js";
import { Front } from "./front.mjs";

const HERE = join(dirname(fileURLToPath(import.meta.url)), "..");
const DIST = join(HERE, "dist");
const SHOTS = join(ROOT, "target", "studio-pictures");
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const CHROMIUM = process.env.EASEL_CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/google-chrome"].find(existsSync);

/** Files below a folder with their content. */
function files(folder) {
  const names = readdirSync(folder, { recursive: true }).filter((name) => statSync(join(folder, name)).isFile());
  return Object.fromEntries(names.sort().map((name) => [name, readFileSync(join(folder, name), "latin1")]));
}

test("what is committed is what the sources give, and small", () => {
  const out = mkdtempSync(join(tmpdir(), "easel-studio-"));
  const vite = join(dirname(createRequire(import.meta.url).resolve("vite/package.json")), "bin", "vite.js");
  execFileSync(process.execPath, [vite, "build", "--outDir", out, "--emptyOutDir", "--logLevel", "error"], { cwd: HERE });
  const [built, committed] = [files(out), files(DIST)];
  assert.deepEqual(Object.keys(built), Object.keys(committed));
  for (const [name, bytes] of Object.entries(built)) {
    assert.ok(bytes === committed[name], `${name} differs: run npm run build in plugins/studio`);
  }
  const size = Object.values(built).reduce((sum, bytes) => sum + bytes.length, 0);
  assert.ok(size < 200_000, `${size} bytes`);
  rmSync(out, { recursive: true });
});

describe("the Studio", { skip: CHROMIUM === undefined && "there is no Chromium" }, () => {
  let daemon, front, browser, context, page;
  const problems = [];

  before(async () => {
    daemon = await Daemon.start("denoise_step_ms=250");
    front = await Front.start(daemon, DIST);
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
    context = await browser.newContext({ viewport: { width: 1280, height: 860 }, colorScheme: "light" });
    page = await open();
    mkdirSync(SHOTS, { recursive: true });
  });
  after(async () => {
    await browser?.close();
    front?.stop();
    await daemon?.stop();
  });

  async function open(fragment = "") {
    const fresh = await context.newPage();
    fresh.on("pageerror", (error) => problems.push(String(error)));
    fresh.on("console", (message) => {
      if (message.type() === "error" && !/Failed to load resource|ERR_/.test(message.text())) {
        problems.push(message.text());
      }
    });
    await fresh.goto(front.address + fragment);
    await fresh.getByText("Connected", { exact: true }).waitFor();
    return fresh;
  }

  async function instruct(text, where = page) {
    await where.getByRole("textbox", { name: /Instruction|What to draw/ }).fill(text);
    await where.keyboard.press("Enter");
  }

  const tree = (where = page) => where.getByRole("region", { name: "Revisions" }).getByRole("listitem");
  const current = (where = page) => where.locator(".tree [aria-current]");
  const settled = (where = page) => where.getByRole("progressbar").waitFor({ state: "detached" });

  /** Waits until a value is what it should be. */
  async function until(read, wanted) {
    let got;
    for (let tries = 0; tries < 200; tries += 1) {
      got = await read();
      if (got === wanted) {
        return;
      }
      await page.waitForTimeout(50);
    }
    assert.equal(got, wanted);
  }

  async function accessible(name) {
    await page.evaluate(AXE);
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "best-practice"] }));
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
    assert.deepEqual(found, [], name);
  }

  test("begins with a picture", async () => {
    await accessible("start");
    await page.screenshot({ path: join(SHOTS, "start-desktop-light.png") });
    await page.getByLabel("Picture to edit").setInputFiles({ name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("x") });
    await page.getByRole("alert").getByText("This is no picture").waitFor();
    await page.getByRole("button", { name: "Dismiss" }).click();
    await page.getByLabel("Picture to edit").setInputFiles(join(ROOT, "examples", "shapes.png"));
    await tree().getByText("the picture at the beginning").waitFor();
    assert.match(page.url(), /#.+/);
  });

  test("a dropped picture begins a session as well", async () => {
    const other = await open();
    const bytes = readFileSync(join(ROOT, "examples", "shapes.png")).toString("base64");
    const data = await other.evaluateHandle((base64) => {
      const transfer = new DataTransfer();
      const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
      transfer.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
      return transfer;
    }, bytes);
    await other.locator(".drop").dispatchEvent("drop", { dataTransfer: data });
    await other.getByText("dropped", { exact: true }).waitFor();
    await other.close();
  });

  test("an instruction shows progress and previews, and ends as a revision", async () => {
    await instruct("make the circle blue");
    await page.getByRole("progressbar").waitFor();
    const before = await page.locator("img.picture").getAttribute("src");
    await page.waitForFunction((was) => document.querySelector("img.picture")?.src !== was && document.querySelector("progress"), before);
    await page.getByText(/drawing, step/).waitFor();
    await page.screenshot({ path: join(SHOTS, "work-desktop-light.png") });
    await settled();
    await until(() => tree().count(), 2);
    await until(() => current().textContent().then((text) => text.includes("make the circle blue")), true);
    await accessible("edited");
  });

  test("before and after are compared by the slider", async () => {
    const slider = page.getByRole("slider", { name: /before the edit/ });
    await slider.fill("50");
    await page.getByAltText("Before the edit").waitFor();
    assert.match(await page.getByAltText("Before the edit").evaluate((image) => image.style.clipPath), /50%/);
    await page.screenshot({ path: join(SHOTS, "compare-desktop-light.png") });
    await slider.fill("0");
    await page.getByAltText("Before the edit").waitFor({ state: "detached" });
  });

  test("undo and redo, by button and by key", async () => {
    await page.getByRole("button", { name: "Undo" }).click();
    await until(() => current().textContent().then((text) => text.includes("beginning")), true);
    await page.locator("h1").click();
    await page.keyboard.press("Control+Shift+Z");
    await until(() => current().textContent().then((text) => text.includes("blue")), true);
    await page.keyboard.press("Control+Z");
    await until(() => current().textContent().then((text) => text.includes("beginning")), true);
  });

  test("an edit from an earlier revision is a branch; the history gives instructions back", async () => {
    await page.keyboard.press("/");
    await page.keyboard.press("ArrowUp");
    assert.equal(await page.getByRole("textbox", { name: "Instruction" }).inputValue(), "make the circle blue");
    await instruct("make it night");
    await until(() => tree().count(), 3);
    assert.equal(await tree().last().evaluate((row) => row.style.marginInlineStart), "14px");
    await settled();
    await tree().nth(1).getByRole("button").click();
    await until(() => current().textContent().then((text) => text.includes("blue")), true);
  });

  test("variations stand in a grid, with their seeds", async () => {
    await page.getByLabel("Seed").fill("7");
    await page.getByRole("combobox", { name: /Variations/ }).selectOption("4");
    await instruct("a lamp");
    const grid = page.getByRole("region", { name: "Variations" });
    await until(() => grid.getByRole("listitem").count(), 4);
    await grid.getByRole("button", { name: "Variation 3" }).click();
    await grid.locator("[aria-pressed=true][aria-label='Variation 3']").waitFor();
    await page.getByText("seed 7").first().waitFor();
    await page.screenshot({ path: join(SHOTS, "variations-desktop-light.png") });
    await page.getByLabel("Seed").fill("");
    await page.getByRole("combobox", { name: /Variations/ }).selectOption("1");
  });

  test("escape cancels, and again makes another", async () => {
    const count = await tree().count();
    await page.getByRole("button", { name: "Again" }).click();
    await page.getByRole("progressbar").waitFor();
    await page.keyboard.press("Escape");
    await settled();
    assert.equal(await tree().count(), count);
    await page.getByRole("button", { name: "Again" }).click();
    await until(() => tree().count(), count + 1);
    await settled();
  });

  test("a part is selected by rectangle, lasso, brush and keyboard, and nothing outside of it changes", async () => {
    await tree().first().getByRole("button").click();
    await until(() => current().textContent().then((text) => text.includes("beginning")), true);
    const tools = page.getByRole("toolbar", { name: "Selection" });
    const sheet = page.locator("canvas.sheet");
    const drawn = () => sheet.evaluate((canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.filter((value, at) => at % 4 === 3 && value > 0).length);
    const drag = async (...points) => {
      const { x, y, width, height } = await sheet.boundingBox();
      const [[left, top], ...rest] = points.map(([across, down]) => [x + width * across, y + height * down]);
      await page.mouse.move(left, top);
      await page.mouse.down();
      for (const [across, down] of rest) {
        await page.mouse.move(across, down, { steps: 4 });
      }
      await page.mouse.up();
    };
    for (const [tool, points] of [["Lasso", [[0.2, 0.2], [0.5, 0.2], [0.35, 0.5]]], ["Brush", [[0.6, 0.6], [0.8, 0.6]]], ["Rectangle", [[0.25, 0.25], [0.5, 0.5]]]]) {
      await tools.getByRole("button", { name: tool }).click();
      await drag(...points);
      await tools.getByRole("button", { name: "Clear selection", disabled: false }).waitFor();
      assert.ok((await drawn()) > 500, tool);
      await page.screenshot({ path: join(SHOTS, `select-${tool.toLowerCase()}.png`) });
      await accessible(`selected by ${tool}`);
      await tools.getByRole("button", { name: "Clear selection" }).click();
      await until(drawn, 0);
    }
    await sheet.focus();
    for (const key of ["ArrowRight", "ArrowDown", "Enter", ...Array(8).fill("ArrowRight"), ...Array(8).fill("ArrowDown"), "Enter"]) {
      await page.keyboard.press(key);
    }
    await page.getByRole("img", { name: "A part of the picture is selected" }).waitFor();
    const count = await tree().count();
    const before = await pixels();
    await instruct("only there");
    await until(() => tree().count(), count + 1);
    await settled();
    await until(() => current().textContent().then((text) => text.includes("only there")), true);
    const after = await pixels();
    // The rectangle reaches from 8 to 72 in both directions.
    const changed = { inside: 0, outside: 0 };
    after.data.forEach((value, at) => {
      const [x, y] = [(at / 4) % after.width | 0, at / 4 / after.width | 0];
      changed[x >= 8 && x < 72 && y >= 8 && y < 72 ? "inside" : "outside"] += value === before.data[at] ? 0 : 1;
    });
    assert.equal(changed.outside, 0);
    assert.ok(changed.inside > 1000, `${changed.inside} values`);
    await page.getByRole("img", { name: /^Nothing is selected/ }).waitFor();
    await tools.getByRole("button", { name: "Rectangle" }).click();
  });

  /** The picture that is shown, as raw pixels. */
  async function pixels() {
    await page.waitForFunction(() => document.querySelector("img.picture")?.complete && document.querySelector("img.picture").naturalWidth > 0);
    return page.locator("img.picture").first().evaluate((image) => {
      const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
      const context = canvas.getContext("2d");
      context.drawImage(image, 0, 0);
      const { data, width } = context.getImageData(0, 0, canvas.width, canvas.height);
      return { data: Array.from(data), width };
    });
  }

  test("live tries what is written on one picture, and Enter keeps it", async () => {
    await page.getByLabel("Live").check();
    const box = page.getByRole("textbox", { name: "Instruction" });
    const titles = () => tree().evaluateAll((rows) => rows.map((row) => [row.textContent, row.style.marginInlineStart]));
    const count = await tree().count();
    await box.fill("snow");
    await page.getByRole("progressbar").waitFor();
    await box.fill("snow on the roof");
    await until(async () => (await titles()).some(([text]) => text.includes("snow on the roof")), true);
    await settled();


    await box.press("Enter");
    await settled();
    await until(() => current().textContent().then((text) => text.includes("snow on the roof")), true);
    assert.equal((await tree().count()) - count, 1, "what was tried is not made again, and the newest is kept");
    await page.getByLabel("Live").uncheck();
  });

  test("queue, stages, memory and models are shown, and a model leaves memory and comes back", async () => {
    const region = page.getByRole("region", { name: "Daemon" });
    for (const stage of ["encoder", "denoiser", "vae"]) {
      await region.getByRole("img", { name: `Occupancy of the ${stage}` }).waitFor();
    }
    const ink = await region.locator("canvas").nth(1).evaluate((canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, 4);
      return data.some((value) => value > 0);
    });
    assert.ok(ink, "the denoiser was seen at work");
    await region.getByRole("button", { name: "Unload drill" }).click();
    await region.getByText("not in memory").waitFor();
    await region.getByRole("button", { name: "Load drill" }).click();
    await region.getByText("in memory", { exact: false }).and(region.locator("small:not(:has-text('not'))")).waitFor();
  });

  test("errors are readable", async () => {
    await instruct("x".repeat(9000));
    await page.getByRole("alert").getByText("The edit was not taken").waitFor();
    await page.getByRole("alert").getByText(/prompt/).waitFor();
    await page.screenshot({ path: join(SHOTS, "error-desktop-light.png") });
    await page.getByRole("button", { name: "Dismiss" }).click();
  });

  test("a lost connection is said and taken up, and the work goes on", async () => {
    const count = await tree().count();
    await instruct("through the cut");
    await page.getByRole("progressbar").waitFor();
    front.cut();
    await page.getByText("Connection lost, trying again").waitFor();
    front.mend();
    await page.getByText("Connected", { exact: true }).waitFor();
    await until(() => tree().count(), count + 1);
    await settled();
  });

  test("two windows show one session", async () => {
    const other = await open(page.url().slice(page.url().indexOf("#")));
    const count = await tree().count();
    await until(() => tree(other).count(), count);
    await instruct("seen by both", other);
    await page.getByRole("progressbar").waitFor();
    await until(() => tree().count(), count + 1);
    await until(() => tree(other).count(), count + 1);
    await settled();
    await page.keyboard.press("Control+Z");
    await until(async () => (await current(other).textContent()) === (await current().textContent()), true);
    await other.close();
  });

  for (const [size, viewport] of Object.entries({ desktop: { width: 1280, height: 860 }, phone: { width: 390, height: 844 } })) {
    for (const colorScheme of ["light", "dark"]) {
      test(`${size}, ${colorScheme}: readable, accessible, nothing beyond the edge`, async () => {
        await page.setViewportSize(viewport);
        await page.emulateMedia({ colorScheme });
        await accessible(`${size} ${colorScheme}`);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(wide <= 0, `${wide} px too wide`);
        await page.screenshot({ path: join(SHOTS, `studio-${size}-${colorScheme}.png`), fullPage: size === "phone" });
      });
    }
  }

  test("a session is found again, and deleted", async () => {
    await page.setViewportSize({ width: 1280, height: 860 });
    await page.getByRole("button", { name: "All sessions" }).click();
    await page.getByRole("button", { name: /^shapes/ }).waitFor();
    page.once("dialog", (dialog) => void dialog.accept());
    await page.getByRole("button", { name: "Delete shapes" }).click();
    await page.getByRole("button", { name: /^shapes/ }).waitFor({ state: "detached" });
  });

  test("a painting begins a session", async () => {
    await page.getByRole("button", { name: "Paint one" }).click();
    await accessible("painting");
    const { x, y } = await page.getByLabel("Sheet to paint on").boundingBox();
    await page.mouse.move(x + 60, y + 60);
    await page.mouse.down();
    await page.mouse.move(x + 200, y + 160, { steps: 8 });
    await page.mouse.up();
    await page.screenshot({ path: join(SHOTS, "paint-desktop-light.png") });
    await page.getByRole("button", { name: "Use this picture" }).click();
    await until(() => tree().count(), 1);
    const { data, width } = await pixels();
    assert.equal(width, 512);
    assert.ok(data.filter((value, at) => at % 4 === 1 && value < 128).length > 1000, "the stroke is in it");
    await page.getByRole("button", { name: "All sessions" }).click();
  });

  test("text alone begins a session", async () => {
    await instruct("a red circle on a white background");
    await until(() => tree().count(), 1);
    await settled();
  });

  test("nothing went wrong in the page", () => assert.deepEqual(problems, []));
});
