// The runner of the TypeScript SDK in the scenario corpus (tests/conformance): `node runner.js grpc | web | poll`. `grpc` is the build
// for Node, `web` that for browsers and plugins over gRPC-Web, `poll` the same where bodies are held back until their end.

import { createInterface } from "node:readline";

import type { Line } from "./normal.js";
import { Player, type Step, type Target, type Way } from "./player.js";

const way = process.argv[2] as Way;
const say = (line: Line): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

const capabilities = ["resume", "poll", "sessions", "admin", ...(way === "poll" ? [] : ["streams"])];
say({ client: `typescript ${way}`, capabilities });
for (let line = await input.next(); line.done !== true; line = await input.next()) {
  const { target, steps } = JSON.parse(line.value) as { target: Target; steps: Step[] };
  const player = new Player(way, target, say, async (asked) => {
    say(asked);
    await input.next();
  });
  for (const step of steps) {
    await player.step(step);
  }
  await player.close();
  say({ done: true });
}
// Connections that are kept for the next call would keep the process.
process.exit(0);
