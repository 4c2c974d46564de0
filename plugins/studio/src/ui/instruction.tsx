// The instruction with its history, seed, number of variations and model.

import { useRef, useState } from "preact/hooks";

import type { State, Studio } from "../model.js";

const KEY = "easel.instructions";
const KEPT = 50;

/** Earlier instructions, the newest last; what cannot be read is nothing. */
function history(): string[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(kept) ? kept.filter((text) => typeof text === "string") : [];
  } catch {
    return [];
  }
}

function remember(text: string): void {
  try {
    localStorage.setItem(KEY, JSON.stringify([...history().filter((one) => one !== text), text].slice(-KEPT)));
  } catch {
    // A browser that keeps nothing still edits.
  }
}

export function Instruction({ studio, state }: { studio: Studio; state: State }) {
  const [text, setText] = useState("");
  const [settings, setSettings] = useState({ seed: "", variations: 1, model: "" });
  const place = useRef<number>();
  const empty = state.session === undefined || state.revisions.length === 0;
  const send = (event: Event): void => {
    event.preventDefault();
    const instruction = text.trim();
    if (instruction !== "") {
      remember(instruction);
      place.current = undefined;
      setText("");
      void studio.edit(instruction, settings);
    }
  };
  const browse = (event: KeyboardEvent): void => {
    if (event.key !== "ArrowUp" && event.key !== "ArrowDown") {
      return;
    }
    event.preventDefault();
    const kept = history();
    const next = (place.current ?? kept.length) + (event.key === "ArrowUp" ? -1 : 1);
    if (next >= 0 && next <= kept.length) {
      place.current = next;
      setText(kept[next] ?? "");
    }
  };
  return (
    <form class="instruction" onSubmit={send}>
      <div class="line">
        <input
          id="instruction"
          type="text"
          value={text}
          placeholder={empty ? "a red circle on a white background" : "make the circle blue"}
          aria-label={empty ? "What to draw" : "Instruction"}
          autocomplete="off"
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={browse}
        />
        <button type="submit" class="main" disabled={state.connection !== "connected" || text.trim() === ""}>
          {empty ? "Draw" : "Edit"}
        </button>
      </div>
      <div class="settings">
        <label>
          Seed
          <input
            type="text"
            inputMode="numeric"
            pattern="[0-9]*"
            value={settings.seed}
            placeholder="random"
            onInput={(event) => setSettings({ ...settings, seed: event.currentTarget.value.replace(/\D/g, "") })}
          />
        </label>
        <label>
          Variations
          <select
            value={settings.variations}
            onChange={(event) => setSettings({ ...settings, variations: Number(event.currentTarget.value) })}
          >
            {[1, 2, 4, 6, 9].map((count) => <option key={count} value={count}>{count}</option>)}
          </select>
        </label>
        {state.models.length > 1 && (
          <label>
            Model
            <select value={settings.model} onChange={(event) => setSettings({ ...settings, model: event.currentTarget.value })}>
              {state.models.map((model) => (
                <option key={model.name} value={model.default ? "" : model.name}>{model.name}</option>
              ))}
            </select>
          </label>
        )}
      </div>
    </form>
  );
}
