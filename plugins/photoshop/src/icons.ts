// The plugin's icon, drawn: a picture on its stand.

import { encodePng } from "./pixels/png.js";

/** A square PNG with transparent ground. */
export function icon(edge: number): Uint8Array {
  const data = new Uint8Array(edge * edge * 4);
  const ink = (x: number, y: number): readonly [number, number, number, number] | undefined => {
    const inFrame = x >= 0.15 && x < 0.85 && y >= 0.1 && y < 0.68;
    const inPicture = x >= 0.23 && x < 0.77 && y >= 0.18 && y < 0.6;
    const inSun = Math.hypot(x - 0.62, y - 0.32) < 0.09;
    const inLegs = y >= 0.68 && y < 0.95 && Math.abs(Math.abs(x - 0.5) - (0.1 + (y - 0.68) * 0.7)) < 0.045;
    if (inPicture) {
      return inSun ? [250, 200, 70, 255] : [70, 130, 200, 255];
    }
    return inFrame || inLegs ? [140, 140, 140, 255] : undefined;
  };
  for (let y = 0; y < edge; y += 1) {
    for (let x = 0; x < edge; x += 1) {
      data.set(ink((x + 0.5) / edge, (y + 0.5) / edge) ?? [0, 0, 0, 0], (y * edge + x) * 4);
    }
  }
  return encodePng({ width: edge, height: edge, components: 4, data });
}
