// Builds and packs the plugin: build/plugin is the folder that the UXP Developer Tool loads, and packs as a .ccx.
//
//     node build.mjs [--test]

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { bundle, bundleTests, tsc } from "@easel/panel/build";

const here = dirname(fileURLToPath(import.meta.url));
const build = join(here, "build");
const plugin = join(build, "plugin");

for (const project of ["tsconfig.json", "tsconfig.test.json"]) {
  execFileSync(process.execPath, [tsc(), "-p", join(here, project)], { stdio: "inherit" });
}
rmSync(build, { recursive: true, force: true });
mkdirSync(join(plugin, "icons"), { recursive: true });

// The modules of the host come by `require`, which UXP gives to scripts of a page.
const host = { external: ["photoshop", "uxp"] };
await bundle(join(here, "src", "ui", "main.ts"), { outdir: plugin, ...host });
copyFileSync(join(here, "manifest.json"), join(plugin, "manifest.json"));
const links = '<link rel="stylesheet" href="main.css">\n<script src="main.js"></script>';
writeFileSync(
  join(plugin, "index.html"),
  `<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Easel</title>\n</head>\n<body>\n<main id="app"></main>\n${links}\n</body>\n</html>\n`,
);
await bundleTests([join(here, "src", "icons.ts")], join(build, "tools"));
const { icon } = await import(join(build, "tools", "icons.mjs"));
for (const [name, edge] of [["panel", 23], ["plugin", 48]]) {
  writeFileSync(join(plugin, "icons", `${name}.png`), icon(edge));
  writeFileSync(join(plugin, "icons", `${name}@2x.png`), icon(2 * edge));
}

if (process.argv.includes("--test")) {
  const files = readdirSync(join(here, "test")).filter((name) => name.endsWith(".test.ts"));
  const fakes = { alias: { photoshop: join(here, "test", "fake", "photoshop.ts"), uxp: join(here, "test", "fake", "uxp.ts") } };
  await bundleTests(files.map((name) => join(here, "test", name)), join(build, "test"), fakes);
  await bundle(join(here, "test", "page.ts"), { outfile: join(build, "test", "page.js"), ...fakes });
}
