// Where one begins: drop a picture, write what to draw, or go on with a session.

import { useRef, useState } from "preact/hooks";

import type { State, Studio } from "../model.js";
import { Paint } from "./paint.js";

export function Start({ studio, state }: { studio: Studio; state: State }) {
  const [over, setOver] = useState(false);
  const [paints, setPaints] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const take = (file: File | undefined): void => {
    if (file === undefined) {
      return;
    }
    if (!file.type.startsWith("image/")) {
      studio.complain("This is no picture", `${file.name} cannot be edited: take a PNG, JPEG, WebP, TIFF, GIF or BMP file.`);
      return;
    }
    void studio.begin(file.name.replace(/\.[^.]*$/, ""), file);
  };
  const drop = (event: DragEvent): void => {
    event.preventDefault();
    setOver(false);
    take(event.dataTransfer?.files[0]);
  };
  if (paints) {
    return (
      <section class="start" aria-label="Begin">
        <Paint studio={studio} close={() => setPaints(false)} />
      </section>
    );
  }
  return (
    <section class="start" aria-label="Begin">
      <div
        class={over ? "drop over" : "drop"}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={drop}
      >
        <h2>Start with a picture</h2>
        <p>Drop one here, or write below what to draw.</p>
        <button type="button" class="main" onClick={() => input.current?.click()}>Choose a picture</button>
        <button type="button" class="quiet" onClick={() => setPaints(true)}>Paint one</button>
        <input
          ref={input}
          type="file"
          accept="image/*"
          aria-label="Picture to edit"
          hidden
          onChange={(event) => take(event.currentTarget.files?.[0])}
        />
      </div>
      {state.sessions.length > 0 && (
        <div class="sessions">
          <h2>Go on</h2>
          <ul>
            {state.sessions.slice(0, 8).map((session) => (
              <li key={session.id}>
                <button type="button" class="quiet" onClick={() => void studio.open(session.id)}>
                  <span>{session.name || "Untitled"}</span>
                  <small>{String(session.revisionCount)} pictures</small>
                </button>
                <button
                  type="button"
                  class="quiet"
                  aria-label={`Delete ${session.name || "Untitled"}`}
                  onClick={() => confirm(`Delete ${session.name || "this session"} for good?`) && void studio.remove(session.id)}
                >
                  ✕
                </button>
              </li>
            ))}
          </ul>
        </div>
      )}
    </section>
  );
}
