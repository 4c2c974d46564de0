// Plays the tutorial: the plugin is built from the blocks of the page alone, and is what stands in this folder.

import assert from "node:assert/strict";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { BLOCKS, build, HERE, PAGE } from "./tutorial.mjs";

test("what the tutorial writes is what stands here", () => {
  assert.deepEqual(BLOCKS.map(({ name }) => name), ["tsconfig.json", "src/css.d.ts", "build.mjs", "src/host/doodle.ts", "src/main.ts"]);
  for (const { name, text } of BLOCKS) {
    assert.equal(text, readFileSync(join(HERE, name), "utf8"), name);
  }
  const minutes = [...PAGE.matchAll(/\((\d+) minutes\)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
  assert.equal(minutes, 15);
});

test("every step builds", () => {
  rmSync(build("build-steps"), { recursive: true, force: true });
});
