// What the tutorial says: its blocks, and the plugin that is built from them alone.

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const HERE = join(dirname(fileURLToPath(import.meta.url)), "..");
export const PAGE = readFileSync(join(HERE, "TUTORIAL.md"), "utf8");
export const BLOCKS = [...PAGE.matchAll(/^```\w+ (\S+)\n([\s\S]*?)^```$/gm)].map(([, name, text]) => ({ name, text }));

/** Builds the plugin of the tutorial in a folder of that name beside this one; gives its path. */
export function build(name) {
  // One folder deeper than a plugin of one's own, so that git knows nothing of it.
  const plugin = join(HERE, name);
  rmSync(plugin, { recursive: true, force: true });
  cpSync(join(HERE, "app"), join(plugin, "app"), { recursive: true });
  for (const { name, text } of BLOCKS) {
    mkdirSync(dirname(join(plugin, name)), { recursive: true });
    writeFileSync(join(plugin, name), name === "tsconfig.json" ? text.replace("../shared", "../../shared") : text);
  }
  execFileSync(process.execPath, ["build.mjs"], { cwd: plugin, stdio: "inherit" });
  return plugin;
}
