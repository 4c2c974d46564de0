// The panel over Photoshop.

import { Client, Panel, start } from "@easel/panel";
import "@easel/panel/style.css";

import { PhotoshopHost } from "../host/photoshop.js";

const host = new PhotoshopHost();
const root = document.getElementById("app");
if (root !== null) {
  start(root, new Panel(host, new Client({ memory: host.memory, clientName: "photoshop", origin: "program" })));
}
