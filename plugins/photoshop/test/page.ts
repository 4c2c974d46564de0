// The panel in a browser with the fakes of Photoshop's modules: its network half. As in older UXP there are no cryptographic functions,
// and with `?buffered` answers come whole, without a stream for their body.

import { FakeDocument, isModal, watched } from "./fake/photoshop.js";

const plain = globalThis.fetch.bind(globalThis);
/** What was seen while calls were under way. */
const seen = { modalDuringCalls: false, streams: 0, whole: 0 };

globalThis.fetch = async (input, init) => {
  seen.modalDuringCalls ||= isModal();
  const answer = await plain(input, init);
  if (!location.search.includes("buffered")) {
    seen.streams += 1;
    return answer;
  }
  const bytes = await answer.arrayBuffer();
  seen.whole += 1;
  return { status: answer.status, headers: answer.headers, body: undefined, arrayBuffer: async () => bytes } as unknown as Response;
};
Object.defineProperty(globalThis.crypto, "subtle", { value: undefined });

function colours(width: number, height: number): Uint8Array {
  const data = new Uint8Array(width * height * 4);
  for (let at = 0; at < width * height; at += 1) {
    data.set([(at % width) % 256, Math.floor(at / width) % 256, 120, 255], at * 4);
  }
  return data;
}

const document_ = new FakeDocument("beach.psd", 200, 150);
document_.addLayer("Ground", { region: { left: 0, top: 0, right: 200, bottom: 150 }, channels: 4, data: colours(200, 150) });

/** Selects a rectangle, or nothing. */
function select(left?: number, top = 0, right = 0, bottom = 0): void {
  const count = left === undefined ? 0 : (right - left) * (bottom - top);
  document_.chosen = left === undefined ? undefined : { region: { left, top, right, bottom }, channels: 1, data: new Uint8Array(count).fill(255) };
}

Object.assign(globalThis, { photoshop: document_, select, seen, watched });

const root = document.createElement("main");
root.id = "app";
document.body.append(root);
void import("../src/ui/main.js");
