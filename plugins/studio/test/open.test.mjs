// The Studio as a user opens it: `easel open` of the real daemon, its one-time code, its cookie, its own page.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { chromium } from "playwright-core";

import { Daemon, ROOT } from "../../../sdk/typescript/build/test/daemon.js";

const CHROMIUM = process.env.EASEL_CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/google-chrome"].find(existsSync);
const EASEL = process.env.EASEL_BIN ?? join(ROOT, "target", "debug", "easel");
const SHOTS = join(ROOT, "target", "studio-pictures");

describe("easel open", { skip: CHROMIUM === undefined && "there is no Chromium" }, () => {
  let daemon, browser, context;

  before(async () => {
    daemon = await Daemon.start("denoise_step_ms=100");
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
    context = await browser.newContext({ viewport: { width: 1280, height: 860 }, colorScheme: "light" });
    mkdirSync(SHOTS, { recursive: true });
  });
  after(async () => {
    await browser?.close();
    await daemon?.stop();
  });

  const address = () => execFileSync(EASEL, ["open", "--print", "--state-dir", daemon.stateDir], { encoding: "utf8" }).trim();
  const tree = (page) => page.getByRole("region", { name: "Revisions" }).getByRole("listitem");

  test("signs in by a code that is good once, with a cookie that no script sees", async () => {
    const stranger = await context.newPage();
    await stranger.goto(daemon.address);
    await stranger.getByText("Not signed in: run easel open").waitFor();
    const place = address();
    const page = await context.newPage();
    await page.goto(place);
    await page.getByText("Connected", { exact: true }).waitFor();
    assert.equal(new URL(page.url()).pathname, "/");
    const [cookie] = await context.cookies();
    assert.deepEqual([cookie.httpOnly, cookie.sameSite], [true, "Strict"]);
    assert.equal(await page.evaluate(() => document.cookie), "");
    // What waited unsigned in another tab is let in as well.
    await stranger.getByText("Connected", { exact: true }).waitFor();
    await stranger.close();

    const elsewhere = await browser.newContext();
    const thief = await elsewhere.newPage();
    await thief.goto(place);
    await thief.getByText(/code/).first().waitFor();
    await thief.goto(daemon.address);
    await thief.getByText("Not signed in: run easel open").waitFor();
    await elsewhere.close();
    await page.close();
  });

  test("two tabs work in one session of the real page", async () => {
    const page = await context.newPage();
    await page.goto(address());
    await page.getByText("Connected", { exact: true }).waitFor();
    await page.getByLabel("Picture to edit").setInputFiles(join(ROOT, "examples", "shapes.png"));
    await tree(page).first().waitFor();
    const other = await context.newPage();
    await other.goto(page.url());
    await tree(other).first().waitFor();
    await other.getByRole("textbox", { name: "Instruction" }).fill("seen by both");
    await other.keyboard.press("Enter");
    await page.getByRole("progressbar").waitFor();
    for (const tab of [page, other]) {
      await tree(tab).nth(1).waitFor();
      await tab.getByText("seen by both").first().waitFor();
    }
    await page.screenshot({ path: join(SHOTS, "open.png") });
  });
});
