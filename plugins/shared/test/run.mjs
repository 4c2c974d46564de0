// Checks the types, bundles the tests of this folder and runs them.

import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";

import { bundleTests, SHARED, tsc } from "../build.mjs";

execFileSync(process.execPath, [tsc(), "-p", SHARED], { stdio: "inherit" });
const out = join(SHARED, "build", "test");
const tests = readdirSync(join(SHARED, "test")).filter((name) => name.endsWith(".test.ts"));
await bundleTests(tests.map((name) => join(SHARED, "test", name)), out);
const files = tests.map((name) => join(out, name.replace(/ts$/, "mjs")));
execFileSync(process.execPath, ["--test", "--test-reporter=tap", ...files], { stdio: "inherit" });
