// A sheet to paint on: a picture to begin with, for those who have none at hand.

import { useEffect, useRef, useState } from "preact/hooks";

import { draw, type Point, pointOn } from "../mask.js";
import type { Studio } from "../model.js";

const EDGE_PX = 512;

export function Paint({ studio, close }: { studio: Studio; close: () => void }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const stroke = useRef<Point[]>();
  const [colour, setColour] = useState("#c8452d");
  const [size, setSize] = useState(24);
  const clear = (): void => {
    const context = canvas.current?.getContext("2d");
    if (context) {
      context.fillStyle = "white";
      context.fillRect(0, 0, EDGE_PX, EDGE_PX);
    }
  };
  useEffect(clear, []);
  const paint = (event: PointerEvent): void => {
    const [on, line] = [canvas.current, stroke.current];
    const context = on?.getContext("2d");
    if (on && context && line) {
      line.push(pointOn(on, event));
      context.strokeStyle = colour;
      draw(context, "brush", line.slice(-2), size);
    }
  };
  const use = (): void => canvas.current?.toBlob((file) => void (file && studio.begin("Painting", file)));
  return (
    <div class="paint">
      <canvas
        ref={canvas}
        width={EDGE_PX}
        height={EDGE_PX}
        role="img"
        aria-label="Sheet to paint on"
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture(event.pointerId);
          stroke.current = [pointOn(event.currentTarget, event)];
          paint(event);
        }}
        onPointerMove={paint}
        onPointerUp={() => {
          stroke.current = undefined;
        }}
      />
      <div class="tools">
        <label>
          Colour <input type="color" value={colour} onInput={(event) => setColour(event.currentTarget.value)} />
        </label>
        <label class="compare">
          <span>Size</span>
          <input type="range" min={2} max={120} value={size} aria-label="Size of the brush" onInput={(event) => setSize(Number(event.currentTarget.value))} />
        </label>
        <button type="button" onClick={clear}>Clear</button>
        <button type="button" onClick={close}>Back</button>
        <button type="button" class="main" onClick={use}>Use this picture</button>
      </div>
    </div>
  );
}
