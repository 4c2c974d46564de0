// Selects a part of the picture: tools, and the sheet over the picture on which one draws. With the keyboard: arrows move a point,
// Enter sets a corner of a rectangle, Escape takes it back.

import type { Image } from "@easel/sdk";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { Mask, type Point, pointOn, type Tool } from "../mask.js";
import type { Studio } from "../model.js";

const TOOLS: Readonly<Record<Tool, string>> = { rectangle: "Rectangle", lasso: "Lasso", brush: "Brush" };
/** Steps of the point that arrows move. */
const STEP_PX = 8;
const ARROWS: Readonly<Record<string, Point>> = {
  ArrowLeft: { x: -STEP_PX, y: 0 },
  ArrowRight: { x: STEP_PX, y: 0 },
  ArrowUp: { x: 0, y: -STEP_PX },
  ArrowDown: { x: 0, y: STEP_PX },
};

/** The selection of the picture that is shown. */
export interface Selecting {
  readonly tool: Tool | undefined;
  readonly brushPx: number;
  readonly mask: Mask | undefined;
  readonly isEmpty: boolean;
  choose(tool: Tool | undefined): void;
  setBrush(px: number): void;
  /** A stroke has ended, or all was taken back. */
  changed(): void;
}

export function useSelection(studio: Studio, image: Image | undefined): Selecting {
  const [tool, choose] = useState<Tool>();
  const [brushPx, setBrush] = useState(40);
  const [, redraw] = useState(0);
  const { width = 0, height = 0 } = image ?? {};
  // Another picture begins without a selection: what was selected on it is done.
  const mask = useMemo(() => (width > 0 ? new Mask(width, height) : undefined), [image?.sha256, width, height]);
  useEffect(() => {
    studio.select(undefined);
  }, [mask]);
  const changed = (): void => {
    redraw((count) => count + 1);
    void mask?.file().then((file) => studio.select(file));
  };
  return { tool, brushPx, mask, isEmpty: mask?.isEmpty ?? true, choose, setBrush, changed };
}

export function SelectionTools({ selecting }: { selecting: Selecting }) {
  const { tool, brushPx, mask, isEmpty, choose, setBrush, changed } = selecting;
  return (
    <div class="tools" role="toolbar" aria-label="Selection">
      <span>Select</span>
      {(Object.keys(TOOLS) as Tool[]).map((name) => (
        <button key={name} type="button" aria-pressed={tool === name} disabled={mask === undefined} onClick={() => choose(tool === name ? undefined : name)}>
          {TOOLS[name]}
        </button>
      ))}
      {tool === "brush" && (
        <label class="compare">
          <span>Size</span>
          <input type="range" min={4} max={200} value={brushPx} aria-label="Size of the brush" onInput={(event) => setBrush(Number(event.currentTarget.value))} />
        </label>
      )}
      <button
        type="button"
        disabled={isEmpty}
        onClick={() => {
          mask?.clear();
          changed();
        }}
      >
        Clear selection
      </button>
    </div>
  );
}

export function Sheet({ selecting }: { selecting: Selecting }) {
  const { tool, brushPx, mask, changed } = selecting;
  const canvas = useRef<HTMLCanvasElement>(null);
  const drawing = useRef(false);
  const cursor = useRef<Point>({ x: 0, y: 0 });
  const show = (): void => {
    const context = canvas.current?.getContext("2d");
    if (context === null || context === undefined || mask === undefined || canvas.current === null) {
      return;
    }
    context.fillStyle = getComputedStyle(canvas.current).color;
    mask.show(context, tool ?? "brush", brushPx);
    if (document.activeElement === canvas.current && tool === "rectangle") {
      context.fillRect(cursor.current.x - 1, 0, 2, mask.height);
      context.fillRect(0, cursor.current.y - 1, mask.width, 2);
    }
  };
  useEffect(show);
  if (mask === undefined) {
    return null;
  }
  const finish = (): void => {
    drawing.current = false;
    mask.end(tool ?? "brush", brushPx);
    changed();
  };
  const press = (event: KeyboardEvent): void => {
    const by = ARROWS[event.key];
    if (tool !== "rectangle" || (by === undefined && event.key !== "Enter" && event.key !== "Escape")) {
      return;
    }
    event.preventDefault();
    if (event.key === "Enter" && drawing.current) {
      finish();
    } else if (event.key === "Enter") {
      drawing.current = true;
      mask.begin(cursor.current);
    } else if (by === undefined) {
      drawing.current = false;
      mask.begin(cursor.current);
      mask.move(cursor.current);
    } else {
      const { x, y } = cursor.current;
      const within = (value: number, most: number): number => Math.min(Math.max(value, 0), most);
      cursor.current = { x: within(x + by.x, mask.width), y: within(y + by.y, mask.height) };
      if (drawing.current) {
        mask.move(cursor.current);
      }
    }
    show();
  };
  return (
    <canvas
      ref={canvas}
      class={tool === undefined ? "picture sheet" : "picture sheet drawing"}
      width={mask.width}
      height={mask.height}
      role="img"
      tabIndex={tool === "rectangle" ? 0 : -1}
      aria-label={mask.isEmpty ? "Nothing is selected: the whole picture is edited" : "A part of the picture is selected"}
      onKeyDown={press}
      onFocus={show}
      onBlur={show}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        drawing.current = true;
        mask.begin(pointOn(event.currentTarget, event));
        show();
      }}
      onPointerMove={(event) => {
        if (drawing.current) {
          mask.move(pointOn(event.currentTarget, event));
          show();
        }
      }}
      onPointerUp={() => drawing.current && finish()}
    />
  );
}
