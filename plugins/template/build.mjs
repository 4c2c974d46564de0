// Checks the types and builds the plugin into build, beside the host application.

import { execFileSync } from "node:child_process";
import { cpSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { bundle, tsc } from "@easel/panel/build";

const here = dirname(fileURLToPath(import.meta.url));
execFileSync(process.execPath, [tsc(), "-p", here], { stdio: "inherit" });
rmSync(join(here, "build"), { recursive: true, force: true });
cpSync(join(here, "app"), join(here, "build"), { recursive: true });
await bundle(join(here, "src", "main.ts"), { outfile: join(here, "build", "plugin.js") });
