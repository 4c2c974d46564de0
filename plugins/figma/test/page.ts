// Figma's own page as far as a plugin sees it: the document, and a frame without an origin for the plugin's window. The frame may
// navigate to a page of another address, whose messages then have to name the plugin.

import { FakeFigma } from "./fake.js";

interface Start {
  readonly html: string;
  readonly code: string;
  /** How the frame comes by having no origin. */
  readonly frame: "sandbox" | "data";
}

async function render(width: number, height: number): Promise<Uint8Array> {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d") as OffscreenCanvasRenderingContext2D;
  context.fillStyle = "#e8d9b0";
  context.fillRect(0, 0, width, height);
  context.fillStyle = "#2f5d9b";
  context.fillRect(width / 4, height / 4, width / 2, height / 2);
  return new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer());
}

const fake = new FakeFigma(
  [
    { id: "1:1", name: "Photo", type: "RECTANGLE", fills: [{ type: "IMAGE", scaleMode: "FILL", imageHash: "photo" }] },
    { id: "1:2", name: "Poster", type: "FRAME", x: 300, y: 40, width: 320, height: 240 },
  ],
  render,
);

let frame: HTMLIFrameElement | undefined;

/** Runs the plugin, as choosing it in the menu does. */
async function open({ html, code, frame: kind }: Start): Promise<void> {
  fake.images.set("photo", await render(128, 96));
  frame?.remove();
  fake.ui.postMessage = (pluginMessage, options) =>
    frame?.contentWindow?.postMessage({ pluginMessage, pluginId: fake.pluginId }, options?.origin ?? "*");
  const shown: unknown[] = [];
  const plain = fake.ui.postMessage;
  // Figma keeps what is said before the frame has loaded.
  fake.ui.postMessage = (message) => void shown.push(message);
  new Function("figma", "__html__", code)(fake, html);
  frame = document.createElement("iframe");
  frame.title = "Easel";
  frame.style.cssText = `width: ${fake.shown?.options?.width}px; height: ${fake.shown?.options?.height}px; border: 0`;
  if (kind === "sandbox") {
    frame.sandbox.add("allow-scripts", "allow-forms");
    frame.srcdoc = html;
  } else {
    frame.src = `data:text/html;charset=utf-8,${encodeURIComponent(html)}`;
  }
  const loaded = new Promise((done) => frame?.addEventListener("load", done, { once: true }));
  document.body.append(frame);
  await loaded;
  fake.ui.postMessage = plain;
  shown.forEach((message) => plain(message));
}

addEventListener("message", (event: MessageEvent<{ pluginMessage?: unknown; pluginId?: string }>) => {
  const { pluginMessage, pluginId } = event.data;
  const named = event.origin === "null" || pluginId === fake.pluginId;
  if (event.source === frame?.contentWindow && pluginMessage !== undefined && named) {
    fake.ui.onmessage?.(pluginMessage, { origin: event.origin });
  }
});

Object.assign(globalThis, { fake, open });
