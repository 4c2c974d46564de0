// How the plugins are bundled, and their tests: with esbuild, for what the hosts understand.

import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const require = createRequire(import.meta.url);

/** The page speaks binary gRPC-Web alone: the JSON format of protobuf-es stays out, 20 KB less to load. */
export const withoutJson = {
  name: "without-json",
  setup(building) {
    const names = ["toJson", "toJsonString", "enumToJson", "fromJson", "fromJsonString", "mergeFromJson", "mergeFromJsonString", "enumFromJson", "isEnumJson"];
    const body = '{ throw new Error("plugins speak no JSON"); }';
    building.onResolve({ filter: /\/(to|from)-json\.js$/ }, ({ importer }) =>
      importer.includes("@bufbuild/protobuf") ? { path: "without-json", namespace: "without-json" } : undefined,
    );
    building.onLoad({ filter: /.*/, namespace: "without-json" }, () => ({
      contents: names.map((name) => `export function ${name}() ${body}`).join("\n"),
    }));
  },
};

/** Bundles one entry for a page or a host; gives the outputs when there is no `outfile`. */
export function bundle(entry, options = {}) {
  return build({
    entryPoints: [entry],
    bundle: true,
    minify: true,
    format: "iife",
    platform: "browser",
    target: "es2020",
    conditions: ["browser"],
    jsx: "automatic",
    jsxImportSource: "preact",
    legalComments: "none",
    logLevel: "warning",
    plugins: [withoutJson],
    ...options,
  });
}

/** Bundles tests for Node; packages stay outside, sources of the tree come in. */
export function bundleTests(entries, outdir, options = {}) {
  return build({
    entryPoints: entries,
    outdir,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    conditions: ["browser"],
    jsx: "automatic",
    jsxImportSource: "preact",
    logLevel: "warning",
    banner: { js: 'import { createRequire as __cr } from "node:module"; const require = __cr(import.meta.url);' },
    ...options,
  });
}

/** Checks the types of a folder. */
export function tsc() {
  return join(dirname(require.resolve("typescript/package.json")), "bin", "tsc");
}

/** This folder. */
export const SHARED = dirname(fileURLToPath(import.meta.url));
