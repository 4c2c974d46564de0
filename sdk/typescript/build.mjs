// Builds the SDK: code of the protocol (src/gen), modules with types (dist), one-file builds (dist/bundle).
//
//     node build.mjs [--test]      with --test also the tests (build/test)

import { execFileSync } from "node:child_process";
import { cpSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..", "..");
const require = createRequire(import.meta.url);

/** Runs a program of an npm package by its script, which needs no shell and no search path. */
function run(script, args, cwd = here) {
  execFileSync(process.execPath, [require.resolve(script), ...args], { cwd, stdio: "inherit" });
}

function generate() {
  const plugin = require.resolve("@bufbuild/protoc-gen-es/package.json").replace("package.json", "bin/protoc-gen-es");
  const out = join(here, "src", "gen");
  rmSync(out, { recursive: true, force: true });
  const template = JSON.stringify({
    version: "v2",
    plugins: [{ local: [process.execPath, plugin], out, opt: ["target=ts", "import_extension=js"] }],
  });
  const buf = require.resolve("@bufbuild/buf/package.json").replace("package.json", "bin/buf");
  for (const folder of [join(root, "proto"), join(here, "proto")]) {
    run(buf, ["generate", folder, "--template", template]);
  }
}

/** One file for hosts that load no modules of packages: a browser page without a bundler, and UXP. */
function bundle(entry, outfile, format, minify) {
  return build({
    entryPoints: [join(here, "dist", entry)],
    outfile: join(here, "dist", "bundle", outfile),
    bundle: true,
    minify,
    format,
    platform: "browser",
    target: "es2020",
    legalComments: "none",
    logLevel: "warning",
  });
}

generate();
rmSync(join(here, "dist"), { recursive: true, force: true });
run("typescript/bin/tsc", ["-p", "tsconfig.json"]);
await bundle("browser.js", "browser.js", "esm", true);
await bundle("uxp.js", "uxp.js", "cjs", true);
if (process.argv.includes("--test")) {
  rmSync(join(here, "build"), { recursive: true, force: true });
  run("typescript/bin/tsc", ["-p", "tsconfig.test.json"]);
  cpSync(join(here, "package.json"), join(here, "build", "package.json"));
}
