// The half of the plugin in Figma's sandbox: opens the frame and answers it.

import { Problem, put, read } from "./canvas.js";
import type { Answer, Ask, Call } from "./messages.js";

figma.showUI(__html__, { width: 320, height: 560, themeColors: true });
// The frame may be a page of the daemon later, which has to name the plugin it belongs to.
figma.ui.postMessage({ plugin: figma.pluginId ?? "" });

figma.ui.onmessage = async (call: Call): Promise<void> => {
  const answer: Answer = await perform(call).then(
    (value) => ({ call: call.call, value }),
    (thrown: unknown) => ({ call: call.call, problem: sentence(thrown) }),
  );
  figma.ui.postMessage(answer);
};

async function perform(ask: Ask): Promise<unknown> {
  switch (ask.do) {
    case "read":
      return read();
    case "place":
      return put(ask.place, ask.bytes, ask.name);
    case "get":
      return figma.clientStorage.getAsync(ask.key);
    case "set":
      return ask.value === undefined ? figma.clientStorage.deleteAsync(ask.key) : figma.clientStorage.setAsync(ask.key, ask.value);
  }
}

function sentence(thrown: unknown): string {
  if (thrown instanceof Problem) {
    return thrown.message;
  }
  return `Figma could not do it: ${thrown instanceof Error ? thrown.message : String(thrown)}`;
}
