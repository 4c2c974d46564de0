// Builds the Studio into dist, which is committed and goes into the daemon: the same input gives the same bytes.

import { defineConfig } from "vite";

/** The page speaks binary gRPC-Web alone: the JSON format of protobuf-es stays out, 20 KB less to load. */
const withoutJson = {
  name: "without-json",
  enforce: "pre",
  resolveId(source, importer) {
    const ours = importer?.includes("@bufbuild/protobuf") && /\/(to|from)-json\.js$/.test(source);
    return ours ? "\0without-json" : undefined;
  },
  load(id) {
    const names = ["toJson", "toJsonString", "enumToJson", "fromJson", "fromJsonString", "mergeFromJson", "mergeFromJsonString", "enumFromJson", "isEnumJson"];
    const body = '{ throw new Error("the Studio speaks no JSON"); }';
    return id === "\0without-json" ? names.map((name) => `export function ${name}() ${body}`).join("\n") : undefined;
  },
};

export default defineConfig({
  plugins: [withoutJson],
  resolve: { conditions: ["browser", "module", "import", "default"] },
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none" },
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: false,
    reportCompressedSize: false,
  },
});
