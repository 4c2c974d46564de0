// A real Chromium for the plugins' tests, in which the daemon's first port leads to the daemon of the test.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

import { chromium } from "playwright-core";

import { connect, Priority } from "../../../sdk/typescript/build/src/node.js";
import { Daemon, ROOT } from "../../../sdk/typescript/build/test/daemon.js";

export { Daemon, Priority, ROOT };

export const CHROMIUM = process.env.EASEL_CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/google-chrome"].find(existsSync);
/** Why tests are left out, or false. */
export const missing = CHROMIUM === undefined && "there is no Chromium";
/** Pictures for a person to look at. */
export const SHOTS = join(ROOT, "target", "plugin-pictures");

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** A browser for which 127.0.0.1:7461 is the port of this daemon, and on which nothing else of the daemon's ports answers. */
export function launch(daemon) {
  mkdirSync(SHOTS, { recursive: true });
  const ports = [7461, 7462, 7463, 7464].flatMap((port) => ["127.0.0.1", "localhost"].map((host) => `${host}:${port}`));
  const rules = ports.map((place) => `MAP ${place} 127.0.0.1:${place === "127.0.0.1:7461" ? daemon.port : 1}`);
  return chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", `--host-resolver-rules=${rules.join(",")}`] });
}

/** The user, who confirms codes in a terminal. */
export function user(daemon) {
  return connect({ socket: daemon.found.socket });
}

/** Works the panel's pairing as a person does: presses Pair, reads the code, types it. */
export async function pair(panel, daemon) {
  await panel.getByRole("button", { name: "Pair" }).click();
  const code = await panel.locator(".code").textContent();
  await panel.getByText(`easel pair ${code}`).waitFor();
  const terminal = await user(daemon);
  const confirmed = await terminal.access.confirm(code);
  await panel.getByRole("textbox", { name: "Instruction" }).waitFor();
  return confirmed;
}

/** Nothing that axe knows is wrong in a frame or page. */
export async function accessible(frame, name) {
  await frame.evaluate(AXE);
  const { violations } = await frame.evaluate(() => globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "best-practice"] }));
  assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`), [], name);
}

/** Waits until a value is what it should be. */
export async function until(page, read, wanted) {
  let got;
  for (let tries = 0; tries < 200; tries += 1) {
    got = await read();
    if (JSON.stringify(got) === JSON.stringify(wanted)) {
      return;
    }
    await page.waitForTimeout(50);
  }
  assert.deepEqual(got, wanted);
}
