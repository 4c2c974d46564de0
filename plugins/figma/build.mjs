// Builds the plugin: build/code.js and build/ui.html for Figma's manifest, and dist, the page that the daemon serves at /ui/figma.
// dist is committed and goes into the daemon: the same input gives the same bytes.
//
//     node build.mjs [--dist FOLDER] [--only-dist]
//     node build.mjs --test      leaves dist alone and builds the tests

import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { bundle, bundleTests, tsc } from "@easel/panel/build";

const here = dirname(fileURLToPath(import.meta.url));
const at = process.argv.indexOf("--dist");
const dist = at === -1 ? join(here, "dist") : process.argv[at + 1];
const build = join(here, "build");

const HEAD = '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>Easel for Figma</title>\n';

const tests = process.argv.includes("--test");
const onlyDist = process.argv.includes("--only-dist");
for (const project of onlyDist ? [] : ["tsconfig.json", "tsconfig.sandbox.json", ...(tests ? ["tsconfig.test.json"] : [])]) {
  execFileSync(process.execPath, [tsc(), "-p", join(here, project)], { stdio: "inherit" });
}
const { outputFiles } = await bundle(join(here, "src", "ui", "main.ts"), { outdir: build, write: false });
const text = (ending) => outputFiles.find(({ path }) => path.endsWith(ending)).text;
if (!tests) {
  // A page of the daemon has nothing inline, as its policy says.
  rmSync(dist, { recursive: true, force: true });
  mkdirSync(dist, { recursive: true });
  writeFileSync(join(dist, "figma.js"), text(".js"));
  writeFileSync(join(dist, "figma.css"), text(".css"));
  const links = '<link rel="stylesheet" href="/ui/figma.css">\n<script type="module" src="/ui/figma.js"></script>\n';
  writeFileSync(join(dist, "figma"), `${HEAD}${links}<main id="app"></main>\n</html>\n`);
}

if (!onlyDist) {
  rmSync(build, { recursive: true, force: true });
  mkdirSync(build, { recursive: true });
  // Figma's sandbox knows ES6 and little more.
  await bundle(join(here, "src", "host", "sandbox.ts"), { outfile: join(build, "code.js"), target: "es2017" });
  const script = text(".js").replaceAll("</script", "<\\/script");
  const ui = `${HEAD}<style>${text(".css")}</style>\n<main id="app"></main>\n<script>${script}</script>\n</html>\n`;
  writeFileSync(join(build, "ui.html"), ui);
}
if (tests) {
  const files = readdirSync(join(here, "test")).filter((name) => name.endsWith(".test.ts"));
  await bundleTests(files.map((name) => join(here, "test", name)), join(build, "test"));
  await bundle(join(here, "test", "page.ts"), { outfile: join(build, "test", "page.js") });
}
