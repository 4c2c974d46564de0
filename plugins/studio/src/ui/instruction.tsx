// The instruction with its history, seed, number of variations and model.

import { added, parse, Walk } from "@easel/panel/history";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import type { State, Studio } from "../model.js";

const KEY = "easel.instructions";
/** Live edits begin this long after the last key. */
const TYPING_MS = 350;

function history(): string[] {
  try {
    return parse(localStorage.getItem(KEY));
  } catch {
    return [];
  }
}

function remember(text: string): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(added(history(), text)));
  } catch {
    // A browser that keeps nothing still edits.
  }
}

export function Instruction({ studio, state }: { studio: Studio; state: State }) {
  const [text, setText] = useState("");
  const [settings, setSettings] = useState({ seed: "", variations: 1, model: "" });
  const [live, setLive] = useState(false);
  const walk = useMemo(() => new Walk(), []);
  const typing = useRef<ReturnType<typeof setTimeout>>();
  useEffect(() => () => clearTimeout(typing.current), []);
  const empty = state.session === undefined || state.revisions.length === 0;
  const send = (event: Event): void => {
    event.preventDefault();
    const instruction = text.trim();
    if (instruction !== "") {
      remember(instruction);
      walk.stop();
      clearTimeout(typing.current);
      setText("");
      void (live && !empty ? studio.keepLive(instruction, settings) : studio.edit(instruction, settings));
    }
  };
  const browse = (event: KeyboardEvent): void => {
    if (event.key !== "ArrowUp" && event.key !== "ArrowDown") {
      return;
    }
    event.preventDefault();
    setText(walk.step(history(), event.key === "ArrowUp" ? -1 : 1, text) ?? text);
  };
  const write = (written: string): void => {
    walk.stop();
    setText(written);
    clearTimeout(typing.current);
    if (live && !empty && written.trim() !== "") {
      typing.current = setTimeout(() => void studio.tryLive(written.trim(), settings), TYPING_MS);
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
          onInput={(event) => write(event.currentTarget.value)}
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
        <label title="Tries every change of the instruction; Enter keeps it">
          <input
            type="checkbox"
            checked={live}
            onChange={(event) => {
              setLive(event.currentTarget.checked);
              studio.endLive();
            }}
          />
          Live
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
