// The whole plugin in a real Chromium: the fake of Figma on the address of Figma, the built plugin in a frame without an origin, a drill
// daemon on this machine. A page of the open net reaches this machine only when the user allows it.

import assert from "node:assert/strict";
import { readdirSync, readFileSync, mkdtempSync, rmSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { accessible, Daemon, launch, missing, pair, Priority, SHOTS, until, user } from "../../shared/test/chromium.mjs";

const HERE = join(dirname(fileURLToPath(import.meta.url)), "..");
const built = (name) => readFileSync(join(HERE, "build", name), "utf8");
const FIGMA = "https://www.figma.com";

test("the page that is committed is what the sources give", () => {
  const out = mkdtempSync(join(tmpdir(), "easel-figma-"));
  execFileSync(process.execPath, [join(HERE, "build.mjs"), "--dist", out, "--only-dist"], { stdio: "inherit" });
  const names = readdirSync(out).sort();
  assert.deepEqual(names, readdirSync(join(HERE, "dist")).sort());
  for (const name of names) {
    assert.ok(readFileSync(join(out, name)).equals(readFileSync(join(HERE, "dist", name))), `${name} differs: run npm run build`);
  }
  rmSync(out, { recursive: true });
});

test("the manifest lists the daemon's ports under both of its names, and says why", () => {
  const manifest = JSON.parse(readFileSync(join(HERE, "manifest.json"), "utf8"));
  const { allowedDomains, reasoning } = manifest.networkAccess;
  const wanted = ["localhost", "127.0.0.1"].flatMap((host) => [7461, 7462, 7463, 7464].map((port) => `http://${host}:${port}`));
  assert.deepEqual(allowedDomains, wanted);
  assert.ok(reasoning.length > 20);
  for (const file of [manifest.main, manifest.ui]) {
    assert.ok(readFileSync(join(HERE, file)).length > 1000, file);
  }
  assert.doesNotMatch(built("code.js"), /\bfetch\(|\beval\(|new Function|\?\?|\?\./, "the sandbox has no network and an old language");
});

describe("the plugin in Chromium", { skip: missing }, () => {
  let daemon, browser, context, page;

  before(async () => {
    daemon = await Daemon.start("denoise_step_ms=300");
    browser = await launch(daemon);
    await begin(true);
  });
  after(async () => {
    await browser?.close();
    await daemon?.stop();
  });

  /** A new user of the browser, who lets Figma's page reach this machine or does not. */
  async function begin(allows) {
    await context?.close();
    context = await browser.newContext({ viewport: { width: 700, height: 620 } });
    if (allows) {
      await context.grantPermissions(["local-network-access"], { origin: FIGMA });
    }
    const script = `<script>${built("test/page.js").replaceAll("</script", "<\\/script")}</script>`;
    const body = `<!doctype html><html lang="en"><title>Figma</title><body>${script}</body></html>`;
    await context.route(`${FIGMA}/**`, (route) => route.fulfill({ contentType: "text/html", body }));
    page = await context.newPage();
    await page.goto(`${FIGMA}/design/1`);
  }

  async function open(frame) {
    await page.evaluate((start) => globalThis.open(start), { html: built("ui.html"), code: built("code.js"), frame });
    return page.frameLocator("iframe");
  }
  const inner = () => page.frames()[1];
  const select = (...ids) => page.evaluate((chosen) => globalThis.fake.select(...chosen), ids);
  const fills = (id) => page.evaluate((node) => globalThis.fake.find(node).fills, id);
  const picture = (hash) => page.evaluate((name) => Array.from(globalThis.fake.images.get(name).subarray(16, 24)), hash);
  const pixels = (bytes) => [(bytes[2] << 8) | bytes[3], (bytes[6] << 8) | bytes[7]];
  const field = (panel) => panel.getByRole("textbox", { name: "Instruction" });

  async function instruct(panel, text) {
    await field(panel).fill(text);
    await field(panel).press("Enter");
  }

  test("pairs by a code in a frame without an origin, and remembers it", async () => {
    const panel = await open("sandbox");
    await panel.getByRole("heading", { name: "Not paired yet" }).waitFor();
    await accessible(inner(), "unpaired");
    const { clientName, origin } = await pair(panel, daemon);
    assert.deepEqual([clientName, origin], ["Figma", "null"]);
    const again = await open("sandbox");
    await field(again).waitFor();
    await accessible(inner(), "paired");
  });

  test("edits an image fill in place, with progress and previews, and one undo takes it back", async () => {
    const panel = await open("sandbox");
    await field(panel).waitFor();
    const before = await page.evaluate(() => globalThis.fake.page.state());
    await select("1:1");
    await panel.getByLabel("Seed").fill("7");
    await instruct(panel, "make it blue");
    await panel.getByRole("progressbar").waitFor();
    await panel.getByText(/drawing, step/).waitFor();
    await panel.getByAltText("Preview 1").waitFor();
    await page.screenshot({ path: join(SHOTS, "figma-work.png") });
    await panel.getByText("Placed").waitFor();
    const [{ imageHash }] = await fills("1:1");
    assert.match(imageHash, /^made/);
    assert.deepEqual(pixels(await picture(imageHash)), [128, 96]);
    assert.deepEqual(await page.evaluate(() => globalThis.fake.undo()), before);
  });

  test("takes a frame as it looks, and lays the variation that is chosen over it", async () => {
    const panel = page.frameLocator("iframe");
    await select("1:2");
    await panel.getByLabel("Variations").selectOption("3");
    await instruct(panel, "a winter evening");
    await panel.getByRole("button", { name: /^Place variation 2, seed 8$/ }).click();
    await panel.getByText("Placed").waitFor();
    await page.screenshot({ path: join(SHOTS, "figma-variations.png") });
    await accessible(inner(), "variations");
    const over = await page.evaluate(() => globalThis.fake.currentPage.selection[0].state());
    assert.deepEqual([over.name, over.x, over.y, over.width, over.height], ["a winter evening", 300, 40, 320, 240]);
    assert.deepEqual(pixels(await picture(over.fills[0].imageHash)), [320, 240]);
    await panel.getByLabel("Variations").selectOption("1");
  });

  test("says what to select, gives instructions back, cancels in the daemon", async () => {
    const panel = page.frameLocator("iframe");
    await select();
    await instruct(panel, "nothing");
    await panel.getByRole("alert").getByText(/Select a layer/).waitFor();
    await panel.getByRole("button", { name: "Dismiss" }).click();
    await field(panel).fill("draft");
    await field(panel).press("ArrowUp");
    await field(panel).press("ArrowUp");
    assert.equal(await field(panel).inputValue(), "a winter evening");
    await select("1:1");
    await instruct(panel, "to be cancelled");
    await panel.getByText(/drawing, step 1/).waitFor();
    await panel.getByRole("button", { name: "Cancel" }).click();
    await panel.getByRole("progressbar").waitFor({ state: "detached" });
    const terminal = await user(daemon);
    const { generations } = await terminal.list({ pageSize: 1 });
    assert.equal(generations[0].error.reason, "CANCELLED");
  });

  test("live: tries while one writes, the newest wins, and places when asked to", async () => {
    const panel = page.frameLocator("iframe");
    await panel.getByLabel("Live").check();
    const before = JSON.stringify(await fills("1:1"));
    await field(panel).fill("make it");
    await panel.getByText(/drawing, step/).waitFor();
    await field(panel).pressSequentially(" red");
    await panel.getByRole("button", { name: /^Place variation 1/ }).waitFor();
    assert.equal(JSON.stringify(await fills("1:1")), before, "nothing is placed by itself");
    const terminal = await user(daemon);
    const { generations } = await terminal.list({ pageSize: 2 });
    assert.deepEqual(generations.map(({ state }) => state), [3, 5], "the older one was cancelled");
    await panel.getByRole("button", { name: /^Place variation 1/ }).click();
    await panel.getByText("Placed").waitFor();
    assert.notEqual(JSON.stringify(await fills("1:1")), before);
    await panel.getByLabel("Live").uncheck();
  });

  test("tells the place in the queue", async () => {
    const panel = page.frameLocator("iframe");
    const terminal = await user(daemon);
    const others = await Promise.all(["one", "two", "three", "four"].map((prompt) => terminal.create(prompt, { numInferenceSteps: 100, priority: Priority.LIVE })));
    await instruct(panel, "patience");
    await panel.getByText(/waiting, .* in the queue/).waitFor();
    await Promise.all(others.map(({ generation }) => terminal.cancel(generation.id)));
    await panel.getByText("Placed").waitFor();
  });

  test("a daemon that is killed and started again goes on, and the panel with it", async () => {
    const panel = page.frameLocator("iframe");
    await instruct(panel, "through the night");
    await panel.getByText(/drawing, step/).waitFor();
    await daemon.kill();
    // The browser knows the old port only: the new daemon gets it.
    daemon.settings.splice(0, 2, "--port", String(daemon.port));
    await daemon.run();
    await panel.getByText("Placed").waitFor();
  });

  test("a revoked pairing is said, and made anew", async () => {
    const panel = page.frameLocator("iframe");
    const terminal = await user(daemon);
    for (const { tokenId } of await terminal.access.tokens()) {
      await terminal.access.revoke(tokenId);
    }
    await instruct(panel, "with an old token");
    await panel.getByRole("heading", { name: "Not paired yet" }).waitFor();
    await pair(panel, daemon);
    await panel.getByRole("button", { name: "Forget pairing" }).click();
    await panel.getByRole("heading", { name: "Not paired yet" }).waitFor();
    assert.deepEqual(await terminal.access.tokens(), []);
  });

  test("without permission it says so, and opens as a page of the daemon when that is allowed", async () => {
    await begin(false);
    let panel = await open("data");
    await panel.getByRole("heading", { name: "Access to this device is denied" }).waitFor();
    await page.screenshot({ path: join(SHOTS, "figma-blocked.png") });
    await accessible(inner(), "blocked");
    await context.grantPermissions(["local-network-access"], { origin: FIGMA });
    await panel.getByRole("button", { name: "Open the panel from Easel" }).click();
    await until(page, async () => inner().url(), "http://127.0.0.1:7461/ui/figma?plugin=1234567890");
    panel = page.frameLocator("iframe");
    const { origin } = await pair(panel, daemon);
    assert.equal(origin, "http://127.0.0.1:7461");
    await select("1:1");
    await instruct(panel, "from the daemon's own page");
    await panel.getByText("Placed").waitFor();
    assert.match((await fills("1:1"))[0].imageHash, /^made/);
  });

  test("a frame of nobody else shows the daemon's page", async () => {
    await context.route("https://elsewhere.example/**", (route) =>
      route.fulfill({ contentType: "text/html", body: '<iframe src="http://127.0.0.1:7461/ui/figma?plugin=1"></iframe>' }),
    );
    await context.grantPermissions(["local-network-access"], { origin: "https://elsewhere.example" });
    const refused = page.waitForEvent("console", (message) => /frame-ancestors|X-Frame-Options/.test(message.text()));
    await page.goto("https://elsewhere.example/");
    await refused;
  });

  test("says that the daemon is not running, and finds it when it is", async () => {
    await begin(true);
    await daemon.kill();
    const panel = await open("sandbox");
    await panel.getByRole("heading", { name: "Easel is not running" }).waitFor();
    await accessible(inner(), "absent");
    await daemon.run();
    await panel.getByRole("heading", { name: "Not paired yet" }).waitFor();
  });
});
