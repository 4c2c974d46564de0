// The frame: the panel over Figma. The same code is the page that the daemon serves at /ui/figma, for browsers that do not let a
// frame without an origin reach this machine.

import { Client, Panel, start } from "@easel/panel";
import { PORTS } from "@easel/sdk/browser";
import "@easel/panel/style.css";

import { FigmaHost, wireOf } from "../host/frame.js";

const host = new FigmaHost(wireOf(new URL(location.href)));
/** A page of the daemon calls the daemon that served it, and nobody else. */
const served = location.protocol.startsWith("http") && location.pathname === "/ui/figma";
const client = new Client({
  memory: host.memory,
  clientName: "figma",
  origin: location.origin,
  address: served ? location.origin : undefined,
});
const panel = new Panel(host, client);
const root = document.getElementById("app");
if (root !== null) {
  start(root, panel, {
    blocked: {
      label: "Open the panel from Easel",
      act: () => location.assign(`http://127.0.0.1:${PORTS[0]}/ui/figma?plugin=${encodeURIComponent(host.pluginId)}`),
    },
  });
}
