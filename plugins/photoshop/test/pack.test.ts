// What is packed: the manifest as Photoshop wants it, and files that UXP can load.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

/** build/test is where this runs. */
const PLUGIN = join(import.meta.dirname, "..", "plugin");
const read = (name: string): string => readFileSync(join(PLUGIN, name), "utf8");

test("the manifest asks for the daemon's ports and for nothing else", () => {
  const manifest = JSON.parse(read("manifest.json")) as Record<string, never>;
  const { manifestVersion, host, requiredPermissions, main, entrypoints, icons } = manifest as unknown as {
    manifestVersion: number;
    host: { app: string; minVersion: string };
    main: string;
    requiredPermissions: { network: { domains: string[] } };
    entrypoints: { type: string; icons: { path: string }[] }[];
    icons: { path: string }[];
  };
  assert.equal(manifestVersion, 5);
  assert.deepEqual(host, { app: "PS", minVersion: "24.4.0" });
  // A word like "all" within a list denies everything, and a host without its port is not enough.
  const wanted = ["localhost", "127.0.0.1"].flatMap((name) => [7461, 7462, 7463, 7464].map((port) => `http://${name}:${port}`));
  assert.deepEqual(requiredPermissions, { network: { domains: wanted } });
  for (const { path } of [...icons, ...entrypoints.flatMap((entry) => entry.icons)]) {
    for (const name of [path, path.replace(".png", "@2x.png")]) {
      assert.equal(readFileSync(join(PLUGIN, name)).readUInt32BE(0), 0x89504e47, name);
    }
  }
  assert.ok(read(main).includes('<script src="main.js">'));
});

test("the script is for UXP: modules by require, no eval, nothing of Node", () => {
  assert.deepEqual(readdirSync(PLUGIN).sort(), ["icons", "index.html", "main.css", "main.js", "manifest.json"]);
  const code = read("main.js");
  const asked = [...code.matchAll(/\("(photoshop|uxp|node:[a-z]+|[a-z_]+)"\)/g)].map(([, name]) => name).filter((name) => /photoshop|uxp|node:/.test(name ?? ""));
  assert.deepEqual([...new Set(asked)].sort(), ["photoshop", "uxp"]);
  assert.doesNotMatch(code, /\beval\(|new Function\(|\bBuffer\b/);
  const style = read("main.css");
  assert.doesNotMatch(style, /display: ?grid|gap:/, "UXP has boxes in rows and columns only");
});
