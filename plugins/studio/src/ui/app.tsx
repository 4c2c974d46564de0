// The whole page: header, stage with the picture, instruction, revisions, and how the daemon is doing.

import { useEffect, useState } from "preact/hooks";

import type { State, Studio } from "../model.js";
import { Daemon } from "./daemon.js";
import { Instruction } from "./instruction.js";
import { Canvas } from "./canvas.js";
import { Revisions } from "./revisions.js";
import { Start } from "./start.js";

function useStudio(studio: Studio): State {
  const [state, set] = useState(studio.state);
  useEffect(() => studio.subscribe(() => set(studio.state)), [studio]);
  return state;
}

/** Keys that work everywhere but while text is being written. */
function useKeys(studio: Studio): void {
  useEffect(() => {
    const press = (event: KeyboardEvent): void => {
      const writing = event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement;
      const command = event.metaKey || event.ctrlKey;
      if (event.key === "Escape" && studio.state.work.size > 0) {
        void studio.cancel();
      } else if (command && event.key.toLowerCase() === "z" && !writing && studio.state.session !== undefined) {
        event.preventDefault();
        void (event.shiftKey ? studio.redo() : studio.undo());
      } else if (event.key === "/" && !writing) {
        event.preventDefault();
        document.getElementById("instruction")?.focus();
      }
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [studio]);
}

export function App({ studio }: { studio: Studio }) {
  const state = useStudio(studio);
  useKeys(studio);
  const { session, trouble } = state;
  return (
    <div class={session === undefined ? "page page-start" : "page"}>
      <Header studio={studio} state={state} />
      <main>
        {session === undefined ? <Start studio={studio} state={state} /> : <Canvas studio={studio} state={state} />}
        <Instruction studio={studio} state={state} />
      </main>
      <aside aria-label="Revisions and daemon">
        {session !== undefined && <Revisions studio={studio} state={state} />}
        <Daemon studio={studio} state={state} />
      </aside>
      {trouble !== undefined && (
        <div class="trouble" role="alert">
          <div>
            <strong>{trouble.title}</strong>
            {trouble.message !== "" && <p>{trouble.message}</p>}
            {trouble.fields.length > 0 && <ul>{trouble.fields.map((field) => <li key={field}>{field}</li>)}</ul>}
            {trouble.retryAfterMs !== undefined && <p>Try again in {Math.ceil(trouble.retryAfterMs / 1000)} s.</p>}
          </div>
          <button type="button" onClick={() => studio.dismiss()}>Dismiss</button>
        </div>
      )}
    </div>
  );
}

const WORDS: Record<State["connection"], string> = {
  connecting: "Connecting",
  connected: "Connected",
  lost: "Connection lost, trying again",
  denied: "Not signed in: run easel open",
};

function Header({ studio, state }: { studio: Studio; state: State }) {
  const { session, connection } = state;
  return (
    <header>
      <h1>Easel<span> Studio</span></h1>
      {session !== undefined && (
        <nav aria-label="Session">
          <button type="button" class="quiet" onClick={() => studio.close()}>All sessions</button>
          <span class="name">{session.name || "Untitled"}</span>
        </nav>
      )}
      <p class={`connection ${connection}`} role="status">{WORDS[connection]}</p>
    </header>
  );
}
