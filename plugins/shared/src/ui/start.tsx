// Puts the panel on a page and starts it.

import { render } from "preact";

import type { Panel } from "../model/panel.js";
import { PanelView } from "./panel.js";

/** What a host adds to the panel. */
export interface Extras {
  /** A way out when the browser does not let the page call the daemon. */
  readonly blocked?: { readonly label: string; readonly act: () => void } | undefined;
}

/** Draws the panel into an element and runs it until the page closes or the signal is aborted. */
export function start(root: HTMLElement, panel: Panel, extras: Extras = {}, signal = new AbortController().signal): void {
  render(<PanelView panel={panel} extras={extras} />, root);
  void panel.run(signal);
}
