// The panel: where the daemon is, or the instruction with what it makes. Boxes in rows and columns only, since UXP has no grids.

import { useEffect, useState } from "preact/hooks";

import type { Panel } from "../model/panel.js";
import type { State } from "../model/state.js";
import { ConnectionView } from "./connection.js";
import type { Extras } from "./start.js";

/** So many pictures can be asked for at one time. */
const VARIATIONS = [1, 2, 3, 4];

interface Properties {
  readonly panel: Panel;
  readonly state: State;
}

export function PanelView({ panel, extras }: { panel: Panel; extras: Extras }) {
  const [state, show] = useState(panel.state);
  useEffect(() => panel.subscribe(() => show(panel.state)), [panel]);
  const ready = state.connection.kind === "ready";
  return (
    <div class="panel">
      <h1>Easel</h1>
      {ready ? <Edit panel={panel} state={state} /> : <ConnectionView panel={panel} connection={state.connection} extras={extras} />}
      {state.trouble !== undefined && (
        <div class="trouble" role="alert">
          <strong>{state.trouble.title}</strong>
          {state.trouble.message !== "" && <p>{state.trouble.message}</p>}
          {state.trouble.fields.map((field) => <p key={field}>{field}</p>)}
          {state.trouble.retryAfterMs !== undefined && <p>Try again in {Math.ceil(state.trouble.retryAfterMs / 1000)} s.</p>}
          <button type="button" onClick={() => panel.dismiss()}>Dismiss</button>
        </div>
      )}
      <Pictures panel={panel} state={state} />
      {state.connection.kind === "ready" && (
        <footer>
          <span>Connected, {state.connection.version}</span>
          <button type="button" class="quiet" onClick={() => void panel.forget()}>Forget pairing</button>
        </footer>
      )}
    </div>
  );
}

function Edit({ panel, state }: Properties) {
  const { settings, work, instruction } = state;
  const send = (event: Event): void => {
    event.preventDefault();
    void panel.edit();
  };
  const press = (event: KeyboardEvent): void => {
    if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      event.preventDefault();
      panel.browse(event.key === "ArrowUp" ? -1 : 1);
    } else if (event.key === "Escape") {
      panel.cancel();
    }
  };
  return (
    <form onSubmit={send}>
      <label class="wide">
        <span>Instruction</span>
        <input
          type="text"
          value={instruction}
          placeholder="make it a winter evening"
          autocomplete="off"
          onInput={(event) => panel.write(event.currentTarget.value)}
          onKeyDown={press}
        />
      </label>
      <div class="row">
        <label>
          <span>Seed</span>
          <input
            type="text"
            inputMode="numeric"
            value={settings.seed}
            placeholder="random"
            onInput={(event) => panel.change({ seed: event.currentTarget.value.replace(/\D/g, "") })}
          />
        </label>
        <label>
          <span>Variations</span>
          <select
            value={settings.variations}
            onChange={(event) => panel.change({ variations: Number(event.currentTarget.value) })}
          >
            {VARIATIONS.map((count) => <option key={count} value={count}>{count}</option>)}
          </select>
        </label>
        <label class="check">
          <input type="checkbox" checked={settings.live} onChange={(event) => panel.change({ live: event.currentTarget.checked })} />
          <span>Live</span>
        </label>
      </div>
      <div class="row">
        <button type="submit" class="main" disabled={instruction.trim() === ""}>Edit</button>
        <button type="button" disabled={work === undefined} onClick={() => panel.cancel()}>Cancel</button>
      </div>
    </form>
  );
}

function Pictures({ panel, state }: Properties) {
  const { work, choices, source } = state;
  const previews = work?.previews ?? [];
  return (
    <section aria-label="Pictures">
      {work !== undefined && (
        <div class="work">
          <progress max={1} value={work.fraction} aria-label="Progress" />
          <p role="status">{work.doing}</p>
        </div>
      )}
      {source !== undefined && (work !== undefined || choices.length > 0) && <p class="quiet">{source.label}</p>}
      <div class="pictures">
        {previews.map((url, at) => url !== "" && <img key={at} src={url} alt={`Preview ${at + 1}`} />)}
        {choices.map(({ result, thumbnail, placed }, at) => (
          <button
            key={result.index}
            type="button"
            class="choice"
            aria-label={`${placed ? "Place again" : "Place"} variation ${at + 1}, seed ${result.seed}`}
            onClick={() => void panel.place(at)}
          >
            {thumbnail === undefined ? <span>Variation {at + 1}</span> : <img src={thumbnail} alt="" />}
            <span>{placed ? "Placed" : "Place"}</span>
          </button>
        ))}
      </div>
    </section>
  );
}
