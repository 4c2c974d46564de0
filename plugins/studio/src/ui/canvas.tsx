// The picture where the session stands: what comes while it is being made, and a slider to what it was made from.

import { useState } from "preact/hooks";

import type { State, Studio, Work } from "../model.js";
import { useUrl } from "./picture.js";
import { SelectionTools, Sheet, useSelection } from "./selection.js";

export function Canvas({ studio, state }: { studio: Studio; state: State }) {
  const head = studio.head();
  const parent = state.revisions.find(({ id }) => id === head?.parentRevisionId);
  const after = useUrl(studio, head?.image);
  const before = useUrl(studio, parent?.image);
  const [split, setSplit] = useState(0);
  const selecting = useSelection(studio, head?.image);
  const work = [...state.work.values()].at(-1);
  const shown = work?.preview ?? after;
  const compares = work === undefined && before !== undefined && after !== undefined;
  return (
    <section class="stage" aria-label="Picture">
      <div class="frame">
        {shown !== undefined && <img class="picture" src={shown} alt={head?.spec?.prompt || "The picture"} draggable={false} />}
        {compares && split > 0 && (
          <img
            class="picture"
            src={before}
            alt="Before the edit"
            draggable={false}
            style={{ clipPath: `inset(0 ${100 - split}% 0 0)` }}
          />
        )}
        {work === undefined && after !== undefined && <Sheet selecting={selecting} />}
        {shown === undefined && <p class="empty">{work === undefined ? "Write what to draw." : work.doing}</p>}
      </div>
      {work === undefined ? (
        <>
          <Tools studio={studio} state={state} split={split} setSplit={setSplit} compares={compares} />
          <SelectionTools selecting={selecting} />
        </>
      ) : (
        <Progress studio={studio} work={work} />
      )}
    </section>
  );
}

function Progress({ studio, work }: { studio: Studio; work: Work }) {
  const percent = Math.round(work.fraction * 100);
  return (
    <div class="tools progress">
      <progress max={100} value={percent} aria-label="Progress">{percent} %</progress>
      <span aria-live="polite">{work.doing}</span>
      <button type="button" onClick={() => void studio.cancel()}>Cancel</button>
    </div>
  );
}

interface ToolsProperties {
  readonly studio: Studio;
  readonly state: State;
  readonly split: number;
  readonly setSplit: (percent: number) => void;
  readonly compares: boolean;
}

function Tools({ studio, state, split, setSplit, compares }: ToolsProperties) {
  const head = studio.head();
  const url = useUrl(studio, head?.image);
  return (
    <div class="tools">
      <button type="button" disabled={!head?.parentRevisionId} onClick={() => void studio.undo()} title="Ctrl+Z">Undo</button>
      <button
        type="button"
        disabled={(state.session?.redoRevisionIds.length ?? 0) === 0}
        onClick={() => void studio.redo()}
        title="Ctrl+Shift+Z"
      >
        Redo
      </button>
      <label class="compare">
        <span>Before</span>
        <input
          type="range"
          min={0}
          max={100}
          value={split}
          disabled={!compares}
          aria-label="Share of the picture before the edit"
          onInput={(event) => setSplit(Number(event.currentTarget.value))}
        />
      </label>
      <button type="button" disabled={!head?.generationId} onClick={() => void studio.again()}>Again</button>
      {url !== undefined && (
        <a class="button" href={url} download={`${state.session?.name || "easel"}.png`}>Save</a>
      )}
    </div>
  );
}
