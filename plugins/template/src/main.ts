// The plugin: the panel over Doodle.

import { Client, Panel, start } from "@easel/panel";
import "@easel/panel/style.css";

import { DoodleHost } from "./host/doodle.js";

const host = new DoodleHost();
const client = new Client({ memory: host.memory, clientName: "doodle", origin: location.origin });
const root = document.getElementById("plugin");
if (root !== null) {
  start(root, new Panel(host, client));
}
