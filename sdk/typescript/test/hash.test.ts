// The hash that stands in where a host has none is the one that Node has.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { digest, hex, sha256 } from "../src/hash.js";

test("SHA-256 without help of the host", async () => {
  const noise = Uint8Array.from({ length: 70_003 }, (_, at) => (at * at * 31 + at) >> 3);
  const lengths = [0, 1, 55, 56, 63, 64, 65, 119, 120, 127, 128, 1000, 70_000];
  for (const length of lengths) {
    // Not from the beginning of the buffer, as uploads and hosts give it.
    const bytes = noise.subarray(3, 3 + length);
    const wanted = createHash("sha256").update(bytes).digest("hex");
    assert.equal(hex(digest(bytes)), wanted, String(length));
    assert.equal(await sha256(bytes), wanted);
  }
});
