// What is shipped: sizes, forbidden words, types, versions.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

import { PROTOCOL_VERSION } from "../src/node.js";
import { ROOT } from "./daemon.js";

const SDK = join(ROOT, "sdk", "typescript");
const LIMIT_BYTES = 60 * 1024;

function read(...path: string[]): string {
  return readFileSync(join(SDK, ...path), "utf8");
}

for (const bundle of ["browser.js", "uxp.js"]) {
  test(`${bundle} is small and needs neither eval nor Node`, () => {
    const code = read("dist", "bundle", bundle);
    const bytes = gzipSync(code, { level: 9 }).length;
    assert.ok(bytes <= LIMIT_BYTES, `${bytes} bytes`);
    console.log(`${bundle}: ${code.length} bytes, ${bytes} gzipped`);
    for (const forbidden of [/\beval\(/, /new Function\(/, /["']node:/, /require\(/, /\bprocess\.(?!env\b)/, /\bBuffer\b/]) {
      assert.doesNotMatch(code, forbidden);
    }
  });
}

test("the surface has no any", () => {
  const files = readdirSync(join(SDK, "dist")).filter((name) => name.endsWith(".d.ts"));
  assert.ok(files.length > 10);
  for (const name of files) {
    const code = read("dist", name).replace(/\/\*[\s\S]*?\*\//g, "");
    assert.doesNotMatch(code, /[:<|,]\s*any\b/, name);
  }
});

test("the protocol is the daemon's", () => {
  const found = /PROTOCOL_VERSION: u32 = (\d+)/.exec(readFileSync(join(ROOT, "proto", "src", "lib.rs"), "utf8"));
  assert.equal(PROTOCOL_VERSION, Number(found?.[1]));
  assert.equal(JSON.parse(read("package.json")).version, /CLIENT_VERSION = "(.*)"/.exec(read("src", "version.ts"))?.[1]);
});
