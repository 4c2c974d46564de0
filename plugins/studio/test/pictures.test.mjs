// Pictures of the Studio with the embedded model at work. EASEL_PICTURES=1 writes them to docs/pictures, for the README.

import assert from "node:assert/strict";
import { existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { Daemon, ROOT } from "../../../sdk/typescript/build/test/daemon.js";
import { Front } from "./front.mjs";

const DIST = join(dirname(fileURLToPath(import.meta.url)), "..", "dist");
const CHROMIUM = process.env.EASEL_CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/google-chrome"].find(existsSync);
const WRITES = process.env.EASEL_PICTURES !== undefined;
const PICTURES = WRITES ? join(ROOT, "docs", "pictures") : join(ROOT, "target", "studio-pictures");

test("the embedded model edits a picture in the Studio", { skip: CHROMIUM === undefined && "there is no Chromium" }, async () => {
  const daemon = await Daemon.start("", "--engine", "dreamlite");
  const front = await Front.start(daemon, DIST);
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  try {
    const page = await browser.newPage({ viewport: { width: 1200, height: 800 }, colorScheme: "light" });
    await page.goto(front.address);
    await page.getByLabel("Picture to edit").setInputFiles(join(ROOT, "examples", "shapes.png"));
    const rows = page.locator(".tree li");
    await rows.first().waitFor();
    const instructions = ["make the circle green", "remove the star"];
    for (const [at, instruction] of instructions.entries()) {
      await page.getByLabel("Seed").fill("1");
      await page.getByRole("textbox", { name: "Instruction" }).fill(instruction);
      await page.keyboard.press("Enter");
      await rows.nth(at + 1).waitFor({ timeout: 180_000 });
      await page.getByRole("progressbar").waitFor({ state: "detached" });
    }
    await page.getByRole("button", { name: "Undo" }).click();
    await page.locator(".tree li:nth-child(2) [aria-current]").waitFor();
    await page.getByText(/^in memory/).waitFor();
    await page.locator("h1").click();
    await page.waitForFunction(() => [...document.images].every((image) => image.complete && image.naturalWidth > 0));
    mkdirSync(PICTURES, { recursive: true });
    const shot = { type: "jpeg", quality: 82 };
    await page.screenshot({ ...shot, path: join(PICTURES, "studio.jpg") });
    await page.setViewportSize({ width: 390, height: 800 });
    await page.emulateMedia({ colorScheme: "dark" });
    const phone = await page.screenshot({ ...shot, path: join(PICTURES, "studio-phone.jpg") });
    assert.ok(phone.length > 10_000);
  } finally {
    await browser.close();
    front.stop();
    await daemon.stop();
  }
});
