// What to do while there is no daemon to work with.

import { PORTS } from "@easel/sdk/browser";

import type { Panel } from "../model/panel.js";
import type { Connection } from "../model/state.js";
import type { Extras } from "./start.js";

interface Properties {
  readonly panel: Panel;
  readonly connection: Connection;
  readonly extras: Extras;
}

export function ConnectionView({ panel, connection, extras }: Properties) {
  const again = <button type="button" onClick={() => panel.retry()}>Try again</button>;
  switch (connection.kind) {
    case "searching":
    case "ready":
      return <p role="status">Looking for Easel…</p>;
    case "absent":
      return (
        <div class="help" role="status">
          <h2>Easel is not running</h2>
          <p>Start it in a terminal: <code>easel serve</code>. This panel finds it by itself, on the ports {PORTS[0]} to {PORTS[PORTS.length - 1]}.</p>
          {connection.asks && <p>If the browser asks whether this page may reach programs on this device, allow it.</p>}
          {again}
        </div>
      );
    case "blocked":
      return (
        <div class="help" role="status">
          <h2>Access to this device is denied</h2>
          <p>The browser does not let this page reach programs on this device. Allow it in the settings of the site (local network
            access, or apps on device), and load the page again.</p>
          {extras.blocked !== undefined && (
            <button type="button" class="main" onClick={extras.blocked.act}>{extras.blocked.label}</button>
          )}
          {again}
        </div>
      );
    case "old":
      return (
        <div class="help" role="status">
          <h2>Easel is too old for this plugin</h2>
          <p>Version {connection.version} is running. Install the present one and start it again.</p>
          {again}
        </div>
      );
    case "unpaired":
      return (
        <div class="help" role="status">
          <h2>Not paired yet</h2>
          {connection.why !== undefined && <p>{connection.why}</p>}
          <p>Easel asks you once before a plugin may use it.</p>
          <button type="button" class="main" onClick={() => void panel.pair()}>Pair</button>
        </div>
      );
    case "pairing":
      return (
        <div class="help" role="status">
          <h2>Confirm the code</h2>
          <p class="code">{connection.code}</p>
          <p>Type in a terminal: <code>{connection.command}</code></p>
          <button type="button" onClick={() => panel.stopPairing()}>Cancel</button>
        </div>
      );
  }
}
